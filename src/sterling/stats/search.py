"""A search of segments for those whose residuals are no chance, whatever the residuals are of.

The largest of all sums over their standard errors is compared with the largest after the signs of whole clusters are
flipped at random, for all segments together; the clearest is named, its scores are corrected apart, and so on. See
`sterling.stats.slices` for what is proven and by whom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.stats.axes import Axis
from sterling.stats.rows import Ints
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
    shared_by,
    standard_error,
)  # fmt: skip

__all__ = ["DIRECTIONS", "FLIPS", "Named", "Searched", "search_segments"]

FLIPS = 499
"""Random flips of all clusters; the test is exact at 5 % for any such number that makes (flips + 1) / 20 whole."""
DIRECTIONS: frozenset[Direction] = frozenset({"too low", "too high", "too sure"})
_MOST_LOOKED_AT = 200
Floats32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Named(NamedTuple):
    """A segment whose residuals are no chance."""

    where: tuple[tuple[str, str], ...]
    """Feature and value, one or two of them."""
    direction: Direction
    """In which way they deviate."""
    inside: Mask
    """Rows in the segment, shape (rows,)."""
    sample: Sample
    """The rows, with the scores of all segments that were named before corrected apart."""
    clusters: int
    """Clusters, or groups of clusters, among its rows."""
    gap: float
    """Mean residual."""
    low: float
    """Lower end of its interval, which holds for all segments at once."""
    high: float
    """Upper end of it."""
    p_value: float
    """Chance of a largest statistic like this one where no segment is off, in (0, 1]."""


class Searched(NamedTuple):
    """What a search found."""

    named: tuple[Named, ...]
    """The segments, the clearest first."""
    tried: int
    """Segments that were judged."""


def search_segments(
    sample: Sample,
    axes: Mapping[str, Axis],
    *,
    error_rate: float,
    most: int,
    seed: int,
    directions: frozenset[Direction] = DIRECTIONS,
) -> Searched:
    """Look at every value of every feature, and every pair of values.

    Args:
        sample: The rows.
        axes: Features, cut into values.
        error_rate: Chance of naming a segment where none is off, in (0, 1).
        most: Segments that are named at most.
        seed: Seed of the flips.
        directions: In which ways a segment is looked at.
    """
    flips = np.random.default_rng(seed).choice(np.array([-1.0, 1.0], np.float32), size=(FLIPS, sample.groups))
    largest, judged = np.zeros(FLIPS, np.float32), list[Judged]()
    one_sided = "too high" not in directions
    for cells in cells_in_chunks(sample, axes):
        bias = flips @ cells.bias
        np.maximum(largest, (bias if one_sided else np.abs(bias)).max(axis=1, initial=0), out=largest)
        if "too sure" in directions:
            np.maximum(largest, (flips @ cells.sure).max(axis=1, initial=0), out=largest)
        judged += cells.judged()
    ordered = np.sort(largest)
    critical = float(ordered[min(FLIPS - 1, round((1 - error_rate) * (FLIPS + 1)) - 1)])
    beyond = sorted(_beyond(judged, critical, directions), key=lambda one: -one.statistic)
    found = _one_by_one(sample, axes, beyond[:_MOST_LOOKED_AT], ordered, critical, most, directions)
    return Searched(tuple(found), len(judged))


def _beyond(judged: list[Judged], critical: float, directions: frozenset[Direction]) -> Iterator[Judged]:
    return (one for one in judged if one.statistic > critical and one.direction in directions)


def _one_by_one(
    sample: Sample, axes: Mapping[str, Axis], beyond: list[Judged], ordered: Floats32, critical: float, most: int,
    directions: frozenset[Direction],
) -> Iterator[Named]:  # fmt: skip
    """The clearest segment, then what is still wrong once its scores are corrected apart from the others, and so on."""
    corrected = list[Mask]()
    while beyond and len(corrected) < most:
        first, inside = beyond[0], _inside(beyond[0], axes)
        yield _named(first, inside, sample, axes, ordered, critical)
        corrected.append(inside)
        sample = correct(sample, corrected)
        shared = shared_by(sample)
        left = [_again(one, sample, shared, axes) for one in beyond[1:]]
        beyond = sorted(_beyond(left, critical, directions), key=lambda one: -one.statistic)


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


def _named(
    one: Judged, inside: Mask, sample: Sample, axes: Mapping[str, Axis], ordered: Floats32, critical: float
) -> Named:
    places: Ints = np.flatnonzero(inside)
    error = standard_error(*effective(sample, shared_by(sample), places, np.ones(len(places))))
    gap, reach = float(sample.residual[inside].mean()), critical * float(error[0]) / len(places)
    names = [axes[name].names if len(one.axes) == 1 else axes[name].pair_names for name in one.axes]
    return Named(
        tuple((name, texts[value]) for name, texts, value in zip(one.axes, names, one.values, strict=True)),
        one.direction, inside, sample, len(np.unique(sample.group[inside])), gap, gap - reach, gap + reach,
        (1 + int((ordered >= one.statistic).sum())) / (FLIPS + 1),
    )  # fmt: skip
