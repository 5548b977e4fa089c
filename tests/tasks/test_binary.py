"""What is measured of a binary classification."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from sklearn import metrics

from sterling.core.errors import DataError
from sterling.project.gates import Metric as GateMetric
from sterling.stats.metrics import METRICS
from sterling.tasks.binary import BINARY

RNG = np.random.default_rng(0)
SCORES = RNG.random(600)
LABEL = (RNG.random(600) < SCORES).astype(float)
DAYS = np.repeat(np.arange(20), 30)


def test_every_metric_that_a_gate_may_name_is_measured() -> None:
    assert set(BINARY.metrics) <= set(get_args(GateMetric))
    assert set(BINARY.metrics) <= set(METRICS)


def test_scores_are_those_of_scikit_learn() -> None:
    found = BINARY.score(LABEL, SCORES)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(LABEL, SCORES))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(LABEL, SCORES))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(LABEL, SCORES))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(LABEL, SCORES))


def test_a_metric_that_is_undefined_on_one_class_is_left_out_of_scores() -> None:
    assert set(BINARY.score(np.ones(5), np.full(5, 0.5))) == {"log_loss", "brier", "ece"}


def test_a_measure_has_a_bound_on_each_side() -> None:
    found = BINARY.measure("roc_auc", LABEL, SCORES, DAYS, error_rate=0.05)
    assert found.value is not None
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < found.value < found.upper
    assert (found.rows, found.clusters, found.error_rate) == (600, 20, 0.05)


def test_too_few_clusters_leave_a_measure_undefined_and_say_why() -> None:
    found = BINARY.measure("brier", LABEL, SCORES, DAYS // 10, error_rate=0.05)
    assert (found.value, found.lower, found.clusters) == (None, None, 2)
    assert str(found.reason).startswith("2 clusters.")
    compared = BINARY.compare("brier", LABEL, SCORES, SCORES, DAYS // 10, error_rate=0.05)
    assert (compared.value, compared.reason) == (None, found.reason)


def test_one_score_for_all_rows_has_a_roc_auc_of_one_half_by_definition() -> None:
    found = BINARY.measure("roc_auc", LABEL, np.full(600, 0.3), DAYS, error_rate=0.05)
    assert (found.value, found.low, found.upper) == (0.5, 0.5, 0.5)
    assert BINARY.measure("roc_auc", np.ones(600), np.full(600, 0.3), DAYS, error_rate=0.05).value is None


def test_calibration_bins_hold_every_row_once() -> None:
    bins = BINARY.calibration(LABEL, SCORES, DAYS)["bins"]
    assert sum(bin_["rows"] for bin_ in bins) == 600
    assert sum(bin_["observed"] * bin_["rows"] for bin_ in bins) == pytest.approx(LABEL.sum())


@pytest.mark.parametrize(("label", "said"), [([], "nothing to train on"), ([1.0, 1.0], "All 2 labels")])
def test_labels_that_nothing_can_be_learnt_from_are_refused(label: list[float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        BINARY.check_labels(np.array(label), where="before the holdout")
