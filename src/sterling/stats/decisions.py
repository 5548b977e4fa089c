"""Metrics of decisions: whom a policy acts on against what happened, each a function of four counts.

A decision is 1 (act) or 0 (leave). The metrics are `Metric`s whose ``p`` is that decision, so that `metric_interval` and
`difference_interval` give their intervals, clustered and paired, as of any other metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.leave_one_out import LeaveOneOut, Left
from sterling.stats.metrics import Evaluator, Metric
from sterling.stats.rows import Floats, Ints, OneClassError, bin_sums, check_rows

__all__ = [
    "DECISION_METRICS",
    "PER",
    "Amounts",
    "Confusion",
    "UndefinedDecisionError",
    "break_even",
    "confusion",
    "value_metric",
]

PER = 1_000
"""A value is that of this many decisions."""


class UndefinedDecisionError(OneClassError):
    """Decisions of one kind, or labels of one class, where a metric divides by the other."""


class Confusion(NamedTuple):
    """How often each decision met each label."""

    true_positive: float
    """Acted on, and positive."""
    false_positive: float
    """Acted on, and negative."""
    false_negative: float
    """Left, and positive."""
    true_negative: float
    """Left, and negative."""


class Amounts(NamedTuple):
    """What each outcome of a decision is worth, in one unit; a cost is negative."""

    true_positive: float
    """Acted on, and positive."""
    false_positive: float
    """Acted on, and negative."""
    false_negative: float = 0.0
    """Left, and positive."""
    true_negative: float = 0.0
    """Left, and negative."""


def confusion(y: ArrayLike, acted: ArrayLike) -> Confusion:
    """Count the four outcomes.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        acted: Decisions, 0 and 1, or False and True, shape (rows,).

    Raises:
        BadRowsError: if the rows are no evaluation; see `check_rows`.

    Example:
        >>> confusion([0, 1, 1, 1], [1, 1, 0, 1])
        Confusion(true_positive=2.0, false_positive=1.0, false_negative=1.0, true_negative=0.0)
    """
    rows = check_rows(y, acted)
    return Confusion(*map(float, _counts(rows.y, rows.p, rows.weights)))


def break_even(amounts: Amounts) -> float:
    """The probability from which on acting is worth more than leaving, in (0, 1).

    Raises:
        ValueError: if acting on a positive, or leaving a negative, is not worth more than the opposite.

    References:
        Elkan (2001), The foundations of cost-sensitive learning, IJCAI 17, eq. 2. With the other three amounts 0 but
        the cost of a false positive, p / (1 - p) is the exchange rate of the net benefit of Vickers & Elkin (2006),
        Medical Decision Making 26(6), 565–574.

    Example:
        >>> round(break_even(Amounts(true_positive=40, false_positive=-5)), 4)
        0.1111
    """
    gain, loss = (
        amounts.true_positive - amounts.false_negative,
        amounts.true_negative - amounts.false_positive,
    )
    if gain <= 0 or loss <= 0:
        raise ValueError(
            f"Acting on a positive is worth {gain:g} more than leaving it, and leaving a negative {loss:g} more than acting "
            "on it. Both are above 0 where a decision can be right or wrong."
        )
    return loss / (loss + gain)


def value_metric(amounts: Amounts) -> Metric:
    """The mean value of `PER` decisions, as a metric.

    Args:
        amounts: What each outcome is worth.

    References:
        Elkan (2001), IJCAI 17, section 1; in units of a true positive and against acting on nobody it is the net benefit of
        Vickers & Elkin (2006), Medical Decision Making 26(6), 565–574.

    Example:
        >>> value_metric(Amounts(40, -5)).function([0, 1, 1, 1], [1, 1, 0, 1])
        18750.0
    """
    worth = PER * np.array(amounts, dtype=np.float64)

    def mean(counts: Floats) -> Floats:
        found: Floats = (counts @ worth) / counts.sum(axis=-1)
        return found

    return _metric(
        "value", f"Value of {PER:,} decisions", mean, float(worth.min()), float(worth.max()), greater_is_better=True
    )


def _counts(y: Floats, acted: Floats, weights: Floats) -> Floats:
    """Shape (4,), in the order of `Confusion`."""
    true, positive, taken, mass = weights @ (y * acted), weights @ y, weights @ acted, weights.sum()
    return np.array([true, taken - true, positive - true, mass - positive - taken + true])


def _counts_of_groups(y: Floats, acted: Floats, groups: Ints, count: int) -> Floats:
    """Shape (groups, 4), in the order of `Confusion`."""
    kind = (2 * (1 - acted) + (1 - y)).astype(
        np.int64
    )  # 0 true positive, 1 false positive, 2 false negative, 3 neither
    return bin_sums(np.ones(len(y)), 4 * groups + kind, 4 * count).reshape(count, 4)


def _metric(
    name: str,
    label: str,
    function: Callable[[Floats], Floats],
    lowest: float,
    highest: float,
    *,
    greater_is_better: bool | None,
    undefined: str = "",
) -> Metric:
    """A metric from what it is of counts, of shape (…, 4); NaN where it is undefined, for which there is a reason."""

    def prepare(y: Floats, acted: Floats) -> Evaluator:
        return lambda weights: _defined(function(_counts(y, acted, weights)))

    def evaluate(y: ArrayLike, acted: ArrayLike, weights: ArrayLike | None = None) -> float:
        rows = check_rows(y, acted, weights)
        return prepare(rows.y, rows.p)(rows.weights)

    def _defined(value: Floats) -> float:
        if not np.isfinite(value):
            raise UndefinedDecisionError(f"{label} is undefined: {undefined}.")
        return float(value)

    def leave(y: Floats, acted: Floats, groups: Ints, count: int) -> Left:
        counts = _counts_of_groups(y, acted, groups, count)
        total = counts.sum(axis=0)
        estimate, without = _defined(function(total)), function(total - counts)
        if not np.isfinite(without).all():
            raise UndefinedDecisionError(
                f"{label} is undefined without one of the clusters: {undefined}. Use more data."
            )
        return Left(estimate, without)

    how: LeaveOneOut = leave
    return Metric(
        name, label, evaluate, prepare, greater_is_better, bool(undefined), lowest, highest, leave_one_out=how
    )


def _ratio(above: Callable[[Floats], Floats], below: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    def function(counts: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = above(counts) / below(counts)
        return found

    return function


def _true(counts: Floats) -> Floats:
    return counts[..., 0]


def _acted(counts: Floats) -> Floats:
    found: Floats = counts[..., 0] + counts[..., 1]
    return found


def _positives(counts: Floats) -> Floats:
    found: Floats = counts[..., 0] + counts[..., 2]
    return found


def _negatives(counts: Floats) -> Floats:
    found: Floats = counts[..., 1] + counts[..., 3]
    return found


def _lift(counts: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = _true(counts) * counts.sum(axis=-1) / (_acted(counts) * _positives(counts))
    return found


_NOBODY, _NEITHER = "nobody is acted on", "nobody is acted on and no row is positive"
DECISION_METRICS: Mapping[str, Metric] = MappingProxyType({
    metric.name: metric
    for metric in (
        _metric("precision", "Precision", _ratio(_true, _acted), 0.0, 1.0, greater_is_better=True, undefined=_NOBODY),
        _metric(
            "recall", "Recall", _ratio(_true, _positives), 0.0, 1.0, greater_is_better=True, undefined="no row is positive",
        ),
        _metric(
            "f1", "F1", _ratio(lambda c: 2 * _true(c), lambda c: _acted(c) + _positives(c)), 0.0, 1.0,
            greater_is_better=True, undefined=_NEITHER,
        ),
        _metric(
            "lift", "Lift", _lift, 0.0, float("inf"), greater_is_better=True,
            undefined="nobody is acted on, or no row is positive",
        ),
        _metric(
            "selection_rate", "Selection rate", _ratio(_acted, lambda c: c.sum(axis=-1)), 0.0, 1.0, greater_is_better=None,
        ),
        _metric(
            "false_positive_rate", "False positive rate", _ratio(lambda c: c[..., 1], _negatives), 0.0, 1.0,
            greater_is_better=False, undefined="every row is positive",
        ),
    )
})  # fmt: skip
"""Metrics of decisions that need no amounts, by name; precision, recall and lift of the k highest are those at `Top`."""
