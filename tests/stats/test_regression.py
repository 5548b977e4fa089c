"""Metrics of predicted numbers: those of scikit-learn, with intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from sterling.stats.intervals import difference_interval, metric_interval
from sterling.stats.regression import METRICS, mae, number_curve, r2, rmse
from sterling.stats.rows import BadRowsError, OneClassError

Floats = NDArray[np.float64]


@given(st.integers(0, 2**32), st.integers(2, 60))
def test_metrics_are_those_of_scikit_learn(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    y, p, weights = random.normal(size=rows), random.normal(size=rows), random.integers(1, 4, rows)
    assert rmse(y, p, weights) == pytest.approx(root_mean_squared_error(y, p, sample_weight=weights))
    assert mae(y, p, weights) == pytest.approx(mean_absolute_error(y, p, sample_weight=weights))
    assert r2(y, p, weights) == pytest.approx(r2_score(y, p, sample_weight=weights))


@given(st.integers(0, 2**32), st.sampled_from([*METRICS.values()]))
def test_a_weight_is_as_many_rows(seed: int, metric: object) -> None:
    random = np.random.default_rng(seed)
    y, p, weights = random.normal(size=20), random.normal(size=20), random.integers(0, 3, 20)
    weights[:2] = 1
    function = metric.function  # type: ignore[attr-defined]
    assert function(y, p, weights) == pytest.approx(function(np.repeat(y, weights), np.repeat(p, weights)))


def test_numbers_that_are_none_are_refused_with_their_row() -> None:
    with pytest.raises(BadRowsError, match=r"p is inf in row 1 \(1 such rows\). Numbers are finite."):
        rmse([1.0, 2.0], [1.0, np.inf])
    with pytest.raises(OneClassError, match="R² is undefined: every label is the same"):
        r2([2.0, 2.0], [1.0, 3.0])


def clustered(random: np.random.Generator, clusters: int) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """Labels with a common part in each cluster, and two models that differ a little; errors are skewed."""
    days = np.repeat(np.arange(clusters), random.integers(5, 40, clusters))
    signal, common = random.normal(size=len(days)), random.normal(0, 0.5, clusters)[days]
    y = 10 + signal + common + random.gamma(2, 0.5, len(days))
    return y, 11 + signal, 11 + 0.9 * signal, days


def truth() -> dict[str, tuple[float, float]]:
    """The metrics of a very large sample, and their differences."""
    y, ours, theirs, _ = clustered(np.random.default_rng(9), 60_000)
    return {
        name: (metric.function(y, ours), metric.function(y, ours) - metric.function(y, theirs))
        for name, metric in METRICS.items()
    }


def coverage(trials: int, clusters: int) -> dict[str, tuple[float, float]]:
    """How often the 95 % interval of each metric, and of each difference, holds the truth."""
    random, true = np.random.default_rng(5), truth()
    held = dict.fromkeys(METRICS, (0, 0))
    for _ in range(trials):
        y, ours, theirs, days = clustered(random, clusters)
        for name, metric in METRICS.items():
            alone, apart = metric_interval(metric, y, ours, days), difference_interval(metric, y, ours, theirs, days)
            value, difference = true[name]
            held[name] = (
                held[name][0] + (alone.low <= value <= alone.high),
                held[name][1] + (apart.low <= difference <= apart.high),
            )
    return {name: (alone / trials, apart / trials) for name, (alone, apart) in held.items()}


def test_intervals_cover_in_a_small_simulation() -> None:
    for name, shares in coverage(120, 30).items():
        assert min(shares) > 0.89, name


@pytest.mark.slow
def test_intervals_of_numbers_cover_as_they_say(record_property: pytest.FixtureRequest) -> None:
    found = coverage(2_000, 30)
    for name, shares in found.items():
        assert all(0.93 <= share <= 0.97 for share in shares), (name, shares)


def test_the_curve_of_a_good_model_lies_on_the_diagonal() -> None:
    y, ours, _, days = clustered(np.random.default_rng(1), 400)
    curve = number_curve(y, ours, days)
    assert [point.rows for point in curve] == pytest.approx([len(y) / 10] * 10, abs=1)
    assert sum(point.low <= point.predicted <= point.high for point in curve) >= 8
    assert sum(point.rows * point.observed for point in curve) == pytest.approx(y.sum())
