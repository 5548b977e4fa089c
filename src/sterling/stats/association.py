"""How strongly one column tells another: Cramér's V of a table of counts, without its bias."""

from __future__ import annotations

import numpy as np

from sterling.stats.rows import Floats, Ints

__all__ = ["cramers_v"]


def cramers_v(a: Ints, b: Ints) -> float:
    """Association of two columns of codes, in [0, 1]; 0 where one of them has one value.

    Without correction independent columns of many values would seem associated: the mean of chi-squared is taken away, and
    the numbers of values shrink accordingly.

    Args:
        a: Codes from 0, shape (rows,).
        b: Codes from 0, shape (rows,).

    References:
        Bergsma (2013), J. Korean Statistical Society 42(3), 323–328, eqs. 4 and 5.

    Example:
        >>> cramers_v(np.array([0, 0, 1, 1] * 25), np.array([0, 0, 1, 1] * 25))
        1.0
        >>> cramers_v(np.array([0, 1] * 50), np.array([0, 0, 1, 1] * 25))
        0.0
    """
    table = np.bincount(a * (int(b.max()) + 1) + b, minlength=(int(a.max()) + 1) * (int(b.max()) + 1))
    counts: Floats = table.reshape(int(a.max()) + 1, int(b.max()) + 1).astype(np.float64)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    rows, (high, wide) = counts.sum(), counts.shape
    if min(high, wide) < 2:
        return 0.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / rows
    squared = float(((counts - expected) ** 2 / expected).sum() / rows)
    corrected = max(0.0, squared - (high - 1) * (wide - 1) / (rows - 1))
    least = min(high - (high - 1) ** 2 / (rows - 1), wide - (wide - 1) ** 2 / (rows - 1)) - 1
    return float(min(1.0, np.sqrt(corrected / least))) if least > 0 else 0.0
