"""Metrics without each group of rows in turn, from sums over the groups instead of one pass over all rows for each.

A mean is its sum over its rows, so a mean without a group is one subtraction. The area under the ROC curve is a count of
pairs: without a group it is all pairs, less those that the group is in, so that two sorts give it without every group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sterling.stats.rows import Floats, Ints, OneClassError, bin_sums

__all__ = [
    "LeaveOneOut",
    "Left",
    "Pairs",
    "leave_one_out_average_precision",
    "leave_one_out_mean",
    "leave_one_out_roc_auc",
    "ordered_pairs",
]


class Left(NamedTuple):
    """A metric of all rows, and of the rows without each group in turn."""

    estimate: float
    """Of all rows."""
    without: Floats
    """Without each group, shape (groups,)."""


LeaveOneOut = Callable[[Floats, Floats, Ints, int], Left]
"""``(y, p, groups, group_count)`` to the metric; every group has a row."""


def leave_one_out_mean(of_rows: Callable[[Floats, Floats], Floats]) -> LeaveOneOut:
    """How a mean over rows is left one group out.

    Args:
        of_rows: ``of_rows(y, p)``, whose mean the metric is, shape (rows,).

    Example:
        >>> squared = leave_one_out_mean(lambda y, p: (p - y) ** 2)
        >>> squared(np.array([0.0, 1.0, 1.0]), np.array([0.5, 0.5, 1.0]), np.array([0, 0, 1]), 2).without.tolist()
        [0.0, 0.25]
    """

    def leave(y: Floats, p: Floats, groups: Ints, count: int) -> Left:
        sums, rows = bin_sums(of_rows(y, p), groups, count), bin_sums(np.ones(len(y)), groups, count)
        total, all_rows = float(sums.sum()), float(rows.sum())
        return Left(total / all_rows, (total - sums) / (all_rows - rows))

    return leave


def leave_one_out_roc_auc(y: Floats, p: Floats, groups: Ints, count: int) -> Left:
    """The area under the ROC curve without each group.

    The pairs without a group are all pairs, less those of its positives with any negative, less those of its negatives
    with any positive, plus those inside the group, which were taken away twice.

    References:
        Placements of each row among those of the other class: DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44(3),
        837–845.

    Raises:
        OneClassError: if the rows, or the rows without some group, have one class.

    Example:
        >>> y, p = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.4, 0.5, 0.8])
        >>> leave_one_out_roc_auc(np.tile(y, 2), np.tile(p, 2), np.repeat([0, 1], 4), 2).without.tolist()
        [0.75, 0.75]
    """
    _classes(y, groups, count, "ROC AUC")
    found = ordered_pairs(y, p, groups, count)
    return Left(found.right / found.pairs, found.right_without / found.pairs_without)


class Pairs(NamedTuple):
    """Pairs of a positive and a negative, and how many of them the scores put in order; ties count one half."""

    right: float
    """In order, of all rows."""
    pairs: float
    """All of them."""
    right_without: Floats
    """In order, of the rows without each group; shape (groups,)."""
    pairs_without: Floats
    """All of these."""


def ordered_pairs(y: Floats, p: Floats, groups: Ints, count: int) -> Pairs:
    """Pairs in order with and without each group; see `leave_one_out_roc_auc`, which divides them."""
    positives = bin_sums(y, groups, count)
    negatives = bin_sums(1 - y, groups, count)
    left = (positives.sum() - positives) * (negatives.sum() - negatives)
    order = np.argsort(p, kind="stable")
    scores, labels, of = p[order], y[order], groups[order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    step = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(scores)))
    wins = _wins(labels, starts, step)
    pairs = bin_sums(wins * labels, of, count), bin_sums(wins * (1 - labels), of, count)
    inside = np.argsort(of, kind="stable")
    owner, own_step = of[inside], step[inside]
    begins = np.flatnonzero(np.r_[True, (owner[1:] != owner[:-1]) | (own_step[1:] != own_step[:-1])])
    within = _wins_within(labels[inside], owner, begins, count)
    total = pairs[0].sum()
    return Pairs(float(total), float(positives.sum() * negatives.sum()), total - pairs[0] - pairs[1] + within, left)


def leave_one_out_average_precision(y: Floats, p: Floats, groups: Ints, count: int) -> Left:
    """Average precision without each group.

    It is the mean, over positives, of the share of positives among the rows that score as high or higher. Without a group
    both counts are smaller by the group's own, which change at the group's rows alone; so a group costs a pass over the
    positives, and not one over all rows.

    Raises:
        OneClassError: if the rows, or the rows without some group, have one class.

    Example:
        >>> y, p = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.8, 0.7, 0.1])
        >>> leave_one_out_average_precision(np.tile(y, 2), np.tile(p, 2), np.repeat([0, 1], 4), 2).without.round(4).tolist()
        [0.8333, 0.8333]
    """
    positives, _ = _classes(y, groups, count, "Average precision")
    order = np.argsort(-p, kind="stable")
    scores, labels, of = p[order], y[order], groups[order]
    last = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])
    ends = np.repeat(last, np.diff(last, prepend=-1))  # where the rows of equal score end
    at = np.flatnonzero(labels)
    owner, reach = of[at], ends[at]
    found, seen = np.cumsum(labels)[reach], reach + 1.0
    by_group = np.argsort(of, kind="stable")
    bounds = np.searchsorted(of[by_group], np.arange(count + 1))
    without, total = np.empty(count), positives.sum()
    for group in range(count):
        own = by_group[bounds[group] : bounds[group + 1]]
        own_seen = _passed(own, reach)
        own_found = _passed(own[labels[own] == 1], reach)
        share = (found - own_found) / np.maximum(seen - own_seen, 1.0)
        share[owner == group] = 0.0
        without[group] = share.sum() / (total - positives[group])
    return Left(float((found / seen).sum() / total), without)


def _passed(places: Ints, reach: Ints) -> Ints:
    """How many of some places, which rise, lie at or before each reach, which rises too."""
    starts = np.searchsorted(reach, places)
    return np.repeat(np.arange(len(places) + 1), np.diff(starts, prepend=0, append=len(reach)))


def _classes(y: Floats, groups: Ints, count: int, metric: str) -> tuple[Floats, Floats]:
    """Positives and negatives of each group; both classes are there, whichever group is left out."""
    positives, rows = bin_sums(y, groups, count), bin_sums(np.ones(len(y)), groups, count)
    negatives = rows - positives
    if not positives.sum() * negatives.sum():
        only = "positive" if positives.sum() else "negative"
        raise OneClassError(f"{metric} is undefined: every row is {only}. It needs rows of both classes.")
    if not ((positives.sum() > positives) & (negatives.sum() > negatives)).all():
        raise OneClassError(
            f"{metric} is undefined without one of the clusters, as the others have one class only. Use more data, or a "
            "slice in which both classes are less rare."
        )
    return positives, negatives


def _wins(labels: Floats, starts: Ints, step: Ints) -> Floats:
    """For a positive the negatives that it scores above, for a negative the positives above it; ties are one half."""
    positive, rows = np.add.reduceat(labels, starts), np.diff(starts, append=len(labels)).astype(np.float64)
    negative = rows - positive
    below = np.cumsum(negative) - negative / 2
    above = positive.sum() - np.cumsum(positive) + positive / 2
    won: Floats = np.where(labels == 1, below[step], above[step])
    return won


def _wins_within(labels: Floats, owner: Ints, begins: Ints, count: int) -> Floats:
    """Pairs inside each group that are in order; rows come group by group, in rising order of score."""
    positive, rows = np.add.reduceat(labels, begins), np.diff(begins, append=len(labels)).astype(np.float64)
    negative, of = rows - positive, owner[begins]
    before = np.concatenate([[0.0], np.cumsum(bin_sums(negative, of, count))])[:-1]
    below = np.cumsum(negative) - negative / 2 - before[of]
    return bin_sums(positive * below, of, count)
