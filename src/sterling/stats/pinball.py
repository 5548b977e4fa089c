"""Metrics of predicted quantiles: what was measured, and a quantile of it for each of several levels, one number out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.metrics import Evaluator, Metric
from sterling.stats.rows import BadRowsError, Floats, Rows, check_numbers

__all__ = [
    "Interval",
    "covered",
    "intervals_of",
    "mean_pinball",
    "pinball",
    "quantile_metrics",
    "row_pinball",
    "widths",
]


class Interval(NamedTuple):
    """Two of several levels, the first with the last, the second with the last but one, and so on."""

    lower: int
    """Place of the lower level."""
    upper: int
    """Place of the upper level."""
    nominal: float
    """Share of labels that should lie between the two quantiles."""


def intervals_of(levels: Sequence[float]) -> tuple[Interval, ...]:
    """The intervals that rising levels make, the widest first.

    Example:
        >>> [(one.lower, one.upper, round(one.nominal, 4)) for one in intervals_of((0.05, 0.25, 0.5, 0.75, 0.95))]
        [(0, 4, 0.9), (1, 3, 0.5)]
    """
    last = len(levels) - 1
    return tuple(
        Interval(place, last - place, levels[last - place] - levels[place]) for place in range(len(levels) // 2)
    )


def pinball(y: ArrayLike, q: ArrayLike, level: float, weights: ArrayLike | None = None) -> float:
    """Mean loss of predicted quantiles of one level, in the unit of the label. At least 0.

    The loss of a row is ``level * (y - q)`` where the label lies above the quantile and ``(1 - level) * (q - y)`` below. It is
    smallest in the mean for the true quantile.

    Args:
        y: What was measured, finite numbers of shape (rows,).
        q: Predicted quantiles, shape (rows,).
        level: In (0, 1).
        weights: Multiplicities, shape (rows,); 1 each by default.

    References:
        Koenker & Bassett (1978), Econometrica 46(1), 33–50, eq. 1.2.

    Example:
        >>> round(pinball([10.0, 20.0], [12.0, 12.0], 0.9), 4)
        3.7
    """
    rows = check_numbers(y, q, weights)
    return float(rows.weights @ row_pinball(rows.y, rows.p[:, None], (level,)) / rows.weights.sum())


def row_pinball(y: Floats, q: Floats, levels: Sequence[float]) -> Floats:
    """Loss of each row, the mean over the levels, shape (rows,).

    Args:
        y: Labels, shape (rows,).
        q: Quantiles, shape (rows, levels).
        levels: The levels, in order.
    """
    above = y[:, None] - q
    at = np.asarray(levels)
    losses: Floats = np.maximum(at * above, (at - 1) * above).mean(axis=1)
    return losses


def covered(y: Floats, q: Floats) -> Floats:
    """1 where a label lies between the lowest and the highest quantile, ends included, else 0; shape (rows,)."""
    return ((q[:, 0] <= y) & (y <= q[:, -1])).astype(np.float64)


def widths(_: Floats, q: Floats) -> Floats:
    """How far the lowest and the highest quantile lie apart, shape (rows,)."""
    found: Floats = q[:, -1] - q[:, 0]
    return found


def mean_pinball(y: ArrayLike, q: ArrayLike, levels: Sequence[float]) -> float:
    """Pinball loss, averaged over rows and levels: half of an approximation of the continuous ranked probability score.

    References:
        Gneiting & Raftery (2007), JASA 102(477), section 4.2 and eq. 40: quantile scores, and how they add up.

    Example:
        >>> mean_pinball([10.0], [[8.0, 10.0, 13.0]], (0.1, 0.5, 0.9)).__round__(4)
        0.1667
    """
    rows = _check(levels)(y, q)
    return float(row_pinball(rows.y, rows.p, levels).mean())


def quantile_metrics(levels: Sequence[float]) -> Mapping[str, Metric]:
    """What is measured of predicted quantiles: the mean pinball loss, coverage and width of the widest interval.

    Each is a mean over rows, so that an interval of it is that of a mean; coverage is a share.

    Args:
        levels: The levels, rising.

    Example:
        >>> coverage = quantile_metrics((0.1, 0.9))["coverage"]
        >>> coverage.function([1.0, 5.0], [[0.0, 2.0], [0.0, 2.0]])
        0.5
    """
    check, infinite = _check(levels), float("inf")

    def metric(
        name: str, label: str, of_rows: Callable[[Floats, Floats], Floats], *, better: bool | None, highest: float
    ) -> Metric:
        def prepare(y: Floats, q: Floats) -> Evaluator:
            values = of_rows(y, q)
            return lambda weights: float(weights @ values) / float(weights.sum())

        def function(y: ArrayLike, q: ArrayLike, weights: ArrayLike | None = None) -> float:
            rows = check(y, q, weights)
            return prepare(rows.y, rows.p)(rows.weights)

        return Metric(
            name, label, function, prepare, greater_is_better=better, needs_both_classes=False, lowest=0.0,
            highest=highest, check=check,
        )  # fmt: skip

    found = (
        metric("pinball", "Pinball loss", lambda y, q: row_pinball(y, q, levels), better=False, highest=infinite),
        metric("coverage", "Coverage", covered, better=None, highest=1.0),
        metric("width", "Width", widths, better=False, highest=infinite),
    )
    return {one.name: one for one in found}


def _check(levels: Sequence[float]) -> Callable[..., Rows]:
    def check(y: ArrayLike, q: ArrayLike, weights: ArrayLike | None = None) -> Rows:
        quantiles = np.asarray(q, dtype=np.float64)
        if quantiles.ndim != 2 or quantiles.shape[1] != len(levels):
            raise BadRowsError(
                f"The quantiles have shape {quantiles.shape}. Pass one of each of {len(levels)} levels a row."
            )
        labels = check_numbers(y, np.zeros(len(quantiles)), weights)
        if not np.isfinite(quantiles).all():
            raise BadRowsError("A quantile is infinite or no number. Numbers are finite.")
        if (np.diff(quantiles, axis=1) < 0).any():
            raise BadRowsError("The quantiles of a row fall. Sort them: those of a higher level are no lower.")
        return Rows(labels.y, quantiles, labels.weights)

    return check
