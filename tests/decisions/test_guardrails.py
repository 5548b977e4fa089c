from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import sterling as sl
from sterling.core.errors import InvalidDefinitionError
from sterling.decisions.guardrails import Counts, Seen, judge, mismatch
from sterling.project.guardrails import (
    Cost,
    DecisionRate,
    Errors,
    Guardrail,
    Latency,
    Score,
    ScoreDistribution,
    check_guardrails,
    default_guardrails,
)
from sterling.project.tasks import Regression
from sterling.stats.sequential import Arm
from sterling.views.guardrails import Judged, verdict
from tests.decisions.guardrail_simulations import GUARDRAILS, Harm, first_breach, looks, planned, rollout

MANY = 40_000.0


def arm(rows: float, mean: float, deviation: float = 1.0) -> Arm:
    return Arm(rows, rows * mean, rows * (deviation**2 + mean**2))


def seen(requests: float, *, errors: float = 0.005, mean: float = 2.0) -> Seen:
    """An arm with a share of errors, and the same mean of everything that has one."""
    bins = (0.0, 0.0, *(requests * share for share in ((mean - 1) / 2, (3 - mean) / 2)), *[0.0] * 6)
    times, shares = arm(requests, mean), arm(requests, mean / 10, 0.3)
    return Seen(requests, round(requests * errors), times, times, shares, shares, bins)


def judged(guardrail: Guardrail, version: Seen, live: Seen, share: str = "25%") -> Judged:
    (one,) = judge(rollout([guardrail], share), Counts(live, version))
    return one


@pytest.mark.parametrize(
    ("guardrail", "worse", "better", "direction"),
    [
        (Errors(), {"errors": 0.05}, {"errors": 0.0}, "no higher"),
        (Latency(), {"mean": 2.9}, {"mean": 1.1}, "no higher"),
        (Cost(), {"mean": 2.9}, {"mean": 1.1}, "no higher"),
        (DecisionRate(direction="no higher"), {"mean": 2.9}, {"mean": 1.1}, "no higher"),
        (DecisionRate(direction="no lower"), {"mean": 1.1}, {"mean": 2.9}, "no lower"),
        (Score(direction="no higher"), {"mean": 2.9}, {"mean": 1.1}, "no higher"),
        (Score(direction="no lower"), {"mean": 1.1}, {"mean": 2.9}, "no lower"),
    ],
)
def test_a_change_in_the_harmful_direction_is_a_breach_and_one_in_the_other_is_none(
    guardrail: Guardrail, worse: dict[str, Any], better: dict[str, Any], direction: str
) -> None:
    live = seen(MANY)
    bad, good, same = (judged(guardrail, seen(MANY / 3, **change), live) for change in (worse, better, {}))
    assert (bad.state, good.state, same.state) == ("breached", "held", "held")
    assert bad.direction == direction
    assert judged(guardrail, seen(4, **worse), seen(12)).state == "open"


@pytest.mark.parametrize("guardrail", [DecisionRate(), Score(), ScoreDistribution()])
@pytest.mark.parametrize("mean", [1.1, 2.9])
def test_where_no_other_is_asked_for_either_direction_is_a_breach(guardrail: Guardrail, mean: float) -> None:
    assert judged(guardrail, seen(MANY / 3, mean=mean), seen(MANY)).state == "breached"
    assert judged(guardrail, seen(MANY / 3), seen(MANY)).state == "held"


def test_what_is_surely_worse_by_less_than_the_margin_is_let_pass() -> None:
    found = judged(Latency(), seen(1e7, mean=2.1), seen(3e7))
    assert found.low
    assert found.low > 0
    assert (found.state, round(found.change or 0, 3)) == ("held", 0.05)


def test_errors_far_below_the_rate_that_is_expected_anyhow_are_no_breach() -> None:
    found = judged(Errors(rate="1%"), seen(100_000, errors=0.0005), seen(300_000, errors=0.0))
    assert (found.state, round(found.change or 0, 2)) == ("held", 0.05)
    assert judged(Errors(), seen(30, errors=0.3), seen(90, errors=0.0)).state == "breached"


def test_nothing_that_was_counted_is_no_evidence() -> None:
    found = judge(rollout(), Counts())
    assert [one.state for one in found] == ["unseen"] * len(GUARDRAILS)
    assert verdict(found) == verdict(()) == "open"


def test_values_that_are_all_equal_are_judged_too_once_there_are_a_few() -> None:
    def constant(rows: float, mean: float) -> Seen:
        return Seen(rows, 0, scores=arm(rows, mean, 0.0))

    assert judged(Score(), constant(3, 0.75), constant(9, 0.25)).state == "open"
    assert judged(Score(), constant(300, 0.75), constant(900, 0.25)).state == "breached"
    assert judged(Score(), constant(300, 0.25), constant(900, 0.25)).state == "held"


