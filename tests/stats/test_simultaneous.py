"""How small the error rate of each of several intervals has to be, so that all of them hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sterling.stats.simultaneous import error_rate_of_each

RNG = np.random.default_rng(1)


def test_one_figure_keeps_the_whole_rate() -> None:
    assert error_rate_of_each(RNG.normal(size=(30, 1)), 0.05) == 0.025
    assert error_rate_of_each(np.zeros((30, 4)), 0.05) == 0.025


def test_the_same_figure_many_times_is_one() -> None:
    same = np.repeat(RNG.normal(size=(40, 1)), 25, axis=1)
    assert error_rate_of_each(same, 0.05) == pytest.approx(0.025, abs=0.002)


def test_independent_figures_share_the_rate_as_sidak_says() -> None:
    each = error_rate_of_each(np.eye(20), 0.05)
    assert each == pytest.approx((1 - 0.95 ** (1 / 20)) / 2, rel=0.15)


def test_correlated_figures_have_the_quantile_of_their_largest() -> None:
    mixed = RNG.normal(size=(60, 1)) + 0.7 * RNG.normal(size=(60, 8))
    scaled = mixed / np.sqrt((mixed**2).sum(axis=0))
    quantile = stats.norm.isf(error_rate_of_each(mixed, 0.05))
    held = stats.multivariate_normal(cov=scaled.T @ scaled, allow_singular=True, seed=3).cdf(
        np.full(8, quantile), lower_limit=np.full(8, -quantile)
    )
    assert held == pytest.approx(0.95, abs=0.006)
