"""The mean of a number of each row, with bounds by clusters of rows: differences of losses, changes of scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.intervals import FEWEST_CLUSTERS, TooFewClustersError
from sterling.stats.jackknife import merge_clusters, spread_of_leave_one_out
from sterling.stats.rows import Floats, Ints, bin_sums, cluster_codes

__all__ = ["Groups", "Mean", "group_clusters", "mean_interval", "row_log_loss"]


class Groups(NamedTuple):
    """Clusters of rows, merged where there are many, so that many means of the same rows cost little each."""

    of_row: Ints
    """Group of each row, shape (rows,)."""
    sizes: Floats
    """Rows of each group."""
    clusters: int
    """Clusters before they were merged."""


class Mean(NamedTuple):
    """A mean with a two-sided interval and two one-sided bounds."""

    value: float
    """The mean over all rows."""
    low: float
    """Lower end of the two-sided interval."""
    high: float
    """Upper end of the two-sided interval."""
    lower: float
    """One-sided lower bound: above the truth with probability ``error_rate`` at most."""
    upper: float
    """One-sided upper bound: below the truth with probability ``error_rate`` at most."""


def group_clusters(clusters: ArrayLike, rows: int) -> Groups:
    """Number the clusters, and merge them where there are many.

    Args:
        clusters: Cluster of each row, shape (rows,).
        rows: How many rows there are.

    Raises:
        TooFewClustersError: with fewer than `FEWEST_CLUSTERS` clusters.
        BadRowsError: if a cluster is missing, or there is not one a row.
    """
    codes, count = cluster_codes(clusters, rows)
    if count < FEWEST_CLUSTERS:
        raise TooFewClustersError(f"{count} clusters. An interval needs at least {FEWEST_CLUSTERS}.")
    groups, merged = merge_clusters(codes, count)
    return Groups(groups, bin_sums(np.ones(rows), groups, merged), count)


def mean_interval(values: Floats, groups: Groups, *, confidence: float = 0.95, error_rate: float = 0.05) -> Mean:
    """Mean of a value a row, with the bounds of `difference_interval` at linear cost.

    Args:
        values: Shape (rows,), finite.
        groups: What `group_clusters` made of these rows.
        confidence: Confidence of the two-sided interval, in (0, 1).
        error_rate: Error rate of each one-sided bound, in (0, 0.5).

    References:
        The jackknife of `sterling.stats.jackknife`; a mean without a group is the mean of the other groups' sums.

    Example:
        >>> groups = group_clusters(np.repeat(np.arange(10), 2), 20)
        >>> mean_interval(np.arange(20.0), groups).value
        9.5
    """
    sums = bin_sums(values, groups.of_row, len(groups.sizes))
    without = (sums.sum() - sums) / (groups.sizes.sum() - groups.sizes)
    spread, value, tail = spread_of_leave_one_out(without), float(values.mean()), (1 - confidence) / 2
    return Mean(
        value, value - spread.below(tail), value + spread.above(tail), value - spread.below(error_rate),
        value + spread.above(error_rate),
    )  # fmt: skip


def row_log_loss(y: Floats, p: Floats) -> Floats:
    """Log loss of each row in nats, clipped as `sterling.stats.metrics.log_loss` is.

    Example:
        >>> row_log_loss(np.array([1.0, 0.0]), np.array([0.5, 0.5])).round(4).tolist()
        [0.6931, 0.6931]
    """
    tiny = np.finfo(np.float64).eps
    inside = np.clip(p, tiny, 1 - tiny)
    return -(y * np.log(inside) + (1 - y) * np.log1p(-inside))
