"""The registry of aggregates: for each of them its properties, its answer from what is inside, and what it means.

A new aggregate is a class in `sterling.project.aggregates`, which says what is wanted, and one entry here. The contract
suite finds it by itself, and holds it against its meaning on random logs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.features.lanes import Run
from sterling.project.aggregates import (
    Aggregate,
    Count,
    CountDistinct,
    Max,
    Mean,
    Min,
    Pending,
    Sum,
    Variance,
)  # fmt: skip

if TYPE_CHECKING:
    from sterling.features.inside import Inside

Answers = NDArray[np.int64] | NDArray[np.float64]
Meaning = int | float | Fraction


class Operation(NamedTuple):
    """How an aggregate is computed, and what holds of it.

    Attributes:
        plan: ``sums``: what is inside is what entered minus what left, so events can be taken back. ``extremes``: sets of
            events have the answer of their union, but nothing can be taken back. ``distinct``: neither; every value is
            kept, within a budget.
        answer: The answers at all places; those with less than ``least`` values are null.
        online: The same answer for the end of a run, from an index on, which holds ``least`` values or more.
        least: How many values an answer needs; 0 where an empty window has one.
        result: ``whole``: int64. ``column``: int64 where the column is whole, else float64. ``float``: float64.
        meaning: The answer in plain Python, for the values of one window, at least ``least``. Numbers come as fractions;
            a fraction that is no float stands for the float nearest to it.
    """

    plan: Literal["sums", "extremes", "distinct"]
    answer: Callable[[Inside], Answers]
    online: Callable[[Run, int], int | float]
    least: int
    result: Literal["whole", "column", "float"]
    meaning: Callable[[Sequence[Any]], Meaning]


def _mean(inside: Inside) -> Answers:
    return inside.total / np.maximum(inside.count, 1)


def _variance_of(values: Sequence[Fraction]) -> Fraction:
    mean = sum(values, Fraction(0)) / len(values)
    return sum(((value - mean) ** 2 for value in values), Fraction(0)) / (len(values) - 1)


def _count_online(run: Run, first: int) -> int:
    return len(run.positions) - first


def _mean_online(run: Run, first: int) -> float:
    return float(run.total(first)) / (len(run.positions) - first)


def _min_online(run: Run, first: int) -> int | float:
    return run.extreme(first, least=True)


def _max_online(run: Run, first: int) -> int | float:
    return run.extreme(first, least=False)


OPERATIONS: Mapping[type[Aggregate], Operation] = MappingProxyType(
    {
        Count: Operation("sums", lambda inside: inside.count, _count_online, 0, "whole", len),
        Pending: Operation("sums", lambda inside: inside.count, _count_online, 0, "whole", len),
        Sum: Operation("sums", lambda inside: inside.total, Run.total, 1, "column", sum),
        Mean: Operation("sums", _mean, _mean_online, 1, "float", lambda values: float(sum(values)) / len(values)),
        Variance: Operation("sums", lambda inside: inside.variance, Run.variance, 2, "float", _variance_of),
        Min: Operation("extremes", lambda inside: inside.extreme(least=True), _min_online, 1, "column", min),
        Max: Operation("extremes", lambda inside: inside.extreme(least=False), _max_online, 1, "column", max),
        CountDistinct: Operation(
            "distinct", lambda inside: inside.distinct, Run.distinct, 0, "whole", lambda v: len(set(v))
        ),
    }
)
"""Every aggregate."""
