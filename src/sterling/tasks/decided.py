"""What is measured of decisions, and in which unit."""

from __future__ import annotations

from sterling.stats.decisions import DECISION_METRICS, PER, Amounts, value_metric
from sterling.stats.metrics import Metric


def decision_metrics(amounts: Amounts | None) -> dict[str, Metric]:
    """What is measured of decisions, by name; their value only where it is known what they are worth.

    Example:
        >>> list(decision_metrics(Amounts(40, -5)))[:3]
        ['value', 'precision', 'recall']
    """
    return ({} if amounts is None else {"value": value_metric(amounts)}) | dict(DECISION_METRICS)


def per_decisions(unit: str) -> str:
    """The unit of a value.

    Example:
        >>> per_decisions("USD")
        'USD per 1,000 decisions'
    """
    return f"{unit} per {PER:,} decisions"
