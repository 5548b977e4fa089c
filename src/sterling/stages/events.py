"""The events that features are computed from, beside the moments that they are computed for."""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import InvalidDefinitionError
from sterling.core.evidence import Evidence
from sterling.engine.contract import Engine
from sterling.engine.tables import AnyTable
from sterling.features.availability import (
    AVAILABLE_AT,
    EVENT_TIME,
    REPLACED_AT,
    VALID_TO,
    Source,
    clock_of,
    clocks_of,
    rule_of,
)  # fmt: skip
from sterling.features.exact import Ints
from sterling.features.inside import Values
from sterling.features.parts import Part, deal
from sterling.features.windows import NEVER, Keys, Log, Moments, latest
from sterling.project.sources import EntitySource
from sterling.project.sql import check_columns, columns_of
from sterling.stages.features import check_column, column_of, listed
from sterling.stages.row import Row


class Chosen(NamedTuple):
    """The events that one aggregate or value reads.

    Attributes:
        flags: Whether it reads each of them.
        clocks: The clocks that have passed when it can.
    """

    flags: NDArray[np.bool_]
    clocks: tuple[str, ...]


class Asked(NamedTuple):
    """The moments that features are computed for.

    Attributes:
        keys: The entity of each.
        times: Each moment in microseconds.
    """

    keys: Keys
    times: Ints

    @property
    def size(self) -> int:
        """How many moments there are."""
        return len(self.times)


class Events:
    """The events of a source by one entity.

    Args:
        source: The source.
        entities: Columns of the source that say whose events they are.
        on: Where an entity is called otherwise on the spine.
        place: What reads them; an error begins with it.
        table: The events.
        engine: Where conditions on them are computed.
    """

    def __init__(
        self, source: Source, entities: Sequence[str], on: Mapping[str, str], place: str, table: AnyTable,
        engine: Engine,
    ) -> None:  # fmt: skip
        self._source, self._entities, self._on, self._place = source, entities, on, place
        self.table, self._engine = table, engine
        self._clocks: dict[str, Ints] = {}
        self._met: dict[str, NDArray[np.bool_]] = {}
        self._values: dict[str, Values] = {}

    def of(self, table: AnyTable) -> Events:
        """The same, of some of the events."""
        return Events(self._source, self._entities, self._on, self._place, table, self._engine)

    def asked(self, row: Row, facts: list[Evidence]) -> Asked:
        """The moments, with the entities whose events they read."""
        own = [row.column(self._on.get(name, name), self._place, facts) for name in self._entities]
        for name in self._entities:
            check_column(self.table, name, self._place)
        return Asked(Keys(own, [self.table.schema.field(name).type for name in self._entities]), row.times)

    def needed(self, reads: Iterable[tuple[Sequence[str], str | None, str]]) -> list[str]:
        """The columns of the table that are read.

        Args:
            reads: Columns, a condition or None, and what reads them.
        """
        wanted = set(self._entities)
        for columns, where, place in reads:
            for column in columns:
                check_column(self.table, column, place)
            wanted |= {*columns, *(check_columns(where, listed(self.table), place) if where else ())}
        clocks = {EVENT_TIME, AVAILABLE_AT, REPLACED_AT, VALID_TO, *map(clock_of, wanted)}
        return [name for name in self.table.names if name in wanted | clocks]

    def find(self, asked: Asked) -> Callable[[pa.Table], Ints]:
        """Gives the key of each event of a table."""
        return lambda table: asked.keys.find([table.column(name) for name in self._entities])

    def codes(self, part: Part) -> Ints:
        """The key of each event of a part."""
        return self._codes[part.events] - part.first

    def parts(self, asked: Asked, moments: Ints | None = None) -> list[Part]:
        """The events and the moments, or some of these, dealt out by their keys."""
        columns = [column_of(self.table, name, self._place) for name in self._entities]
        self._codes, self._asked = asked.keys.find(columns), asked
        if moments is None:
            return deal(self._codes, asked.keys.codes)
        return [part._replace(moments=moments[part.moments]) for part in deal(self._codes, asked.keys.codes[moments])]

    def log(self, part: Part) -> tuple[Log, Moments]:
        """The events of a part, sorted beside its moments."""
        codes, times = self._asked.keys.codes[part.moments] - part.first, self._asked.times[part.moments]
        moments = Moments(codes, times)
        versions = REPLACED_AT in self.table.names
        return Log(moments, self.codes(part), self._begun, rows=part.events, versions=versions), moments

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

    def _begun(self, clocks: tuple[str, ...], rows: Ints) -> Ints:
        """As `known`; a row of a dimension table is true at ``valid_from`` itself, so it counts after the moment before."""
        begins = isinstance(self._source, EntitySource) and clocks == (EVENT_TIME,)
        return self.known(clocks, rows) - 1 if begins else self.known(clocks, rows)

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
            found = self._engine.query(
                f"SELECT coalesce(({where}), FALSE) AS met FROM events ORDER BY _row", {"events": used}
            )
            self._met[where] = np.asarray(found.column("met").to_numpy(), bool)
        return self._met[where]
