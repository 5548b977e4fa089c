import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from sterling.stats.metrics import (
    METRICS,
    Metric,
    average_precision,
    brier,
    calibration_error,
    log_loss,
    roc_auc,
    squared_calibration_error,
)
from sterling.stats.rows import BadRowsError, Floats, OneClassError, calibration_bins, check_rows

SECOND = {
    "roc_auc": sk.roc_auc_score,
    "average_precision": sk.average_precision_score,
    "log_loss": sk.log_loss,
    "brier": sk.brier_score_loss,
}


@st.composite
def weighted_rows(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Rows with ties, weights of 0 among them, and both classes with a positive weight."""
    size = draw(st.integers(2, 25))
    y = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    p = draw(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.99, 1.0]), min_size=size, max_size=size))
    weights = draw(st.lists(st.integers(0, 4), min_size=size, max_size=size))
    return np.array([0, 1, *y], float), np.array([0.4, 0.4, *p]), np.array([1, 2, *weights], float)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
@given(rows=weighted_rows())
@settings(max_examples=60, deadline=None)
def test_an_integer_weight_is_the_same_as_repeating_the_row(
    metric: Metric, rows: tuple[Floats, Floats, Floats]
) -> None:
    y, p, weights = rows
    times = weights.astype(int)
    repeated = metric.function(np.repeat(y, times), np.repeat(p, times))
    assert metric.function(y, p, weights) == pytest.approx(repeated, rel=1e-12, abs=1e-15)


@given(rows=weighted_rows())
@settings(max_examples=60, deadline=None)
def test_a_weight_repeats_the_row_in_the_squared_calibration_error_too(rows: tuple[Floats, Floats, Floats]) -> None:
    y, p, weights = rows
    times = weights.astype(int)
    repeated = squared_calibration_error(np.repeat(y, times), np.repeat(p, times), bins=2)
    assert squared_calibration_error(y, p, weights, bins=2) == pytest.approx(repeated, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
@given(rows=weighted_rows(), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_order_of_rows_does_not_matter(metric: Metric, rows: tuple[Floats, Floats, Floats], seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(len(rows[0]))
    assert metric.function(*(column[shuffled] for column in rows)) == pytest.approx(
        metric.function(*rows), rel=1e-12, abs=1e-15
    )


@pytest.mark.parametrize("name", SECOND)
@given(rows=weighted_rows())
@settings(max_examples=60, deadline=None)
def test_metrics_agree_with_scikit_learn(name: str, rows: tuple[Floats, Floats, Floats]) -> None:
    y, p, weights = rows
    assert METRICS[name].function(y, p, weights) == pytest.approx(SECOND[name](y, p, sample_weight=weights), rel=1e-9)


def test_metrics_agree_with_scikit_learn_on_many_rows() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(1, 3, 5000).round(3)
    y = (rng.random(5000) < p).astype(float)
    for name, second in SECOND.items():
        assert METRICS[name].function(y, p) == pytest.approx(second(y, p), rel=1e-9)


def test_a_prepared_metric_answers_for_any_weights_as_the_metric_does() -> None:
    rng = np.random.default_rng(2)
    p = rng.random(200).round(2)
    y = (rng.random(200) < p).astype(float)
    for metric in METRICS.values():
        evaluate = metric.prepare(y, p)
        for weights in rng.integers(0, 3, (3, 200)).astype(float):
            assert evaluate(weights) == metric.function(y, p, weights)


def test_the_calibration_error_of_divided_bins_is_computed_by_hand() -> None:
    y, p = [0, 1, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.8]
    by_hand = (3 * abs(0.2 - 1 / 3) + 3 * abs(0.7 - 1)) / 6
    assert calibration_error(y, p, bins=2) == pytest.approx(by_hand, rel=1e-12)


def test_bins_without_ties_have_equal_mass() -> None:
    p = np.random.default_rng(3).permutation(1000) / 1000
    assert set(np.bincount(calibration_bins(p, np.ones(1000), 15))) == {66, 67}


def test_tied_predictions_share_a_bin() -> None:
    assert calibration_error([0, 0, 0, 1], [0.25] * 4) == 0


def test_the_plain_calibration_error_of_a_calibrated_model_is_about_its_stated_noise() -> None:
    rng = np.random.default_rng(4)
    p = rng.beta(2, 5, 5_000)
    errors = [calibration_error(rng.random(5_000) < p, p) for _ in range(100)]
    stated = math.sqrt(2 * 15 * np.mean(p * (1 - p)) / (math.pi * 5_000))
    assert np.mean(errors) == pytest.approx(stated, rel=0.05)


@pytest.mark.parametrize("shift", [0.0, 0.04])
def test_the_squared_calibration_error_has_no_bias_where_rows_are_independent(shift: float) -> None:
    rng = np.random.default_rng(5)
    rate = np.repeat([0.1, 0.3, 0.5, 0.8], 100)
    estimates = [squared_calibration_error(rng.random(400) < rate, rate + shift, bins=4) for _ in range(1500)]
    standard_error = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - shift**2) < 3.5 * standard_error


def test_a_certain_and_wrong_prediction_costs_36_nats() -> None:
    assert log_loss([1], [0.0]) == pytest.approx(-math.log(np.finfo(float).eps), rel=1e-12)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_a_metric_that_needs_both_classes_refuses_one(name: str) -> None:
    assert METRICS[name].needs_both_classes
    with pytest.raises(OneClassError, match="undefined: every row is negative"):
        METRICS[name].function([0, 0, 1], [0.1, 0.2, 0.3], [1, 1, 0])
    with pytest.raises(OneClassError, match="undefined: every row is positive"):
        METRICS[name].function([1, 1], [0.1, 0.2])


def test_metrics_that_do_not_need_both_classes_take_one() -> None:
    for metric in METRICS.values():
        if not metric.needs_both_classes:
            assert math.isfinite(metric.function([0, 0], [0.1, 0.2]))


def test_known_values_hold() -> None:
    assert roc_auc([0, 1], [0.5, 0.5]) == 0.5
    assert average_precision([1, 0], [0.9, 0.1]) == 1
    assert brier([1, 0], [1.0, 0.0]) == 0


@pytest.mark.parametrize(
    ("y", "p", "weights", "message"),
    [
        ([0, 1], [0.5], None, r"Different numbers of rows: \{'y': 2, 'p': 1"),
        ([0, 1], [0.5, 0.5], [1], "'weights': 1"),
        ([], [], None, "No rows"),
        ([0, 2], [0.5, 0.5], None, r"y is 2.0 in row 1 \(1 such rows\). Labels are 0 and 1"),
        ([0, math.nan], [0.5, 0.5], None, "y is nan in row 1"),
        ([0, 1], [0.5, 1.5], None, "p is 1.5 in row 1"),
        ([0, 1], [math.nan, 0.5], None, "p is nan in row 0"),
        ([0, 1], [0.5, 0.5], [1, -1], "weights is -1.0 in row 1"),
        ([0, 1], [0.5, 0.5], [1, math.inf], "weights is inf in row 1"),
        ([0, 1], [0.5, 0.5], [0, 0], "All weights are 0"),
        ([[0, 1]], [0.5, 0.5], None, r"y has shape \(1, 2\)"),
        (["a", "b"], [0.5, 0.5], None, "y does not hold numbers"),
    ],
)
def test_bad_rows_are_refused_by_value_and_row(
    y: list[float], p: list[float], weights: list[float] | None, message: str
) -> None:
    with pytest.raises(BadRowsError, match=message):
        check_rows(y, p, weights)


def test_no_bins_and_bins_of_single_rows_are_refused() -> None:
    with pytest.raises(BadRowsError, match="0 bins"):
        calibration_error([0, 1], [0.2, 0.8], bins=0)
    with pytest.raises(BadRowsError, match="No bin has two rows: 2 rows in 15 bins"):
        squared_calibration_error([0, 1], [0.2, 0.8])


def test_the_registry_is_keyed_by_name() -> None:
    assert list(METRICS) == ["roc_auc", "average_precision", "log_loss", "brier", "ece", "base_rate"]
    assert all(metric.name == name for name, metric in METRICS.items())
