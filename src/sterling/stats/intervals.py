"""Intervals and one-sided bounds of a metric, of a difference on the same rows, and inside slices, by clusters of rows.

Rows of one cluster (a local day, a customer) may be correlated in any way; clusters are taken as independent. What each
bound guarantees, and its simulated error rate, stands in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sterling.stats.absolute import Gaps, SumOfAbsolutes, difference_of_absolutes, gaps_of, sum_of_absolutes
from sterling.stats.jackknife import MOST_GROUPS, Spread, merge_clusters, spread_of_leave_one_out
from sterling.stats.metrics import METRICS, Metric
from sterling.stats.rows import (
    BadRowsError,
    Floats,
    Ints,
    OneClassError,
    bin_sums,
    calibration_bins,
    cluster_codes,
)

__all__ = [
    "FEWEST_CLUSTERS",
    "ClusteredInterval",
    "NoVariationError",
    "TooFewClustersError",
    "Undefined",
    "UnknownMetricError",
    "difference_interval",
    "metric_interval",
    "slice_intervals",
]

FEWEST_CLUSTERS = 8
"""Fewer clusters than this have no interval; error rates were simulated down to this number."""


class TooFewClustersError(ValueError):
    """Fewer clusters than an honest interval needs."""


class NoVariationError(ValueError):
    """Every cluster says the same, so that nothing tells how uncertain the metric is."""


class UnknownMetricError(ValueError):
    """A name that is no metric."""


class ClusteredInterval(NamedTuple):
    """An estimate with a two-sided interval and two one-sided bounds, in the unit of the metric."""

    estimate: float
    """The metric of all rows, or the candidate's minus the reference's."""
    low: float
    """Lower end of the two-sided interval."""
    high: float
    """Upper end of the two-sided interval."""
    lower: float
    """One-sided lower bound: above the truth with probability `error_rate` at most."""
    upper: float
    """One-sided upper bound: below the truth with probability `error_rate` at most."""
    confidence: float
    """Confidence of the two-sided interval, in (0, 1)."""
    error_rate: float
    """Error rate of each one-sided bound, in (0, 0.5)."""
    rows: int
    """Number of rows."""
    clusters: int
    """Number of clusters among these rows."""
    method: str
    """How the bounds were computed, in words."""


class Undefined(NamedTuple):
    """Why a slice has no interval; shown instead of a number."""

    reason: str
    """What is missing, and what would work."""
    rows: int
    """Number of rows in the slice."""
    clusters: int
    """Number of clusters among these rows."""


class _Levels(NamedTuple):
    confidence: float
    error_rate: float


class _Sample(NamedTuple):
    y: Floats
    groups: Ints
    """Group of each row; a group is a cluster, or several where there are many."""
    group_count: int
    cluster_count: int


def metric_interval(
    metric: str | Metric,
    y: ArrayLike,
    p: ArrayLike,
    clusters: ArrayLike,
    *,
    confidence: float = 0.95,
    error_rate: float = 0.05,
) -> ClusteredInterval:
    """Interval and bounds of a metric.

    A smooth metric is judged by the delete-one-cluster jackknife on the logit scale (log for a metric without a highest
    or a lowest value; its own unit where an estimate touches an end), with Student's t corrected for skewness: see `jackknife`. A
    calibration error has the bounds of a sum of absolute values, which allow for its upward bias: see `absolute`.

    Args:
        metric: Name in `METRICS`, or a metric.
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,): numbers, texts or times, none missing.
        confidence: Confidence of the two-sided interval, in (0, 1).
        error_rate: Error rate of each one-sided bound, in (0, 0.5).

    Raises:
        TooFewClustersError: with fewer than `FEWEST_CLUSTERS` clusters.
        OneClassError: where a metric needs both classes, and the rows, or the rows without some cluster, have one.
        NoVariationError: where leaving out any cluster changes nothing, as for a rate of exactly 0.
        BadRowsError: if the rows are no evaluation; see `check_rows`.

    Example:
        >>> day = np.repeat(np.arange(10), 4)
        >>> y = np.tile([0, 0, 1, 1, 0, 1, 0, 1], 5)
        >>> p = np.tile([0.1, 0.4, 0.6, 0.7, 0.2, 0.3, 0.5, 0.9], 5)
        >>> interval = metric_interval("brier", y, p, day)
        >>> round(interval.estimate, 4), interval.low < interval.lower < interval.estimate, interval.clusters
        (0.1512, True, 10)
    """
    chosen, levels = _metric(metric), _levels(confidence, error_rate)
    rows = chosen.check(y, p)
    sample = _sample(rows.y, *cluster_codes(clusters, len(rows.y)))
    return _metric_interval(chosen, sample, rows.p, levels)


def difference_interval(
    metric: str | Metric,
    y: ArrayLike,
    candidate: ArrayLike,
    reference: ArrayLike,
    clusters: ArrayLike,
    *,
    confidence: float = 0.95,
    error_rate: float = 0.05,
) -> ClusteredInterval:
    """Interval and bounds of a difference of a metric on the same rows: the candidate's minus the reference's.

    The jackknife is that of `metric_interval`, in the metric's own unit, of the difference itself: what both models find
    hard cancels. Two models that differ on no cluster have a difference of exactly 0, with bounds of 0.

    Args:
        metric: Name in `METRICS`, or a metric.
        y: Labels, 0 and 1, shape (rows,).
        candidate: The candidate's probabilities of label 1, shape (rows,).
        reference: The reference's probabilities of label 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,): numbers, texts or times, none missing.
        confidence: Confidence of the two-sided interval, in (0, 1).
        error_rate: Error rate of each one-sided bound, in (0, 0.5).

    Raises:
        TooFewClustersError: with fewer than `FEWEST_CLUSTERS` clusters.
        OneClassError: as for `metric_interval`.
        NoVariationError: where the difference is not 0, and leaving out any cluster changes nothing.
        BadRowsError: if the rows are no evaluation; see `check_rows`.

    Example:
        >>> day, y = np.repeat(np.arange(10), 4), np.tile([0, 1], 20)
        >>> p = np.linspace(0.1, 0.9, 40)
        >>> difference_interval("roc_auc", y, p, p, day).upper
        0.0
    """
    chosen, levels = _metric(metric), _levels(confidence, error_rate)
    rows, other = chosen.check(y, candidate), chosen.check(y, reference)
    sample = _sample(rows.y, *cluster_codes(clusters, len(rows.y)))
    if chosen.bins is not None:
        gaps = (_gaps(sample, p, chosen.bins) for p in (rows.p, other.p))
        return _of_absolutes(difference_of_absolutes(*gaps), sample, levels, (-chosen.highest, chosen.highest))
    ours, ours_without = _leave_one_out(chosen, sample, rows.p)
    theirs, theirs_without = _leave_one_out(chosen, sample, other.p)
    spread = spread_of_leave_one_out(ours_without - theirs_without)
    if spread.error == 0 and ours != theirs:
        raise _no_variation(chosen, sample)
    limits = (chosen.lowest - chosen.highest, chosen.highest - chosen.lowest)
    return _smooth(ours - theirs, ours - theirs, spread, sample, levels, "paired difference", _within(limits))


def slice_intervals(
    metric: str | Metric,
    y: ArrayLike,
    p: ArrayLike,
    clusters: ArrayLike,
    slices: Mapping[str, ArrayLike],
    *,
    confidence: float = 0.95,
    error_rate: float = 0.05,
) -> dict[str, ClusteredInterval | Undefined]:
    """Interval and bounds of a metric inside each slice, or why a slice has none.

    Each slice counts the clusters that it has rows in. Each bound has its own error rate: that some slice's bound errs is
    likelier. A gate that needs every slice to pass needs no correction for that; see docs/statistics.md.

    Args:
        metric: Name in `METRICS`, or a metric.
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,): numbers, texts or times, none missing.
        slices: Which rows belong to each slice, by its name: booleans of shape (rows,).
        confidence: Confidence of the two-sided interval, in (0, 1).
        error_rate: Error rate of each one-sided bound, in (0, 0.5).

    Returns:
        For each slice, in the given order, its interval; `Undefined` where it has too few clusters, one class only, or no
        variation.

    Raises:
        BadRowsError: if the rows are no evaluation, or a slice is not a boolean for each row.

    Example:
        >>> day, y = np.repeat(np.arange(10), 4), np.tile([0, 1], 20)
        >>> p = np.linspace(0.1, 0.9, 40)
        >>> slice_intervals("roc_auc", y, p, day, {"first days": day < 3})["first days"].reason
        '3 clusters. An interval needs at least 8: use more data, or a smaller unit as the cluster.'
    """
    chosen, levels = _metric(metric), _levels(confidence, error_rate)
    rows = chosen.check(y, p)
    codes, _ = cluster_codes(clusters, len(rows.y))
    return {
        name: _slice(chosen, rows.y, rows.p, codes, _mask(name, mask, len(rows.y)), levels)
        for name, mask in slices.items()
    }


def _slice(
    metric: Metric, y: Floats, p: Floats, codes: Ints, mask: NDArray[np.bool_], levels: _Levels
) -> ClusteredInterval | Undefined:
    present, inside = np.unique(codes[mask], return_inverse=True)
    try:
        return _metric_interval(metric, _sample(y[mask], inside, len(present)), p[mask], levels)
    except (TooFewClustersError, OneClassError, NoVariationError) as error:
        return Undefined(str(error), int(mask.sum()), len(present))


def _metric_interval(metric: Metric, sample: _Sample, p: Floats, levels: _Levels) -> ClusteredInterval:
    if metric.bins is not None:
        absolutes = sum_of_absolutes(_gaps(sample, p, metric.bins))
        return _of_absolutes(absolutes, sample, levels, (metric.lowest, metric.highest))
    estimate, without = _leave_one_out(metric, sample, p)
    scale, forward, back = _scale(metric, np.append(without, estimate))
    spread = spread_of_leave_one_out(forward(without))
    if spread.error == 0:
        raise _no_variation(metric, sample)
    return _smooth(estimate, float(forward(np.float64(estimate))), spread, sample, levels, scale, back)


def _leave_one_out(metric: Metric, sample: _Sample, p: Floats) -> tuple[float, Floats]:
    if metric.leave_one_out is not None:
        return metric.leave_one_out(sample.y, p, sample.groups, sample.group_count)
    evaluate = metric.prepare(sample.y, p)
    estimate = evaluate(np.ones(len(p)))
    try:
        without = [evaluate((sample.groups != group).astype(np.float64)) for group in range(sample.group_count)]
    except OneClassError as error:
        reason = f"{metric.label} is undefined without one of the clusters, as the others have one class only."
        raise OneClassError(f"{reason} Use more data, or a slice in which both classes are less rare.") from error
    return estimate, np.array(without)


def _scale(metric: Metric, values: Floats) -> tuple[str, Callable[..., Floats], Callable[[float], float]]:
    """Name of the scale, the way onto it, and back."""
    if np.any(values <= metric.lowest) or np.any(values >= metric.highest):
        return "own unit", np.asarray, _within((metric.lowest, metric.highest))
    if np.isinf(metric.highest):
        return "log scale", lambda v: np.log(v - metric.lowest), lambda v: metric.lowest + float(np.exp(v))
    if np.isinf(metric.lowest):
        top = metric.highest
        return "log scale of what is missing", lambda v: -np.log(top - v), lambda v: top - float(np.exp(-v))
    width = metric.highest - metric.lowest
    return (
        "logit scale",
        lambda v: np.log((v - metric.lowest) / (metric.highest - v)),
        lambda v: metric.lowest + width * float(1 / (1 + np.exp(-v))),
    )


def _smooth(
    estimate: float,
    centre: float,
    spread: Spread,
    sample: _Sample,
    levels: _Levels,
    scale: str,
    back: Callable[[float], float],
) -> ClusteredInterval:
    tail = (1 - levels.confidence) / 2
    return _interval(
        estimate,
        tuple(back(centre - spread.below(rate)) for rate in (tail, levels.error_rate)),
        tuple(back(centre + spread.above(rate)) for rate in (tail, levels.error_rate)),
        sample,
        levels,
        f"delete-one-cluster jackknife, {scale}, Student t with {spread.freedom:.1f} degrees of freedom and a correction for skewness",
    )


def _of_absolutes(
    absolutes: SumOfAbsolutes, sample: _Sample, levels: _Levels, limits: tuple[float, float]
) -> ClusteredInterval:
    tail, within = (1 - levels.confidence) / 2, _within(limits)
    return _interval(
        absolutes.estimate,
        tuple(within(absolutes.lower(rate)) for rate in (tail, levels.error_rate)),
        tuple(within(absolutes.upper(rate)) for rate in (tail, levels.error_rate)),
        sample,
        levels,
        f"bounds of a sum of absolute gaps over all doubtful signs, Student t with {absolutes.spread.freedom:.1f} degrees of freedom and a correction for skewness",
    )


def _interval(
    estimate: float, lows: tuple[float, ...], highs: tuple[float, ...], sample: _Sample, levels: _Levels, method: str
) -> ClusteredInterval:
    merged = (
        f", {sample.cluster_count} clusters merged into {MOST_GROUPS}"
        if sample.group_count < sample.cluster_count
        else ""
    )
    return ClusteredInterval(
        estimate,
        lows[0],
        highs[0],
        lows[1],
        highs[1],
        *levels,
        rows=len(sample.y),
        clusters=sample.cluster_count,
        method=method + merged,
    )


def _gaps(sample: _Sample, p: Floats, bins: int) -> Gaps:
    """Gaps of each bin; of several classes those of each against the rest, whose mean over the classes counts."""
    pairs = [(p, sample.y)] if p.ndim == 1 else [(p[:, k], (sample.y == k).astype(float)) for k in range(p.shape[1])]
    sums = []
    for said, came in pairs:
        cells = sample.groups * bins + calibration_bins(said, np.ones(len(said)), bins)
        sums.append(bin_sums(said - came, cells, sample.group_count * bins).reshape(sample.group_count, bins))
    rows = bin_sums(np.ones(len(p)), sample.groups, sample.group_count)
    return gaps_of(np.hstack(sums), rows * len(pairs))


def _sample(y: Floats, codes: Ints, count: int) -> _Sample:
    if count < FEWEST_CLUSTERS:
        noun = "cluster" if count == 1 else "clusters"
        raise TooFewClustersError(
            f"{count} {noun}. An interval needs at least {FEWEST_CLUSTERS}: use more data, or a smaller unit as the cluster."
        )
    return _Sample(y, *merge_clusters(codes, count), count)


def _mask(name: str, mask: ArrayLike, rows: int) -> NDArray[np.bool_]:
    column = np.asarray(mask)
    if column.dtype != np.bool_ or column.shape != (rows,):
        raise BadRowsError(
            f"Slice {name!r} is {column.dtype} of shape {column.shape}. Pass a boolean for each of the {rows} rows."
        )
    return column


def _metric(metric: str | Metric) -> Metric:
    if isinstance(metric, Metric):
        return metric
    if metric not in METRICS:
        close = get_close_matches(metric, METRICS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownMetricError(f"No metric {metric!r}.{hint} Known: {', '.join(METRICS)}.")
    return METRICS[metric]


def _levels(confidence: float, error_rate: float) -> _Levels:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}. It lies between 0 and 1; 0.95 is usual.")
    if not 0 < error_rate < 0.5:
        raise ValueError(f"error_rate is {error_rate!r}. It lies between 0 and 0.5; 0.05 is usual.")
    return _Levels(confidence, error_rate)


def _no_variation(metric: Metric, sample: _Sample) -> NoVariationError:
    return NoVariationError(
        f"{metric.label} is the same whichever of {sample.cluster_count} clusters is left out, so nothing tells how uncertain it is. Use more data."
    )


def _within(limits: tuple[float, float]) -> Callable[[float], float]:
    return lambda value: min(max(value, limits[0]), limits[1])
