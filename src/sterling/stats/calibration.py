"""Reliability: for each bin of predictions, what was predicted and what was observed, with an interval, for a chart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.intervals import FEWEST_CLUSTERS
from sterling.stats.jackknife import merge_clusters, spread_of_leave_one_out
from sterling.stats.metrics import ECE_BINS, check_bins
from sterling.stats.quantiles import normal_quantile, student_quantile
from sterling.stats.rows import Floats, Ints, bin_sums, calibration_bins, check_rows, cluster_codes

__all__ = ["ReliabilityBin", "reliability_curve"]


class ReliabilityBin(NamedTuple):
    """One point of a reliability curve."""

    lowest: float
    """Lowest probability in the bin."""
    highest: float
    """Highest probability in the bin."""
    predicted: float
    """Mean probability."""
    observed: float
    """Share of positive rows."""
    low: float
    """Lower end of the interval of the true rate."""
    high: float
    """Upper end of the interval of the true rate."""
    rows: int
    """Number of rows, 1 or more."""
    clusters: int | None
    """Number of clusters with rows in the bin; None where rows were taken as independent."""


def reliability_curve(
    y: ArrayLike,
    p: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    bins: int = ECE_BINS,
    confidence: float = 0.95,
) -> tuple[ReliabilityBin, ...]:
    """Mean prediction and observed rate over bins of equal mass, those of `calibration_error`, without the empty ones.

    With independent rows the interval is Wilson's. With clusters it is Wilson's for the effective number of rows, the
    number of independent rows with the same standard error (at most the bin's rows), and with Student's t in place of the
    normal quantile. Where a bin has fewer than `FEWEST_CLUSTERS` clusters, or one class, the standard error is not to
    be trusted, and a cluster counts as one row.

    Each bin's interval has its own confidence: of 15, some will miss. The curve is for looking at; gate on `ece`.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,); by default rows are taken as independent.
        bins: Number of bins, at least 1.
        confidence: Confidence of each interval, in (0, 1).

    Raises:
        BadRowsError: if the rows are no evaluation; see `check_rows`.

    References:
        Wilson (1927), JASA 22, 209–212; the effective number of rows: Kish (1965), Survey Sampling, section 8.2; in
        Wilson's interval: Dean & Pagano (2015), J. Survey Statistics and Methodology 3(4), 484–503.

    Example:
        >>> point, _ = reliability_curve([0, 0, 1, 1], [0.1, 0.3, 0.6, 0.8], bins=2)
        >>> point.predicted, point.observed, round(point.high, 4), point.rows
        (0.2, 0.0, 0.6576, 2)
    """
    check_bins(bins)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}. It lies between 0 and 1; 0.95 is usual.")
    rows = check_rows(y, p)
    codes = None if clusters is None else cluster_codes(clusters, len(rows.y))[0]
    bin_of = calibration_bins(rows.p, rows.weights, bins)
    return tuple(
        _bin(rows.y[inside], rows.p[inside], None if codes is None else codes[inside], (1 - confidence) / 2)
        for inside in (bin_of == number for number in np.unique(bin_of))
    )


def _bin(y: Floats, p: Floats, codes: Ints | None, tail: float) -> ReliabilityBin:
    rows, rate = len(y), float(y.mean())
    if codes is None:
        low, high, clusters = *_wilson(rate, rows, normal_quantile(tail)), None
    else:
        present, inside = np.unique(codes, return_inverse=True)
        clusters = len(present)
        effective, freedom = _effective_rows(y, *merge_clusters(inside, clusters), clusters)
        low, high = _wilson(rate, effective, student_quantile(tail, freedom))
    return ReliabilityBin(float(p.min()), float(p.max()), float(p.mean()), rate, low, high, rows, clusters)


def _effective_rows(y: Floats, groups: Ints, group_count: int, clusters: int) -> tuple[float, float]:
    rate, freedom = float(y.mean()), max(1.0, group_count - 1.0)
    if clusters < FEWEST_CLUSTERS or rate in {0.0, 1.0}:
        return clusters, freedom
    sizes, positives = bin_sums(np.ones(len(y)), groups, group_count), bin_sums(y, groups, group_count)
    spread = spread_of_leave_one_out((positives.sum() - positives) / (len(y) - sizes))
    same_error = rate * (1 - rate) / spread.error**2 if spread.error > 0 else len(y)
    return min(float(len(y)), same_error), spread.freedom


def _wilson(rate: float, rows: float, quantile: float) -> tuple[float, float]:
    squared = quantile**2 / rows
    centre = (rate + squared / 2) / (1 + squared)
    reach = quantile / (1 + squared) * float(np.sqrt(rate * (1 - rate) / rows + squared / (4 * rows)))
    return max(0.0, centre - reach), min(1.0, centre + reach)
