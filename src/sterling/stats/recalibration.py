"""Calibration taken apart: the parts of the Brier score, and by how much predictions are off on the logit scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.intervals import FEWEST_CLUSTERS, NoVariationError, TooFewClustersError
from sterling.stats.jackknife import Spread, merge_clusters, spread_of_leave_one_out
from sterling.stats.metrics import ECE_BINS, check_bins
from sterling.stats.rows import Floats, Ints, OneClassError, bin_sums, calibration_bins, check_rows, cluster_codes

__all__ = ["CLIP", "BrierParts", "Reached", "Recalibration", "brier_parts", "mean_gap", "recalibration"]

CLIP = 1e-6
"""Probabilities nearer to 0 or 1 than this are taken as this far from it, as their logit would outweigh all others."""
_STEPS = 50


class BrierParts(NamedTuple):
    """What a Brier score is made of: ``reliability - resolution + uncertainty + within``."""

    brier: float
    """The score."""
    reliability: float
    """Mean squared gap of prediction and observed rate over bins; 0 is calibrated. Corrected, it may be below 0."""
    resolution: float
    """Mean squared distance of the bins' observed rates from the overall rate: what the model tells apart."""
    uncertainty: float
    """Variance of the label: the score of predicting the overall rate."""
    within: float
    """What is left because predictions differ inside a bin; small where bins are narrow."""
    bins: int
    """Bins that have rows."""


class Reached(NamedTuple):
    """An estimate with a two-sided interval."""

    value: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


class Recalibration(NamedTuple):
    """How predictions would have to be moved on the logit scale."""

    intercept: Reached
    """What has to be added to the log odds, their slope left alone; 0 is right on average, above 0 is too low."""
    slope: Reached
    """What the log odds have to be multiplied with, with an intercept of its own; below 1 is overconfident."""
    confidence: float
    """Confidence of each interval."""
    clusters: int
    """Number of clusters."""


def brier_parts(y: ArrayLike, p: ArrayLike, *, bins: int = ECE_BINS, corrected: bool = True) -> BrierParts:
    """Take a Brier score apart over bins of equal mass.

    Reliability and resolution of finitely many rows are both too large by the variance of the bins' rates, and uncertainty
    too small by that of the overall rate; corrected, each is unbiased for independent rows, and their sum is the same.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        bins: Number of bins of equal mass, at least 1; see `calibration_bins`.
        corrected: Whether the parts are corrected for their bias. Bins of one row cannot be, and stay as they are.

    Raises:
        BadRowsError: if the rows are no evaluation; see `check_rows`.

    References:
        Murphy (1973), J. Applied Meteorology 12(4), 595–600; inside bins: Stephenson, Coelho & Jolliffe (2008), Weather and
        Forecasting 23(4), 752–757. Correction: Bröcker (2012), Climate Dynamics 39, 655–667; Ferro & Fricker (2012), QJRMS
        138, 1954–1960, eqs. 7–9.

    Example:
        >>> parts = brier_parts([0, 0, 1, 1], [0.1, 0.1, 0.6, 0.6], bins=2, corrected=False)
        >>> [round(part, 3) for part in parts[:5]]
        [0.085, 0.085, 0.25, 0.25, 0.0]
    """
    check_bins(bins)
    rows = check_rows(y, p)
    bin_of = calibration_bins(rows.p, rows.weights, bins)
    mass, happened, said = (bin_sums(of, bin_of, bins) for of in (rows.weights, rows.y, rows.p))
    used = mass > 0
    mass, rate, predicted = mass[used], happened[used] / mass[used], said[used] / mass[used]
    total, overall = float(mass.sum()), float(rows.y.mean())
    reliability = float(mass @ (predicted - rate) ** 2) / total
    resolution = float(mass @ (rate - overall) ** 2) / total
    uncertainty, score = overall * (1 - overall), float(np.mean((rows.p - rows.y) ** 2))
    within = score - (reliability - resolution + uncertainty)
    if corrected:
        several = mass > 1
        noise = float(np.sum((mass * rate * (1 - rate))[several] / (mass[several] - 1))) / total
        of_overall = overall * (1 - overall) / (total - 1) if total > 1 else 0.0
        reliability, resolution = reliability - noise, resolution - noise + of_overall
        uncertainty += of_overall
    return BrierParts(score, reliability, resolution, uncertainty, within, int(used.sum()))


