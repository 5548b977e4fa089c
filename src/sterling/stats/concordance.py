"""How much one column tells of a label: its agreement out of sample, and levels of it that hold one class alone.

Everything here is cheap enough for every column of every run: a column is cut into bins, each bin scores with the mean
label that other rows of it have, and the scores are judged by their concordance with the labels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.stats.rows import Floats, Ints

__all__ = ["Agreement", "Bins", "agreement", "bin_column", "bin_means", "explained", "purity_bound"]

BINS = 32
PRIOR_ROWS = 10.0
"""Rows that the overall mean counts for in the mean of a bin, so that a bin of few rows says little."""


class Agreement(NamedTuple):
    """Concordance of a score with a label: the chance that of two rows with unlike labels the score has the order right."""

    value: float
    """0.5 for a score that tells nothing, 1 for one that tells all."""
    lower: float
    """One-sided lower bound."""
    upper: float
    """One-sided upper bound."""


class Bins(NamedTuple):
    """A column cut into bins."""

    code: Ints
    """Shape (rows,): the bin of each row; the last bin holds what is missing."""
    size: int
    """Number of bins."""


def agreement(label: Floats, score: Floats, clusters: Ints, *, error_rate: float) -> Agreement:
    """Concordance of a score with a label.

    For labels 0 and 1 it is the area under the ROC curve, its variance from the placements of each row summed within
    clusters; for numbers it is (1 + Spearman's rank correlation) / 2, whose bounds are Fisher's on as many units as there
    are clusters.

    Args:
        label: Shape (rows,), 0 and 1, or numbers.
        score: Shape (rows,).
        clusters: Shape (rows,), whole numbers from 0; rows of one cluster may depend on each other.
        error_rate: Error rate of each bound, in (0, 0.5).

    References:
        DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44, 837–845; clustered: Obuchowski (1997), Biometrics 53,
        567–578, eq. 3. Rank correlation: Fieller, Hartley & Pearson (1957), Biometrika 44, 470–481: Fisher's z has a
        variance of 1.06 / (n − 3).

    Example:
        >>> label, score = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8])
        >>> agreement(label, score, np.arange(4), error_rate=0.05).value
        0.75
    """
    from scipy.special import ndtri

    reach = float(ndtri(1 - error_rate))
    values = np.unique(label)
    if len(values) < 2 or len(label) < 4:
        return Agreement(0.5, 0.0, 1.0)
    if len(values) == 2 and values[0] == 0 and values[1] == 1:
        value, error = _roc_auc(label == 1, score, clusters)
        return Agreement(value, max(0.0, value - reach * error), min(1.0, value + reach * error))
    return _rank_correlation(label, score, len(np.unique(clusters)), reach)


def bin_column(values: Floats, *, category: bool, reference: NDArray[np.bool_]) -> Bins:
    """Cut a column into bins: quantiles of a number, the most frequent values of a category, and what is missing.

    Args:
        values: Shape (rows,); NaN where missing; a category as whole numbers.
        category: Whether the numbers name categories.
        reference: Shape (rows,): the rows that decide where bins begin.

    Example:
        >>> bin_column(np.array([1.0, 2.0, np.nan]), category=True, reference=np.ones(3, bool)).code.tolist()
        [0, 1, 3]
    """
    missing = np.isnan(values)
    known = values[reference & ~missing]
    if not len(known):
        return Bins(np.where(missing, 1, 0), 2)
    distinct, counts = np.unique(known, return_counts=True)
    if category or len(distinct) <= BINS:
        kept = np.sort(distinct[np.argsort(-counts, kind="stable")[:255]])
        place = np.searchsorted(kept, values).clip(max=len(kept) - 1)
        code = np.where(kept[place] == values, place, len(kept)) if category else place
        size = len(kept) + int(category)
    else:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
        code, size = np.searchsorted(edges, values, side="right"), len(edges) + 1
    return Bins(np.where(missing, size, code).astype(np.int64), size + 1)


def bin_means(bins: Bins, label: Floats, fit: NDArray[np.bool_]) -> Floats:
    """The mean label of each row's bin, from some rows alone; shrunk towards their overall mean.

    Args:
        bins: Of all rows.
        label: Shape (rows,).
        fit: The rows whose labels are used.
    """
    code, known = bins.code[fit], label[fit]
    rows = np.bincount(code, minlength=bins.size)
    total = np.bincount(code, known, minlength=bins.size)
    overall = known.mean() if len(known) else 0.0
    means: Floats = (total + PRIOR_ROWS * overall) / (rows + PRIOR_ROWS)
    return means[bins.code]


def explained(bins: Bins, values: Floats) -> float:
    """Share of the variance of some values that lies between bins, corrected for chance: adjusted eta squared.

    References:
        Kelley (1935), PNAS 21(9), 554–559 (epsilon squared).

    Example:
        >>> explained(Bins(np.array([0, 0, 1, 1]), 2), np.array([0.0, 0.0, 1.0, 1.0]))
        1.0
    """
    rows = np.bincount(bins.code, minlength=bins.size)
    used = int((rows > 0).sum())
    total = float(((values - values.mean()) ** 2).sum())
    if total == 0 or len(values) <= used:
        return 0.0
    means = np.bincount(bins.code, values, minlength=bins.size) / np.maximum(rows, 1)
    within = float(((values - means[bins.code]) ** 2).sum())
    return max(0.0, 1 - within / total * (len(values) - 1) / (len(values) - used))


def purity_bound(hits: int, rows: int, *, error_rate: float) -> float:
    """Exact lower bound of a share.

    References:
        Clopper & Pearson (1934), Biometrika 26, 404–413.

    Example:
        >>> round(purity_bound(20, 20, error_rate=0.05), 3)
        0.861
    """
    from scipy.special import betaincinv

    return 0.0 if hits == 0 else float(betaincinv(hits, rows - hits + 1, error_rate))


def _roc_auc(positive: NDArray[np.bool_], score: Floats, clusters: Ints) -> tuple[float, float]:
    """The area under the ROC curve and its clustered standard error."""
    ones, zeros = int(positive.sum()), int((~positive).sum())
    _, inverse = np.unique(score, return_inverse=True)
    below = np.bincount(inverse, ~positive)  # negatives at each score
    above = np.bincount(inverse, positive)
    of_positive = (np.cumsum(below) - below / 2)[inverse] / zeros
    of_negative = 1 - (np.cumsum(above) - above / 2)[inverse] / ones
    value = float(of_positive[positive].mean())
    part = np.where(positive, (of_positive - value) / ones, (of_negative - value) / zeros)
    sums = np.bincount(clusters, part)
    count = len(np.unique(clusters))
    least = 0.5 / min(ones, zeros)
    return value, max(float(np.sqrt((sums**2).sum() * count / max(count - 1, 1))), least)


def _rank_correlation(label: Floats, score: Floats, units: int, reach: float) -> Agreement:
    ranks = [_ranks(values) for values in (label, score)]
    if np.ptp(ranks[1]) == 0 or units < 5:
        return Agreement(0.5, 0.0, 1.0)
    rho = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    z, error = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12)), np.sqrt(1.06 / (units - 3))
    low, high = np.tanh(z - reach * error), np.tanh(z + reach * error)
    return Agreement(*((1 + float(one)) / 2 for one in (rho, low, high)))


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[inverse]
    return ranks
