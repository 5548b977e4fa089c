"""The frame: the spine and every feature side by side, which models learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable, put_table, read_table
from sterling.project.features import (
    FeatureService,
    feature_names,
)  # fmt: skip
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.features import LIBRARIES, beside, column_of, fitting

SLICE = "_slice_"
SPINE_COLUMNS = ("unit", "predict_at", "label", "matured_at", "status", "cluster")


class Assemble(Stage, frozen=True):
    """Put the spine and every feature side by side.

    Args:
        features: Names of the features, in the service's order.
        source: Name of the spine's source, for slices that are no feature.
        slices: Columns that gates slice by.
    """

    features: tuple[str, ...]
    source: str
    slices: tuple[str, ...] = ()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "frame"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """The frame that models learn from."""
        spine = read_table(context.store, inputs["spine"])
        cells = beside(inputs, context)
        columns = {name: spine.column(name) for name in SPINE_COLUMNS} | {name: cells[name] for name in self.features}
        if extra := [column for column in self.slices if column not in self.features]:
            own = StoredTable(context.store, inputs[f"clean:{self.source}"])
            for column in extra:
                value = column_of(own, column, "EverySlice.by").take(spine.column("row"))
                columns[f"{SLICE}{column}"] = fitting(value, column)
        frame = pa.table(columns)
        ref = put_table(context.store, frame)
        types = {name: str(frame.schema.field(name).type) for name in self.features}
        body = {"ref": ref, "rows": frame.num_rows, "features": list(self.features), "types": types}
        return Outcome({"frame": ref}, (Evidence("frame.assembled", (), body),))


def assemble(service: FeatureService, spine: EventSpine | ScheduledSpine, slices: Sequence[str]) -> Assemble:
    """The stage that puts a service's features side by side."""
    return Assemble(feature_names(service), spine.source.name, tuple(slices))
