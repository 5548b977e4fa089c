"""Features cut into values that segments are made of: quantile bins of numbers, values of categories."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sterling.stats.rows import Floats, Ints

__all__ = ["Axis", "category_axis", "number_axis"]

MOST_LEVELS = 12
"""Values of a category that are tried in pairs: the most frequent ones."""
_SINGLE_BINS, _PAIR_BINS = 8, 4


class Axis(NamedTuple):
    """A feature cut into values; -1 for rows that are in none of them."""

    single: Ints
    """Value of each row where the feature stands alone, shape (rows,)."""
    names: tuple[str, ...]
    """What these values are, for people."""
    pair: Ints
    """Value of each row where two features meet, shape (rows,): coarser."""
    pair_names: tuple[str, ...]
    """What these values are, for people."""


def number_axis(values: Floats) -> Axis:
    """Cut a number at its quantiles, eighths alone and quarters in pairs; missing is a value of its own.

    Args:
        values: Shape (rows,); NaN where missing.

    Example:
        >>> number_axis(np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan])).pair_names
        ('below 2', '2 to 3', '3 to 4', '4 and more', 'missing')
    """
    single, names = _cut(values, _SINGLE_BINS)
    pair, pair_names = _cut(values, _PAIR_BINS)
    return Axis(single, names, pair, pair_names)


def category_axis(codes: Ints, names: Sequence[str]) -> Axis:
    """The values of a category; in pairs the `MOST_LEVELS` most frequent ones.

    Args:
        codes: Place of each row's value among the names, shape (rows,).
        names: What the values are.

    Example:
        >>> category_axis(np.array([0, 1, 1]), ["AA", "UA"]).names
        ('AA', 'UA')
    """
    if len(names) <= MOST_LEVELS:
        return Axis(codes, tuple(names), codes, tuple(names))
    often = np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")[:MOST_LEVELS]
    place = np.full(len(names), -1)
    place[often] = np.arange(MOST_LEVELS)
    return Axis(codes, tuple(names), place[codes], tuple(names[code] for code in often))


def _cut(values: Floats, bins: int) -> tuple[Ints, tuple[str, ...]]:
    """Bins between distinct quantiles; a number with few values has one bin for each."""
    missing = np.isnan(values)
    seen = values[~missing]
    distinct = np.unique(seen)
    if len(distinct) <= bins:
        names = [f"{value:.4g}" for value in distinct]
        codes = np.searchsorted(distinct, values)
    else:
        edges = np.unique(np.quantile(seen, np.arange(1, bins) / bins))
        edges = edges[edges > distinct[0]] if edges[-1] > distinct[0] else distinct[1:2]
        names = _between(edges)
        codes = np.searchsorted(edges, values, side="right")
    codes = np.where(missing, len(names), codes).astype(np.int64)
    return codes, (*names, *(["missing"] if missing.any() else []))


def _between(edges: Floats) -> list[str]:
    texts = [f"{edge:.4g}" for edge in edges]
    middle = [f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"below {texts[0]}", *middle, f"{texts[-1]} and more"]
