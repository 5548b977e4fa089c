"""The frame: the spine and every feature side by side, which models learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable, put_table, read_table
from sterling.features.cells import column_of, fitting
from sterling.project.features import (
    FeatureService,
    feature_names,
)  # fmt: skip
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.features import LIBRARIES, NAIVE, beside, leaks_beside

SLICE = "_slice_"
SPINE_COLUMNS = ("unit", "predict_at", "label", "matured_at", "status", "cluster")


class Assemble(Stage, frozen=True):
    """Put the spine and every feature side by side.

    Args:
        features: Names of the features, in the service's order.
        source: Name of the spine's source, for slices that are no feature.
        slices: Columns that gates, policy and fairness look at.
        groups: Columns that name groups; the frame holds a number for each group, so that no name of a person stands there.
    """

    features: tuple[str, ...]
    source: str
    slices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

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
        if extra := [column for column in (*self.slices, *self.groups) if column not in self.features]:
            own = StoredTable(context.store, inputs[f"clean:{self.source}"])
            for column in extra:
                value = column_of(own, column, "EverySlice.by").take(spine.column("row"))
                value = fitting(_as_text(value), column) if column in self.slices else _numbered(value)
                columns[f"{SLICE}{column}"] = value
        frame = pa.table(columns)
        ref = put_table(context.store, frame)
        types = {name: str(frame.schema.field(name).type) for name in self.features}
        body = {"ref": ref, "rows": frame.num_rows, "features": list(self.features), "types": types}
        facts = (Evidence("frame.assembled", (), body), *_leaks(inputs, spine, self.features, context))
        return Outcome({"frame": ref}, facts)


def _as_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Days as texts: a slice is a number or a text."""
    return cells.cast(pa.string()) if pa.types.is_date(cells.type) else cells


def _numbered(values: pa.ChunkedArray) -> pa.Array:
    """A number for each value; null where there is none."""
    return values.combine_chunks().dictionary_encode().indices.cast(pa.int64())


def _leaks(
    inputs: Mapping[str, Ref], spine: pa.Table, features: Sequence[str], context: Context
) -> tuple[Evidence, ...]:
    """In how many rows with a label a join on the time of the event alone would have given other features."""
    leaks = leaks_beside(inputs, context)
    if leaks is None:
        return ()
    labelled = pc.is_valid(spine.column("label")).to_numpy()
    cells = {name: leaks.column(name).to_numpy()[labelled] for name in leaks.schema.names if not name.startswith(NAIVE)}
    rows = int(labelled.sum())
    body = {
        "rows": rows,
        "changed": float(np.logical_or.reduce(list(cells.values())).mean()) if rows else None,
        "features": [
            {"name": name, "changed": float(cells[name].mean()) if rows else None} for name in features if name in cells
        ],
    }
    return (Evidence("leaks.measured", (), body),)


def assemble(
    service: FeatureService, spine: EventSpine | ScheduledSpine, slices: Sequence[str], groups: Sequence[str] = ()
) -> Assemble:
    """The stage that puts a service's features side by side."""
    others = tuple(column for column in groups if column not in slices)
    return Assemble(feature_names(service), spine.source.name, tuple(slices), others)
