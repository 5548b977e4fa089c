"""What decisions can be worth before anything is trained: nobody, everybody, at random, by a quick model, and perfect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.project.policy import Value
from sterling.stats.decisions import PER, break_even, value_metric
from sterling.tasks.policies import amounts_of
from sterling.tasks.task import measured

_DAY = 86_400_000_000
Floats = NDArray[np.float64]


def worth(
    value: Value, label: Floats, scores: Floats, clusters: NDArray[np.int64], days: float, error_rate: float
) -> dict[str, Any]:
    """The value of 1,000 decisions by several ways of deciding, on the same rows.

    Args:
        value: What each outcome is worth.
        label: Labels, 0 and 1, shape (rows,).
        scores: Probabilities of a quick model, which acts from the break-even probability on.
        clusters: Cluster of each row.
        days: How long a time the rows cover, above 0.
        error_rate: Error rate of one-sided bounds.

    Returns:
        ``unit``, ``break_even`` (the precision from which acting pays), ``rate`` (of positive labels), ``per_day``
        (decisions a day), and ``ways``, each with its ``name``, ``acts`` (share of rows), ``precision``, ``value`` of 1,000
        decisions, and, where it depends on a model, the ends of its 95 % interval.

    Example:
        >>> label, scores = np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.9, 0.2, 0.01, 0.05])
        >>> found = worth(Value("USD", 40, -5), label, scores, np.arange(4), 2.0, 0.05)
        >>> round(found["break_even"], 3), found["per_day"]
        (0.111, 2.0)
        >>> [(way["name"], way["acts"], way["value"]) for way in found["ways"]]
        [('nobody', 0.0, 0.0), ('everybody', 1.0, 17500.0), ('random', 0.5, 8750.0), ('quick', 0.5, 8750.0), ('perfect', 0.5, 20000.0)]
    """
    amounts = amounts_of(value)
    assert amounts is not None
    pays, rate = break_even(amounts), float(label.mean())
    acted = scores >= pays
    share = float(acted.mean())
    acting = rate * amounts.true_positive + (1 - rate) * amounts.false_positive
    leaving = rate * amounts.false_negative + (1 - rate) * amounts.true_negative
    hits = float(label[acted].mean()) if acted.any() else None
    positive, negative = (
        (amounts.true_positive, amounts.false_negative),
        (amounts.false_positive, amounts.true_negative),
    )
    gained = np.where(label == 1, np.where(acted, *positive), np.where(acted, *negative))
    right = rate * amounts.true_positive + (1 - rate) * amounts.true_negative
    found = measured(value_metric(amounts), label, acted.astype(np.float64), clusters, error_rate=error_rate)

    def ways() -> Iterator[dict[str, Any]]:
        yield _way("nobody", 0.0, None, leaving)
        yield _way("everybody", 1.0, rate, acting)
        yield _way("random", share, rate if share else None, share * acting + (1 - share) * leaving)
        yield _way("quick", share, hits, float(gained.mean())) | {"low": found.low, "high": found.high}
        yield _way("perfect", rate, 1.0, right)

    return {
        "unit": value.unit, "break_even": pays, "rate": rate, "per_day": len(label) / days, "ways": list(ways())
    }  # fmt: skip


def span_days(moments: NDArray[np.int64]) -> float:
    """Days from the first moment to the last, at least one.

    Example:
        >>> span_days(np.array([0, 2 * 86_400_000_000]))
        2.0
    """
    return max(float(moments.max() - moments.min()) / _DAY, 1.0)


def _way(name: str, acts: float, precision: float | None, value: float) -> dict[str, Any]:
    return {"name": name, "acts": acts, "precision": precision, "value": PER * value, "low": None, "high": None}
