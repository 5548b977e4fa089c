"""The events of a source as features read them: which of them, what of each, from when on, and until when."""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import InvalidDefinitionError
from sterling.engine.contract import Engine
from sterling.engine.tables import AnyTable
from sterling.features.availability import EVENT_TIME, VALID_TO, Source, clocks_of, rule_of
from sterling.features.cells import column_of, listed
from sterling.features.exact import Ints
from sterling.features.inside import Values
from sterling.features.windows import NEVER, latest
from sterling.project.sources import EntitySource
from sterling.project.sql import check_columns, columns_of


class Chosen(NamedTuple):
    """The events that one aggregate or value reads.

    Attributes:
        flags: Whether it reads each of them.
        clocks: The clocks that have passed when it can.
    """

    flags: NDArray[np.bool_]
    clocks: tuple[str, ...]


class SourceEvents:
    """The events of a source by one entity.

    Args:
        source: The source.
        entities: Columns of the source that say whose events they are.
        table: Its rows with their clocks.
        engine: Where conditions are computed.
    """

    def __init__(self, source: Source, entities: Sequence[str], table: AnyTable, engine: Engine) -> None:
        self.table = table
        self._source, self._entities, self._engine = source, entities, engine
        self._clocks: dict[str, Ints] = {}
        self._met: dict[str, NDArray[np.bool_]] = {}
        self._values: dict[str, Values] = {}

    def known(self, clocks: tuple[str, ...], rows: Ints) -> Ints:
        """When all of these clocks have passed, for some events."""
        times = [self._clock(clock)[rows] for clock in clocks]
        return times[0] if len(times) == 1 else np.asarray(np.maximum.reduce(times), np.int64)

    def prepare(self, clocks: Iterable[str]) -> None:
        """Read some clocks, once for all parts."""
        for clock in clocks:
            self._clock(clock)

    def _clock(self, clock: str) -> Ints:
        if clock not in self._clocks:
            self._clocks[clock] = latest([self.table.column(clock)])
        return self._clocks[clock]

    def begun(self, clocks: tuple[str, ...], rows: Ints) -> Ints:
        """As `known`; a row of a dimension table is true at ``valid_from`` itself, so it counts after the moment before."""
        begins = isinstance(self._source, EntitySource) and clocks == (EVENT_TIME,)
        return self.known(clocks, rows) - 1 if begins else self.known(clocks, rows)

    def untrue(self) -> Ints | None:
        """The last moment at which each row of a dimension table is true, or `NEVER`; None for events."""
        if not isinstance(self._source, EntitySource) or VALID_TO not in self.table.schema.names:
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
            found = self._engine.query(
                f"SELECT coalesce(({where}), FALSE) AS met FROM events ORDER BY _row", {"events": used}
            )
            self._met[where] = np.asarray(found.column("met").to_numpy(), bool)
        return self._met[where]
