"""Decisions measured and compared: the metrics of `stats.decisions` as a task's `Measured`."""

from __future__ import annotations

from sterling.stats.decisions import DECISION_METRICS, PER, Amounts, value_metric
from sterling.stats.intervals import (
    difference_interval,
    metric_interval,
)
from sterling.stats.metrics import Metric
from sterling.tasks.task import CONFIDENCE, Clusters, Floats, Measured, measured


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
    return measured(
        lambda: metric_interval(metric, label, acted, clusters, confidence=CONFIDENCE, error_rate=error_rate),
        label,
        clusters,
        error_rate,
    )


def compare_decisions(
    metric: Metric, label: Floats, ours: Floats, theirs: Floats, clusters: Clusters, *, error_rate: float
) -> Measured:
    """The difference of a metric on the same rows, ours minus theirs, with its bounds; arguments as `measure_decisions`."""
    return measured(
        lambda: difference_interval(
            metric, label, ours, theirs, clusters, confidence=CONFIDENCE, error_rate=error_rate
        ),
        label,
        clusters,
        error_rate,
    )


def per_decisions(unit: str) -> str:
    """The unit of a value.

    Example:
        >>> per_decisions("USD")
        'USD per 1,000 decisions'
    """
    return f"{unit} per {PER:,} decisions"
