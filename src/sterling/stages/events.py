"""The events that features are computed from, beside the moments that they are computed for."""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import InvalidDefinitionError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable
from sterling.features.availability import EVENT_TIME, REPLACED_AT, VALID_TO, Source, clocks_of, rule_of
from sterling.features.exact import Ints
from sterling.features.inside import Values
from sterling.features.windows import NEVER, Log, Moments, key_codes, latest
from sterling.project.sources import EntitySource
from sterling.project.sql import check_columns, columns_of
from sterling.stages.contract import Context
from sterling.stages.features import column_of, listed
from sterling.stages.row import Row


class Chosen(NamedTuple):
    """The events that one aggregate or value reads.

    Attributes:
        flags: Whether it reads each of them.
        clocks: The clocks that have passed when it can.
    """

    flags: NDArray[np.bool_]
    clocks: tuple[str, ...]


class Events:
    """The events of a source by one entity.

    Args:
        source: The source.
        entities: Columns of the source that say whose events they are.
        on: Where an entity is called otherwise on the spine.
        place: What reads them; an error begins with it.
        inputs: Inputs of the stage.
        context: Context of the stage.
    """

    def __init__(
        self, source: Source, entities: Sequence[str], on: Mapping[str, str], place: str,
        inputs: Mapping[str, Ref], context: Context,
    ) -> None:  # fmt: skip
        self._source, self._entities, self._on, self._place = source, entities, on, place
        self._context = context
        self.table = StoredTable(context.store, inputs[f"clean:{source.name}"])
        self._met: dict[str, NDArray[np.bool_]] = {}
        self._values: dict[str, Values] = {}

    def log(self, row: Row, facts: list[Evidence]) -> tuple[Log, Moments]:
        """The events sorted beside the moments of their entities."""
        own = [row.column(self._on.get(name, name), self._place, facts) for name in self._entities]
        codes, at = key_codes([column_of(self.table, name, self._place) for name in self._entities], own)
        moments = Moments(at, row.times)
        return Log(moments, codes, self._begun, versions=REPLACED_AT in self.table.names), moments

    def known(self, clocks: tuple[str, ...]) -> Ints:
        """When all of these clocks have passed, for each event."""
        return latest([self.table.column(clock) for clock in clocks])

    def _begun(self, clocks: tuple[str, ...]) -> Ints:
        """As `known`; a row of a dimension table is true at ``valid_from`` itself, so it counts after the moment before."""
        begins = isinstance(self._source, EntitySource) and clocks == (EVENT_TIME,)
        return self.known(clocks) - 1 if begins else self.known(clocks)

    def untrue(self) -> Ints | None:
        """The last moment at which each row of a dimension table is true, or `NEVER`; None for events."""
        if not isinstance(self._source, EntitySource) or VALID_TO not in self.table.names:
            return None
        ended = latest([self.table.column(VALID_TO)])
        return np.where(ended == NEVER, NEVER, ended - 1)

    def chosen(self, column: str | None, where: str | None, place: str) -> Chosen:
        """The events that meet a condition and have a value."""
        reads, flags = frozenset(self._entities), np.ones(self.table.num_rows, bool)
        if where:
            reads |= check_columns(where, listed(self.table), place)
            flags = self._meet(where)
        if column is not None:
            reads |= {column}
            cells = column_of(self.table, column, place)
            if isinstance(self._source, EntitySource):  # the row that is true is read, though its value be null
                return Chosen(flags, clocks_of(reads, self._source, place))
            flags = flags & pc.is_valid(cells).to_numpy() if cells.null_count else flags
        return Chosen(flags, clocks_of(reads, self._source, place))

    def values(self, column: str, place: str) -> Values:
        """The cells of a column, which are read once for all aggregates."""
        if column not in self._values:
            self._values[column] = Values(column_of(self.table, column, place))
        return self._values[column]

    def ends(self, until: str, place: str) -> tuple[Ints, Ints]:
        """When each event is known to have ended, and when it had; or `NEVER`."""
        cells = column_of(self.table, until, place)
        if not pa.types.is_timestamp(cells.type) or cells.type.tz is None:
            raise InvalidDefinitionError(f"{place}.until is {until!r}, which is {cells.type}: no time with a zone.")
        rule = rule_of(until, self._source, place)
        ended = cells.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        return latest([ended, self.table.column(rule.clock)]), latest([ended])

    def _meet(self, where: str) -> NDArray[np.bool_]:
        if where not in self._met:
            used = self.table.select(sorted(columns_of(where)))
            used = used.append_column("_row", pa.array(np.arange(self.table.num_rows)))
            found = self._context.engine.query(
                f"SELECT coalesce(({where}), FALSE) AS met FROM events ORDER BY _row", {"events": used}
            )
            self._met[where] = np.asarray(found.column("met").to_numpy(), bool)
        return self._met[where]
