"""Rollouts that never were: requests of two arms, counted as servers count them, and looked at a hundred times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sterling.decisions.guardrails import Counts, judge
from sterling.project.definition import to_json
from sterling.project.guardrails import DecisionRate, Errors, Guardrail, Latency, Score, ScoreDistribution
from sterling.project.rollout import millionths
from sterling.serving.counted import counts_of
from sterling.serving.counters import ARMS, FIELDS, GROUPED, GROUPS, LATENCY_MS, SCORE_BINS, WIDTH
from sterling.stats.rows import Floats
from sterling.views.release_plan import Rollout, Stage

GUARDRAILS: tuple[Guardrail, ...] = (Errors(), Latency(), DecisionRate(), Score(), ScoreDistribution())
LOOKS = 100
_PLACE = {name: place for place, name in enumerate(FIELDS)}


class Harm(NamedTuple):
    """What is worse in the canary: factors, and a shift of scores in standard deviations."""

    errors: float = 1.0
    latency: float = 1.0
    decisions: float = 1.0
    score: float = 0.0
    elsewhere: float = 0.0
    """Share of requests whose scores lie elsewhere."""


NO_HARM = Harm()


def rollout(guardrails: Sequence[Guardrail] = GUARDRAILS, share: str = "5%", *, kind: str = "canary") -> Rollout:
    """A rollout of one stage."""
    stage = Stage(kind, millionths(share) if kind == "canary" else 0, "1d")
    since = "2024-01-01T00:00:00Z"
    said = tuple(to_json(guardrail) for guardrail in guardrails)
    return Rollout(2, "sha256:m", "a0", (stage,), 0, 7, since, guardrails=said)


def looks(
    random: np.random.Generator, requests: int, harm: Harm = NO_HARM, *, share: float = 0.05, heavy: bool = False
) -> Iterator[Counts]:
    """What was counted at each of a hundred looks at so many requests.

    Errors are .5 % of the requests, latencies log-normal with a coefficient of variation of 1.3, a fifth is acted on.

    Args:
        random: Where chance comes from.
        requests: How many in all.
        harm: What is worse in the canary.
        share: Share of the canary.
        heavy: Whether requests come from units, a few of which ask most and have errors, latencies and scores of their own.
    """
    unit = _units(random, requests) if heavy else np.arange(requests)
    canary = (random.random(unit.max() + 1) < share)[unit]
    group = random.integers(GROUPS, size=unit.max() + 1)[unit]
    own = random.normal(size=unit.max() + 1)[unit] if heavy else np.zeros(requests)
    rate = 0.005 * np.exp(1.5 * own - 1.125) if heavy else np.full(requests, 0.005)
    failed = random.random(requests) < np.minimum(rate * np.where(canary, harm.errors, 1), 1)
    latency = np.minimum(
        random.lognormal(0, 1, requests) * np.exp(0.5 * own) * np.where(canary, harm.latency, 1), 1_000
    )
    likely = np.clip(0.2 * np.exp(0.5 * own - 0.125) * np.where(canary, harm.decisions, 1), 0, 1)
    acted = (random.random(requests) < likely).astype(float)
    deviation = 0.1
    score = 0.5 + deviation * (0.7 * own + random.normal(size=requests) * (0.714 if heavy else 1))
    score += np.where(canary, harm.score * deviation, 0)
    score = np.clip(np.where(canary & (random.random(requests) < harm.elsewhere), 0.95, score), 0, 0.999)
    cells = np.zeros((len(ARMS), WIDTH))
    for part in np.array_split(np.arange(requests), LOOKS):
        for arm in (0, 1):
            mine = part[canary[part] == bool(arm)]
            _count(cells[arm], group[mine], failed[mine], latency[mine], acted[mine], score[mine])
        yield counts_of(cells)


def first_breach(
    found: Iterator[Counts], asked: Rollout, names: Sequence[str] = ()
) -> tuple[int | None, set[tuple[str, int]]]:
    """The look at which a guardrail is breached first, or one of some names, and all that ever are, with their sides."""
    first, breached = None, set[tuple[str, int]]()
    for look, counts in enumerate(found, 1):
        for one in judge(asked, counts):
            if one.state == "breached":
                breached.add((one.guardrail, 1 if (one.change or 0) > 0 else -1))
                if first is None and (not names or one.guardrail in names):
                    first = look
        if first is not None and names:
            break
    return first, breached


def planned(asked: Rollout, name: str, random: np.random.Generator, *, share: float = 0.05) -> int:
    """The planned sample of a guardrail, as it is in the end of a rollout in which nothing is worse."""
    *_, last = looks(random, 40_000, share=share)
    return next(one.planned or 0 for one in judge(asked, last) if one.guardrail == name)


def _units(random: np.random.Generator, requests: int) -> np.ndarray:
    """A unit for each request: a hundredth of as many units as requests, of which a few ask most."""
    activity = random.lognormal(0, 1.5, max(50, requests // 20))
    return random.choice(len(activity), size=requests, p=activity / activity.sum())


def _count(cells: Floats, group: np.ndarray, failed: np.ndarray, latency: Floats, acted: Floats, score: Floats) -> None:
    grouped = cells[:GROUPED].reshape(GROUPS, len(FIELDS))
    ok = ~failed
    values = {"latency": latency, "decisions": acted, "scores": score}
    grouped[:, _PLACE["requests"]] += np.bincount(group, minlength=GROUPS)
    grouped[:, _PLACE["errors"]] += np.bincount(group[failed], minlength=GROUPS)
    for name, value in values.items():
        grouped[:, _PLACE[name]] += np.bincount(group[ok], value[ok], minlength=GROUPS)
        grouped[:, _PLACE[f"{name}_squares"]] += np.bincount(group[ok], value[ok] ** 2, minlength=GROUPS)
    for name in ("answered", "decided", "scored"):
        grouped[:, _PLACE[name]] += np.bincount(group[ok], minlength=GROUPS)
    bins = cells[GROUPED + len(LATENCY_MS) + 1 :]
    bins += np.bincount((score[ok] * SCORE_BINS).astype(int), minlength=SCORE_BINS)
