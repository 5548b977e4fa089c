"""The events that features are computed from, beside the moments that they are computed for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

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
)  # fmt: skip
from sterling.features.cells import check_column, column_of, listed
from sterling.features.events import SourceEvents
from sterling.features.exact import Ints
from sterling.features.parts import Part, deal
from sterling.features.windows import Keys, Log, Moments
from sterling.project.sql import check_columns
from sterling.stages.row import Row


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


class Events(SourceEvents):
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
        super().__init__(source, entities, table, engine)
        self._on, self._place = on, place

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
        return [name for name in self.table.schema.names if name in wanted | clocks]

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
        versions = REPLACED_AT in self.table.schema.names
        return Log(moments, self.codes(part), self.begun, rows=part.events, versions=versions), moments
