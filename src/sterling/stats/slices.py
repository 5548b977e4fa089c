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

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sterling.stats.axes import Axis
from sterling.stats.intervals import FEWEST_CLUSTERS, TooFewClustersError
from sterling.stats.jackknife import merge_clusters
from sterling.stats.rows import Floats, Ints, OneClassError, bin_sums, check_rows, cluster_codes

__all__ = ["BadSlice", "Direction", "Search", "find_slices"]

Direction = Literal["too low", "too high", "too sure"]
FLIPS = 499
"""Random flips of all clusters; the test is exact at 5 % for any such number that makes (flips + 1) / 20 whole."""
LEAST_INFORMATION = 10.0
"""Variance of the number of positives that a segment needs at least; below it a sum is too skewed to be judged."""
_CHUNK, _MOST_LOOKED_AT = 4_096, 300
_NEAR_CERTAIN, _MOST_STEPS = 1e-9, 50
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
    sample = _sample(rows.y, rows.p, *merge_clusters(codes, count), max(least_rows, int(least_share * len(rows.y))))
    flips = np.random.default_rng(seed).choice(np.array([-1.0, 1.0], np.float32), size=(FLIPS, sample.groups))
    largest, judged = np.zeros(FLIPS, np.float32), list[_Judged]()
    for cells in _chunks(_cells(sample, axes)):
        np.maximum(largest, np.abs(flips @ cells.bias).max(axis=1, initial=0), out=largest)
        np.maximum(largest, (flips @ cells.sure).max(axis=1, initial=0), out=largest)
        judged += cells.judged()
    ordered = np.sort(largest)
    critical = float(ordered[min(FLIPS - 1, round((1 - error_rate) * (FLIPS + 1)) - 1)])
    beyond = sorted((one for one in judged if one.statistic > critical), key=lambda one: -one.statistic)
    found = tuple(_one_by_one(sample, axes, beyond[:_MOST_LOOKED_AT], ordered, critical, most))
    return Search(found, len(judged), float(sample.weights[0]), float(sample.weights[1]))


class _Sample(NamedTuple):
    y: Floats
    p: Floats
    odds: Floats
    """Log odds of the scores."""
    group: Ints
    groups: int
    least: int
    design: Floats
    """Columns of the correction: intercept and slope of all rows, then those of segments that are corrected apart."""
    weights: Floats
    """Weights of these columns."""
    corrected: Floats
    """Scores after the correction."""
    residual: Floats
    """Label minus corrected score."""
    variance: Floats
    """Variance of the residual of a row whose corrected score is right."""
    extreme: Floats
    """Corrected log odds less their mean, by variance."""


_Place = tuple[tuple[str, ...], tuple[int, ...]]
"""Axes, and their values."""


class _Judged(NamedTuple):
    axes: tuple[str, ...]
    values: tuple[int, ...]
    direction: Direction
    statistic: float


class _Cells(NamedTuple):
    """Segments with their sums by group over their standard errors, shape (groups, segments)."""

    places: list[_Place]
    bias: Floats32
    sure: Floats32

    def judged(self) -> Iterator[_Judged]:
        """Each segment in the direction in which it is most wrong."""
        sums = self.bias.sum(axis=0).tolist(), self.sure.sum(axis=0).tolist()
        for (axes, values), bias, sure in zip(self.places, *sums, strict=True):
            if sure > abs(bias):
                yield _Judged(axes, values, "too sure", sure)
            else:
                yield _Judged(axes, values, "too low" if bias > 0 else "too high", abs(bias))


def _sample(y: Floats, p: Floats, group: Ints, groups: int, least: int) -> _Sample:
    inside = np.clip(p, _NEAR_CERTAIN, 1 - _NEAR_CERTAIN)
    none = np.empty(0)
    return _corrected(_Sample(y, p, np.log(inside / (1 - inside)), group, groups, least, *[none] * 6), [])


def _corrected(sample: _Sample, apart: list[Mask]) -> _Sample:
    """The rows with their scores corrected: all together, and some segments on top of that by themselves."""
    masks = [np.ones(len(sample.y)), *(mask.astype(np.float64) for mask in apart)]
    design = np.column_stack([column for mask in masks for column in (mask, mask * sample.odds)])
    weights, logit = _logistic(design, sample.y)
    corrected = 1 / (1 + np.exp(-logit))
    variance = corrected * (1 - corrected)
    extreme = logit - float(np.sum(variance * logit) / np.sum(variance))
    return sample._replace(
        design=design, weights=weights, corrected=corrected, residual=sample.y - corrected, variance=variance,
        extreme=extreme,
    )  # fmt: skip


