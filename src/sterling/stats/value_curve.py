"""The value of acting from each threshold on, as a curve with a band that holds for all thresholds at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.decisions import PER, Amounts
from sterling.stats.intervals import FEWEST_CLUSTERS
from sterling.stats.jackknife import merge_clusters, spread_of_leave_one_out
from sterling.stats.rows import Floats, Ints, check_rows, cluster_codes
from sterling.stats.simultaneous import error_rate_of_each

__all__ = ["MOST_THRESHOLDS", "NOBODY", "Curve", "Point", "curve", "objective_of", "thresholds_of"]

MOST_THRESHOLDS = 100
"""Thresholds of a curve at most: at quantiles of the scores."""
NOBODY = float(np.nextafter(1.0, 2.0))
"""A threshold that no probability reaches."""
_NONE = 1e-12
"""A standard error below this is rounding: the value is the same by definition, as that of acting on nobody."""
_Band = tuple[list[float | None], list[float | None]]


class Objective(NamedTuple):
    """What is made as large as can be."""

    function: Callable[[Floats], Floats]
    """Of counts of shape (…, 4), in the order of `Confusion`."""
    lowest: float
    """Smallest possible value."""
    highest: float
    """Largest possible value."""

    def __call__(self, counts: Floats) -> Floats:
        """The objective of counts, shape (…,)."""
        return self.function(counts)


class Point(NamedTuple):
    """A threshold and what acting from it on is worth."""

    threshold: float
    """Rows with this probability or more are acted on."""
    selected: float
    """Share of rows that are acted on."""
    value: float
    """The objective."""
    low: float | None
    """Lower end of its interval, which holds together with those of all other points; None with too few clusters."""
    high: float | None
    """Upper end of its interval."""


class Curve(NamedTuple):
    """An objective at each threshold."""

    points: tuple[Point, ...]
    """From the lowest threshold, which acts on everybody, to `NOBODY`."""
    best: Point
    """The point of the highest value; of several, the one that acts on fewest rows."""
    confidence: float
    """Confidence that all intervals hold."""
    rows: int
    """Number of rows."""
    clusters: int
    """Number of clusters."""


def objective_of(name: str, amounts: Amounts | None = None) -> Objective:
    """What a threshold is chosen for.

    Args:
        name: ``value``, ``f1`` or ``balanced_accuracy``, the mean of the shares of positives and of negatives that are
            decided rightly, which is highest where Youden's (1950) index is.
        amounts: What each outcome is worth; for ``value``.

    Raises:
        ValueError: if the name is no objective, or ``value`` has no amounts.

    Example:
        >>> float(objective_of("value", Amounts(40, -5))(np.array([2.0, 1.0, 1.0, 0.0])))
        18750.0
    """
    match name:
        case "value" if amounts is not None:
            worth = PER * np.array(amounts, dtype=np.float64)
            return Objective(
                lambda counts: _over(counts @ worth, counts.sum(axis=-1)), float(worth.min()), float(worth.max())
            )
        case "f1":
            return Objective(_f1, 0.0, 1.0)
        case "balanced_accuracy":
            return Objective(_balanced_accuracy, 0.0, 1.0)
        case _:
            raise ValueError(f"{name!r} is no objective here. Known: value (with amounts), f1, balanced_accuracy.")


def thresholds_of(p: Floats, most: int = MOST_THRESHOLDS) -> Floats:
    """Thresholds worth a look: 0, quantiles of the scores, and one that nothing reaches, rising, each once.

    Example:
        >>> thresholds_of(np.array([0.2, 0.4, 0.4])).round(4).tolist()
        [0.0, 0.2, 0.4, 1.0]
    """
    inside = np.quantile(p, np.linspace(0, 1, max(2, most - 2)), method="higher")
    found: Floats = np.unique(np.concatenate([[0.0], inside, [NOBODY]]))
    return found


def curve(
    y: ArrayLike,
    p: ArrayLike,
    clusters: ArrayLike,
    objective: Objective,
    *,
    thresholds: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Curve:
    """The objective at each threshold, with intervals that hold together.

    Since they hold together, that of the best point holds too, although the point was chosen for its value: the choice
    costs nothing more. The thresholds are taken as given.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        objective: What is looked at; see `objective_of`.
        thresholds: Rising; those of `thresholds_of` by default.
        confidence: Confidence that all intervals hold, in (0, 1).

    Raises:
        BadRowsError: if the rows are no evaluation; see `check_rows`.

    References:
        Delete-one-cluster jackknife and Student's t as in `jackknife`, at the error rate of `error_rate_of_each`. With
        amounts (1, -t / (1 - t)) and the objective ``value`` a point is the net benefit of Vickers & Elkin (2006).

    Example:
        >>> day, p = np.repeat(np.arange(10), 10), np.linspace(0, 1, 100)
        >>> y = np.random.default_rng(0).random(100) < p
        >>> best = curve(y, p, day, objective_of("value", Amounts(40, -5))).best
        >>> round(best.threshold, 3), best.selected, best.low < best.value < best.high
        (0.03, 0.97, True)
    """
    rows = check_rows(y, p)
    codes, count = cluster_codes(clusters, len(rows.y))
    groups, group_count = merge_clusters(codes, count)
    at = thresholds_of(rows.p) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    counts = _counts(rows.y, rows.p, groups, group_count, at)
    total = counts.sum(axis=0)
    values = objective(total)
    lows, highs = _band(objective, total, counts, count, confidence)
    selected = (total[:, 0] + total[:, 1]) / len(rows.y)
    points = tuple(
        Point(float(threshold), float(share), float(value), low, high)
        for threshold, share, value, low, high in zip(at, selected, values, lows, highs, strict=True)
    )
    best = points[int(np.flatnonzero(values == np.nanmax(values))[-1])]
    return Curve(points, best, confidence, len(rows.y), count)


def _band(objective: Objective, total: Floats, counts: Floats, clusters: int, confidence: float) -> _Band:
    """On the logit scale, but for points at which some cluster's absence leads to an end of it."""
    values, without = objective(total), objective(total - counts)
    if clusters < FEWEST_CLUSTERS:
        return [None] * len(values), [None] * len(values)
    width = objective.highest - objective.lowest
    shares = (np.vstack([without, values]) - objective.lowest) / width
    inside = ((shares > 0) & (shares < 1)).all(axis=0)
    middle = np.where(inside, shares, 0.5)
    scaled = np.where(inside, np.log(middle / (1 - middle)), shares)
    left, centre = scaled[:-1], scaled[-1]
    each = error_rate_of_each((left.mean(axis=0) - left) * np.sqrt((len(left) - 1) / len(left)), 1 - confidence)
    spreads = [spread_of_leave_one_out(column) for column in left.T]
    ends = (
        centre - [spread.below(each) for spread in spreads],
        centre + [spread.above(each) for spread in spreads],
    )
    varied = np.array([spread.error for spread in spreads]) > _NONE
    low, high = (
        np.where(varied, objective.lowest + width * np.where(inside, 1 / (1 + np.exp(-end)), end), values)
        for end in ends
    )
    return low.tolist(), high.tolist()


