"""Segments in which a model is wrong, found by search, with the chance of finding one where there is none held down.

A segment with a high loss need not be the model's fault: where labels are near coin flips, the best model has a high
loss. So a segment is called bad where labels deviate from what the model itself says of its rows, after one correction
of all its scores together (intercept and slope on the log odds): labels come up more often than it says (too low), less
often (too high), or its scores are more extreme than what happens (too sure). A calibrated model has no such segment.

Every value of every feature and every pair of values is tried. The sums of residuals by cluster are symmetric about 0
where a segment is not bad; the largest of all sums over their standard errors is compared with the largest after the signs of whole
clusters are flipped at random, for all segments together, so that how they overlap is taken into account.

References:
    What a bad segment is: Hébert-Johnson, Kim, Reingold & Rothblum (2018), ICML, multicalibration; correction: Cox (1958),
    Biometrika 45, 562–565. Largest statistic: Westfall & Young (1993), Resampling-Based Multiple Testing, section 2.6;
    Romano & Wolf (2005), JASA 100, 94–108. Flipped signs: Canay, Romano & Shaikh (2017), Econometrica
    85(3), 1013–1030, of clusters; Hemerik, Goeman & Finos (2020), JRSS B 82(3), 841–864, of scores whose correction was fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sterling.stats.axes import Axis
from sterling.stats.intervals import FEWEST_CLUSTERS, TooFewClustersError
from sterling.stats.jackknife import merge_clusters
from sterling.stats.rows import OneClassError, check_rows, cluster_codes
from sterling.stats.segments import (
    Cells,
    Direction,
    Judged,
    Sample,
    Shared,
    cells_in_chunks,
    correct,
    effective,
    normalised,
    sample_of,
    shared_by,
    standard_error,
)  # fmt: skip

__all__ = ["FLIPS", "BadSlice", "Search", "find_slices"]

FLIPS = 499
"""Random flips of all clusters; the test is exact at 5 % for any such number that makes (flips + 1) / 20 whole."""
_MOST_LOOKED_AT = 200
Floats32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


class BadSlice(NamedTuple):
    """A segment in which the model is wrong."""

    where: tuple[tuple[str, str], ...]
    """Feature and value, one or two of them."""
    direction: Direction
    """In which way it is wrong."""
    rows: int
    """Rows in the segment."""
    clusters: int
    """Clusters, or groups of clusters, among them."""
    observed: float
    """Share of positive rows."""
    predicted: float
    """Mean score, as the model gave it."""
    gap: float
    """Observed share minus the mean score after the correction of all scores together."""
    low: float
    """Lower end of the gap's interval, which holds for all segments at once."""
    high: float
    """Upper end of it."""
    excess: float
    """Log loss above what the corrected scores say that it would be, in nats a row."""
    p_value: float
    """Chance of a largest statistic like this one where no segment is bad, in (0, 1]."""


class Search(NamedTuple):
    """What a search found."""

    found: tuple[BadSlice, ...]
    """Bad segments, the clearest first; each is still wrong when those before it are corrected."""
    tried: int
    """Segments that were judged, each in three directions."""
    intercept: float
    """Correction of all scores: log odds at even odds of the model."""
    slope: float
    """Correction of all scores: log odds for each of the model's; below 1 where it is too sure everywhere."""


