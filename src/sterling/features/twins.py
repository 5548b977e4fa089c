"""Rows that are the same, or nearly the same, on both sides of a split: found by hashing, with no pair compared.

A row is hashed column by column, so that no matrix is made. Near twins fall into one cell of a grid over the columns' own
spread; three grids, each moved by a third of a cell, find those that one grid cuts apart.

References:
    Indyk & Motwani (1998), STOC 30, 604–613 (locality-sensitive hashing); shifted grids: Chan (1998), Discrete &
    Computational Geometry 20, 359–373.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]
CELL = 0.2
"""Width of a cell in standard deviations of its column: of rows that differ by a thousandth of them in each of 70 columns,
nine in ten fall into one cell of some grid."""
GRIDS = 3


class Twins(NamedTuple):
    """What two sides share."""

    judged: Places
    """Places of the judged rows that have a twin among those that train."""
    trained: Places
    """The place of that twin, for each."""
    unique: float
    """Share of the rows that train and that no other of them equals."""


def row_hashes(columns: Iterable[tuple[Floats, bool]], rows: int) -> tuple[Hashes, ...]:
    """Hashes of rows: of what they are, then of the cell of each grid.

    Args:
        columns: Values of shape (rows,), NaN where missing, and whether they name categories.
        rows: How many rows there are.

    Example:
        >>> exact, *grids = row_hashes([(np.array([1.0, 1.0, 1.0001, 9.0]), False)], 4)
        >>> bool(exact[0] == exact[1]), bool(exact[1] == exact[2]), any(grid[1] == grid[2] for grid in grids)
        (True, False, True)
    """
    found = tuple(np.zeros(rows, np.uint64) for _ in range(1 + GRIDS))
    for number, (values, category) in enumerate(columns):
        factor = _mixed(np.array([number + 1], np.uint64))[0] | np.uint64(1)
        known = values[~np.isnan(values)]
        spread = float(known.std()) if len(known) and not category else 0.0
        for place in range(1 + GRIDS):
            cells = np.floor(values / (CELL * spread) + place / GRIDS) if place and spread > 0 else values
            np.add(found[place], _mixed(_bits(cells)) * factor, out=found[place])
    return found


def twins(trained: Hashes, judged: Hashes) -> Twins:
    """Which judged rows have a twin among those that train.

    Example:
        >>> twins(np.array([5, 6, 6], np.uint64), np.array([7, 6], np.uint64))
        Twins(judged=array([1]), trained=array([1]), unique=0.3333333333333333)
    """
    distinct, first, counts = np.unique(trained, return_index=True, return_counts=True)
    if not len(distinct):
        return Twins(np.empty(0, np.int64), np.empty(0, np.int64), 1.0)
    place = np.searchsorted(distinct, judged).clip(max=len(distinct) - 1)
    same = np.flatnonzero(distinct[place] == judged)
    return Twins(same, first[place[same]].astype(np.int64), float((counts == 1).sum() / len(trained)))


def _bits(values: Floats) -> Hashes:
    """The bits of numbers, with one pattern for missing and one for zero."""
    plain = values + 0.0
    plain[np.isnan(plain)] = np.nan
    return plain.view(np.uint64)


def _mixed(bits: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): every bit of the input moves every bit of the answer."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = bits ^ (bits >> np.uint64(31))
    return mixed