def test_requests_of_one_unit_count_for_as_many_as_say_the_same() -> None:
    live, version = seen(MANY / 10, errors=0.0), seen(MANY / 30)._replace(errors=40.0)
    alone = Counts(live, version, {"errors": 1.0})
    assert judge(rollout([Errors()], "25%"), alone)[0].state == "breached"
    assert judge(rollout([Errors()], "25%"), alone._replace(effects={"errors": 40.0}))[0].state == "open"


def test_a_shadow_is_judged_by_pairs() -> None:
    live = seen(2_000, errors=0.0)
    same = Seen(2_000, 0, decisions=arm(2_000, 0.0, 0.2), scores=arm(2_000, 0.0, 0.02))
    shifted = same._replace(scores=arm(2_000, 0.2, 0.02))
    broken = same._replace(errors=100)
    asked = rollout(kind="shadow")
    states = [
        {one.guardrail: one.state for one in judge(asked, Counts(live, version))} for version in (same, shifted, broken)
    ]
    assert {"latency", "distribution"}.isdisjoint(states[0])
    assert [each["score"] for each in states] == ["held", "breached", "held"]
    assert (states[0]["errors"], states[2]["errors"]) == ("open", "breached")


def test_a_canary_that_is_asked_another_share_than_its_own_is_compared_with_nothing() -> None:
    asked = rollout(share="25%")
    assert not mismatch(asked, Counts(seen(3_000), seen(1_020)))
    assert mismatch(asked, Counts(seen(3_000), seen(1_400)))
    assert not mismatch(asked, Counts(seen(3_000), seen(1_400), {"requests": 50.0}))


def test_the_guardrails_of_a_project_suit_its_task_and_policy() -> None:
    kinds = [type(one).__name__ for one in default_guardrails(sl.Threshold(at=0.5), sl.Binary())]
    assert kinds == ["Errors", "Latency", "DecisionRate", "Score", "ScoreDistribution"]
    assert [type(one).__name__ for one in default_guardrails(None, Regression())] == ["Errors", "Latency", "Score"]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Errors(margin=0.0), "Errors.margin is 0.0. It lies above 0."),
        (lambda: Errors(rate="0%"), "It lies between 0 % and 100 %"),
        (lambda: Latency(cap_ms=0), "Latency.cap_ms is 0"),
        (lambda: ScoreDistribution(margin=1.0), "It lies between 0 and 1"),
        (lambda: Score(direction="up"), "Score.direction is 'up'"),  # type: ignore[arg-type]
        (lambda: check_guardrails([Errors(), Errors(margin=2)], None), "has Errors twice"),
        (lambda: check_guardrails([DecisionRate()], sl.Top(5)), "requests are not decided one by one"),
    ],
)
def test_guardrails_that_cannot_be_meant_are_refused(build: Any, said: str) -> None:
    with pytest.raises(InvalidDefinitionError) as refused:
        build()
    assert said in str(refused.value)


def test_a_hundred_looks_roll_back_what_is_harmful_early_and_nothing_else() -> None:
    random, asked = np.random.default_rng(4), rollout()
    assert first_breach(looks(random, 20_000), asked) == (None, set())
    first, breached = first_breach(looks(random, 8_000, Harm(latency=2.25)), asked, ["latency"])
    assert first
    assert first <= 30
    assert ("latency", 1) in breached


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, True])
def test_rollouts_in_which_nothing_is_worse_are_rolled_back_as_rarely_as_documented(*, heavy: bool) -> None:
    random, asked, runs = np.random.default_rng(3), rollout(), 60
    found = [first_breach(looks(random, 60_000, heavy=heavy), asked) for _ in range(runs)]
    tails = Counter(tail for _, breached in found for tail in breached)
    print(f"heavy {heavy}: rolled back {sum(first is not None for first, _ in found) / runs:.3f}, by tail {tails}")
    assert max(tails.values(), default=0) / runs <= 0.065


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("errors", Harm(errors=6.0)),
        ("latency", Harm(latency=2.25)),
        ("decision rate", Harm(decisions=2.0)),
        ("decision rate", Harm(decisions=0.0)),
        ("score", Harm(score=0.5)),
        ("score", Harm(score=-0.5)),
        ("distribution", Harm(elsewhere=0.5)),
    ],
)
def test_a_harm_of_five_margins_is_found_as_early_as_documented(name: str, harm: Harm) -> None:
    random, asked = np.random.default_rng(5), rollout()
    requests = planned(asked, name, random)
    found = [first_breach(looks(random, requests, harm), asked, [name])[0] or 101 for _ in range(60)]
    print(f"{name} {harm}: {np.mean(found):.1f} % of {requests:,} (median {np.median(found):g}, last {max(found)})")
    assert np.median(found) <= 7
    assert np.mean(found) <= 8
