"""Rates of groups of rows side by side, and the largest difference and the smallest ratio between two of them.

The pair that differs most is picked after the fact. Its two-sided interval allows for that: the intervals of all pairs hold
together, so that the largest of them all lies between the largest of the lower ends and the largest of the upper ends. The
one-sided bound that a gate needs allows for it at no price: the true largest difference is that of one pair, and it is
enough that the bound of this very pair holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sterling.stats.intervals import FEWEST_CLUSTERS
from sterling.stats.jackknife import Spread, merge_clusters, spread_of_leave_one_out
from sterling.stats.rows import BadRowsError, Floats, Ints, bin_sums, check_rows, cluster_codes
from sterling.stats.simultaneous import error_rate_of_each

__all__ = ["GROUP_RATES", "MOST_GROUPS_COMPARED", "Gap", "GroupRate", "Rates", "group_rates"]

GROUP_RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision", "calibration_gap")
"""Rates that groups are compared by: shares of rows, of positives, of negatives and of those acted on, and the mean
prediction minus the share that happened."""
MOST_GROUPS_COMPARED = 50
"""More groups than this have too many pairs to compare."""


class GroupRate(NamedTuple):
    """A rate of one group."""

    group: int
    """Number of the group."""
    value: float | None
    """The rate; None where it has no row to count."""
    low: float | None
    """Lower end of its own two-sided interval; None where the group is too small."""
    high: float | None
    """Upper end of its own two-sided interval."""
    rows: int
    """Rows that enter: all, positives, negatives, or those acted on."""
    reason: str | None
    """Why the group takes no part in the comparison; None where it does."""


class Gap(NamedTuple):
    """The largest difference, or the smallest ratio, between two groups."""

    value: float | None
    """0 or more for a difference, 0 to 1 for a ratio; None where it is undefined."""
    low: float | None
    """Lower end of the two-sided interval, which allows for picking the pair."""
    high: float | None
    """Upper end of the two-sided interval."""
    bound: float | None
    """One-sided bound on the worse side: an upper one of a difference, a lower one of a ratio."""
    most: int | None
    """The group with the highest rate."""
    least: int | None
    """The group with the lowest rate."""
    reason: str | None
    """Why it is undefined."""


class Rates(NamedTuple):
    """One rate of every group."""

    rate: str
    """Its name, one of `GROUP_RATES`."""
    groups: tuple[GroupRate, ...]
    """In the order of their numbers."""
    difference: Gap
    """The largest difference between two groups."""
    ratio: Gap | None
    """The smallest ratio; None for a calibration gap, which may be below 0."""
    confidence: float
    """Confidence of the two-sided intervals."""
    error_rate: float
    """Error rate of the one-sided bounds."""
    clusters: int
    """Number of clusters."""


def group_rates(
    rate: str,
    y: ArrayLike,
    p: ArrayLike,
    acted: ArrayLike | None,
    groups: ArrayLike,
    clusters: ArrayLike,
    *,
    min_rows: int = 100,
    confidence: float = 0.95,
    error_rate: float = 0.05,
) -> Rates:
    """A rate of each group, and how far the groups are apart.

    A group takes part in the comparison if at least `min_rows` rows enter its rate, over at least `FEWEST_CLUSTERS`
    clusters. A group that is large enough and whose rate is exactly 0 or 1 has no known uncertainty: then the difference
    is undefined rather than without that group.

    Args:
        rate: One of `GROUP_RATES`.
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        acted: Decisions, 0 and 1, shape (rows,); None where only the calibration gap is asked for.
        groups: Number of each row's group, 0 or more, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        min_rows: Rows that must enter a group's rate.
        confidence: Confidence of two-sided intervals, in (0, 1).
        error_rate: Error rate of one-sided bounds, in (0, 0.5).

    Raises:
        BadRowsError: if the rows are no evaluation, the rate is none, or needs decisions that are not given.

    References:
        Selection rates and their ratio (the four-fifths rule): Uniform Guidelines on Employee Selection Procedures (1978),
        29 CFR 1607.4 D; Feldman et al. (2015), KDD 21. True and false positive rates (equal opportunity, equalised odds):
        Hardt, Price & Srebro (2016), NeurIPS 29, definitions 2.1 and 2.2. Calibration inside groups: Kleinberg,
        Mullainathan & Raghavan (2017), ITCS 8. One bound for the largest of several: Berger (1982), Technometrics 24(4).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> day, group = np.repeat(np.arange(20), 100), np.tile([0, 1], 1000)
        >>> acted = rng.random(2000) < np.where(group == 1, 0.3, 0.5)
        >>> found = group_rates("selection_rate", acted, np.full(2000, 0.4), acted, group, day)
        >>> round(found.difference.value, 2), round(found.ratio.value, 2), found.ratio.bound < found.ratio.value
        (0.18, 0.62, True)
    """
    rows = check_rows(y, p)
    if rate not in GROUP_RATES:
        raise BadRowsError(f"No rate {rate!r} of groups. Known: {', '.join(GROUP_RATES)}.")
    if acted is None and rate != "calibration_gap":
        raise BadRowsError(f"{rate} is of decisions. Pass them as `acted`.")
    decided = rows.p if acted is None else check_rows(rows.y, acted).p
    codes, cluster_count = cluster_codes(clusters, len(rows.y))
    merged, count = merge_clusters(codes, cluster_count)
    numbers = np.asarray(groups).astype(np.int64)
    above, mass = _parts(rate, rows.y, rows.p, decided)
    size = int(numbers.max()) + 1
    sums, masses = (_table(column, numbers, size, merged, count) for column in (above, mass))
    own_clusters = np.bincount(
        np.unique(numbers[mass > 0] * cluster_count + codes[mass > 0]) // cluster_count, minlength=size
    )
    values, without = _rates(sums, masses)
    spreads = [_spread(column) for column in without.T]
    floor = -1.0 if rate == "calibration_gap" else 0.0
    found = tuple(
        _group(number, values, masses, own_clusters, spreads[number], min_rows, confidence, floor)
        for number in range(size)
    )
    taking = [one.group for one in found if one.reason is None]
    ratio = None
    if rate != "calibration_gap":
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = _gap(np.log(values), np.log(without), found, taking, confidence, error_rate, ratio=True)
    difference = _gap(values, without, found, taking, confidence, error_rate, ratio=False)
    return Rates(rate, found, difference, ratio, confidence, error_rate, cluster_count)


def _parts(rate: str, y: Floats, p: Floats, acted: Floats) -> tuple[Floats, Floats]:
    """What is summed, and over which rows."""
    one = np.ones(len(y))
    parts: Mapping[str, tuple[Floats, Floats]] = {
        "selection_rate": (acted, one),
        "true_positive_rate": (acted * y, y),
        "false_positive_rate": (acted * (1 - y), 1 - y),
        "precision": (acted * y, acted),
        "calibration_gap": (p - y, one),
    }
    return parts[rate]


def _table(values: Floats, groups: Ints, size: int, clusters: Ints, count: int) -> Floats:
    return bin_sums(values, clusters * size + groups, count * size).reshape(count, size)


def _rates(sums: Floats, masses: Floats) -> tuple[Floats, Floats]:
    """Each group's rate, shape (groups,), and without each cluster, shape (clusters, groups); NaN where nothing enters."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values: Floats = sums.sum(axis=0) / masses.sum(axis=0)
        without: Floats = (sums.sum(axis=0) - sums) / (masses.sum(axis=0) - masses)
    return values, without


