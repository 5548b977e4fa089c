from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import beta, binom

from sterling.stats.sequential import (
    Arm,
    difference_bound,
    excess_log_e,
    harmful_ratios,
    mismatch_log_e,
    planned_rows,
)

SHARE, LOOKS, ALPHA = 0.05, 100, 0.05
RATIOS = harmful_ratios(0.5)
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def first_alarm(alarms: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of the look at which each run is alarmed; one more than there are where none is."""
    looks: NDArray[np.int64] = np.where(alarms.any(axis=1), alarms.argmax(axis=1) + 1, alarms.shape[1] + 1)
    return looks


@given(st.integers(0, 40), st.floats(0.01, 0.6), st.floats(0.05, 1.0))
def test_an_excess_e_value_has_mean_one_at_most_wherever_the_canary_is_no_worse(
    of: int, share: float, better: float
) -> None:
    true = share * better / (share * better + 1 - share)
    chances = binom.pmf(range(of + 1), of, true)
    values = np.exp(excess_log_e(np.arange(of + 1), np.full(of + 1, of), share, RATIOS))
    mean = float(np.dot(chances, values))
    assert mean <= 1 + 1e-9
    if better == 1.0:
        assert mean == pytest.approx(1)


@settings(max_examples=25)
@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.02, 0.98))
def test_a_mismatch_e_value_is_the_integral_of_likelihood_ratios(canary: int, others: int, share: float) -> None:
    def ratio(theta: float) -> float:
        logs = canary * math.log(theta / share) + others * math.log((1 - theta) / (1 - share))
        return math.exp(logs) * float(beta.pdf(theta, 100 * share, 100 * (1 - share)))

    at = (canary + 100 * share) / (canary + others + 100)
    found, _ = quad(ratio, 1e-9, 1 - 1e-9, points=[share, at], limit=200)
    assert mismatch_log_e(canary, canary + others, share) == pytest.approx(math.log(found), abs=1e-4)


def test_each_direction_is_its_own_and_the_other_gives_no_evidence() -> None:
    assert excess_log_e(30, 200, SHARE, RATIOS) > math.log(1 / ALPHA)
    assert excess_log_e(0, 200, SHARE, RATIOS) < 0
    assert excess_log_e(200 - 150, 200, 1 - SHARE, RATIOS) < 0
    worse = difference_bound(Arm(500, 650, 1_700), Arm(9_500, 9_500, 28_500), 20_000)
    better = difference_bound(Arm(500, 350, 1_100), Arm(9_500, 9_500, 28_500), 20_000)
    assert worse
    assert better
    assert worse.low > 0
    assert better.high < 0


def test_sums_of_workers_add_up() -> None:
    values = np.random.default_rng(0).gamma(2, size=1_000)
    canary = np.arange(1_000) % 10 == 0

    def arm(part: NDArray[np.float64]) -> Arm:
        return Arm(len(part), part.sum(), (part**2).sum())

    halves = [arm(values[:500][~canary[:500]]), arm(values[500:][~canary[500:]])]
    together = Arm(*(sum(parts) for parts in zip(*halves, strict=True)))
    assert difference_bound(arm(values[canary]), together, 2_000) == pytest.approx(
        difference_bound(arm(values[canary]), arm(values[~canary]), 2_000)
    )


def test_too_little_is_no_answer() -> None:
    assert difference_bound(Arm(1, 1, 1), Arm(50, 50, 90), 100) is None
    assert difference_bound(Arm(5, 5, 5), Arm(50, 50, 50), 100) is None
    assert excess_log_e(0, 0, SHARE, RATIOS) == pytest.approx(0)


@pytest.mark.parametrize(
    ("counts", "ratios", "said"),
    [((2, 1, 0.5), [2.0], "larger than its whole"), ((1, 2, 0.5), [1.0], "above 1"), ((1, 2, 1.0), [2.0], "share in")],
)
def test_what_cannot_have_been_counted_is_refused(
    counts: tuple[int, int, float], ratios: list[float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        excess_log_e(*counts, ratios)


def counted(random: np.random.Generator, runs: int, rate: float, ratio: float, rows: int) -> NDArray[np.float64]:
    """Log e-values of each run at each look, at which as many rows are new."""
    canary = random.binomial(rows, SHARE, (runs, LOOKS))
    ours = random.binomial(canary, rate * ratio).cumsum(axis=1)
    both = ours + random.binomial(rows - canary, rate).cumsum(axis=1)
    return excess_log_e(ours, both, SHARE, RATIOS)


def compared(random: np.random.Generator, draw: Draw, runs: int, planned: int, shift: float) -> NDArray[np.float64]:
    """Lower and upper bounds of each run at each look; shape (runs, looks, 2)."""
    bounds = np.full((runs, LOOKS, 2), [-np.inf, np.inf])
    ends = np.arange(1, LOOKS + 1) * (planned // LOOKS) - 1
    for run in range(runs):
        canary = random.random(planned) < SHARE
        values = draw(random, planned) + shift * canary
        sums = [np.stack([w, w * values, w * values**2]).cumsum(axis=1)[:, ends].T for w in (canary, ~canary)]
        for look, (ours, theirs) in enumerate(zip(*sums, strict=True)):
            if found := difference_bound(Arm(*ours), Arm(*theirs), planned, alpha=ALPHA):
                bounds[run, look] = found.low, found.high
    return bounds


def latency(random: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Log-normal, with a coefficient of variation of 1.3."""
    return random.lognormal(0, 1, rows)


def value(random: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """One in 20 spends something log-normal, capped at its quantile of 99.9 % over everybody."""
    return np.minimum((random.random(rows) < 0.05) * random.lognormal(3, 1.5, rows), 251.0)


def test_a_hundred_looks_at_a_small_canary_raise_few_false_alarms() -> None:
    random = np.random.default_rng(7)
    alarms = counted(random, 1_000, 0.005, 1.0, 1_400) >= math.log(1 / ALPHA)
    assert alarms.any(axis=1).mean() <= 0.065
    bounds = compared(random, latency, 60, 20_000, 0.0)
    assert (bounds[:, :, 0] > 0).any(axis=1).mean() <= 0.1
    assert (bounds[:, :, 1] < 0).any(axis=1).mean() <= 0.1


@pytest.mark.slow
def test_errors_raise_false_alarms_and_find_harm_as_documented() -> None:
    random = np.random.default_rng(11)
    planned = planned_rows(0.0025, 0.005 * 0.995, SHARE)
    false = (counted(random, 10_000, 0.005, 1.0, planned // LOOKS) >= math.log(1 / ALPHA)).any(axis=1).mean()
    found = first_alarm(counted(random, 4_000, 0.005, 3.5, planned // LOOKS) >= math.log(1 / ALPHA))
    print(f"errors: false {false:.3f}, harm of 5 margins at {found.mean():.1f} % (median {np.median(found)})")
    assert false <= 0.05
    assert found.mean() <= 7


@pytest.mark.slow
@pytest.mark.parametrize("draw", [latency, value])
def test_means_raise_false_alarms_and_find_harm_as_documented(draw: Draw) -> None:
    random = np.random.default_rng(13)
    planned = 30_000
    variance = float(draw(random, 2_000_000).var())
    margin = math.sqrt(planned_rows(1.0, variance, SHARE) / planned)
    bounds = compared(random, draw, 800, planned, 0.0)
    worse, better = ((side * bounds[:, :, place] > 0).any(axis=1).mean() for place, side in ((0, 1), (1, -1)))
    harm = first_alarm(compared(random, draw, 200, planned, 5 * margin)[:, :, 0] > 0)
    fall = first_alarm(compared(random, draw, 200, planned, -5 * margin)[:, :, 1] < 0)
    print(
        f"{draw.__name__}: false {worse:.3f} up, {better:.3f} down; 5 margins at {harm.mean():.1f} %, {fall.mean():.1f} %"
    )
    assert max(worse, better) <= 0.065
    assert max(harm.mean(), fall.mean()) <= 7
