"""Metrics of decisions are the field's, and what they are worth follows from four amounts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_breast_cancer

from sterling.stats.decisions import (
    DECISION_METRICS,
    Amounts,
    UndefinedDecisionError,
    break_even,
    confusion,
    value_metric,
)
from sterling.stats.intervals import difference_interval, metric_interval
from tests.stats.simulated_decisions import errors, not_worse

CANCER = load_breast_cancer()
Y = CANCER.target.astype(np.float64)
ACTED = (CANCER.data[:, 0] < 15).astype(np.float64)
BLOCK = np.arange(len(Y)) % 19


def test_they_are_those_of_scikit_learn_on_real_data() -> None:
    values = {name: metric.function(Y, ACTED) for name, metric in DECISION_METRICS.items()}
    tn, fp, fn, tp = metrics.confusion_matrix(Y, ACTED).ravel()
    assert confusion(Y, ACTED) == (tp, fp, fn, tn)
    assert values["precision"] == pytest.approx(metrics.precision_score(Y, ACTED))
    assert values["recall"] == pytest.approx(metrics.recall_score(Y, ACTED))
    assert values["f1"] == pytest.approx(metrics.f1_score(Y, ACTED))
    assert values["false_positive_rate"] == pytest.approx(fp / (fp + tn))
    assert values["selection_rate"] == pytest.approx(ACTED.mean())
    assert values["lift"] == pytest.approx(metrics.precision_score(Y, ACTED) / Y.mean())


def test_value_in_units_of_a_true_positive_is_the_net_benefit() -> None:
    risk = 0.3
    tp, fp, _, _ = confusion(Y, ACTED)
    net_benefit = (tp - fp * risk / (1 - risk)) / len(Y)  # Vickers & Elkin 2006
    assert value_metric(Amounts(1, -risk / (1 - risk))).function(Y, ACTED) == pytest.approx(1000 * net_benefit)
    assert break_even(Amounts(1, -risk / (1 - risk))) == pytest.approx(risk)


def test_break_even_is_where_both_decisions_are_worth_the_same() -> None:
    amounts = Amounts(30, -7, -12, 1)
    p = break_even(amounts)
    act = p * amounts.true_positive + (1 - p) * amounts.false_positive
    leave = p * amounts.false_negative + (1 - p) * amounts.true_negative
    assert act == pytest.approx(leave)
    with pytest.raises(ValueError, match="Both are above 0"):
        break_even(Amounts(1, 1, 2, 0))


def test_a_metric_that_nothing_defines_says_so() -> None:
    with pytest.raises(UndefinedDecisionError, match="nobody is acted on"):
        DECISION_METRICS["precision"].function(Y, np.zeros(len(Y)))
    alone = (BLOCK == 3).astype(np.float64)
    with pytest.raises(UndefinedDecisionError, match="without one of the clusters"):
        metric_interval(DECISION_METRICS["precision"], Y, alone, BLOCK)


def test_their_intervals_are_those_of_any_metric() -> None:
    value = value_metric(Amounts(40, -5))
    found = metric_interval(value, Y, ACTED, BLOCK)
    assert found.low < found.lower < found.estimate < found.upper < found.high
    assert "logit scale" in found.method
    assert difference_interval(value, Y, ACTED, ACTED, BLOCK).upper == 0.0


def test_acting_on_nobody_is_worth_what_is_left_alone() -> None:
    assert value_metric(Amounts(40, -5, -20, 1)).function(Y, np.zeros(len(Y))) == pytest.approx(
        1000 * (-20 * Y.mean() + 1 - Y.mean())
    )


@pytest.mark.slow
def test_bounds_and_intervals_of_decisions_err_as_often_as_they_say() -> None:
    found = errors("normal", 30, 250)
    of_metrics = {what: rates for what, rates in found.items() if len(rates) == 3}
    assert len(of_metrics) == 14
    assert max(max(rates) for rates in of_metrics.values()) < 0.1  # .05 and 3.5 Monte Carlo standard errors
    assert max(found[what][0] for what in ("value curve, all points", "intercept", "slope", "mean gap")) < 0.1
    assert found["value at its best threshold"][0] < 0.05


@pytest.mark.slow
def test_a_loss_at_the_margin_seldom_passes_as_none_and_an_equal_model_mostly_does() -> None:
    found = not_worse(90, 200)
    assert max(at for at, _ in found.values()) < 0.1
    assert min(equal for _, equal in found.values()) > 0.8
