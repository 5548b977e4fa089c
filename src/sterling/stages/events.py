"""The events that features are computed from, beside the moments that they are computed for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable
from sterling.features.availability import REPLACED_AT, Source
from sterling.features.cells import column_of
from sterling.features.events import SourceEvents
from sterling.features.windows import Log, Moments, key_codes
from sterling.stages.contract import Context
from sterling.stages.row import Row


class Events(SourceEvents):
    """The events of a source by one entity, that a stage is given.

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
        super().__init__(source, entities, StoredTable(context.store, inputs[f"clean:{source.name}"]), context.engine)
        self._on, self._place = on, place

    def log(self, row: Row, facts: list[Evidence]) -> tuple[Log, Moments]:
        """The events sorted beside the moments of their entities."""
        own = [row.column(self._on.get(name, name), self._place, facts) for name in self._entities]
        codes, at = key_codes([column_of(self.table, name, self._place) for name in self._entities], own)
        moments = Moments(at, row.times)
        return Log(moments, codes, self.begun, versions=REPLACED_AT in self.table.schema.names), moments
