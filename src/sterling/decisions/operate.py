"""What becomes of a rollout by itself: the next stage, a pause, or the way back, each on what was counted of its stage.

Nothing is recorded but what decides. A verdict is taken only where no other one came between: whoever records it first has
decided, and what follows from it is done by whoever looks next, so that a controller that is killed between the two is
replaced, and two of them never decide twice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sterling.core.clock import Clock, utcnow
from sterling.core.errors import ConflictError, RefusedError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.core.store import Store
from sterling.decisions.guardrails import Counts, judge, mismatch
from sterling.decisions.rollout import pause, promote, rollback
from sterling.decisions.standing import standing
from sterling.project.times import micros
from sterling.views.guardrails import Judged, judged_from, said, verdict
from sterling.views.release_plan import ReleasePlan, Rollout
from sterling.views.text import listed, moment, percent

JUDGED = "guardrails.judged"
PATIENCE = 5
"""How many times as long as it is to last a stage may wait for its sample before it is paused."""

Count = Callable[[int], Counts]
"""Gives what was counted of the stage that began with the entry at a position."""
Verdict = Literal["breached", "held", "mismatch", "unknown"]
Does = Literal["nothing", "promoted", "paused", "rolled back", "waits"]


class Look(NamedTuple):
    """What one look at a rollout found, and did.

    Attributes:
        plan: The release plan that was looked at.
        did: What was done: ``nothing`` where no version is on its way or it is paused, ``waits`` where it is not time.
        why: Why, as a sentence.
        judged: What each guardrail says.
        counts: What was counted.
        decided: The entry that was recorded, or None.
    """

    plan: ReleasePlan
    did: Does
    why: str
    judged: tuple[Judged, ...] = ()
    counts: Counts = Counts()
    decided: Entry | None = None


def operate(ledger: Ledger, store: Store, count: Count, *, clock: Clock = utcnow) -> Look:
    """Look at the rollout that is under way once, and do what its guardrails say.

    Args:
        ledger: The project's chain.
        store: Where definitions are, which say who must approve.
        count: Gives what was counted.
        clock: Says what time it is.

    Raises:
        StorageError: if the ledger or the counts cannot be read, or the ledger takes nothing.
    """
    view = standing(ledger)
    plan, rollout = view.plan, view.plan.rollout
    if rollout is None:
        live = f"version {plan.live.version} takes all traffic" if plan.live else "nothing is released"
        return Look(plan, "nothing", f"No version is on its way: {live}.")
    if rollout.paused:
        why = f"Version {rollout.version} is paused: {rollout.reason} `sterling promote` goes on, `sterling rollback` ends it."
        return Look(plan, "nothing", why)
    counts = count(rollout.position)
    judged = judge(rollout, counts)
    look = Look(plan, "waits", "", judged, counts)
    recorded = _recorded(ledger, rollout, "breached")
    if recorded is None:
        reached, why = _reached(rollout, judged, counts, clock())
        if reached is None:
            return look._replace(why=why)
        recorded = _recorded(ledger, rollout, reached)
        if recorded is None:
            recorded = _record(ledger, view.head, rollout, counts, judged, reached, why)
    if recorded is None:
        return look._replace(why="Another controller decides at this moment.")
    return _done(ledger, store, rollout, look, recorded, clock)


def _reached(rollout: Rollout, judged: tuple[Judged, ...], counts: Counts, now: datetime) -> tuple[Verdict | None, str]:
    """The verdict, or None where it is not time; and why."""
    stands = verdict(judged)
    if stands == "breached":
        worse = listed([said(one) for one in judged if one.state == "breached"])
        return "breached", f"Worse for sure: {worse}."
    if mismatch(rollout, counts):
        both = counts.live.requests + counts.other.requests
        share = f"{percent(counts.other.requests / both)} of {both:,.0f} requests"
        return "mismatch", f"The canary was asked {share} instead of its share, so that nothing can be compared."
    began, lasts = datetime.fromisoformat(rollout.since), micros(rollout.running.lasts)
    if stands == "held":
        if now < datetime.fromisoformat(rollout.due):
            return None, f"Every guardrail holds; {rollout.running.title} lasts until {moment(rollout.due)}."
        return "held", f"Every guardrail holds on the planned sample of {rollout.running.title}."
    missing = _missing(judged)
    if now >= began + timedelta(microseconds=PATIENCE * lasts):
        return "unknown", f"There is not enough evidence after {PATIENCE} times {rollout.running.lasts}: {missing}."
    return None, f"Not enough evidence yet: {missing}."


def _missing(judged: tuple[Judged, ...]) -> str:
    """What the planned sample lacks."""
    if not judged:
        return "the rollout was begun without guardrails"
    short = [one for one in judged if one.state in {"open", "unseen"}]
    worst = min(short, key=lambda one: one.rows / one.planned if one.planned else 0.0)
    if worst.state == "unseen":
        return f"nothing was counted of the {worst.guardrail}"
    return f"{worst.rows:,} of {worst.planned:,} requests for the {worst.guardrail}"


def _record(
    ledger: Ledger, head: int, rollout: Rollout, counts: Counts, judged: tuple[Judged, ...], reached: Verdict, why: str
) -> Entry | None:
    """Put a verdict on record, unless another one came between."""
    body = {
        "version": rollout.version, "model": rollout.model, "stage": rollout.stage + 1, "title": rollout.running.title,
        "verdict": reached, "why": why, "requests": {"live": round(counts.live.requests), "version": round(counts.other.requests)},
        "errors": {"live": round(counts.live.errors), "version": round(counts.other.errors)},
        "error_budget": rollout.error_budget, "guardrails": [one._asdict() for one in judged],
        "processes": counts.processes, "seen": [rollout.position],
    }  # fmt: skip
    stage, about = f"stage:{rollout.position}", (f"version:{rollout.version}", f"model:{rollout.model}")
    with suppress(ConflictError):
        fact = Evidence(JUDGED, (*about, stage, f"verdict:{reached}"), body)
        ledger.append([fact], unless=Query((JUDGED,), (stage,)), after=head)
    return _recorded(ledger, rollout, reached)


def _done(ledger: Ledger, store: Store, rollout: Rollout, look: Look, recorded: Entry, clock: Clock) -> Look:
    """Do what a verdict says, unless it is done."""
    body, position = recorded.body, recorded.position
    look = look._replace(why=body["why"], judged=judged_from(body))
    try:
        match body["verdict"]:
            case "breached":
                entry, _ = rollback(
                    ledger, rollout.version, reason=body["why"], evidence=[position], stage=rollout.position
                )
                return look._replace(did="rolled back", decided=entry)
            case "held":
                entry, _ = promote(
                    ledger, store, rollout.version, evidence=[position], stage=rollout.position, clock=clock
                )
                return look._replace(did="promoted", decided=entry)
            case _:
                entry, _ = pause(
                    ledger, rollout.version, reason=body["why"], evidence=[position], stage=rollout.position
                )
                return look._replace(did="paused", decided=entry)
    except (RefusedError, ConflictError) as refused:
        return look._replace(why=f"{body['why']} Nothing is done: {refused}")


def _recorded(ledger: Ledger, rollout: Rollout, reached: Verdict) -> Entry | None:
    """A verdict of the stage that runs, where it is on record."""
    query = Query((JUDGED,), (f"stage:{rollout.position}", f"verdict:{reached}"))
    return next(ledger.read(query, after=rollout.position), None)
