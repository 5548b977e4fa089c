"""Sums of residuals of segments by cluster: the statistics that a search for bad segments goes by.

What a segment's sum shares with the correction of all scores is taken out, as the correction was fitted to the same rows:
the efficient score of Hemerik, Goeman & Finos (2020), JRSS B 82(3), 841–864, eq. 4, whose signs can be flipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.stats.axes import Axis
from sterling.stats.intervals import FEWEST_CLUSTERS
from sterling.stats.rows import Floats, Ints, bin_sums

__all__ = [
    "LEAST_INFORMATION",
    "Cells",
    "Direction",
    "Judged",
    "Sample",
    "Shared",
    "cells_in_chunks",
    "correct",
    "effective",
    "normalised",
    "sample_of",
    "sample_of_numbers",
    "shared_by",
    "standard_error",
]

Direction = Literal["too low", "too high", "too sure"]
Floats32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
LEAST_INFORMATION = 10.0
"""Variance of the number of positives that a segment needs at least; below it a sum is too skewed to be judged."""
_CHUNK, _NEAR_CERTAIN, _MOST_STEPS = 4_096, 1e-9, 50


class Sample(NamedTuple):
    """Rows with their scores corrected, each array of shape (rows,)."""

    y: Floats
    """Labels."""
    p: Floats
    """Scores as the model gave them."""
    odds: Floats
    """Log odds of the scores."""
    group: Ints
    """Cluster, or group of clusters, of each row."""
    groups: int
    """How many there are."""
    least: int
    """Rows of the smallest segment that matters."""
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
    floor: Floats | None = None
    """Variance of the residual of each row as it is seen, where that is no function of the score; None where it is."""


_Place = tuple[tuple[str, ...], tuple[int, ...]]
"""Axes, and their values."""


class Judged(NamedTuple):
    """A segment in the direction in which it is most wrong."""

    axes: tuple[str, ...]
    """Features, one or two."""
    values: tuple[int, ...]
    """Their values, as places among the axes' names."""
    direction: Direction
    """In which way scores are wrong."""
    statistic: float
    """Sum of residuals over its standard error, 0 or more."""


class Cells(NamedTuple):
    """Segments with their sums by group over their standard errors, shape (groups, segments)."""

    places: list[_Place]
    """Axes of each segment, and their values."""
    bias: Floats32
    """Labels above scores."""
    sure: Floats32
    """Scores more extreme than labels."""

    def judged(self) -> Iterator[Judged]:
        """Each segment in the direction in which it is most wrong."""
        sums = self.bias.sum(axis=0).tolist(), self.sure.sum(axis=0).tolist()
        for (axes, values), bias, sure in zip(self.places, *sums, strict=True):
            if sure > abs(bias):
                yield Judged(axes, values, "too sure", sure)
            else:
                yield Judged(axes, values, "too low" if bias > 0 else "too high", abs(bias))


def sample_of(y: Floats, p: Floats, group: Ints, groups: int, least: int) -> Sample:
    """The rows with all scores corrected together.

    Args:
        y: Labels, shape (rows,).
        p: Scores, shape (rows,).
        group: Cluster, or group of clusters, of each row, shape (rows,).
        groups: How many there are.
        least: Rows of the smallest segment that matters.
    """
    inside = np.clip(p, _NEAR_CERTAIN, 1 - _NEAR_CERTAIN)
    none = np.empty(0)
    return correct(Sample(y, p, np.log(inside / (1 - inside)), group, groups, least, *[none] * 6), [])


def sample_of_numbers(y: Floats, p: Floats, group: Ints, groups: int, least: int, floor: Floats) -> Sample:
    """The rows of a number, in the unit of its residuals' deviation, with all predictions corrected together.

    Args:
        y: Labels, shape (rows,).
        p: Predictions, shape (rows,); all 0 where there is nothing to correct but the level.
        group: Cluster, or group of clusters, of each row, shape (rows,).
        groups: How many there are.
        least: Rows of the smallest segment that matters.
        floor: Variance of each row's residual, in the same unit, shape (rows,).
    """
    none = np.empty(0)
    return correct(Sample(y, p, p, group, groups, least, none, none, none, none, none, none, floor), [])


def correct(sample: Sample, apart: list[Mask]) -> Sample:
    """The rows with their scores corrected: all together, and some segments on top of that by themselves."""
    masks = [np.ones(len(sample.y)), *(mask.astype(np.float64) for mask in apart)]
    design = np.column_stack([column for mask in masks for column in (mask, mask * sample.odds)])
    if sample.floor is None:
        weights, logit = _logistic(design, sample.y)
        corrected = 1 / (1 + np.exp(-logit))
        variance = corrected * (1 - corrected)
    else:
        weights = np.linalg.lstsq(design.T @ design, design.T @ sample.y, rcond=None)[0]
        corrected = logit = design @ weights
        variance = np.ones(len(logit))
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


def cells_in_chunks(sample: Sample, axes: Mapping[str, Axis]) -> Iterator[Cells]:
    """Every segment that is large enough: of each value, and of each pair of values."""
    return _chunks(_cells(sample, axes))


