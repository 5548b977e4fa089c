"""Calibration taken apart: the parts add up, are free of bias, and agree with a regression by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss

from sterling.stats.intervals import NoVariationError, TooFewClustersError
from sterling.stats.recalibration import brier_parts, mean_gap, recalibration
from sterling.stats.rows import OneClassError
from tests.stats.simulated import SCENARIOS, draw

ROWS = draw(np.random.default_rng(5), SCENARIOS["normal"], 30, 60)


@pytest.mark.parametrize("corrected", [False, True])
def test_the_parts_add_up_to_the_score(corrected: bool) -> None:
    parts = brier_parts(ROWS.y, ROWS.candidate, corrected=corrected)
    assert parts.brier == pytest.approx(brier_score_loss(ROWS.y, ROWS.candidate))
    assert parts.reliability - parts.resolution + parts.uncertainty + parts.within == pytest.approx(parts.brier)


def test_murphys_parts_are_those_of_a_plain_loop() -> None:
    p = ROWS.candidate.round(1)
    parts = brier_parts(ROWS.y, p, bins=1_000, corrected=False)
    levels = [(p == level, level) for level in np.unique(p)]
    shares = [(inside.mean(), ROWS.y[inside].mean(), level) for inside, level in levels]
    assert parts.reliability == pytest.approx(sum(w * (level - rate) ** 2 for w, rate, level in shares))
    assert parts.resolution == pytest.approx(sum(w * (rate - ROWS.y.mean()) ** 2 for w, rate, _ in shares))
    assert parts.within == pytest.approx(0, abs=1e-12)


def test_corrected_parts_are_right_on_average_where_plain_ones_are_too_large() -> None:
    rng, levels = np.random.default_rng(6), np.array([0.1, 0.3, 0.5, 0.7])
    risks, found = np.array([0.15, 0.25, 0.5, 0.7]), []
    for _ in range(600):
        place = np.repeat(np.arange(4), 10)
        y = rng.random(40) < risks[place]
        found.append([brier_parts(y, levels[place], bins=4, corrected=c)[1:4] for c in (False, True)])
    plain, corrected = np.mean(found, axis=0)
    truth = [np.mean((levels - risks) ** 2), np.var(risks), risks.mean() * (1 - risks.mean())]
    error = 4 * np.std(found, axis=0)[1] / np.sqrt(len(found))
    assert (np.abs(corrected - truth) < error).all()
    assert (plain[:2] > np.array(truth[:2]) + 0.01).all()


def test_intercept_and_slope_are_the_maximum_likelihood_of_another_program() -> None:
    odds = logit(ROWS.candidate)

    def surprise(weights: np.ndarray, offset: np.ndarray) -> float:
        at = weights[0] + (weights[1] * odds if len(weights) == 2 else 0) + offset
        return float(np.mean(np.logaddexp(0, at) - ROWS.y * at))

    found = recalibration(ROWS.y, ROWS.candidate, ROWS.day)
    both = minimize(surprise, np.array([0.0, 1.0]), args=(np.zeros(len(odds)),), tol=1e-12).x
    alone = minimize(surprise, np.array([0.0]), args=(odds,), tol=1e-12).x
    assert found.slope.value == pytest.approx(both[1], abs=1e-4)
    assert found.intercept.value == pytest.approx(alone[0], abs=1e-4)


def test_one_step_without_a_day_is_as_good_as_fitting_again() -> None:
    full = recalibration(ROWS.y, ROWS.candidate, ROWS.day)
    again = []
    for day in range(30):
        left = ROWS.day != day
        again.append(recalibration(ROWS.y[left], ROWS.candidate[left], ROWS.day[left]).slope.value)
    error = np.sqrt(29 / 30 * np.sum((np.array(again) - np.mean(again)) ** 2))
    assert (full.slope.high - full.slope.low) / 2 == pytest.approx(2.05 * error, rel=0.15)


def test_a_score_that_is_off_by_a_factor_and_a_shift_is_said_to_be() -> None:
    rng, day = np.random.default_rng(8), np.repeat(np.arange(40), 500)
    odds = rng.normal(-1, 1, len(day))
    found = recalibration(rng.random(len(day)) < expit(0.5 * odds), expit(odds), day)
    assert found.slope.low < 0.5 < found.slope.high < 1


def test_what_cannot_be_moved_is_refused() -> None:
    day = np.arange(20) % 10
    with pytest.raises(TooFewClustersError):
        recalibration([0, 1] * 10, [0.5] * 20, np.arange(20) % 3)
    with pytest.raises(OneClassError):
        recalibration([1] * 20, [0.5] * 20, day)
    with pytest.raises(NoVariationError, match="no slope"):
        recalibration([0, 1] * 10, [0.5] * 20, day)
    with pytest.raises(NoVariationError, match="separate"):
        recalibration([0, 1] * 10, [0.2, 0.8] * 10, day)


def test_the_mean_gap_is_prediction_minus_what_happened() -> None:
    gap = mean_gap(ROWS.y, ROWS.candidate, ROWS.day)
    assert gap.value == pytest.approx(ROWS.candidate.mean() - ROWS.y.mean())
    assert gap.low < gap.value < gap.high
