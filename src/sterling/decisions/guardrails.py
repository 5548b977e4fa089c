"""Judge guardrails by what was counted of a stage: pure, and at any look, since the error rate is one of all looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sterling.project.definition import from_json
from sterling.project.guardrails import (
    NAMES,
    Cost,
    DecisionRate,
    Errors,
    Guardrail,
    Latency,
    Score,
    ScoreDistribution,
    direction,
    error_rate,
    tails,
)
from sterling.project.rollout import WHOLE, millionths
from sterling.stats.sequential import (
    Arm,
    Difference,
    difference_bound,
    distribution_log_e,
    excess_ratio,
    harmful_ratios,
    mismatch_log_e,
    paired_bound,
    planned_pairs,
    planned_rows,
)
from sterling.views.guardrails import Judged, State
from sterling.views.release_plan import Rollout

MISMATCH_ERROR_RATE = 0.001
"""Chance to take an arm's share of the requests for another one than was asked for, where it is not."""

_TINY = 1e-9
_RAREST_DECISION = 0.01
_FEWEST = 20.0
NOTHING = Arm(0.0, 0.0, 0.0)


class Seen(NamedTuple):
    """What was counted of one arm.

    Attributes:
        requests: Requests that it was asked.
        errors: Those that it could not answer.
        latency: Milliseconds of its answers, each up to the cap.
        cost: Milliseconds of processor time of them.
        decisions: Share of a request's rows that is acted on.
        scores: Mean score of a request's rows.
        score_bins: Requests by ten bins of the score.
        latency_bins: Answers by bins of the latency.
    """

    requests: float = 0.0
    errors: float = 0.0
    latency: Arm = NOTHING
    cost: Arm = NOTHING
    decisions: Arm = NOTHING
    scores: Arm = NOTHING
    score_bins: tuple[float, ...] = ()
    latency_bins: tuple[float, ...] = ()


class Counts(NamedTuple):
    """What was counted of a stage, over all processes.

    Attributes:
        live: Of the live version.
        other: Of the canary; of a shadow the pairs that it scored, with its decisions and scores less those of the answer.
        effects: How many times more requests say the same of each, since those of a unit go together: by ``requests``,
            ``errors``, ``latency``, ``cost``, ``decisions`` and ``scores``.
        processes: Server processes that counted.
    """

    live: Seen = Seen()
    other: Seen = Seen()
    effects: Mapping[str, float] = {}
    processes: int = 0


def judge(rollout: Rollout, counts: Counts) -> tuple[Judged, ...]:
    """What each guardrail of a rollout says of the stage that runs.

    A guardrail is breached where the version is worse for sure, and by the margin as far as is seen: so a rollout in which
    nothing is worse is rolled back with the probability of its error budget at most, over all stages, guardrails, sides and
    looks together; and what is worse by less than the margin is let pass.

    Args:
        rollout: The rollout.
        counts: What was counted of its stage.
    """
    guardrails: list[Guardrail] = [from_json(one, Guardrail) for one in rollout.guardrails]
    alpha = error_rate(guardrails, len(rollout.stages), rollout.error_budget)
    shadow = rollout.running.kind == "shadow"
    share = 0.5 if shadow else rollout.running.share / WHOLE
    look = _Look(counts, share, alpha, shadow=shadow)
    judged = (_JUDGES[type(guardrail)](look, guardrail) for guardrail in guardrails)
    return tuple(one for one in judged if one is not None)


def mismatch(rollout: Rollout, counts: Counts) -> bool:
    """Whether a canary is asked another share of the requests than it is to be, so that nothing can be compared."""
    if rollout.running.kind == "shadow":
        return False
    effect = counts.effects.get("requests", 1.0)
    ours, both = counts.other.requests / effect, (counts.other.requests + counts.live.requests) / effect
    return mismatch_log_e(ours, both, rollout.running.share / WHOLE) >= _needed(MISMATCH_ERROR_RATE)


class _Look(NamedTuple):
    counts: Counts
    share: float
    alpha: float
    shadow: bool

    def effect(self, name: str) -> float:
        return self.counts.effects.get(name, 1.0)


def _errors(look: _Look, guardrail: Guardrail) -> Judged:
    assert isinstance(guardrail, Errors)
    live, other, effect = look.counts.live, look.counts.other, look.effect("errors")
    usual = max(_rate(live) or 0.0, millionths(guardrail.rate) / WHOLE)
    margin, grows = guardrail.margin * usual, 1 + guardrail.margin
    planned = planned_rows(margin, usual * (1 - usual), look.share, alpha=look.alpha, grows=grows)
    planned = round(planned * effect / (2 if look.shadow else 1))  # a pair is a request of both
    rows = other.requests if look.shadow else live.requests + other.requests
    theirs, ours = _rate(live), _rate(other)
    if theirs is None or ours is None:
        return _judged(look, guardrail, "share", rows=rows, planned=planned, effect=effect)
    ratio = excess_ratio(
        other.errors / effect, (other.errors + live.errors) / effect, look.share, harmful_ratios(guardrail.margin),
        alpha=look.alpha,
    )  # fmt: skip
    change = (ours - theirs) / usual
    found = Difference(change, min(change, ratio - 1), math.inf)
    return _judged(look, guardrail, "share", theirs, ours, found, rows=rows, planned=planned, effect=effect)


