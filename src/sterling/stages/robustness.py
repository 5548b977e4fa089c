"""Robustness: what the candidate loses when columns are gone, noisy, in another unit, out of range or unheard of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sterling.core.refs import Ref
from sterling.models.blas import one_blas_thread
from sterling.models.columns import Matrix
from sterling.project.definition import to_json
from sterling.project.perturbations import Missing, Noise, OutOfRange, Perturbation, Scaled, Unseen, perturbation_title
from sterling.project.tasks import CONDITION, Task
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.holdout import LIBRARIES, Scored, scored
from sterling.tasks.of import task_of


class MeasureRobustness(Stage, frozen=True):
    """Score the holdout with its input gone wrong, in one way after another.

    Inputs ``holdout`` and ``candidate``; a fact and no output.

    Attributes:
        candidate: Name of the candidate in tables.
        under: What goes wrong.
        parts: Sources, views and features that these name, with their features.
        dependents: Features that are computed from others, with those that they read.
        metrics: What is measured.
        predictions: Rows that are scored at most.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        task: What kind of problem it is.
    """

    candidate: str
    under: Sequence[Perturbation]
    parts: dict[str, tuple[str, ...]]
    dependents: dict[str, tuple[str, ...]]
    metrics: Sequence[str]
    predictions: int
    error_rate: float
    clustered: bool
    task: Task = CONDITION

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "robustness"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Perturb and measure."""
        found = scored(inputs, context, clustered=self.clustered)
        ways = [(one, places) for one in self.under if (places := self._places(one, found))]
        some = found.every(max(1, -(-len(found) * len(ways) // self.predictions)))
        with one_blas_thread():
            measured = [self._measured(one, places, some, found.matrix, context.seed) for one, places in ways]
        body = {"rows": len(some), "of": len(found), "error_rate": self.error_rate, "perturbations": measured}
        return Outcome({}, (found.fact("robustness.measured", self.candidate, body),))

    def _places(self, one: Perturbation, found: Scored) -> list[int]:
        """The model's columns that go wrong."""
        columns = found.model.columns
        names = set(found.model.names if one.of is None else self.parts[one.of])
        if isinstance(one, Missing):
            names |= {name for name, read in self.dependents.items() if names & set(read)}
            return [place for place, column in enumerate(columns) if column.name in names]
        kind = "category" if isinstance(one, Unseen) else "number"
        return [place for place, column in enumerate(columns) if column.name in names and column.kind == kind]

    def _measured(self, one: Perturbation, places: list[int], some: Scored, every: Matrix, seed: int) -> dict[str, Any]:
        matrix = some.matrix.copy()
        matrix[:, places] = _perturbed(one, some.matrix[:, places], every[:, places], seed)
        scores = some.model.predict(matrix)
        return {
            "title": perturbation_title(one), "definition": to_json(one), "features": len(places),
            "mean_score": float(scores.mean() if scores.ndim == 1 else scores.max(axis=1).mean()), "metrics": [*self._metrics(some, scores)],
        }  # fmt: skip

    def _metrics(self, some: Scored, scores: Matrix) -> Iterator[dict[str, Any]]:
        for metric in self.metrics:
            value = task_of(self.task).score(some.label, scores).get(metric)
            found = task_of(self.task).compare(
                metric, some.label, scores, some.scores, some.clusters, error_rate=self.error_rate
            )
            yield {
                "metric": metric, "value": value, "difference": found.value, "low": found.low, "high": found.high,
                "lower": found.lower, "upper": found.upper, "reason": found.reason,
            }  # fmt: skip


def _perturbed(one: Perturbation, values: Matrix, every: Matrix, seed: int) -> Matrix:
    """Columns as they are when they go wrong, shape (rows, columns)."""
    match one:
        case Missing() | Unseen():
            return np.full(values.shape, np.nan)  # as a model reads a category that training never saw
        case Scaled():
            return np.asarray(values * one.by, np.float64)
        case OutOfRange():
            with np.errstate(all="ignore"):
                largest = np.nanmax(np.where(np.isnan(every), -np.inf, np.abs(every)), axis=0)
            beyond = np.where(np.isfinite(largest), largest, 1.0) * one.times
            return np.asarray(np.where(np.isnan(values), np.nan, beyond), np.float64)
        case Noise():
            spread = np.array(
                [np.std(column[~np.isnan(column)]) if np.isfinite(column).any() else 0.0 for column in every.T]
            )
            noise: Matrix = np.random.default_rng(seed).normal(size=values.shape)
            return np.asarray(values + noise * spread * one.share, np.float64)
