"""Metrics of quantiles are those of scikit-learn and by hand, and their intervals hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss

from sterling.stats.intervals import difference_interval, metric_interval
from sterling.stats.pinball import intervals_of, mean_pinball, pinball, quantile_metrics
from sterling.stats.rows import BadRowsError, Floats

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def drawn(rng: np.random.Generator, clusters: int = 40, rows: int = 25) -> tuple[Floats, Floats, Floats]:
    """Labels with an effect of their cluster, quantiles that know it not but are right over all, and the clusters."""
    of = np.repeat(np.arange(clusters), rows)
    mean = rng.normal(20, 5, len(of))
    y = mean + rng.normal(0, 1, clusters)[of] + rng.normal(0, 2, len(of))
    return y, mean[:, None] + norm.ppf(LEVELS) * np.sqrt(5), of.astype(np.float64)


def test_pinball_loss_is_that_of_scikit_learn() -> None:
    y, q, _ = drawn(np.random.default_rng(1))
    by_level = [mean_pinball_loss(y, q[:, place], alpha=level) for place, level in enumerate(LEVELS)]
    assert [pinball(y, q[:, place], level) for place, level in enumerate(LEVELS)] == pytest.approx(by_level)
    assert mean_pinball(y, q, LEVELS) == pytest.approx(np.mean(by_level))
    weights = np.random.default_rng(2).integers(0, 3, len(y))
    assert pinball(y, q[:, 0], 0.05, weights) == pytest.approx(
        mean_pinball_loss(y, q[:, 0], alpha=0.05, sample_weight=weights)
    )
    metric = quantile_metrics(LEVELS)["pinball"]
    repeated = np.repeat(np.arange(len(y)), weights)
    assert metric.function(y, q, weights) == pytest.approx(mean_pinball(y[repeated], q[repeated], LEVELS))


def test_coverage_and_width_are_of_the_widest_interval() -> None:
    y, q, _ = drawn(np.random.default_rng(3))
    metrics = quantile_metrics(LEVELS)
    assert metrics["coverage"].function(y, q) == np.mean((q[:, 0] <= y) & (y <= q[:, 4]))
    assert metrics["width"].function(y, q) == pytest.approx(np.mean(q[:, 4] - q[:, 0]))
    assert [one.nominal for one in intervals_of(LEVELS)] == pytest.approx([0.9, 0.5])


def test_the_loss_is_smallest_for_the_true_quantile() -> None:
    y = np.random.default_rng(4).exponential(size=50_000)
    losses = {q: pinball(y, np.full(len(y), q), 0.8) for q in (1.2, -np.log(0.2), 2.2)}
    assert min(losses, key=losses.__getitem__) == -np.log(0.2)


@pytest.mark.parametrize(
    ("q", "said"),
    [
        ([[1.0, 2.0]], "have shape"),
        ([[2.0, 1.0, 3.0]], "fall. Sort them"),
        ([[1.0, np.inf, 3.0]], "infinite or no number"),
    ],
)
def test_what_is_no_evaluation_is_refused(q: list[list[float]], said: str) -> None:
    with pytest.raises(BadRowsError, match=said):
        mean_pinball([1.0], q, (0.1, 0.5, 0.9))


def _shares(runs: int, clusters: int) -> dict[str, float]:
    """How often intervals hold what they should, over runs; the truth of coverage and pinball is that of many rows."""
    truth_y, truth_q, _ = drawn(np.random.default_rng(0), 4_000, 25)
    metrics = quantile_metrics(LEVELS)
    truths = {name: metrics[name].function(truth_y, truth_q) for name in ("pinball", "coverage")}
    narrower = metrics["pinball"].function(truth_y, _narrow(truth_q)) - truths["pinball"]
    held = dict.fromkeys(("pinball", "coverage", "coverage upper", "difference"), 0)
    rng = np.random.default_rng(20260201)
    for _ in range(runs):
        y, q, of = drawn(rng, clusters)
        for name in ("pinball", "coverage"):
            found = metric_interval(metrics[name], y, q, of)
            held[name] += found.low <= truths[name] <= found.high
        held["coverage upper"] += found.upper >= truths["coverage"]
        change = difference_interval(metrics["pinball"], y, _narrow(q), q, of)
        held["difference"] += change.low <= narrower <= change.high
    return {name: count / runs for name, count in held.items()}


def _narrow(q: Floats) -> Floats:
    middle = q[:, [len(LEVELS) // 2]]
    return middle + 0.8 * (q - middle)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    found = _shares(60, 30)
    assert all(share >= 0.85 for share in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [12, 30, 100])
def test_intervals_hold_in_nineteen_of_twenty_runs(clusters: int) -> None:
    found = _shares(1_000, clusters)
    assert all(0.93 <= share <= 0.975 for share in found.values()), found


if __name__ == "__main__":
    for count in (12, 30, 100):
        print(count, _shares(2_000, count))
