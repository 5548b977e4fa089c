"""Bounds of a sum of absolute values, such as an expected calibration error, and of a difference of two of them.

The plain estimate is biased upward, most of all where the truth is 0, and has no normal limit there. Two facts give
bounds nevertheless. For the true signs s, the sum of |d| is s·d, and the estimate is at least s·d̂: so the estimate plus
the reach of s·d̂ is an upper bound, bias or not. And the estimate exceeds the truth by at most the sum of |d̂ - d|, whose
median is below its mean, the sum of the errors times sqrt(2 / pi), and which exceeds its median by no more than a normal
variable with the largest standard error over all signs. The signs of gaps far from 0 are taken as seen; over the signs
of the others the largest standard error counts.

References:
    Duality of the absolute value: Boyd & Vandenberghe (2004), Convex Optimization, section 3.2.3. Excess over the median:
    Borell (1975), Inventiones Math. 30, 207–216; median below mean: Kwapień (1994), in Probability in Banach Spaces 9.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.stats.jackknife import Spread, spread_of
from sterling.stats.quantiles import student_quantile
from sterling.stats.rows import Floats

__all__ = ["Gaps", "SumOfAbsolutes", "difference_of_absolutes", "gaps_of", "sum_of_absolutes"]

SIGN_ERROR_RATE = 0.05
"""A gap further from 0 than its one-sided bound at this rate keeps its sign."""


class Gaps(NamedTuple):
    """Signed gaps, whose absolute values are summed, with their jackknife over clusters."""

    values: Floats
    """Gaps, shape (bins,)."""
    contributions: Floats
    """What each cluster contributes to their errors, shape (clusters, bins); squares sum to the variances."""

    @property
    def errors(self) -> Floats:
        """Standard error of each gap, shape (bins,)."""
        errors: Floats = np.sqrt(np.sum(self.contributions**2, axis=0))
        return errors

    @property
    def signs(self) -> Floats:
        """Sign of each gap as seen, 1 or -1, shape (bins,)."""
        return np.where(self.values >= 0, 1.0, -1.0)

    @property
    def doubtful(self) -> NDArray[np.bool_]:
        """Whether a gap's sign could be the other one, shape (bins,)."""
        quantile = student_quantile(SIGN_ERROR_RATE, len(self.contributions) - 1)
        doubtful: NDArray[np.bool_] = np.abs(self.values) <= quantile * self.errors
        return doubtful

    @property
    def noise(self) -> float:
        """Mean of the upward bias at most: what gaps of doubtful sign would sum to, were they 0."""
        return float(np.sum(self.errors[self.doubtful])) * float(np.sqrt(2 / np.pi))


class SumOfAbsolutes(NamedTuple):
    """An estimate with its bias, which counts downward or upward only, and the spread of its least certain signs."""

    estimate: float
    """The plain estimate."""
    spread: Spread
    """Spread of the signed sum of gaps that has the largest standard error."""
    excess: float
    """How far the estimate may lie too high on average; lower bounds allow for it."""
    deficit: float
    """How far the estimate may lie too low on average; upper bounds allow for it."""

    def lower(self, error_rate: float) -> float:
        """Lower bound at this error rate."""
        return self.estimate - self.excess - self.spread.below(error_rate)

    def upper(self, error_rate: float) -> float:
        """Upper bound at this error rate."""
        return self.estimate + self.deficit + self.spread.above(error_rate)


def gaps_of(sums: Floats, rows: Floats) -> Gaps:
    """Return the gaps as sums over clusters divided by all rows.

    Args:
        sums: Sum of (probability - label) of each cluster in each bin, shape (clusters, bins).
        rows: Rows of each cluster, shape (clusters,).

    Example:
        >>> gaps_of(np.array([[1.0, -1.0], [0.0, -2.0]]), np.array([10.0, 10.0])).values.tolist()
        [0.05, -0.15]
    """
    clusters, total = len(rows), rows.sum()
    without = (sums.sum(axis=0) - sums) / (total - rows)[:, None]
    scale = np.sqrt((clusters - 1) / clusters)
    return Gaps(sums.sum(axis=0) / total, (without.mean(axis=0) - without) * scale)


def sum_of_absolutes(gaps: Gaps) -> SumOfAbsolutes:
    """Bounds of the sum of absolute gaps.

    Example:
        >>> gaps = gaps_of(np.array([[1.0, -1.0], [0.0, -2.0], [2.0, -1.0]]), np.array([10.0, 10.0, 10.0]))
        >>> round(sum_of_absolutes(gaps).estimate, 4)
        0.2333
    """
    spread = _widest(gaps.contributions, gaps.signs, gaps.doubtful)
    return SumOfAbsolutes(float(np.abs(gaps.values).sum()), spread, gaps.noise, 0.0)


def difference_of_absolutes(candidate: Gaps, reference: Gaps) -> SumOfAbsolutes:
    """Bounds of the candidate's sum of absolute gaps minus the reference's, from the same clusters.

    The candidate's bias makes the estimate too high, the reference's too low.
    """
    spread = _widest(
        np.hstack([candidate.contributions, -reference.contributions]),
        np.concatenate([candidate.signs, reference.signs]),
        np.concatenate([candidate.doubtful, reference.doubtful]),
    )
    estimate = float(np.abs(candidate.values).sum() - np.abs(reference.values).sum())
    return SumOfAbsolutes(estimate, spread, candidate.noise, reference.noise)


def _widest(contributions: Floats, signs: Floats, doubtful: NDArray[np.bool_]) -> Spread:
    covariance = contributions.T @ contributions
    starts = (signs, np.where(doubtful, 1.0, signs), np.where(doubtful, -1.0, signs))
    climbed = [_climb(covariance, start, doubtful) for start in starts]
    widest = max(climbed, key=lambda candidate: float(candidate @ covariance @ candidate))
    return spread_of(contributions @ widest)


def _climb(covariance: Floats, start: Floats, doubtful: NDArray[np.bool_]) -> Floats:
    """Flip the doubtful sign that adds most variance, until none does: a local maximum of s·Cs."""
    signs, variances = start.copy(), np.diag(covariance)
    enough = 1e-12 * float(variances.sum())
    while True:
        gains = np.where(doubtful, 4 * (variances - signs * (covariance @ signs)), 0.0)
        best = int(np.argmax(gains))
        if gains[best] <= enough:
            return signs
        signs[best] = -signs[best]
