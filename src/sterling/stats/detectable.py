"""What an evaluation can show: the smallest effect that a one-sided bound detects, and the chance that it does.

A bound lies a *reach* below its estimate, and the estimate scatters around the truth with a standard error. So a truth that
lies d above a limit is shown if estimate - reach >= limit, which happens with the probability Phi((d - reach) / error).

References:
    Julious (2004), Statistics in Medicine 23, 1921–1986, sections 2 and 4 (superiority and non-inferiority by one-sided
    intervals); clustered standard errors in their place: Donner & Klar (2000), ch. 5.
"""

from __future__ import annotations

from typing import NamedTuple

from sterling.stats.quantiles import student_quantile

__all__ = ["POWER", "Scatter", "scatter_of"]

POWER = 0.8
"""Chance with which an effect is to be shown (Cohen 1988)."""


class Scatter(NamedTuple):
    """How an estimate and its bound scatter over holdouts of one size."""

    error: float
    """Standard error of the estimate."""
    reach: float
    """Distance from the estimate to its bound."""

    def chance(self, above: float) -> float:
        """Chance that the bound clears a limit which the truth lies this far above, towards the better side.

        Example:
            >>> round(Scatter(0.01, 0.01645).chance(0.01645), 2)
            0.5
        """
        from scipy.special import ndtr

        return float(ndtr((above - self.reach) / self.error)) if self.error > 0 else float(above >= self.reach)

    def detectable(self, power: float = POWER) -> float:
        """How far above a limit the truth must lie for its bound to clear it with this chance.

        Example:
            >>> round(Scatter(0.01, 0.01645).detectable(), 4)
            0.0249
        """
        from scipy.special import ndtri

        return float(self.reach + ndtri(power) * self.error)


def scatter_of(reach: float, clusters: int, *, error_rate: float) -> Scatter:
    """The scatter of an estimate whose bound reaches so far, with Student's t on the clusters.

    Example:
        >>> round(scatter_of(0.01699, 30, error_rate=0.05).error, 4)
        0.01
    """
    return Scatter(reach / student_quantile(error_rate, max(1.0, clusters - 1.0)), reach)
