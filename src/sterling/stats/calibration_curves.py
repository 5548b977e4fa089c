"""Curves that lead probabilities back to what happened, and whether one of them helps on rows that it was not fitted to.

A curve that is fitted on one block helps on the next only if what it corrects stays: under a drifting label rate it makes
predictions worse. So it is accepted on a later block alone, by a bound that chance passes at a rate that is fixed before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.intervals import ClusteredInterval, NoVariationError, TooFewClustersError, difference_interval
from sterling.stats.rows import BadRowsError, Floats, OneClassError

__all__ = [
    "KINDS",
    "BetaCurve",
    "Curve",
    "Judged",
    "StepCurve",
    "beta_curve",
    "fit_curve",
    "isotonic_curve",
    "judge",
    "platt_curve",
]

Kind = Literal["platt", "isotonic", "beta"]
_NEAREST = 1e-15
"""Probabilities nearer to 0 or 1 than this are taken as that near."""
_STEPS = 100
_SETTLED = 1e-12


class BetaCurve(NamedTuple):
    """sigmoid(a ln p - b ln(1 - p) + c), which is Platt's curve on log odds where a = b."""

    a: float
    """Slope where p is small, 0 or more."""
    b: float
    """Slope where p is large, 0 or more."""
    c: float
    """What is added to the log odds."""

    def map(self, p: ArrayLike) -> Floats:
        """Led back, shape (rows,).

        Example:
            >>> BetaCurve(1.0, 1.0, float(np.log(3))).map([0.25]).round(4).tolist()
            [0.5]
        """
        low, high = _sides(p)
        return _sigmoid(self.a * low + self.b * high + self.c)


class StepCurve(NamedTuple):
    """Straight lines between points, level beyond the outer ones."""

    x: tuple[float, ...]
    """Predicted, rising, in [0, 1]."""
    y: tuple[float, ...]
    """Led back, never falling, in (0, 1)."""

    def map(self, p: ArrayLike) -> Floats:
        """Led back, shape (rows,)."""
        return np.interp(np.asarray(p, dtype=np.float64), self.x, self.y)


Curve = BetaCurve | StepCurve


class Judged(NamedTuple):
    """What a curve does to the log loss of a later block."""

    kind: Kind
    """The curve."""
    before: float
    """Log loss without it."""
    after: float
    """Log loss with it."""
    difference: ClusteredInterval | None
    """After minus before, with its bounds; None where there is none."""
    reason: str | None
    """Why there is none."""

    @property
    def accepted(self) -> bool:
        """Whether the upper bound of the difference lies below 0."""
        return self.difference is not None and self.difference.upper < 0


def platt_curve(y: ArrayLike, p: ArrayLike) -> BetaCurve:
    """Logistic regression of the label on the log odds, on targets that are drawn in a little.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).

    Raises:
        OneClassError: if all labels are alike.

    References:
        Platt (1999), Probabilistic outputs for support vector machines, section 2.2 (the targets); Newton's method as in
        Lin, Lin & Weng (2007), Machine Learning 68, 267–276.

    Example:
        >>> y = np.repeat([1.0, 0.0, 1.0, 0.0], [300, 100, 100, 300])
        >>> curve = platt_curve(y, np.repeat([0.6, 0.6, 0.4, 0.4], [300, 100, 100, 300]))
        >>> curve.map([0.6]).round(2).tolist()
        [0.75]
    """
    labels = _checked(y)
    low, high = _sides(p)
    positives = float(labels.sum())
    negatives = len(labels) - positives
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, c = _logistic([low + high, np.ones(len(labels))], targets)
    return BetaCurve(max(slope, 0.0), max(slope, 0.0), c if slope > 0 else _log_odds(positives / len(labels)))


def beta_curve(y: ArrayLike, p: ArrayLike) -> BetaCurve:
    """Logistic regression of the label on ln p and -ln(1 - p), each with a slope that does not fall.

    References:
        Kull, Silva Filho & Flach (2017), Beta calibration, AISTATS, PMLR 54, 623–631: eq. 1 and the fit of section 3.
    """
    labels = _checked(y)
    low, high = _sides(p)
    ones = np.ones(len(labels))
    a, b, c = _logistic([low, high, ones], labels)
    if a < 0:
        (b, c), a = _logistic([high, ones], labels), 0.0
    elif b < 0:
        (a, c), b = _logistic([low, ones], labels), 0.0
    if min(a, b) < 0 or (a == 0 and b == 0):
        return BetaCurve(0.0, 0.0, _log_odds(float(labels.mean())))
    return BetaCurve(a, b, c)


def isotonic_curve(y: ArrayLike, p: ArrayLike) -> StepCurve:
    """The rising steps nearest to the labels, straight between them, drawn in so that no step is certain.

    References:
        Zadrozny & Elkan (2002), KDD, 694–699; pool adjacent violators: Busing (2022), J. Stat. Softw. 102, Code Snippet 1,
        in `scipy.optimize.isotonic_regression`.
    """
    from scipy.optimize import isotonic_regression

    labels, predicted = _checked(y), np.asarray(p, dtype=np.float64)
    values, places, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    shares = np.bincount(places, weights=labels) / counts
    found = isotonic_regression(shares, weights=counts)
    most = 1 - 1 / (len(labels) + 2)
    starts = found.blocks[:-1]
    ends = found.blocks[1:] - 1
    x = np.stack([values[starts], values[ends]], axis=1).ravel()
    heights = np.repeat(np.clip(found.x[starts], 1 - most, most), 2)
    kept = np.concatenate([[True], np.diff(x) > 0])
    return StepCurve(tuple(x[kept].tolist()), tuple(heights[kept].tolist()))


