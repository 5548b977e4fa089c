"""Leaving out each group by sums gives what leaving it out row by row gives."""

from __future__ import annotations

import numpy as np
import pytest

from sterling.stats.decisions import DECISION_METRICS, Amounts, value_metric
from sterling.stats.metrics import METRICS, Metric
from sterling.stats.rows import OneClassError

QUICK = [metric for metric in METRICS.values() if metric.leave_one_out]
DECIDED = [*DECISION_METRICS.values(), value_metric(Amounts(40, -5, -1, 2))]


@pytest.mark.parametrize("decimals", [8, 2, 1], ids=["distinct", "some ties", "many ties"])
@pytest.mark.parametrize("metric", [*QUICK, *DECIDED], ids=lambda metric: metric.name)
def test_it_is_one_evaluation_for_each_group(metric: Metric, decimals: int) -> None:
    rng = np.random.default_rng(3)
    p = rng.random(800).round(decimals)
    y, groups = (rng.random(800) < p).astype(np.float64), rng.integers(0, 12, 800)
    shown = (p > 0.4).astype(np.float64) if metric in DECIDED else p
    assert metric.leave_one_out is not None
    found = metric.leave_one_out(y, shown, groups, 12)
    evaluate = metric.prepare(y, shown)
    assert found.estimate == pytest.approx(metric.function(y, shown), rel=1e-12)
    assert found.without == pytest.approx([evaluate((groups != group).astype(float)) for group in range(12)], rel=1e-12)


def test_a_class_that_one_group_holds_alone_is_refused() -> None:
    y, groups = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0, 0, 1, 1])
    roc_auc = METRICS["roc_auc"].leave_one_out
    assert roc_auc is not None
    with pytest.raises(OneClassError, match="without one of the clusters"):
        roc_auc(y, np.array([0.9, 0.1, 0.2, 0.3]), groups, 2)
    with pytest.raises(OneClassError, match="every row is negative"):
        roc_auc(np.zeros(4), np.array([0.9, 0.1, 0.2, 0.3]), groups, 2)
