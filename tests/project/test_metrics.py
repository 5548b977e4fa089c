from __future__ import annotations

from typing import get_args

from sterling.project.gates import DecisionMetric, Metric
from sterling.project.metrics import DECISIONS, METRICS
from sterling.project.tasks import METRICS_OF
from sterling.stats.decisions import Amounts
from sterling.stats.metrics import METRICS as COMPUTED
from sterling.stats.multiclass import METRICS as OF_CLASSES
from sterling.stats.regression import METRICS as OF_NUMBERS
from sterling.tasks.decided import decision_metrics


def test_gates_tables_and_statistics_name_the_same_metrics() -> None:
    assert list(get_args(Metric)) == list(METRICS)
    assert set(METRICS) == {name for metrics in METRICS_OF.values() for name in metrics}


def test_which_way_is_better_is_what_the_statistics_say() -> None:
    for computed in (COMPUTED, OF_NUMBERS, OF_CLASSES):
        for name, metric in computed.items():
            assert name == "base_rate" or METRICS[name].more_is_better == metric.greater_is_better


def test_metrics_of_decisions_have_one_name_too() -> None:
    computed = decision_metrics(Amounts(40, -5))
    assert {*get_args(DecisionMetric), "selection_rate"} == set(DECISIONS) == set(computed)
    assert all(
        DECISIONS[name].more_is_better == metric.greater_is_better
        for name, metric in computed.items()
        if name != "selection_rate"
    )