def _relative(name: str, least: float) -> Callable[[_Look, Guardrail], Judged | None]:
    """What judges a mean that changes relative to the live version's."""

    def judge_mean(look: _Look, guardrail: Guardrail) -> Judged | None:
        assert isinstance(guardrail, Latency | Cost | DecisionRate)
        if look.shadow and name != "decisions":
            return None  # a shadow answers nobody, at its own pace
        live: Arm = getattr(look.counts.live, name)
        scale = max(_mean(live) or 0.0, least)
        return _of_mean(look, guardrail, name, "share", scale)

    return judge_mean


def _score(look: _Look, guardrail: Guardrail) -> Judged:
    live = look.counts.live.scores
    mean = _mean(live) or 0.0
    variance = max(0.0, live.squares / live.rows - mean**2) if live.rows else 0.0
    scale = max(variance**0.5, 1e-6 * max(1.0, abs(mean)))
    return _of_mean(look, guardrail, "scores", "deviations", scale)


def _of_mean(look: _Look, guardrail: Guardrail, name: str, unit: str, scale: float) -> Judged:
    """A guardrail on a mean; values count as spread by the margin at least, and few of them say nothing of their mean."""
    effect, margin = look.effect(name), guardrail.margin * scale
    live, other = (
        _spread(getattr(arm, name), margin, effect) for arm in (look.counts.live, look.counts.other)
    )  # fmt: skip
    theirs, ours = _mean(live), _mean(other)
    if theirs is None or ours is None:
        return _judged(look, guardrail, unit, effect=effect)
    if look.shadow:
        planned = planned_pairs(margin, _variance(other), alpha=look.alpha)
        found, rows, ours = paired_bound(other, planned, alpha=look.alpha), other.rows, theirs + ours
    else:
        rows = live.rows + other.rows
        variance = (_variance(live) * live.rows + _variance(other) * other.rows) / rows
        grows = (1 + guardrail.margin) ** 2 if isinstance(guardrail, Latency | Cost) else 1.0
        planned = planned_rows(margin, variance, look.share, alpha=look.alpha, grows=grows)
        found = difference_bound(other, live, planned, alpha=look.alpha)
    enough = min(other.rows, live.rows) >= _FEWEST
    change = Difference(*(part / scale for part in found)) if found and enough else None
    return _judged(
        look, guardrail, unit, theirs, ours, change, rows=rows * effect, planned=round(planned * effect), effect=effect
    )


def _distribution(look: _Look, guardrail: Guardrail) -> Judged | None:
    if look.shadow:
        return None  # the same rows are compared one by one
    effect = look.effect("scores")
    live, other = look.counts.live.score_bins, look.counts.other.score_bins
    rows = sum(live) + sum(other)
    planned = round(planned_rows(guardrail.margin, 0.25, look.share, alpha=look.alpha) * effect)
    if not sum(live) or not sum(other):
        return _judged(look, guardrail, "distance", rows=rows, planned=planned, effect=effect)
    apart = sum(abs(a / sum(other) - b / sum(live)) for a, b in zip(other, live, strict=True)) / 2
    both = [(a + b) / effect for a, b in zip(other, live, strict=True)]
    sure = distribution_log_e([a / effect for a in other], both, look.share) >= _needed(look.alpha)
    found = Difference(apart, _TINY if sure else 0.0, 1.0)
    judged = _judged(look, guardrail, "distance", None, None, found, rows=rows, planned=planned, effect=effect)
    return judged._replace(low=None, high=None)


_JUDGES: dict[type, Callable[[_Look, Guardrail], Judged | None]] = {
    Errors: _errors,
    Latency: _relative("latency", 1e-3),
    Cost: _relative("cost", 1e-3),
    DecisionRate: _relative("decisions", _RAREST_DECISION),
    Score: _score,
    ScoreDistribution: _distribution,
}


def _judged(
    look: _Look, guardrail: Guardrail, unit: str, live: float | None = None, version: float | None = None,
    found: Difference | None = None, *, rows: float = 0.0, planned: int | None = None, effect: float = 1.0,
) -> Judged:  # fmt: skip
    change, low, high = found or (None, None, None)
    state: State = "unseen" if live is None and found is None else "open"
    if found is not None and any(_breached(found, side, guardrail.margin) for side in tails(guardrail)):
        state = "breached"
    elif state == "open" and planned is not None and rows >= planned:
        state = "held"
    finite = None if high == math.inf else high
    return Judged(
        NAMES[type(guardrail)], direction(guardrail), guardrail.margin, unit, live, version, change, low, finite,
        look.alpha, round(rows), planned, effect, state,
    )  # fmt: skip


def _breached(found: Difference, side: int, margin: float) -> bool:
    sure = found.low > 0 if side > 0 else found.high < 0
    return sure and side * found.difference >= margin


def _spread(arm: Arm, margin: float, effect: float) -> Arm:
    """As many independent values as say the same, with a variance of the margin's square at least."""
    return Arm(arm.rows / effect, arm.total / effect, (arm.squares + arm.rows * margin**2) / effect)


def _rate(seen: Seen) -> float | None:
    return seen.errors / seen.requests if seen.requests else None


def _mean(arm: Arm) -> float | None:
    return arm.total / arm.rows if arm.rows else None


def _variance(arm: Arm) -> float:
    return max(0.0, arm.squares / arm.rows - (arm.total / arm.rows) ** 2)


def _needed(alpha: float) -> float:
    """The log of the e-value from which on a bound is broken."""
    return math.log(1 / alpha)
