"""Bounds from leaving out one cluster at a time: a Student t for few clusters, corrected for skewness.

A bound reaches as far as Student's t, and on the side that skewness makes too short, further by the first term of the
Edgeworth expansion of t. On the other side that term would shorten the reach, and is left out: skewness estimated from few
clusters is too uncertain to earn that. The degrees of freedom fall where few clusters carry most of the variance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.quantiles import student_quantile
from sterling.stats.rows import Floats, Ints

__all__ = ["MOST_GROUPS", "Spread", "merge_clusters", "spread_of", "spread_of_leave_one_out"]

MOST_GROUPS = 100
"""More clusters than this are merged into this many groups of clusters."""


class Spread(NamedTuple):
    """How far an estimate may lie from the truth, as seen from its clusters."""

    error: float
    """Standard error, in the unit of the estimate; 0 or more."""
    skewness: float
    """Skewness of the estimate's own distribution: the sum of cubed contributions over the cubed standard error."""
    freedom: float
    """Degrees of freedom of the standard error, at most clusters - 1."""

    def below(self, error_rate: float) -> float:
        """Distance from the estimate to its lower bound, which exceeds the truth at most at this rate."""
        return self.error * self._reach(error_rate, self.skewness)

    def above(self, error_rate: float) -> float:
        """Distance from the estimate to its upper bound, below which the truth lies at most at this rate."""
        return self.error * self._reach(error_rate, -self.skewness)

    def _reach(self, error_rate: float, skewness: float) -> float:
        quantile = student_quantile(error_rate, self.freedom)
        return quantile + max(0.0, -skewness) * (2 * quantile**2 + 1) / 6


def spread_of(contributions: Floats) -> Spread:
    """Return the spread of an estimate from what each cluster contributes to its error.

    Args:
        contributions: Shape (clusters,), at least 2, centred, scaled so that their squares sum to the variance.

    References:
        Skewness: Johnson (1978), JASA 73, 536–544; Hall (1983), Annals of Statistics 11(2), 569–576: a t of skewed
        values has its quantile moved by skewness / sqrt(clusters) (2 q² + 1) / 6. Freedom: the variance estimate's own
        variance from the fourth moment, matched to chi-squared as in Satterthwaite (1946), Biometrics Bulletin 2(6),
        110–114; so G equal normal clusters have about G - 1.

    Example:
        >>> round(spread_of(np.array([-1.0, 0.0, 1.0]) / 2).error, 4)
        0.7071
    """
    clusters = len(contributions)
    variance = float(np.sum(contributions**2))
    if variance == 0:
        return Spread(0.0, 0.0, clusters - 1.0)
    skewness = float(np.sum(contributions**3)) / variance**1.5
    concentration = float(np.sum(contributions**4)) / variance**2 - 1 / clusters
    freedom = clusters - 1.0 if concentration <= 2 / (clusters - 1) else 2 / concentration
    return Spread(float(np.sqrt(variance)), skewness, freedom)


def spread_of_leave_one_out(values: ArrayLike) -> Spread:
    """Return the spread of an estimate from its values without each cluster in turn, shape (clusters,).

    References:
        Delete-one-cluster jackknife: Tukey (1958), Ann. Math. Stat. 29, 614; Efron & Stein (1981), Annals of
        Statistics 9(3), 586–596: on average not too small.

    Example:
        >>> sample = np.array([1.0, 2.0, 4.0, 9.0])
        >>> spread = spread_of_leave_one_out((sample.sum() - sample) / 3)
        >>> bool(np.isclose(spread.error, np.std(sample, ddof=1) / 2))
        True
    """
    without = np.asarray(values, dtype=np.float64)
    clusters = len(without)
    return spread_of((without.mean() - without) * np.sqrt((clusters - 1) / clusters))


def merge_clusters(codes: Ints, clusters: int) -> tuple[Ints, int]:
    """Merge more than `MOST_GROUPS` clusters into that many groups of like size, so that the work stays bounded.

    Groups of independent clusters are independent, so that nothing is lost but degrees of freedom: at 100 groups the
    bounds are 1 % wider. Clusters are dealt by falling size, back and forth.

    Args:
        codes: Cluster of each row, 0 to clusters - 1, shape (rows,).
        clusters: Number of clusters.

    Returns:
        The group of each row, and the number of groups.

    References:
        Kott (2001), Journal of Official Statistics 17(4), 521–526, the delete-a-group jackknife.
    """
    if clusters <= MOST_GROUPS:
        return codes, clusters
    by_size = np.argsort(-np.bincount(codes, minlength=clusters), kind="stable")
    turn = np.arange(clusters) % (2 * MOST_GROUPS)
    group_of = np.empty(clusters, dtype=np.int64)
    group_of[by_size] = np.minimum(turn, 2 * MOST_GROUPS - 1 - turn)
    return group_of[codes], MOST_GROUPS
