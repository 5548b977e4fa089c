"""Intervals that hold together: how small the error rate of each of several bounds must be so that rarely any of them errs.

Bounds of figures from the same clusters err together, the more so the more alike the figures are, so that an equal share
of the error rate for each (Bonferroni) is too careful: for the points of a curve by far. The largest of several correlated
normal variables has a quantile; the rate at which a single one reaches it is what each bound may have, on whatever
distribution of its own it stands.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from sterling.stats.rows import Floats

__all__ = ["DRAWS", "error_rate_of_each"]

DRAWS = 4_000
"""Draws of the largest deviation; they move the share of intervals that all hold by about .003."""


def error_rate_of_each(contributions: Floats, error_rate: float) -> float:
    """One-sided error rate of each bound, so that none of all two-sided intervals errs but at the given rate.

    Args:
        contributions: What each cluster contributes to the error of each figure, shape (clusters, figures); squares sum to
            variances. Figures without any variation count as none.
        error_rate: Rate at which one interval or more may miss, in (0, 1).

    Returns:
        Between `error_rate / 2` over the number of figures and `error_rate / 2`.

    References:
        Largest of correlated estimates: Hothorn, Bretz & Westfall (2008), Biometrical Journal 50(3), 346–363, section 3;
        the correlation is that of the clusters' contributions, drawn by normal multipliers: Chernozhukov, Chetverikov &
        Kato (2013), Annals of Statistics 41(6), 2786–2819.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> of_days = rng.normal(size=(30, 1))
        >>> bool(error_rate_of_each(np.repeat(of_days, 10, axis=1), 0.05) > 0.02)
        True
        >>> 0.0025 <= error_rate_of_each(rng.normal(size=(30, 10)), 0.05) < 0.005
        True
    """
    errors = np.sqrt(np.sum(contributions**2, axis=0))
    varied = errors > 0
    clusters, figures = len(contributions), int(varied.sum())
    if figures <= 1:
        return error_rate / 2
    scaled = contributions[:, varied] / errors[varied]
    rng = np.random.default_rng(0)
    largest = np.abs(rng.standard_normal((DRAWS, clusters)) @ scaled).max(axis=1)
    quantile = float(np.quantile(largest, 1 - error_rate))
    each = 1 - NormalDist().cdf(quantile)
    return float(np.clip(each, error_rate / 2 / figures, error_rate / 2))
