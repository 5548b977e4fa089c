"""Metrics of predicted numbers: what was measured, what was predicted and weights in, one number out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.intervals import FEWEST_CLUSTERS
from sterling.stats.jackknife import merge_clusters, spread_of_leave_one_out
from sterling.stats.metrics import Evaluator, Metric, check_bins
from sterling.stats.quantiles import student_quantile
from sterling.stats.rows import (
    Floats,
    Ints,
    OneClassError,
    bin_sums,
    calibration_bins,
    check_numbers,
    cluster_codes,
)

__all__ = ["METRICS", "NumberBin", "mae", "number_curve", "r2", "rmse"]


def rmse(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Root of the mean squared error, in the unit of the label. At least 0.

    Args:
        y: What was measured, finite numbers of shape (rows,).
        p: What was predicted, finite numbers of shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.

    References:
        Hyndman & Koehler (2006), Int. J. Forecasting 22(4), section 2.1.

    Example:
        >>> rmse([1.0, 2.0, 3.0], [1.0, 4.0, 2.0]) == (5 / 3) ** 0.5
        True
    """
    rows = check_numbers(y, p, weights)
    return _prepare_rmse(rows.y, rows.p)(rows.weights)


def mae(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean absolute error, in the unit of the label. At least 0.

    Args:
        y: What was measured, finite numbers of shape (rows,).
        p: What was predicted, finite numbers of shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.

    References:
        Willmott & Matsuura (2005), Climate Research 30, eq. 2.

    Example:
        >>> mae([1.0, 2.0, 3.0], [1.0, 4.0, 2.0])
        1.0
    """
    rows = check_numbers(y, p, weights)
    return _prepare_mae(rows.y, rows.p)(rows.weights)


def r2(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Share of the label's variance that is explained: 1 - squared error / squared distance from the mean. At most 1.

    Args:
        y: What was measured, finite numbers of shape (rows,), not all alike.
        p: What was predicted, finite numbers of shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.

    Raises:
        OneClassError: if all labels of positive weight are alike.

    References:
        Kvålseth (1985), The American Statistician 39(4), eq. 1.

    Example:
        >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
        0.5
    """
    rows = check_numbers(y, p, weights)
    return _prepare_r2(rows.y, rows.p)(rows.weights)


class NumberBin(NamedTuple):
    """One point of a curve of what was measured over what was predicted."""

    lowest: float
    """Lowest prediction in the bin."""
    highest: float
    """Highest prediction in the bin."""
    predicted: float
    """Mean prediction."""
    observed: float
    """Mean of what was measured."""
    low: float
    """Lower end of the interval of the true mean; that of the bin itself where too few clusters tell how uncertain it is."""
    high: float
    """Upper end."""
    rows: int
    """Number of rows, 1 or more."""
    clusters: int
    """Number of clusters with rows in the bin."""


def number_curve(
    y: ArrayLike, p: ArrayLike, clusters: ArrayLike, *, bins: int = 10, confidence: float = 0.95
) -> tuple[NumberBin, ...]:
    """Mean prediction and mean measurement over bins of equal mass in the order of the predictions.

    The interval is that of the delete-one-cluster jackknife of the bin's mean, with Student's t. Each bin's interval has its
    own confidence: of 10, some will miss.

    Args:
        y: What was measured, shape (rows,).
        p: What was predicted, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        bins: Number of bins, at least 1.
        confidence: Confidence of each interval, in (0, 1).

    References:
        Efron & Stein (1981), Annals of Statistics 9(3), for the jackknife's standard error.

    Example:
        >>> low, high = number_curve([1.0, 3.0, 5.0, 9.0], [1.0, 2.0, 6.0, 8.0], [0, 1, 2, 3], bins=2)
        >>> low.predicted, low.observed, high.observed
        (1.5, 2.0, 7.0)
    """
    check_bins(bins)
    rows = check_numbers(y, p)
    codes, _ = cluster_codes(clusters, len(rows.y))
    bin_of = calibration_bins(rows.p, rows.weights, bins)
    return tuple(
        _bin(rows.y[inside], rows.p[inside], codes[inside], (1 - confidence) / 2)
        for inside in (bin_of == number for number in np.unique(bin_of))
    )


def _bin(y: Floats, p: Floats, codes: Ints, tail: float) -> NumberBin:
    present, inside = np.unique(codes, return_inverse=True)
    mean = float(y.mean())
    low = high = mean
    if len(present) >= FEWEST_CLUSTERS:
        groups, count = merge_clusters(inside.astype(np.int64), len(present))
        sizes, sums = bin_sums(np.ones(len(y)), groups, count), bin_sums(y, groups, count)
        spread = spread_of_leave_one_out((sums.sum() - sums) / (len(y) - sizes))
        reach = student_quantile(tail, spread.freedom) * spread.error
        low, high = mean - reach, mean + reach
    return NumberBin(float(p.min()), float(p.max()), float(p.mean()), mean, low, high, len(y), len(present))


def _prepare_rmse(y: Floats, p: Floats) -> Evaluator:
    squares = (p - y) ** 2
    return lambda weights: float(np.sqrt(float(weights @ squares) / float(weights.sum())))


def _prepare_mae(y: Floats, p: Floats) -> Evaluator:
    sizes = np.abs(p - y)
    return lambda weights: float(weights @ sizes) / float(weights.sum())


def _prepare_r2(y: Floats, p: Floats) -> Evaluator:
    squares = (p - y) ** 2

    def evaluate(weights: Floats) -> float:
        mean = float(weights @ y) / float(weights.sum())
        apart = float(weights @ (y - mean) ** 2)
        if apart <= 0:
            raise OneClassError("R² is undefined: every label is the same. It needs labels that differ.")
        return 1 - float(weights @ squares) / apart

    return evaluate


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                "rmse", "Root mean squared error", rmse, _prepare_rmse, greater_is_better=False,
                needs_both_classes=False, lowest=0.0, highest=float("inf"), check=check_numbers,
            ),
            Metric(
                "mae", "Mean absolute error", mae, _prepare_mae, greater_is_better=False,
                needs_both_classes=False, lowest=0.0, highest=float("inf"), check=check_numbers,
            ),
            Metric(
                "r2", "R²", r2, _prepare_r2, greater_is_better=True,
                needs_both_classes=True, lowest=float("-inf"), highest=1.0, check=check_numbers,
            ),
        )
    }
)  # fmt: skip
"""The metrics of predicted numbers, by name."""
