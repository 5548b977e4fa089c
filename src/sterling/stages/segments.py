"""Discover slices: segments of the holdout in which the candidate is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterling.core.refs import Ref
from sterling.models.blas import one_blas_thread
from sterling.models.columns import Column, Matrix
from sterling.models.frame import Frame
from sterling.project.studies import Slices
from sterling.project.tasks import CONDITION, Binary, Task
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.evaluate import MOST_SLICES
from sterling.stages.holdout import LIBRARIES, Scored, scored
from sterling.stats.axes import Axis, category_axis, number_axis
from sterling.stats.intervals import NoVariationError, TooFewClustersError
from sterling.stats.number_slices import NumberSearch, NumberSlice, find_number_slices
from sterling.stats.rows import OneClassError
from sterling.stats.slices import BadSlice, find_slices


class DiscoverSlices(Stage, frozen=True):
    """Search for bad segments.

    Inputs ``holdout`` and ``candidate``; a fact and no output.

    Attributes:
        candidate: Name of the candidate in tables.
        study: Where to look.
        error_rate: Chance of naming a segment where none is bad, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        task: What kind of problem it is.
    """

    candidate: str
    study: Slices
    error_rate: float
    clustered: bool
    task: Task = CONDITION

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "discover slices"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Search."""
        found = scored(inputs, context, clustered=self.clustered)
        axes = dict(_axes(found, self.study.features))
        body: dict[str, Any] = {"rows": len(found), "features": len(axes), "error_rate": self.error_rate}
        try:
            with one_blas_thread():
                search = (find_slices if isinstance(self.task, Binary) else find_number_slices)(
                    found.label, found.scores, found.clusters, axes, error_rate=self.error_rate,
                    least_rows=self.study.least_rows, least_share=self.study.least_share, seed=context.seed,
                )  # fmt: skip
        except (TooFewClustersError, OneClassError, NoVariationError) as error:
            body |= {"tried": 0, "slices": [], "reason": str(error)}
        else:
            correction = {"intercept": search.intercept, "slope": search.slope}
            slices = [_described(one) for one in search.found]
            body |= {"tried": search.tried, "correction": correction, "slices": slices, "reason": None}
            if isinstance(search, NumberSearch):
                larger = [_described(one) for one in search.larger]
                body |= {"larger": larger, "rmse": search.rmse, "mae": search.mae}
        return Outcome({}, (found.fact("slices.discovered", self.candidate, body),))


def _axes(found: Scored, features: tuple[str, ...] | Any) -> Mapping[str, Axis]:
    """The features that segments are made of: those that are named, else all that the model reads."""
    rows: Frame = found.rows
    own = {column.name: (column, found.matrix[:, place]) for place, column in enumerate(found.model.columns)}
    chosen = {name: own[name] for name in own if not features or name in features}
    if absent := [name for name in features if name not in own]:
        columns = tuple(column for column in rows.columns() if column.name in absent)
        matrix = rows.encode(columns)
        chosen |= {column.name: (column, matrix[:, place]) for place, column in enumerate(columns)}
    axes = {name: _axis(column, values) for name, (column, values) in chosen.items()}
    return {name: axis for name, axis in axes.items() if 1 < len(axis.names) <= MOST_SLICES}


def _axis(column: Column, values: Matrix) -> Axis:
    if column.kind == "number":
        return number_axis(values)
    count, missing = len(column.categories), np.isnan(values)
    codes = np.where(missing, count, values).astype(np.int64)
    return category_axis(codes, [*column.categories, *(["missing or unseen"] if missing.any() else [])])


def _described(one: BadSlice | NumberSlice) -> dict[str, Any]:
    return one._asdict() | {"where": [list(part) for part in one.where]}
