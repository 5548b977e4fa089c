"""The value of each threshold, and a band that holds for the one that is picked."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from sterling.stats.decisions import Amounts, value_metric
from sterling.stats.intervals import metric_interval
from sterling.stats.value_curve import NOBODY, curve, objective_of, thresholds_of
from tests.stats.simulated import SCENARIOS, draw

AMOUNTS = Amounts(40, -5, -1, 0.5)
ROWS = draw(np.random.default_rng(4), SCENARIOS["normal"], 30, 60)
VALUE = curve(ROWS.y, ROWS.candidate, ROWS.day, objective_of("value", AMOUNTS))


def test_each_point_is_the_value_of_acting_from_there_on() -> None:
    value = value_metric(AMOUNTS)
    for point in VALUE.points[::7]:
        acted = ROWS.candidate >= point.threshold
        assert point.value == pytest.approx(value.function(ROWS.y, acted))
        assert point.selected == pytest.approx(acted.mean())


def test_it_leads_from_everybody_to_nobody_and_the_best_point_is_its_highest() -> None:
    assert (VALUE.points[0].selected, VALUE.points[-1].selected) == (1.0, 0.0)
    assert VALUE.points[-1].threshold == NOBODY > 1
    assert VALUE.best.value == max(point.value for point in VALUE.points)


def test_the_band_is_wider_than_the_interval_of_one_threshold_and_narrower_than_bonferroni() -> None:
    acted = (ROWS.candidate >= VALUE.best.threshold).astype(float)
    alone = metric_interval(value_metric(AMOUNTS), ROWS.y, acted, ROWS.day)
    careful = metric_interval(value_metric(AMOUNTS), ROWS.y, acted, ROWS.day, confidence=1 - 0.05 / len(VALUE.points))
    assert VALUE.best.low is not None
    assert careful.low < VALUE.best.low < alone.low


def test_of_equal_thresholds_the_one_that_acts_on_fewest_rows_is_chosen() -> None:
    found = curve([0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], objective_of("value", Amounts(1, -1)))
    assert found.best.threshold == NOBODY
    assert found.best.low is None  # four clusters


@pytest.mark.parametrize("name", ["f1", "balanced_accuracy"])
def test_other_objectives_are_those_of_scikit_learn(name: str) -> None:
    score = {"f1": metrics.f1_score, "balanced_accuracy": metrics.balanced_accuracy_score}[name]
    found = curve(ROWS.y, ROWS.candidate, ROWS.day, objective_of(name), thresholds=[0.1, 0.2, 0.4])
    assert [point.value for point in found.points] == pytest.approx(
        [score(ROWS.y, ROWS.candidate >= at) for at in (0.1, 0.2, 0.4)]
    )


def test_what_is_no_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="value \\(with amounts\\)"):
        objective_of("value")


def test_there_are_no_more_thresholds_than_asked_for() -> None:
    assert len(thresholds_of(np.random.default_rng(0).random(5_000))) == 100
