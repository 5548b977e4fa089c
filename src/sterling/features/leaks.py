"""What a join on the time of the event alone would have let in, and what had happened but nobody knew yet.

Both compare the same plan with and without availability: the events of each window that were known at the moment,
and all that had happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.features.exact import Ints, weighted
from sterling.features.inside import Values
from sterling.features.windows import Moments, Reach

_MOST = 0.95
_FAR = 0.1
_SURE = 3.0  # standard errors by which the means differ, where that is no chance


class Censoring(NamedTuple):
    """What of a window's events is known at the moments.

    Attributes:
        empty: Share of the moments at which nothing of the window is known; None without moments.
        known: Share of the window's events that are known, over all moments; None where there are none.
        known_mean: Mean of the values of those that are known, or None.
        every_mean: Mean of the values of all, or None.
        warning: Why the feature speaks of other events than of those in the window, or None.
    """

    empty: float | None
    known: float | None
    known_mean: float | None
    every_mean: float | None
    warning: str | None


class Tally(NamedTuple):
    """What of a window's events is known at some moments, in numbers that add up exactly.

    Attributes:
        filled: At how many moments something is known.
        known: Events that are known, over all moments.
        every: Events that are in the window, over all moments.
        known_sum: Sum of the values of those that are known.
        every_sum: Sum of the values of all.
        every_squares: Sum of their squares.
        seen_squares: Sum, over events, of the square of how many moments they are known at.
    """

    filled: int
    known: int
    every: int
    known_sum: Fraction
    every_sum: Fraction
    every_squares: Fraction
    seen_squares: int = 0


def tallied(moments: Moments, count: Ints, known: Reach, every: Reach, order: Ints, values: Values | None) -> Tally:
    """Count what is known and what there is, at some moments.

    Args:
        moments: The moments.
        count: How many known events there are at each place.
        known: Where the known events are inside.
        every: Where all events are inside, whether known or not.
        order: The event of each position that these name.
        values: The numeric column that is aggregated, or None.
    """
    filled = int(np.count_nonzero(moments.spread(count, 0)))
    same = known.same(every)
    seen = moments.within(known)
    there = seen if same else moments.within(every)
    if values is None:
        return Tally(filled, int(seen.sum()), int(there.sum()), Fraction(0), Fraction(0), Fraction(0))
    here, squares = weighted(values.numbers[order[every.rows]].astype(np.float64), there)
    known_sum = here if same else weighted(values.numbers[order[known.rows]].astype(np.float64), seen)[0]
    again = int(np.square(seen.astype(np.uint64)).sum())
    return Tally(filled, int(seen.sum()), int(there.sum()), known_sum, here, squares, again)


def censoring(tallies: Sequence[Tally], moments: int, *, numeric: bool) -> Censoring:
    """Compare the events that are known with all of the window.

    Args:
        tallies: What was counted at the moments, part by part.
        moments: How many moments there are.
        numeric: Whether the values are numbers that have a mean.
    """
    filled, known, every = (int(sum(tally[place] for tally in tallies)) for place in range(3))
    empty = (moments - filled) / moments if moments else None
    share = known / every if every else None
    if not numeric or share is None or not known:
        return Censoring(empty, share, None, None, None)
    known_sum, every_sum, squares = (sum((tally[place] for tally in tallies), Fraction(0)) for place in range(3, 6))
    known_mean, every_mean = float(known_sum / known), float(every_sum / every)
    spread = float(squares / every - (every_sum / every) ** 2) ** 0.5
    chance = _error(known, sum(tally.seen_squares for tally in tallies), share)
    biased = share < _MOST and abs(known_mean - every_mean) > spread * max(_FAR, _SURE * chance)
    warning = (
        f"{share:.0%} of the window's events are known at the moment; their mean is {known_mean:.4g}, that of all "
        f"{every_mean:.4g}."
    )
    return Censoring(empty, share, known_mean, every_mean, warning if biased else None)


def _error(seen: int, seen_squares: int, share: float) -> float:
    """Standard error, in standard deviations, of the mean of what is known, were that a random part of the window.

    An event that many moments see counts once: Kish's effective size, with the correction for a finite population.
    """
    return float((max(1 - share, 0.0) * seen_squares) ** 0.5 / seen)


def changed(a: pa.Array | pa.ChunkedArray, b: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Where two columns differ; two nulls do not.

    Example:
        >>> changed(pa.array([1, None, None, 2]), pa.array([1, 1, None, 3])).tolist()
        [False, True, False, True]
    """
    nulls = pc.xor(pc.is_null(a), pc.is_null(b))
    return np.asarray(pc.or_(nulls, pc.fill_null(pc.not_equal(a, b), False)).to_numpy(zero_copy_only=False), bool)
