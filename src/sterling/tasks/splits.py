"""Rolling-origin folds: train on what was known, judge the block that follows."""

from __future__ import annotations

from typing import NamedTuple

from sterling.project.recipe import TimeSeriesSplit
from sterling.project.times import micros


class Fold(NamedTuple):
    """One validation; times in microseconds, UTC.

    Attributes:
        number: 1 for the earliest.
        train_before: Training takes rows whose prediction and label both lie before this.
        start: Start of the judged block.
        end: Its end, which is no part of it.
    """

    number: int
    train_before: int
    start: int
    end: int


def rolling_origin(split: TimeSeriesSplit, holdout_start: int) -> tuple[Fold, ...]:
    """The folds before a holdout, earliest first; their blocks touch, and the last one ends where the holdout starts.

    Example:
        >>> day = 86_400_000_000
        >>> [(fold.train_before // day, fold.start // day, fold.end // day)
        ...  for fold in rolling_origin(TimeSeriesSplit(2, block="7d", gap="1d"), 100 * day)]
        [(85, 86, 93), (92, 93, 100)]
    """
    block, gap = micros(split.block), micros(split.gap)
    starts = [holdout_start - back * block for back in range(split.folds, 0, -1)]
    return tuple(Fold(number, start - gap, start, start + block) for number, start in enumerate(starts, start=1))
