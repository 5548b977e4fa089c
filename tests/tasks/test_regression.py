"""The task whose labels are numbers."""

from __future__ import annotations

import numpy as np

from sterling.tasks.regression import REGRESSION

RANDOM = np.random.default_rng(3)
DAYS = np.repeat(np.arange(40), 5)
LABEL = RANDOM.normal(size=200)
GOOD, BAD = LABEL + RANDOM.normal(0, 0.3, 200), RANDOM.normal(size=200)


def test_every_metric_has_an_interval_and_a_paired_difference() -> None:
    for metric in REGRESSION.metrics:
        found = REGRESSION.measure(metric, LABEL, GOOD, DAYS, error_rate=0.05)
        assert found.value is not None
        assert found.low is not None
        assert found.low < found.value
        difference = REGRESSION.compare(metric, LABEL, GOOD, BAD, DAYS, error_rate=0.05)
        assert difference.value is not None
        assert (difference.value > 0) == (metric == "r2")


def test_what_is_undefined_says_why() -> None:
    assert REGRESSION.measure("r2", np.ones(200), GOOD, DAYS, error_rate=0.05).reason == (
        "R² is undefined: every label is the same. It needs labels that differ."
    )
    few = REGRESSION.measure("rmse", LABEL[:10], GOOD[:10], DAYS[:10], error_rate=0.05)
    assert few.value is None
    assert (few.reason or "").startswith("2 clusters. An interval needs at least 8")
    assert set(REGRESSION.score(np.ones(5), np.zeros(5))) == {"rmse", "mae"}


def test_labels_are_summed_up() -> None:
    assert REGRESSION.summary(np.arange(5.0)) == {
        "mean": 2.0, "deviation": 2**0.5, "quartiles": [0.0, 1.0, 2.0, 3.0, 4.0],
    }  # fmt: skip
    assert REGRESSION.summary(np.array([])) == {"mean": None, "deviation": None, "quartiles": None}


def test_the_curve_has_bins_of_equal_mass() -> None:
    assert [point["rows"] for point in REGRESSION.calibration(LABEL, GOOD, DAYS)["bins"]] == [20] * 10