def _spread(without: Floats) -> Spread | None:
    return spread_of_leave_one_out(without) if np.isfinite(without).all() else None


def _group(
    number: int,
    values: Floats,
    masses: Floats,
    clusters: Ints,
    spread: Spread | None,
    min_rows: int,
    confidence: float,
    floor: float,
) -> GroupRate:
    rows = int(masses[:, number].sum())
    value = float(values[number]) if rows else None
    if value is None or rows < min_rows:
        return GroupRate(number, value, None, None, rows, f"{rows:,} rows enter, fewer than {min_rows:,}")
    if clusters[number] < FEWEST_CLUSTERS or spread is None:
        few = int(clusters[number])
        return GroupRate(number, value, None, None, rows, f"{few} clusters, fewer than {FEWEST_CLUSTERS}")
    tail = (1 - confidence) / 2
    if spread.error == 0:
        return GroupRate(number, value, None, None, rows, None)
    low, high = max(floor, value - spread.below(tail)), min(1.0, value + spread.above(tail))
    return GroupRate(number, value, low, high, rows, None)


def _gap(
    values: Floats,
    without: Floats,
    found: tuple[GroupRate, ...],
    taking: list[int],
    confidence: float,
    error_rate: float,
    *,
    ratio: bool,
) -> Gap:
    if len(taking) < 2:
        return _undefined(f"{len(taking)} of {len(found)} groups are large enough to compare")
    if len(taking) > MOST_GROUPS_COMPARED:
        return _undefined(f"{len(taking)} groups; {MOST_GROUPS_COMPARED} can be compared at most")
    most, least = max(taking, key=lambda g: values[g]), min(taking, key=lambda g: values[g])
    if flat := [group for group in taking if found[group].low is None]:
        return _undefined(
            "a group's rate is the same in every cluster, so that nothing tells how uncertain it is", flat[0]
        )
    if not np.isfinite(values[taking]).all() or not np.isfinite(without[:, taking]).all():
        return _undefined("a rate is 0 without one of the clusters", least)
    pairs = np.array(list(combinations(taking, 2)))
    left = without[:, pairs[:, 0]] - without[:, pairs[:, 1]]
    apart = values[pairs[:, 0]] - values[pairs[:, 1]]
    scale = np.sqrt((len(left) - 1) / len(left))
    each = error_rate_of_each((left.mean(axis=0) - left) * scale, 1 - confidence)
    spreads = [spread_of_leave_one_out(column) for column in left.T]
    low, high = _largest(apart, spreads, each)
    _, bound = _largest(apart, spreads, error_rate)
    ends = (float(values[most] - values[least]), low, high, bound)
    if ratio:
        value, low, high, bound = (float(np.exp(-end)) for end in ends)
        low, high = high, low
    else:
        value, low, high, bound = ends
    return Gap(value, low, high, bound, most, least, None)


def _largest(apart: Floats, spreads: list[Spread], error_rate: float) -> tuple[float, float]:
    """Ends of the largest absolute difference, where each end errs at this rate."""
    ends: NDArray[np.float64] = np.array(
        [
            (gap - spread.below(error_rate), gap + spread.above(error_rate))
            for gap, spread in zip(apart, spreads, strict=True)
        ]
    )
    least = np.maximum(np.maximum(ends[:, 0], -ends[:, 1]), 0.0)
    return float(least.max()), float(np.abs(ends).max())


def _undefined(reason: str, group: int | None = None) -> Gap:
    return Gap(None, None, None, None, None, group, reason)