def _counts(y: Floats, p: Floats, groups: Ints, group_count: int, thresholds: Floats) -> Floats:
    """Counts of each group at each threshold, shape (groups, thresholds, 4), in the order of `Confusion`."""
    passed = np.searchsorted(thresholds, p, side="right")  # how many thresholds a row reaches
    steps = len(thresholds) + 1
    cells = (2 * groups + y.astype(np.int64)) * steps + passed
    table = np.bincount(cells, minlength=2 * group_count * steps).reshape(group_count, 2, steps).astype(np.float64)
    acted = table[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, 1:]
    totals = table.sum(axis=2)[:, :, None]
    return np.stack([acted[:, 1], acted[:, 0], totals[:, 1] - acted[:, 1], totals[:, 0] - acted[:, 0]], axis=-1)


def _f1(counts: Floats) -> Floats:
    true, false, missed = counts[..., 0], counts[..., 1], counts[..., 2]
    return _over(2 * true, 2 * true + false + missed)


def _balanced_accuracy(counts: Floats) -> Floats:
    true, false, missed, left = (counts[..., place] for place in range(4))
    return (_over(true, true + missed) + _over(left, false + left)) / 2


def _over(above: Floats, below: Floats) -> Floats:
    """A share that is 0 where there is nothing to share."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
