"""Folds before a holdout: rolling origins, groups, and random ones; what was not known in time never trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError
from sterling.project.splits import GroupKFold, KFold, Split, StratifiedKFold, TimeSeriesSplit
from sterling.project.times import micros

Rows = NDArray[np.bool_]
MOST_CLASSES = 100


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


class Part(NamedTuple):
    """The rows of one validation."""

    number: int
    """1 for the first."""
    train: Rows
    """Shape (rows,): the rows that train."""
    judged: Rows
    """Shape (rows,): the rows that are judged."""
    block: Fold | None
    """The block in time, or None where time is ignored."""


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


def parts(
    split: Split,
    predict_at: NDArray[np.int64],
    known_before: Callable[[int], Rows],
    label: NDArray[np.float64],
    groups: NDArray[Any] | None,
    holdout_start: int,
    *,
    seed: int = 0,
) -> Iterator[Part]:
    """The folds of a split as rows.

    Only rows whose label was known before the holdout take part. Of a block in time, those train whose moment *and* label
    lie before the end of its training; a label that matured later, though its row lies before, never enters.

    Args:
        split: The split.
        predict_at: Shape (rows,): moments of prediction, microseconds.
        known_before: Which rows are predicted, and their labels known, before a moment.
        label: Shape (rows,): labels; NaN where there is none.
        groups: Shape (rows,): the group of each row, None where it has none; needed by `GroupKFold` alone.
        holdout_start: Start of the holdout.
        seed: Of random folds.

    Raises:
        DataError: if a row has no group, there are fewer groups or rows of a class than folds, or a label is no class.
    """
    usable = known_before(holdout_start)
    match split:
        case TimeSeriesSplit():
            yield from _blocks(split, predict_at, known_before, holdout_start)
        case GroupKFold():
            codes = _groups(split, groups, usable)
            if blocks := split.in_time():
                for part in _blocks(blocks, predict_at, known_before, holdout_start):
                    yield part._replace(train=part.train & ~np.isin(codes, codes[part.judged]))
            else:
                yield from _dealt(_deal_groups(codes, usable, split.folds), split.folds, usable)
        case StratifiedKFold():
            yield from _dealt(_deal_classes(label, usable, split.folds, seed), split.folds, usable)
        case KFold():
            yield from _dealt(_deal(usable, split.folds, seed), split.folds, usable)


def _blocks(
    split: TimeSeriesSplit, predict_at: NDArray[np.int64], known_before: Callable[[int], Rows], holdout_start: int
) -> Iterator[Part]:
    usable = known_before(holdout_start)
    for fold in rolling_origin(split, holdout_start):
        inside = (predict_at >= fold.start) & (predict_at < fold.end)
        yield Part(fold.number, known_before(fold.train_before), inside & usable, fold)


def _dealt(fold_of: NDArray[np.int64], folds: int, usable: Rows) -> Iterator[Part]:
    """Each fold judged by a model of all others; rows of no fold, -1, take no part."""
    for number in range(folds):
        judged = usable & (fold_of == number)
        yield Part(number + 1, usable & ~judged, judged, None)


def _deal(rows: Rows, folds: int, seed: int) -> NDArray[np.int64]:
    """Rows dealt at random, as evenly as can be."""
    places = np.flatnonzero(rows)
    fold_of = np.full(len(rows), -1)
    fold_of[np.random.default_rng(seed).permutation(places)] = np.arange(len(places)) % folds
    return fold_of


def _deal_classes(label: NDArray[np.float64], usable: Rows, folds: int, seed: int) -> NDArray[np.int64]:
    values, counts = np.unique(label[usable], return_counts=True)
    if len(values) > MOST_CLASSES:
        raise DataError(
            f"The label has {len(values):,} values before the holdout, too many for classes. StratifiedKFold keeps the share "
            "of each class; use KFold or TimeSeriesSplit for numbers."
        )
    if len(counts) and counts.min() < folds:
        raise DataError(
            f"{counts.min():,} labels before the holdout are {values[counts.argmin()]:g}, and StratifiedKFold has {folds} folds. "
            "Use fewer folds."
        )
    fold_of = np.full(len(label), -1)
    for value in values:
        rows = usable & (label == value)
        fold_of[rows] = _deal(rows, folds, seed)[rows]
    return fold_of


def _groups(split: GroupKFold, groups: NDArray[Any] | None, usable: Rows) -> NDArray[np.int64]:
    if groups is None:
        raise DataError(f"GroupKFold is by {split.by!r}, and the rows name no groups.")
    missing = np.array([group is None or group != group for group in groups.tolist()], bool) & usable  # noqa: PLR0124  NaN is not itself
    if missing.any():
        raise DataError(
            f"{int(missing.sum()):,} of {int(usable.sum()):,} rows before the holdout have no {split.by!r}. Every row needs a group."
        )
    codes: NDArray[np.int64] = np.unique(groups.astype(str), return_inverse=True)[1].astype(np.int64)
    if (found := len(np.unique(codes[usable]))) < max(2, split.folds if split.block is None else 2):
        raise DataError(f"{split.by!r} names {found} groups before the holdout. GroupKFold({split.folds}) needs more.")
    return codes


def _deal_groups(codes: NDArray[np.int64], usable: Rows, folds: int) -> NDArray[np.int64]:
    """Whole groups, the largest first, each to the fold that has the fewest rows (Graham 1969, SIAM J. Appl. Math. 17)."""
    sizes = np.bincount(codes[usable], minlength=int(codes.max()) + 1)
    heap = [(0, fold) for fold in range(folds)]
    fold_of_group = np.full(len(sizes), -1)
    for group in np.argsort(-sizes, kind="stable"):
        if sizes[group]:
            rows, fold = heappop(heap)
            fold_of_group[group] = fold
            heappush(heap, (rows + int(sizes[group]), fold))
    return np.where(usable, fold_of_group[codes], -1)