KINDS: Mapping[Kind, object] = {"platt": platt_curve, "isotonic": isotonic_curve, "beta": beta_curve}


def fit_curve(kind: Kind, y: ArrayLike, p: ArrayLike) -> Curve:
    """A curve of a kind: `platt_curve`, `isotonic_curve` or `beta_curve`."""
    match kind:
        case "platt":
            return platt_curve(y, p)
        case "isotonic":
            return isotonic_curve(y, p)
        case "beta":
            return beta_curve(y, p)


def judge(
    curves: Mapping[Kind, Curve], y: ArrayLike, p: ArrayLike, clusters: ArrayLike, *, error_rate: float = 0.05
) -> tuple[Judged, ...]:
    """What each curve does to the log loss of a block that none of them was fitted to.

    The error rate is divided among the curves (Bonferroni), so that where none of them helps, one is accepted with this
    probability at most.

    Args:
        curves: The curves, by kind.
        y: Labels of the later block, 0 and 1, shape (rows,).
        p: Probabilities before any curve, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        error_rate: Probability to accept any curve where none helps, in (0, 0.5).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> p = rng.uniform(0.02, 0.98, 4000)
        >>> y = (rng.random(4000) < BetaCurve(0.5, 0.5, 0.0).map(p)).astype(float)
        >>> earlier, later = slice(0, 2000), slice(2000, None)
        >>> found = judge({"platt": platt_curve(y[earlier], p[earlier])}, y[later], p[later], np.arange(2000))
        >>> found[0].accepted
        True
    """
    return tuple(_judged(kind, curve, y, p, clusters, error_rate / len(curves)) for kind, curve in curves.items())


def best(judged: Sequence[Judged]) -> Judged | None:
    """The accepted curve of the smallest loss; None where none is accepted."""
    return min((one for one in judged if one.accepted), key=lambda one: one.after, default=None)


def _judged(kind: Kind, curve: Curve, y: ArrayLike, p: ArrayLike, clusters: ArrayLike, error_rate: float) -> Judged:
    labels, predicted = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    mapped = curve.map(predicted)
    before, after = _loss(labels, predicted), _loss(labels, mapped)
    try:
        found = difference_interval("log_loss", labels, mapped, predicted, clusters, error_rate=error_rate)
    except (TooFewClustersError, OneClassError, NoVariationError, BadRowsError) as error:
        return Judged(kind, before, after, None, str(error))
    return Judged(kind, before, after, found, None)


def _loss(y: Floats, p: Floats) -> float:
    return float(-np.log(np.maximum(np.where(y == 1, p, 1 - p), _NEAREST)).mean())


def _checked(y: ArrayLike) -> Floats:
    labels = np.asarray(y, dtype=np.float64)
    if not len(labels) or (labels == labels[0]).all():
        raise OneClassError("A calibration curve needs rows of both labels.")
    return labels


def _sides(p: ArrayLike) -> tuple[Floats, Floats]:
    """Ln p and -ln(1 - p)."""
    inside = np.clip(np.asarray(p, dtype=np.float64), _NEAREST, 1 - _NEAREST)
    return np.log(inside), -np.log1p(-inside)


def _sigmoid(odds: Floats) -> Floats:
    tail = np.exp(-np.abs(odds))
    probabilities: Floats = np.where(odds >= 0, 1.0, tail) / (1.0 + tail)
    return probabilities


def _log_odds(share: float) -> float:
    return float(np.log(share) - np.log1p(-share))


def _logistic(design: Sequence[Floats], targets: Floats) -> list[float]:
    """Logistic regression by Newton's method with halved steps; sums without BLAS, whose last bits differ by machine."""
    weights = [0.0] * len(design)
    loss = _cross_entropy(design, targets, weights)
    for _ in range(_STEPS):
        p = _sigmoid(_odds(design, weights))
        slope = [float(np.sum(column * (p - targets))) for column in design]
        spread = p * (1 - p)
        matrix = [[float(np.sum(one * other * spread)) for other in design] for one in design]
        for place, row in enumerate(matrix):
            row[place] += 1e-10 * (1 + row[place])
        step, share = _solved(matrix, slope), 1.0
        while share > 1e-6:
            tried = [weight - share * part for weight, part in zip(weights, step, strict=True)]
            found = _cross_entropy(design, targets, tried)
            if found <= loss:
                break
            share /= 2
        else:
            return weights
        gained, loss, weights = loss - found, found, tried
        if gained <= _SETTLED * max(loss, 1.0):
            return weights
    return weights


def _odds(design: Sequence[Floats], weights: Sequence[float]) -> Floats:
    odds = weights[0] * design[0]
    for weight, column in zip(weights[1:], design[1:], strict=True):
        odds = odds + weight * column
    return odds


def _cross_entropy(design: Sequence[Floats], targets: Floats, weights: Sequence[float]) -> float:
    odds = _odds(design, weights)
    return float(np.sum(np.logaddexp(0.0, odds) - targets * odds))


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """The solution of a small positive definite system, by elimination with the largest pivot."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for place in range(size):
        pivot = max(range(place, size), key=lambda row: abs(rows[row][place]))
        rows[place], rows[pivot] = rows[pivot], rows[place]
        for below in range(place + 1, size):
            times = rows[below][place] / rows[place][place]
            rows[below] = [value - times * above for value, above in zip(rows[below], rows[place], strict=True)]
    found = [0.0] * size
    for place in reversed(range(size)):
        known = sum(rows[place][other] * found[other] for other in range(place + 1, size))
        found[place] = (rows[place][size] - known) / rows[place][place]
    return found
