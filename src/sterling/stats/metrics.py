"""Metrics of binary probabilistic classification: labels, probabilities and weights in, one number out.

A `Metric` sorts the rows once and then answers for any weights in linear time, which is what resampling and
leaving out clusters need. Weights are multiplicities: an integer weight is the same as repeating the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.leave_one_out import (
    LeaveOneOut,
    leave_one_out_average_precision,
    leave_one_out_mean,
    leave_one_out_roc_auc,
)
from sterling.stats.rows import (
    BadRowsError,
    Floats,
    OneClassError,
    Ordered,
    Rows,
    bin_sums,
    bins_of_steps,
    calibration_bins,
    check_rows,
)

__all__ = [
    "ECE_BINS",
    "METRICS",
    "Metric",
    "average_precision",
    "base_rate",
    "brier",
    "calibration_error",
    "check_bins",
    "log_loss",
    "roc_auc",
    "squared_calibration_error",
]

Evaluator = Callable[[Floats], float]

ECE_BINS = 15
"""Bins of the metric `ece`, the number of Guo, Pleiss, Sun & Weinberger (2017)."""


class Metric(NamedTuple):
    """A metric by its name, with what a gate, a chart or an interval has to know about it."""

    name: str
    """Name in project files and evidence."""
    label: str
    """Name for people."""
    function: Callable[..., float]
    """`function(y, p, weights)`; checks its input."""
    prepare: Callable[[Floats, Floats], Evaluator]
    """`prepare(y, p)(weights)`: sorts once, then linear time for any weights; checks nothing but the classes."""
    greater_is_better: bool | None
    """None where no direction is better, as for the base rate."""
    needs_both_classes: bool
    """Whether the metric is undefined on rows of one class, which raises `OneClassError`."""
    lowest: float
    """Smallest possible value."""
    highest: float
    """Largest possible value; infinite where there is none."""
    bins: int | None = None
    """Bins, for a calibration error; its bounds need the signed gaps inside them."""
    leave_one_out: LeaveOneOut | None = None
    """A way to leave out each group in turn that is quicker than one evaluation for each."""
    check: Callable[..., Rows] = check_rows
    """`check(y, p)`: the rows, or a refusal of what is none."""


def roc_auc(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Probability that a positive row scores above a negative one; ties count one half. In [0, 1].

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.

    Raises:
        OneClassError: if the rows of positive weight have one class.

    References:
        Bamber (1975), J. Math. Psychology 12(4), 387–415; Hanley & McNeil (1982), Radiology 143(1), 29–36.

    Example:
        >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    return _evaluate(_prepare_roc_auc, y, p, weights)


def average_precision(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Sum of precision times the step in recall, over falling distinct scores, without interpolation. In (0, 1].

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.

    Raises:
        OneClassError: if the rows of positive weight have one class.

    References:
        Boyd, Eng & Page (2013), ECML PKDD, section 2; ties
        enter together, as in scikit-learn.

    Example:
        >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.8333
    """
    return _evaluate(_prepare_average_precision, y, p, weights)


