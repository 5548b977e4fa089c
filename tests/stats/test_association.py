"""How strongly one column tells another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats.contingency import association

from sterling.stats.association import cramers_v

RNG = np.random.default_rng(0)


def test_independent_columns_of_many_values_are_not_associated() -> None:
    found = [cramers_v(RNG.integers(0, 20, 500), RNG.integers(0, 10, 500)) for _ in range(40)]
    assert np.mean(found) < 0.05


def test_with_many_rows_it_is_the_plain_v() -> None:
    a = RNG.integers(0, 4, 50_000)
    b = np.where(RNG.random(50_000) < 0.6, a, RNG.integers(0, 4, 50_000))
    table = np.bincount(4 * a + b, minlength=16).reshape(4, 4)
    assert cramers_v(a, b) == pytest.approx(association(table, method="cramer"), abs=2e-3)


def test_a_column_of_one_value_tells_nothing() -> None:
    assert cramers_v(np.zeros(10, np.int64), RNG.integers(0, 2, 10)) == 0.0