def _logistic(design: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Weights and fitted log odds by Newton's method; the shortest weights where columns say the same."""
    weights = np.zeros(design.shape[1])
    for _ in range(_MOST_STEPS):
        fitted = 1 / (1 + np.exp(-np.clip(design @ weights, -40, 40)))
        spread = np.maximum(fitted * (1 - fitted), _NEAR_CERTAIN)
        step = np.linalg.lstsq(design.T @ (design * spread[:, None]), design.T @ (y - fitted), rcond=None)[0]
        weights = weights + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return weights, np.clip(design @ weights, -40, 40)


def _cells(sample: _Sample, axes: Mapping[str, Axis]) -> Iterator[_Cells]:
    whole = _whole(sample)
    for name, axis in axes.items():
        yield _sums(whole, axis.single, len(axis.names), (name,), 0)
    coarse = {name: axis for name, axis in axes.items() if len(axis.pair_names) > 1}
    for (left, one), (right, other) in combinations(coarse.items(), 2):
        width = len(other.pair_names)
        value = _crossed(one.pair, other.pair, width)
        yield _sums(whole, value, len(one.pair_names) * width, (left, right), width)


def _crossed(one: Ints, other: Ints, width: int) -> Ints:
    value = one * width + other
    return value if one.min() >= 0 and other.min() >= 0 else np.where((one < 0) | (other < 0), -1, value)


class _Whole(NamedTuple):
    """What the sums of every segment need of all rows."""

    sample: _Sample
    sure: Floats
    """Residual against how extreme the score is: positive where scores are more extreme than labels."""
    moments: tuple[Floats, Floats, Floats]
    """Variance of each row, times how extreme its score is to the power of 0, 1 and 2."""
    information: tuple[float, float]
    """What all rows know of intercept and slope; as scores are centred, each of its own."""
    scores: tuple[Floats, Floats]
    """Scores of intercept and slope by group, shape (groups, 1); each sums to 0."""


def _whole(sample: _Sample) -> _Whole:
    sure = -sample.residual * sample.extreme
    moments = sample.variance, sample.variance * sample.extreme, sample.variance * sample.extreme**2
    information = float(moments[0].sum()), max(float(moments[2].sum()), _NEAR_CERTAIN)
    by_group = (bin_sums(what, sample.group, sample.groups)[:, None] for what in (sample.residual, -sure))
    bias, slope = by_group
    return _Whole(sample, sure, moments, information, (bias, slope))


def _sums(whole: _Whole, value: Ints, count: int, axes: tuple[str, ...], width: int) -> _Cells:
    """The segments of a value each that are large enough, with their sums by group.

    What a segment's sum shares with intercept and slope is taken out, as these were fitted to the same rows; else a group's
    common effect, which the fit has removed from the sums, would come back when its sign is flipped.
    """
    sample, (level, slope) = whole.sample, whole.scores
    size, cell = (count + 1) * sample.groups, sample.group * (count + 1) + value + 1
    rows = np.bincount(cell, minlength=size).reshape(sample.groups, count + 1)[:, 1:]
    enough = (rows.sum(axis=0) >= sample.least) & ((rows > 0).sum(axis=0) >= FEWEST_CLUSTERS)
    enough &= rows.sum(axis=0) < len(value)
    if not enough.any():
        return _Cells([], *(np.empty((sample.groups, 0), np.float32) for _ in range(2)))
    none, first, second = (np.bincount(value + 1, moment, minlength=count + 1)[1:] for moment in whole.moments)
    kept = np.flatnonzero(enough & (none >= LEAST_INFORMATION)).tolist()
    none, first, second = none[kept], first[kept], second[kept]
    all_rows, spread = whole.information
    bias, sure = (
        np.bincount(cell, what, minlength=size).reshape(sample.groups, count + 1)[:, 1:][:, kept]
        for what in (sample.residual, whole.sure)
    )
    places: list[_Place] = [(axes, divmod(one, width) if width else (one,)) for one in kept]
    return _Cells(
        places,
        _normalised(
            bias - level * none / all_rows - slope * first / spread, none - none**2 / all_rows - first**2 / spread
        ),
        _normalised(
            sure + level * first / all_rows + slope * second / spread, second - first**2 / all_rows - second**2 / spread
        ),
    )


def _normalised(sums: Floats, variance: Floats) -> Floats32:
    """Sums by group over their standard error, which is at least that of independent rows whose scores are right.

    Without that floor a few rare labels, by chance all alike, would seem to be no chance.
    """
    return np.asarray(sums / _error(sums, variance), np.float32)


def _error(sums: Floats, variance: Floats) -> Floats:
    error: Floats = np.sqrt(np.maximum(np.sum(sums**2, axis=0), np.maximum(variance, _NEAR_CERTAIN)))
    return error


def _chunks(cells: Iterable[_Cells]) -> Iterator[_Cells]:
    """Many segments at a time, so that one product flips them all."""
    held, count = list[_Cells](), 0
    for one in cells:
        held.append(one)
        count += len(one.places)
        if count >= _CHUNK:
            yield _together(held)
            held, count = [], 0
    if count:
        yield _together(held)


def _together(cells: list[_Cells]) -> _Cells:
    places = [place for one in cells for place in one.places]
    return _Cells(places, np.hstack([one.bias for one in cells]), np.hstack([one.sure for one in cells]))


def _one_by_one(
    sample: _Sample, axes: Mapping[str, Axis], beyond: list[_Judged], ordered: Floats32, critical: float, most: int
) -> Iterator[BadSlice]:
    """The clearest segment, then what is still wrong once its scores are corrected apart from the others, and so on."""
    corrected = list[Mask]()
    while beyond and len(corrected) < most:
        first, inside = beyond[0], _inside(beyond[0], axes)
        yield _described(first, inside, sample, axes, ordered, critical)
        corrected.append(inside)
        sample = _corrected(sample, corrected)
        left = (_again(one, sample, axes) for one in beyond[1:])
        beyond = sorted((one for one in left if one.statistic > critical), key=lambda one: -one.statistic)


def _again(one: _Judged, sample: _Sample, axes: Mapping[str, Axis]) -> _Judged:
    """A segment once more, now that others are corrected apart."""
    inside = _inside(one, axes).astype(np.float64)
    bias, sure = (_normalised(*_effective(sample, inside * what)) for what in (1.0, -sample.extreme))
    return next(_Cells([(one.axes, one.values)], bias, sure).judged())


def _effective(sample: _Sample, direction: Floats) -> tuple[Floats, Floats]:
    """Sums by group of the score of a direction, shape (groups, 1), and its variance, without what the correction shares."""
    weighted = sample.design * sample.variance[:, None]
    shared = np.linalg.lstsq(sample.design.T @ weighted, weighted.T @ direction, rcond=None)[0]
    left = direction - sample.design @ shared
    sums = bin_sums(left * sample.residual, sample.group, sample.groups)
    return sums[:, None], np.array([np.sum(sample.variance * left**2)])


def _inside(one: _Judged, axes: Mapping[str, Axis]) -> Mask:
    if len(one.axes) == 1:
        return np.equal(axes[one.axes[0]].single, one.values[0])
    left, right = (np.equal(axes[name].pair, value) for name, value in zip(one.axes, one.values, strict=True))
    return np.logical_and(left, right)


def _described(
    one: _Judged,
    inside: NDArray[np.bool_],
    sample: _Sample,
    axes: Mapping[str, Axis],
    ordered: Floats32,
    critical: float,
) -> BadSlice:
    rows, residual, corrected = int(inside.sum()), sample.residual[inside], sample.corrected[inside]
    error = _error(*_effective(sample, inside.astype(np.float64)))
    gap, reach = float(residual.mean()), critical * float(error[0]) / rows
    logit = np.log(corrected / (1 - corrected))
    names = [axes[name].names if len(one.axes) == 1 else axes[name].pair_names for name in one.axes]
    return BadSlice(
        tuple((name, texts[value]) for name, texts, value in zip(one.axes, names, one.values, strict=True)),
        one.direction, rows, len(np.unique(sample.group[inside])), float(sample.y[inside].mean()),
        float(sample.p[inside].mean()), gap, gap - reach, gap + reach, float(np.mean(-residual * logit)),
        (1 + int((ordered >= one.statistic).sum())) / (FLIPS + 1),
    )  # fmt: skip
