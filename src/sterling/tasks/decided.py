"""Decisions measured and compared: the metrics of `stats.decisions` as a task's `Measured`."""

from __future__ import annotations

import numpy as np

from sterling.stats.decisions import DECISION_METRICS, PER, Amounts, value_metric
from sterling.stats.intervals import (
    ClusteredInterval,
    NoVariationError,
    TooFewClustersError,
    difference_interval,
    metric_interval,
)
from sterling.stats.metrics import Metric
from sterling.stats.rows import OneClassError
from sterling.tasks.task import Clusters, Floats, Measured

CONFIDENCE = 0.95
"""Confidence of two-sided intervals, which people look at; gates look at one-sided bounds."""
_UNDEFINED = (TooFewClustersError, OneClassError, NoVariationError)


def decision_metrics(amounts: Amounts | None) -> dict[str, Metric]:
    """What is measured of decisions, by name; their value only where it is known what they are worth.

    Example:
        >>> list(decision_metrics(Amounts(40, -5)))[:3]
        ['value', 'precision', 'recall']
    """
    return ({} if amounts is None else {"value": value_metric(amounts)}) | dict(DECISION_METRICS)


def measure_decisions(
    metric: Metric, label: Floats, acted: Floats, clusters: Clusters, *, error_rate: float
) -> Measured:
    """A metric of decisions with its bounds.

    Args:
        metric: One of `decision_metrics`.
        label: Labels, shape (rows,).
        acted: Decisions, 0 and 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        error_rate: Error rate of each one-sided bound.
    """
    try:
        found = metric_interval(metric, label, acted, clusters, confidence=CONFIDENCE, error_rate=error_rate)
    except _UNDEFINED as error:
        return _undefined(str(error), label, clusters, error_rate)
    return _measured(found)


def compare_decisions(
    metric: Metric, label: Floats, ours: Floats, theirs: Floats, clusters: Clusters, *, error_rate: float
) -> Measured:
    """The difference of a metric on the same rows, ours minus theirs, with its bounds; arguments as `measure_decisions`."""
    try:
        found = difference_interval(metric, label, ours, theirs, clusters, confidence=CONFIDENCE, error_rate=error_rate)
    except _UNDEFINED as error:
        return _undefined(str(error), label, clusters, error_rate)
    return _measured(found)


def per_decisions(unit: str) -> str:
    """The unit of a value.

    Example:
        >>> per_decisions("USD")
        'USD per 1,000 decisions'
    """
    return f"{unit} per {PER:,} decisions"


def _measured(found: ClusteredInterval) -> Measured:
    return Measured(
        found.estimate, found.low, found.high, found.confidence, found.lower, found.upper, found.error_rate, found.rows,
        found.clusters, found.method,
    )  # fmt: skip


def _undefined(reason: str, label: Floats, clusters: Clusters, error_rate: float) -> Measured:
    count = len(np.unique(clusters))
    return Measured(None, None, None, CONFIDENCE, None, None, error_rate, len(label), count, None, reason)