def recalibration(y: ArrayLike, p: ArrayLike, clusters: ArrayLike, *, confidence: float = 0.95) -> Recalibration:
    """Intercept and slope of a logistic regression of the label on the log odds of the prediction.

    Each is left out cluster by cluster, by one Newton step from the estimate of all rows with the cluster's own score and
    information taken away, and has the bounds of `jackknife`.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        confidence: Confidence of each interval, in (0, 1).

    Raises:
        BadRowsError: if the rows are no evaluation; see `check_rows`.
        OneClassError: if every row has the same label.
        NoVariationError: if every prediction is the same, or predictions separate the labels.
        TooFewClustersError: with fewer than `FEWEST_CLUSTERS` clusters.

    References:
        Cox (1958), Biometrika 45(3/4), 562–565; Miller, Hui & Tierney (1991), Statistics in Medicine 10(8), 1213–1226; as
        levels of calibration: Van Calster et al. (2016), J. Clinical Epidemiology 74, 167–176. One-step deletion:
        Pregibon (1981), Annals of Statistics 9(4), 705–724.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> odds, day = rng.normal(size=4000), np.repeat(np.arange(40), 100)
        >>> y = rng.random(4000) < 1 / (1 + np.exp(-odds))
        >>> found = recalibration(y, 1 / (1 + np.exp(-2 * odds)), day)
        >>> round(found.slope.value, 1), found.slope.high < 1, found.intercept.low < 0 < found.intercept.high
        (0.5, True, True)
    """
    rows = check_rows(y, p)
    codes, count = cluster_codes(clusters, len(rows.y))
    if count < FEWEST_CLUSTERS:
        raise TooFewClustersError(f"{count} clusters. An interval needs at least {FEWEST_CLUSTERS}.")
    if rows.y.min() == rows.y.max():
        raise OneClassError("Calibration cannot be moved towards rows of one class.")
    groups, group_count = merge_clusters(codes, count)
    clipped = np.clip(rows.p, CLIP, 1 - CLIP)
    odds = np.log(clipped / (1 - clipped))
    one = np.ones((len(odds), 1))
    tail = (1 - confidence) / 2
    intercept, of_intercept = _fit(one, odds, rows.y, groups, group_count)
    if odds.min() == odds.max():
        raise NoVariationError("Every prediction is the same, so that there is no slope.")
    both, of_both = _fit(np.column_stack([one, odds]), np.zeros(len(odds)), rows.y, groups, group_count)
    return Recalibration(
        _reached(float(intercept[0]), of_intercept[0], tail),
        _reached(float(both[1]), of_both[1], tail),
        confidence,
        count,
    )


def mean_gap(y: ArrayLike, p: ArrayLike, clusters: ArrayLike, *, confidence: float = 0.95) -> Reached:
    """The mean prediction minus the share that happened, with its interval.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Probabilities of label 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        confidence: Confidence of the interval, in (0, 1).

    Raises:
        BadRowsError: if the rows are no evaluation; see `check_rows`.
        TooFewClustersError: with fewer than `FEWEST_CLUSTERS` clusters.

    Example:
        >>> gap = mean_gap(np.tile([0, 1, 0, 0, 1], 10), np.full(50, 0.5), np.repeat(np.arange(10), 5))
        >>> round(gap.value, 3)
        0.1
    """
    rows = check_rows(y, p)
    codes, count = cluster_codes(clusters, len(rows.y))
    if count < FEWEST_CLUSTERS:
        raise TooFewClustersError(f"{count} clusters. An interval needs at least {FEWEST_CLUSTERS}.")
    groups, group_count = merge_clusters(codes, count)
    sums, mass = bin_sums(rows.p - rows.y, groups, group_count), bin_sums(rows.weights, groups, group_count)
    spread = spread_of_leave_one_out((sums.sum() - sums) / (mass.sum() - mass))
    return _reached(float(sums.sum() / mass.sum()), spread, (1 - confidence) / 2)


def _reached(value: float, spread: Spread, tail: float) -> Reached:
    return Reached(value, value - spread.below(tail), value + spread.above(tail))


def _fit(design: Floats, offset: Floats, y: Floats, groups: Ints, count: int) -> tuple[Floats, list[Spread]]:
    """Coefficients of a logistic regression, and how far each may lie from the truth."""
    size = design.shape[1]
    found = np.zeros(size) if size == 1 else np.eye(size)[-1]
    for _ in range(_STEPS):
        risk = _risk(design @ found + offset)
        step = np.linalg.solve(_information(design, risk), design.T @ (y - risk))
        found = found + step
        if not np.isfinite(found).all() or np.abs(found).max() > 1 / CLIP:
            break
        if np.abs(step).max() < 1e-10:
            return found, _spreads(design, found, offset, y, groups, count)
    raise NoVariationError("Predictions separate the labels, so that no finite slope is best. Use more data.")


def _spreads(design: Floats, found: Floats, offset: Floats, y: Floats, groups: Ints, count: int) -> list[Spread]:
    risk, size = _risk(design @ found + offset), design.shape[1]
    left = y - risk
    score = np.stack([bin_sums(design[:, a] * left, groups, count) for a in range(size)], axis=1)
    weight = risk * (1 - risk)
    own = np.empty((count, size, size))
    for a in range(size):
        for b in range(size):
            own[:, a, b] = bin_sums(weight * design[:, a] * design[:, b], groups, count)
    without = found - np.linalg.solve(own.sum(axis=0) - own, score[:, :, None])[:, :, 0]
    return [spread_of_leave_one_out(column) for column in without.T]


def _information(design: Floats, risk: Floats) -> Floats:
    information: Floats = (design * (risk * (1 - risk))[:, None]).T @ design
    return information


def _risk(odds: Floats) -> Floats:
    risk: Floats = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
    return risk