def find_slices(
    y: ArrayLike,
    p: ArrayLike,
    clusters: ArrayLike,
    axes: Mapping[str, Axis],
    *,
    error_rate: float = 0.05,
    least_rows: int = 100,
    least_share: float = 0.01,
    most: int = 10,
    seed: int = 0,
) -> Search:
    """Search every value of every feature, and every pair of values, for bad segments.

    Where no segment is bad, any is found with probability ``error_rate`` at most, as far as sums of residuals by cluster
    are symmetric; simulated in docs/statistics.md. Where some are, the chance of naming any other one is bounded alike.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Scores, probabilities of label 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        axes: Features, cut into values.
        error_rate: Chance of finding a segment where there is none, in (0, 1).
        least_rows: Rows of the smallest segment that matters.
        least_share: The same as a share of all rows; the larger of both counts.
        most: Segments that are named at most.
        seed: Seed of the flips.

    Raises:
        TooFewClustersError: with fewer than `FEWEST_CLUSTERS` clusters.
        OneClassError: if all labels are alike.
        BadRowsError: if the rows are no evaluation.

    Example:
        >>> from sterling.stats.axes import category_axis
        >>> rng = np.random.default_rng(0)
        >>> p, carrier = rng.uniform(0.1, 0.5, 6_000), rng.integers(0, 5, 6_000)
        >>> y = rng.random(6_000) < np.where(carrier == 3, p + 0.2, p)
        >>> found, = find_slices(y, p, np.arange(6_000) // 200, {"carrier": category_axis(carrier, "ABCDE")}).found
        >>> found.where, found.direction, found.p_value
        ((('carrier', 'D'),), 'too low', 0.002)
    """
    rows = check_rows(y, p)
    codes, count = cluster_codes(clusters, len(rows.y))
    if count < FEWEST_CLUSTERS:
        raise TooFewClustersError(f"{count} clusters. A search for bad segments needs at least {FEWEST_CLUSTERS}.")
    if rows.y.min() == rows.y.max():
        raise OneClassError(f"All {len(rows.y):,} labels are {rows.y[0]:g}. A search for bad segments needs both.")
    sample = sample_of(rows.y, rows.p, *merge_clusters(codes, count), max(least_rows, int(least_share * len(rows.y))))
    flips = np.random.default_rng(seed).choice(np.array([-1.0, 1.0], np.float32), size=(FLIPS, sample.groups))
    largest, judged = np.zeros(FLIPS, np.float32), list[Judged]()
    for cells in cells_in_chunks(sample, axes):
        np.maximum(largest, np.abs(flips @ cells.bias).max(axis=1, initial=0), out=largest)
        np.maximum(largest, (flips @ cells.sure).max(axis=1, initial=0), out=largest)
        judged += cells.judged()
    ordered = np.sort(largest)
    critical = float(ordered[min(FLIPS - 1, round((1 - error_rate) * (FLIPS + 1)) - 1)])
    beyond = sorted((one for one in judged if one.statistic > critical), key=lambda one: -one.statistic)
    found = tuple(_one_by_one(sample, axes, beyond[:_MOST_LOOKED_AT], ordered, critical, most))
    return Search(found, len(judged), float(sample.weights[0]), float(sample.weights[1]))


def _one_by_one(
    sample: Sample, axes: Mapping[str, Axis], beyond: list[Judged], ordered: Floats32, critical: float, most: int
) -> Iterator[BadSlice]:
    """The clearest segment, then what is still wrong once its scores are corrected apart from the others, and so on."""
    corrected = list[Mask]()
    while beyond and len(corrected) < most:
        first, inside = beyond[0], _inside(beyond[0], axes)
        yield _described(first, inside, sample, axes, ordered, critical)
        corrected.append(inside)
        sample = correct(sample, corrected)
        shared = shared_by(sample)
        left = (_again(one, sample, shared, axes) for one in beyond[1:])
        beyond = sorted((one for one in left if one.statistic > critical), key=lambda one: -one.statistic)


def _again(one: Judged, sample: Sample, shared: Shared, axes: Mapping[str, Axis]) -> Judged:
    """A segment once more, now that others are corrected apart."""
    inside = np.flatnonzero(_inside(one, axes))
    directions = np.ones(len(inside)), -sample.extreme[inside]
    bias, sure = (normalised(*effective(sample, shared, inside, direction)) for direction in directions)
    return next(Cells([(one.axes, one.values)], bias, sure).judged())


def _inside(one: Judged, axes: Mapping[str, Axis]) -> Mask:
    if len(one.axes) == 1:
        return np.equal(axes[one.axes[0]].single, one.values[0])
    left, right = (np.equal(axes[name].pair, value) for name, value in zip(one.axes, one.values, strict=True))
    return np.logical_and(left, right)


def _described(
    one: Judged,
    inside: NDArray[np.bool_],
    sample: Sample,
    axes: Mapping[str, Axis],
    ordered: Floats32,
    critical: float,
) -> BadSlice:
    rows, residual, corrected = int(inside.sum()), sample.residual[inside], sample.corrected[inside]
    places = np.flatnonzero(inside)
    error = standard_error(*effective(sample, shared_by(sample), places, np.ones(rows)))
    gap, reach = float(residual.mean()), critical * float(error[0]) / rows
    logit = np.log(corrected / (1 - corrected))
    names = [axes[name].names if len(one.axes) == 1 else axes[name].pair_names for name in one.axes]
    return BadSlice(
        tuple((name, texts[value]) for name, texts, value in zip(one.axes, names, one.values, strict=True)),
        one.direction, rows, len(np.unique(sample.group[inside])), float(sample.y[inside].mean()),
        float(sample.p[inside].mean()), gap, gap - reach, gap + reach, float(np.mean(-residual * logit)),
        (1 + int((ordered >= one.statistic).sum())) / (FLIPS + 1),
    )  # fmt: skip