def _cells(sample: Sample, axes: Mapping[str, Axis]) -> Iterator[Cells]:
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

    sample: Sample
    sure: Floats
    """Residual against how extreme the score is: positive where scores are more extreme than labels."""
    moments: tuple[Floats, Floats, Floats]
    """Variance of each row, times how extreme its score is to the power of 0, 1 and 2."""
    information: tuple[float, float]
    """What all rows know of intercept and slope; as scores are centred, each of its own."""
    scores: tuple[Floats, Floats]
    """Scores of intercept and slope by group, shape (groups, 1); each sums to 0."""


def _whole(sample: Sample) -> _Whole:
    sure = -sample.residual * sample.extreme
    moments = sample.variance, sample.variance * sample.extreme, sample.variance * sample.extreme**2
    information = float(moments[0].sum()), max(float(moments[2].sum()), _NEAR_CERTAIN)
    by_group = (bin_sums(what, sample.group, sample.groups)[:, None] for what in (sample.residual, -sure))
    bias, slope = by_group
    return _Whole(sample, sure, moments, information, (bias, slope))


def _sums(whole: _Whole, value: Ints, count: int, axes: tuple[str, ...], width: int) -> Cells:
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
        return Cells([], *(np.empty((sample.groups, 0), np.float32) for _ in range(2)))
    none, first, second = (np.bincount(value + 1, moment, minlength=count + 1)[1:] for moment in whole.moments)
    kept = np.flatnonzero(enough & (none >= LEAST_INFORMATION)).tolist()
    none, first, second = none[kept], first[kept], second[kept]
    all_rows, spread = whole.information
    bias, sure = (
        np.bincount(cell, what, minlength=size).reshape(sample.groups, count + 1)[:, 1:][:, kept]
        for what in (sample.residual, whole.sure)
    )
    wide: Floats | float = 1.0
    if sample.floor is not None:  # the rows' own variance instead of 1 each
        wide = np.bincount(value + 1, sample.floor, minlength=count + 1)[1:][kept] / none
    places: list[_Place] = [(axes, divmod(one, width) if width else (one,)) for one in kept]
    return Cells(
        places,
        normalised(
            bias - level * none / all_rows - slope * first / spread,
            wide * (none - none**2 / all_rows - first**2 / spread),
        ),
        normalised(
            sure + level * first / all_rows + slope * second / spread,
            wide * (second - first**2 / all_rows - second**2 / spread),
        ),
    )


def normalised(sums: Floats, variance: Floats) -> Floats32:
    """Sums by group over their standard error, which is at least that of independent rows whose scores are right.

    Without that floor a few rare labels, by chance all alike, would seem to be no chance.
    """
    return np.asarray(sums / standard_error(sums, variance), np.float32)


def standard_error(sums: Floats, variance: Floats) -> Floats:
    """Root of the sum of squares over groups, and at least that of the variance; shapes (groups, segments), (segments,)."""
    error: Floats = np.sqrt(np.maximum(np.sum(sums**2, axis=0), np.maximum(variance, _NEAR_CERTAIN)))
    return error


def _chunks(cells: Iterable[Cells]) -> Iterator[Cells]:
    """Many segments at a time, so that one product flips them all."""
    held, count = list[Cells](), 0
    for one in cells:
        held.append(one)
        count += len(one.places)
        if count >= _CHUNK:
            yield _together(held)
            held, count = [], 0
    if count:
        yield _together(held)


def _together(cells: list[Cells]) -> Cells:
    places = [place for one in cells for place in one.places]
    return Cells(places, np.hstack([one.bias for one in cells]), np.hstack([one.sure for one in cells]))


class Shared(NamedTuple):
    """What the columns of the correction know, to take it out of a segment's sums."""

    weighted: Floats
    """Columns times variance, shape (rows, columns)."""
    inverse: Floats
    """Inverse of their information, shape (columns, columns)."""
    scores: Floats
    """Their scores by group, shape (groups, columns)."""


def shared_by(sample: Sample) -> Shared:
    """What the columns of a sample's correction know."""
    weighted = sample.design * sample.variance[:, None]
    scores = [bin_sums(column * sample.residual, sample.group, sample.groups) for column in sample.design.T]
    return Shared(
        weighted,
        np.asarray(np.linalg.pinv(sample.design.T @ weighted, hermitian=True), np.float64),
        np.column_stack(scores),
    )


def effective(sample: Sample, shared: Shared, inside: Ints, direction: Floats) -> tuple[Floats, Floats]:
    """Sums by group of a direction's score, shape (groups, 1), and its variance, less what the correction's columns share.

    Args:
        sample: The rows.
        shared: What the columns of their correction know.
        inside: Rows in which the direction is not 0.
        direction: What it is there.
    """
    sums = bin_sums(direction * sample.residual[inside], sample.group[inside], sample.groups)
    common = shared.weighted[inside].T @ direction
    variance = np.sum(sample.variance[inside] * direction**2) - common @ shared.inverse @ common
    if sample.floor is not None:
        variance *= float(sample.floor[inside].mean())
    return (sums - shared.scores @ (shared.inverse @ common))[:, None], np.array([variance])
