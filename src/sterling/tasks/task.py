"""The seam of a task: what the stages ask of a kind of problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sterling.stats.calibration import ReliabilityBin
from sterling.stats.intervals import (
    ClusteredInterval,
    NoVariationError,
    TooFewClustersError,
    difference_interval,
    metric_interval,
)
from sterling.stats.metrics import Metric
from sterling.stats.regression import NumberBin
from sterling.stats.rows import OneClassError

Floats = NDArray[np.float64]
Clusters = NDArray[Any]


CONFIDENCE = 0.95
"""Confidence of two-sided intervals, which people look at; gates look at one-sided bounds."""
CALIBRATION_BINS = 10
_BIN = ("predicted", "observed", "low", "high", "rows")
_UNDEFINED = (TooFewClustersError, OneClassError, NoVariationError)


class Measured(NamedTuple):
    """A metric, or a difference of one, with its interval and its one-sided bounds; or why there is none."""

    value: float | None
    """None where it is undefined."""
    low: float | None
    """Lower end of the two-sided interval."""
    high: float | None
    """Upper end of the two-sided interval."""
    confidence: float
    """Confidence of the two-sided interval."""
    lower: float | None
    """One-sided lower bound, above the truth with probability ``error_rate`` at most."""
    upper: float | None
    """One-sided upper bound, below the truth with probability ``error_rate`` at most."""
    error_rate: float
    """Error rate of each one-sided bound."""
    rows: int
    """Number of rows."""
    clusters: int
    """Number of clusters among them."""
    method: str | None
    """How the bounds were computed."""
    reason: str | None = None
    """Why it is undefined."""


class Task(Protocol):
    """A kind of problem.

    Labels are of shape (rows,), and so are clusters and predictions; of several numbers a row these are (rows, outputs).
    """

    metrics: tuple[str, ...]
    """Names of what is measured, for every model."""
    slice_metrics: tuple[str, ...]
    """Names of what is measured in every slice."""

    def check_labels(self, label: Floats, *, where: str) -> None:
        """Refuse labels that nothing can be learnt from."""
        ...

    def summary(self, label: Floats) -> dict[str, Any]:
        """What the labels are like, as JSON."""
        ...

    def score(self, label: Floats, predicted: Floats) -> dict[str, float]:
        """The metrics without intervals; one that is undefined on these rows is left out."""
        ...

    def measure(
        self, metric: str, label: Floats, predicted: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """A metric with its bounds."""
        ...

    def compare(
        self, metric: str, label: Floats, ours: Floats, theirs: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """The difference of a metric on the same rows, ours minus theirs, with its bounds."""
        ...

    def calibration(self, label: Floats, predicted: Floats, clusters: Clusters) -> dict[str, Any]:
        """How far predictions can be taken at their word, as JSON: ``bins``, or more where there are several outputs."""
        ...


def not_measured(reason: str, error_rate: float, *, rows: int = 0, clusters: int = 0) -> Measured:
    """What stands where there is no number, with why."""
    return Measured(None, None, None, CONFIDENCE, None, None, error_rate, rows, clusters, None, reason)


def bins_of(found: Iterable[ReliabilityBin | NumberBin]) -> list[dict[str, Any]]:
    """Bins of predictions as they are recorded."""
    return [{name: getattr(bin_, name) for name in _BIN} for bin_ in found]


def measured(
    metric: str | Metric, label: Floats, predicted: Floats, clusters: Clusters, *, error_rate: float
) -> Measured:
    """A metric with its bounds as it is recorded, or why there is none.

    Args:
        metric: The metric, or its name among those of `stats.metrics`.
        label: Labels, shape (rows,).
        predicted: Predictions, or decisions 0 and 1; shape (rows,) or (rows, outputs).
        clusters: Cluster of each row, shape (rows,).
        error_rate: Error rate of each one-sided bound.
    """
    return _recorded(
        lambda: metric_interval(metric, label, predicted, clusters, confidence=CONFIDENCE, error_rate=error_rate),
        label, clusters, error_rate,
    )  # fmt: skip


def compared(
    metric: str | Metric, label: Floats, ours: Floats, theirs: Floats, clusters: Clusters, *, error_rate: float
) -> Measured:
    """The difference of a metric on the same rows, ours minus theirs, with its bounds; arguments as `measured`."""
    return _recorded(
        lambda: difference_interval(metric, label, ours, theirs, clusters, confidence=CONFIDENCE, error_rate=error_rate),
        label, clusters, error_rate,
    )  # fmt: skip


def _recorded(find: Callable[[], ClusteredInterval], label: Floats, clusters: Clusters, error_rate: float) -> Measured:
    try:
        found = find()
    except _UNDEFINED as error:
        return not_measured(str(error), error_rate, rows=len(label), clusters=len(np.unique(clusters)))
    return Measured(
        found.estimate, found.low, found.high, found.confidence, found.lower, found.upper, found.error_rate, found.rows,
        found.clusters, found.method,
    )  # fmt: skip
