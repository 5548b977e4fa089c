"""What a join on the time of the event alone would have let in, and what had happened but nobody knew yet.

Both compare the same plan with and without availability: the events of each window that were known at the moment,
and all that had happened.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.features.exact import Ints
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


def censoring(
    moments: Moments, count: Ints, known: Reach, every: Reach, order: Ints, values: Values | None
) -> Censoring:
    """Compare the events that are known with all of the window.

    Args:
        moments: The moments.
        count: How many known events there are at each place.
        known: Where the known events are inside.
        every: Where all events are inside, whether known or not.
        order: The event of each position that these name.
        values: The numeric column that is aggregated, or None.
    """
    empty = float((moments.spread(count, 0) == 0).mean()) if len(moments) else None
    seen, there = moments.within(known), moments.within(every)
    share = float(seen.sum() / there.sum()) if there.any() else None
    if values is None or share is None or not seen.any():
        return Censoring(empty, share, None, None, None)
    numbers = values.numbers.astype(np.float64)
    known_mean = float(np.average(numbers[order[known.rows]], weights=seen))
    here = numbers[order[every.rows]]
    every_mean = float(np.average(here, weights=there))
    spread = float(np.sqrt(np.average((here - every_mean) ** 2, weights=there)))
    far = max(_FAR * spread, _SURE * spread * _error(seen, share))
    biased = share < _MOST and abs(known_mean - every_mean) > far
    warning = (
        f"{share:.0%} of the window's events are known at the moment; their mean is {known_mean:.4g}, that of all "
        f"{every_mean:.4g}."
    )
    return Censoring(empty, share, known_mean, every_mean, warning if biased else None)


def _error(seen: Ints, share: float) -> float:
    """Standard error, in standard deviations, of the mean of what is known, were that a random part of the window.

    An event that many moments see counts once: Kish's effective size, with the correction for a finite population.
    """
    weights = seen.astype(np.float64)
    return float(np.sqrt((1 - share) * np.square(weights).sum()) / weights.sum())


def changed(a: pa.Array | pa.ChunkedArray, b: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Where two columns differ; two nulls do not.

    Example:
        >>> changed(pa.array([1, None, None, 2]), pa.array([1, 1, None, 3])).tolist()
        [False, True, False, True]
    """
    nulls = pc.xor(pc.is_null(a), pc.is_null(b))
    return np.asarray(pc.or_(nulls, pc.fill_null(pc.not_equal(a, b), False)).to_numpy(zero_copy_only=False), bool)
