from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from sterling.stats.calibration import reliability_curve
from sterling.stats.metrics import calibration_error
from sterling.stats.rows import BadRowsError
from tests.stats.simulated import SCENARIOS, draw

ROWS = draw(np.random.default_rng(21), SCENARIOS["normal"], 30, 100)


def test_the_curve_adds_up_to_the_calibration_error() -> None:
    curve = reliability_curve(ROWS.y, ROWS.candidate)
    assert sum(point.rows for point in curve) == len(ROWS.y)
    error = sum(point.rows * abs(point.predicted - point.observed) for point in curve) / len(ROWS.y)
    assert error == pytest.approx(calibration_error(ROWS.y, ROWS.candidate), rel=1e-12)


def test_bins_rise_and_do_not_overlap() -> None:
    curve = reliability_curve(ROWS.y, ROWS.candidate)
    assert all(one.highest < other.lowest for one, other in pairwise(curve))


def test_independent_rows_have_the_interval_of_wilson() -> None:
    for point in reliability_curve(ROWS.y, ROWS.candidate):
        wilson = stats.binomtest(round(point.observed * point.rows), point.rows).proportion_ci(method="wilson")
        assert (point.low, point.high) == pytest.approx((wilson.low, wilson.high), rel=1e-9)
        assert point.clusters is None


def test_clusters_of_one_row_widen_it_by_little() -> None:
    rng = np.random.default_rng(2)
    p = rng.random(2000)
    y = rng.random(2000) < p
    for alone, clustered in zip(reliability_curve(y, p), reliability_curve(y, p, np.arange(2000)), strict=True):
        assert clustered.clusters == clustered.rows
        assert 0.99 < (clustered.high - clustered.low) / (alone.high - alone.low) < 1.25


def test_correlated_rows_widen_it_much() -> None:
    rng = np.random.default_rng(3)
    day = np.repeat(np.arange(30), 100)
    y = rng.random(3000) < np.repeat(rng.uniform(0.1, 0.6, 30), 100)
    p = np.full(3000, 0.35)
    (alone,), (clustered,) = reliability_curve(y, p), reliability_curve(y, p, day)
    assert clustered.clusters == 30
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


def test_intervals_by_day_cover_the_true_rate() -> None:
    rng = np.random.default_rng(4)
    day, misses = np.repeat(np.arange(20), 30), 0
    for _ in range(400):
        rate = np.repeat(np.clip(rng.normal(0.3, 0.1, 20), 0, 1), 30)
        (point,) = reliability_curve(rng.random(600) < rate, np.full(600, 0.3), day)
        misses += not point.low <= 0.3 <= point.high
    assert misses <= stats.binom.isf(1e-3, 400, 0.05)


def test_where_one_class_or_few_clusters_are_seen_a_cluster_counts_as_one_row() -> None:
    day = np.repeat(np.arange(10), 5)
    (never,) = reliability_curve(np.zeros(50), np.full(50, 0.1), day)
    squared = stats.t.isf(0.025, 9) ** 2 / 10
    assert (never.low, never.high) == pytest.approx((0, squared / (1 + squared)), abs=1e-12)
    (few,) = reliability_curve(np.tile([0, 1], 25), np.full(50, 0.1), day // 2)
    assert few.clusters == 5
    assert few.high - few.low > 0.6


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(BadRowsError, match="0 bins"):
        reliability_curve([0, 1], [0.2, 0.8], bins=0)
    with pytest.raises(ValueError, match=r"confidence is 1\.5"):
        reliability_curve([0, 1], [0.2, 0.8], confidence=1.5)