def log_loss(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean negative log likelihood, in nats. At least 0.

    Probabilities are clipped to [e, 1 - e], with e the machine epsilon of float64, as in scikit-learn: a certain and
    wrong prediction costs 36.04 nats instead of infinity.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.

    References:
        Good (1952), JRSS B 14(1), 107–114.

    Example:
        >>> round(log_loss([0, 1], [0.2, 0.5]), 4)
        0.4581
    """
    return _evaluate(_prepare_log_loss, y, p, weights)


def brier(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean squared difference of probability and label. In [0, 1].

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.

    References:
        Brier (1950), Monthly Weather Review 78(1), eq. 2, halved for two classes.

    Example:
        >>> round(brier([0, 1], [0.2, 0.5]), 4)
        0.145
    """
    return _evaluate(_prepare_brier, y, p, weights)


def base_rate(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Share of positive rows. In [0, 1]; the probabilities are checked, and do not matter.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.

    Example:
        >>> base_rate([0, 1, 1, 1], [0.5, 0.5, 0.5, 0.5])
        0.75
    """
    return _evaluate(_prepare_base_rate, y, p, weights)


def calibration_error(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None, *, bins: int = ECE_BINS) -> float:
    """Expected calibration error: mean absolute difference of mean probability and observed rate over bins. In [0, 1].

    This is the plain estimator of the literature on bins of equal mass, and it is biased upward: by noise alone a
    perfectly calibrated model has about `sqrt(2 bins mean(p (1 - p)) / (pi rows))`. No estimator without that bias
    exists, as an expectation over binomial counts is a polynomial in the rates and an absolute value is not. Judge it
    on `sterling.stats.intervals`, whose bounds allow for the bias, or estimate `squared_calibration_error`.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.
        bins: Number of bins of equal mass, at least 1; see `calibration_bins`.

    References:
        Naeini, Cooper & Hauskrecht (2015), AAAI 29; Guo et al. (2017), ICML, eq. 3;
        equal mass: Nixon et al. (2019), CVPR workshops. Bias: Bröcker (2012), Climate Dynamics 39;
        Roelofs et al. (2022), AISTATS.

    Example:
        >>> round(calibration_error([0, 0, 1, 1], [0.1, 0.3, 0.6, 0.8], bins=2), 4)
        0.25
    """
    check_bins(bins)
    return _evaluate(lambda labels, probabilities: _prepare_ece(labels, probabilities, bins), y, p, weights)


def squared_calibration_error(
    y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None, *, bins: int = ECE_BINS
) -> float:
    """Squared calibration error over bins of equal mass, without the bias of sampling. May be below 0.

    Unbiased for the mean over rows of (mean probability of the bin - mean true rate of the bin)², given the
    probabilities, where rows are independent and equally risky inside a bin; where risks differ inside a bin, or rows
    are correlated, the correction is inexact (the first over-corrects, by the variance of risk over the bin's rows).
    Bins with one row cannot be corrected, and are left out with their mass.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        weights: Multiplicities, shape (rows,); 1 each by default.
        bins: Number of bins of equal mass, at least 1.

    Raises:
        BadRowsError: if no bin has two rows.

    References:
        Kumar, Liang & Ma (2019), NeurIPS 32, section 4 (the debiased estimator); Bröcker (2012), Climate Dynamics
        39; Ferro & Fricker (2012), QJRMS 138.

    Example:
        >>> squared_calibration_error([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], bins=1)
        -0.08333333333333333
    """
    check_bins(bins)
    rows = check_rows(y, p, weights)
    bin_of = calibration_bins(rows.p, rows.weights, bins)
    mass = bin_sums(rows.weights, bin_of, bins)
    predicted, observed = bin_sums(rows.weights * rows.p, bin_of, bins), bin_sums(rows.weights * rows.y, bin_of, bins)
    usable = mass > 1
    if not usable.any():
        raise BadRowsError(f"No bin has two rows: {len(rows.y)} rows in {bins} bins. Use fewer bins or more rows.")
    mass, rate = mass[usable], observed[usable] / mass[usable]
    gap = (predicted[usable] - observed[usable]) / mass
    return float(np.sum(mass * (gap**2 - rate * (1 - rate) / (mass - 1))) / np.sum(mass))


def _evaluate(
    prepare: Callable[[Floats, Floats], Evaluator], y: ArrayLike, p: ArrayLike, weights: ArrayLike | None
) -> float:
    rows = check_rows(y, p, weights)
    return prepare(rows.y, rows.p)(rows.weights)


def _prepare_roc_auc(y: Floats, p: Floats) -> Evaluator:
    order = Ordered(p)

    def evaluate(weights: Floats) -> float:
        positive, negative = order.by_step(weights * y), order.by_step(weights * (1 - y))
        below = np.cumsum(negative)
        positives, negatives = _both_classes(float(positive.sum()), float(below[-1]), "ROC AUC")
        return float(positive @ (below - negative / 2)) / (positives * negatives)

    return evaluate


def _prepare_average_precision(y: Floats, p: Floats) -> Evaluator:
    order = Ordered(-p)

    def evaluate(weights: Floats) -> float:
        positive, mass = order.by_step(weights * y), order.by_step(weights)
        found, seen = np.cumsum(positive), np.cumsum(mass)
        positives, _ = _both_classes(float(found[-1]), float(seen[-1] - found[-1]), "Average precision")
        precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
        return float(positive @ precision) / positives

    return evaluate


def _prepare_log_loss(y: Floats, p: Floats) -> Evaluator:
    return _mean_of(_surprise(y, p))


def _surprise(y: Floats, p: Floats) -> Floats:
    epsilon = float(np.finfo(np.float64).eps)
    clipped = np.clip(p, epsilon, 1 - epsilon)
    surprise: Floats = -np.log(np.where(y == 1, clipped, 1 - clipped))
    return surprise


def _prepare_brier(y: Floats, p: Floats) -> Evaluator:
    return _mean_of(_squared_error(y, p))


def _squared_error(y: Floats, p: Floats) -> Floats:
    return (p - y) ** 2


def _prepare_base_rate(y: Floats, p: Floats) -> Evaluator:
    del p
    return _mean_of(y)


def _mean_of(values: Floats) -> Evaluator:
    return lambda weights: float(weights @ values) / float(weights.sum())


def _prepare_ece(y: Floats, p: Floats, bins: int = ECE_BINS) -> Evaluator:
    order, gaps = Ordered(p), p - y

    def evaluate(weights: Floats) -> float:
        mass, gap = order.by_step(weights), order.by_step(weights * gaps)
        of_bins = bin_sums(gap, bins_of_steps(mass, bins), bins)
        return float(np.abs(of_bins).sum()) / float(mass.sum())

    return evaluate


def _both_classes(positives: float, negatives: float, metric: str) -> tuple[float, float]:
    if positives <= 0 or negatives <= 0:
        only = "negative" if positives <= 0 else "positive"
        raise OneClassError(f"{metric} is undefined: every row is {only}. It needs rows of both classes.")
    return positives, negatives


def check_bins(bins: int) -> None:
    """Refuse a number of bins below 1."""
    if bins < 1:
        raise BadRowsError(f"{bins} bins. Calibration needs at least one; {ECE_BINS} is usual.")


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                "roc_auc",
                "ROC AUC",
                roc_auc,
                _prepare_roc_auc,
                greater_is_better=True,
                needs_both_classes=True,
                lowest=0.0,
                highest=1.0,
                leave_one_out=leave_one_out_roc_auc,
            ),
            Metric(
                "average_precision",
                "Average precision",
                average_precision,
                _prepare_average_precision,
                greater_is_better=True,
                needs_both_classes=True,
                lowest=0.0,
                highest=1.0,
                leave_one_out=leave_one_out_average_precision,
            ),
            Metric(
                "log_loss",
                "Log loss",
                log_loss,
                _prepare_log_loss,
                greater_is_better=False,
                needs_both_classes=False,
                lowest=0.0,
                highest=float("inf"),
                leave_one_out=leave_one_out_mean(_surprise),
            ),
            Metric(
                "brier",
                "Brier score",
                brier,
                _prepare_brier,
                greater_is_better=False,
                needs_both_classes=False,
                lowest=0.0,
                highest=1.0,
                leave_one_out=leave_one_out_mean(_squared_error),
            ),
            Metric(
                "ece",
                f"Expected calibration error ({ECE_BINS} bins of equal mass)",
                calibration_error,
                _prepare_ece,
                greater_is_better=False,
                needs_both_classes=False,
                lowest=0.0,
                highest=1.0,
                bins=ECE_BINS,
            ),
            Metric(
                "base_rate",
                "Base rate",
                base_rate,
                _prepare_base_rate,
                greater_is_better=None,
                needs_both_classes=False,
                lowest=0.0,
                highest=1.0,
                leave_one_out=leave_one_out_mean(lambda y, _: y),
            ),
        )
    }
)
