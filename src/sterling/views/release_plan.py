"""The release plan: who answers which share of the traffic, as a fold of what was decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sterling.core.clock import iso
from sterling.core.elsewhere import ERASED
from sterling.core.evidence import Entry
from sterling.project.rollout import WHOLE
from sterling.project.rollout import shown as as_percent
from sterling.project.times import micros
from sterling.views.text import cite, moment

if TYPE_CHECKING:
    from rich.console import RenderableType

KINDS = (
    "version.released", "rollout.started", "version.promoted", "version.paused", "version.rolled_back", "version.retired",
    "routing.set", ERASED,
)  # fmt: skip
"""The kinds of evidence that the plan is made of."""


class Stage(NamedTuple):
    """A stage of a rollout.

    Attributes:
        kind: ``shadow`` or ``canary``.
        share: Millionths of the units that it gives to the version; 0 for a shadow.
        lasts: For how long it runs at least, such as ``"1d"``.
    """

    kind: str
    share: int
    lasts: str

    @property
    def title(self) -> str:
        """The stage in words."""
        return self.kind if self.kind == "shadow" else f"{self.kind} {as_percent(self.share)}"


@dataclass(frozen=True, slots=True)
class Release:
    """A version that takes, or took, all traffic but that of a canary.

    Attributes:
        version: Its number.
        model: Ref of its model.
        position: Position of the entry that made it live.
        since: When that was, ISO 8601.
    """

    version: int
    model: str
    position: int
    since: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """A version on its way to all traffic.

    Attributes:
        version: Its number.
        model: Ref of its model.
        salt: What assigns its units, the same in every stage.
        stages: Its stages.
        stage: Place of the stage that runs, from 0.
        position: Position of the entry with which the stage began, or went on.
        since: When that was, ISO 8601.
        paused: Position of the entry that paused it, or None.
        reason: Why it was paused, or None.
        guardrails: What it is judged by, as the project said when it began.
        error_budget: Chance, at most, to be rolled back where it is no worse.
    """

    version: int
    model: str
    salt: str
    stages: tuple[Stage, ...]
    stage: int
    position: int
    since: str
    paused: int | None = None
    reason: str | None = None
    guardrails: tuple[Mapping[str, Any], ...] = ()
    error_budget: float = 0.05

    @property
    def running(self) -> Stage:
        """The stage that runs."""
        return self.stages[self.stage]

    @property
    def due(self) -> str:
        """From when on it may be promoted, ISO 8601."""
        lasts = timedelta(microseconds=micros(self.running.lasts))
        return iso(datetime.fromisoformat(self.since) + lasts)

    @property
    def last(self) -> bool:
        """Whether the next promotion gives it all traffic."""
        return self.stage + 1 == len(self.stages)


@dataclass(frozen=True, slots=True)
class Routed:
    """Which units keep together.

    Attributes:
        salt: What says who stays with what is known; it never changes.
        unit: Column of a row that names its unit, or None.
        holdout: Millionths of the units that no canary reaches.
        explore: Millionths of the units whose decisions may be drawn at random.
        position: Position of the entry that said so.
    """

    salt: str
    unit: str | None
    holdout: int
    explore: int
    position: int


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """Who answers, who only listens, and which way leads back.

    Attributes:
        position: Position of the last entry that said something about it; 0 where none did.
        live: The version that answers all units but a canary's, or None.
        rollout: The version on its way there, or None.
        history: What was live, oldest first, as far as a rollback leads back; the live one last.
        retired: Versions that are never released again.
        routing: Which units keep together, or None where nothing was said.
        gone: Models whose bytes were erased.
    """

    position: int = 0
    live: Release | None = None
    rollout: Rollout | None = None
    history: tuple[Release, ...] = ()
    retired: frozenset[int] = frozenset()
    routing: Routed | None = None
    gone: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def weights(self) -> dict[int, int]:
        """Millionths of the units by version; they sum to the whole where a version is live."""
        if self.live is None:
            return {}
        canary = self.canary
        if canary is None:
            return {self.live.version: WHOLE}
        share = canary.running.share
        return {self.live.version: WHOLE - share, canary.version: share}

    @property
    def canary(self) -> Rollout | None:
        """The rollout, where it answers units now."""
        running = self._running()
        return running if running and running.running.kind == "canary" else None

    @property
    def shadow(self) -> Rollout | None:
        """The rollout, where it scores beside the live version now."""
        running = self._running()
        return running if running and running.running.kind == "shadow" else None

    @property
    def previous(self) -> tuple[Release, ...]:
        """Versions that a rollback can give all traffic to, the newest first: each was live before."""
        found: dict[int, Release] = {}
        for release in reversed(self.history):
            lost = release.version in self.retired or release.model in self.gone
            if self.live is not None and release.version != self.live.version and not lost:
                found.setdefault(release.version, release)
        return tuple(found.values())

    def _running(self) -> Rollout | None:
        rollout = self.rollout
        if rollout is None or rollout.paused or self.live is None or rollout.version == self.live.version:
            return None
        return rollout


NOTHING = ReleasePlan()
"""The plan of a ledger in which nothing was released."""


def release_plan(entries: Iterable[Entry], start: ReleasePlan = NOTHING) -> ReleasePlan:
    """The plan after some entries.

    Args:
        entries: Entries behind the plan's position, oldest first; those of other kinds say nothing here.
        start: The plan before them, so that one that is kept goes on without the entries before.
    """
    plan = start
    for entry in entries:
        if entry.kind in KINDS and entry.position > plan.position:
            plan = replace(_STEPS[entry.kind](plan, entry), position=entry.position)
    return plan


def _released(plan: ReleasePlan, entry: Entry) -> ReleasePlan:
    body = entry.body
    made = Release(body["version"], body["model"], entry.position, entry.recorded_at)
    kept = plan.history
    if body["rollout"] == "rollback":
        place = max((n for n, old in enumerate(kept) if old.version == made.version), default=len(kept))
        kept = kept[:place]
    return replace(plan, live=made, rollout=None, history=(*kept, made))


def _started(plan: ReleasePlan, entry: Entry) -> ReleasePlan:
    body = entry.body
    stages = tuple(Stage(stage["kind"], stage["share"], stage["lasts"]) for stage in body["stages"])
    rollout = Rollout(
        body["version"], body["model"], body["salt"], stages, 0, entry.position, entry.recorded_at,
        guardrails=tuple(body["guardrails"]), error_budget=body["error_budget"],
    )  # fmt: skip
    return replace(plan, rollout=rollout)


def _promoted(plan: ReleasePlan, entry: Entry) -> ReleasePlan:
    if (rollout := _about(plan, entry)) is None:
        return plan
    stage = entry.body["stage"] - 1
    moved = replace(
        rollout, stage=stage, position=entry.position, since=entry.recorded_at, paused=None, reason=None
    )  # fmt: skip
    return replace(plan, rollout=moved)


def _paused(plan: ReleasePlan, entry: Entry) -> ReleasePlan:
    if (rollout := _about(plan, entry)) is None:
        return plan
    return replace(plan, rollout=replace(rollout, paused=entry.position, reason=entry.body["reason"]))


def _rolled_back(plan: ReleasePlan, entry: Entry) -> ReleasePlan:
    return replace(plan, rollout=None) if _about(plan, entry) else plan


def _retired(plan: ReleasePlan, entry: Entry) -> ReleasePlan:
    return replace(plan, retired=plan.retired | {entry.body["version"]})


def _routed(plan: ReleasePlan, entry: Entry) -> ReleasePlan:
    body = entry.body
    routing = Routed(body["salt"], body["unit"], body["holdout"], body["explore"], entry.position)
    return replace(plan, routing=routing)


def _erased(plan: ReleasePlan, entry: Entry) -> ReleasePlan:
    return replace(plan, gone=plan.gone | {one["ref"] for one in entry.body["replaced"]})


_STEPS = {
    "version.released": _released, "rollout.started": _started, "version.promoted": _promoted, "version.paused": _paused,
    "version.rolled_back": _rolled_back, "version.retired": _retired, "routing.set": _routed, ERASED: _erased,
}  # fmt: skip


def _about(plan: ReleasePlan, entry: Entry) -> Rollout | None:
    """The rollout that an entry is about."""
    rollout = plan.rollout
    return rollout if rollout and rollout.version == entry.body["version"] else None


def as_json(plan: ReleasePlan) -> dict[str, Any]:
    """A plan for programs, shares between 0 and 1."""
    rollout = plan.rollout
    return {
        "position": plan.position,
        "weights": {str(version): share / WHOLE for version, share in plan.weights.items()},
        "live": plan.live and _release_json(plan.live),
        "shadow": plan.shadow and plan.shadow.version,
        "rollout": rollout and {
            "version": rollout.version, "model": rollout.model, "salt": rollout.salt, "stage": rollout.stage + 1,
            "stages": [stage._asdict() | {"share": stage.share / WHOLE} for stage in rollout.stages],
            "position": rollout.position, "since": rollout.since, "due": rollout.due, "paused": rollout.paused,
            "reason": rollout.reason, "guardrails": list(rollout.guardrails), "error_budget": rollout.error_budget,
        },
        "previous": [_release_json(release) for release in plan.previous],
        "retired": sorted(plan.retired),
        "routing": plan.routing and {
            "salt": plan.routing.salt, "unit": plan.routing.unit, "holdout": plan.routing.holdout / WHOLE,
            "explore": plan.routing.explore / WHOLE, "position": plan.routing.position,
        },
    }  # fmt: skip


def _release_json(release: Release) -> Mapping[str, Any]:
    return {
        "version": release.version, "model": release.model, "position": release.position, "since": release.since,
    }  # fmt: skip


def facts(plan: ReleasePlan) -> Iterator[tuple[str, str]]:
    """A plan in words, as pairs of a name and what is said of it."""
    if plan.live is None:
        yield "live", "no version"
        return
    share = as_percent(plan.weights[plan.live.version])
    yield "live", f"version {plan.live.version}, {share} since {moment(plan.live.since)} {cite(plan.live.position)}"
    if plan.rollout:
        yield "rollout", _rollout_said(plan.rollout)
        yield ("paused", _paused_said(plan.rollout)) if plan.rollout.paused else ("next", _next_said(plan.rollout))
    if plan.routing:
        yield "units", _routing_said(plan.routing)
    back = ", ".join(f"version {release.version} {cite(release.position)}" for release in plan.previous[:3])
    yield "way back", back or "none: nothing else was live before"


def render(plan: ReleasePlan) -> RenderableType:
    """A plan for a terminal."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    lines = Table.grid(padding=(0, 2))
    for name, value in facts(plan):
        lines.add_row(name, Text(value))
    parts: list[RenderableType] = [Text(_headline(plan), style="bold"), "", lines]
    if plan.rollout:
        stages = Table.grid(padding=(0, 2))
        for place, stage in enumerate((*plan.rollout.stages, None)):
            stages.add_row("▸" if place == plan.rollout.stage else " ", *map(Text, _stage_said(place, stage)))
        parts += ["", Text(f"Stages of version {plan.rollout.version}", style="bold"), Padding(stages, (0, 0, 0, 2))]
    return Group(*parts)


def _headline(plan: ReleasePlan) -> str:
    if plan.live is None:
        return "Nothing is released."
    if plan.rollout is None:
        return f"Version {plan.live.version} takes all traffic."
    doing = (
        f"is paused at {plan.rollout.running.title}" if plan.rollout.paused else f"is {_doing(plan.rollout.running)}"
    )
    return f"Version {plan.live.version} is live; version {plan.rollout.version} {doing}."


def _doing(stage: Stage) -> str:
    return "its shadow" if stage.kind == "shadow" else f"a canary on {as_percent(stage.share)}"


def _rollout_said(rollout: Rollout) -> str:
    where = f"stage {rollout.stage + 1} of {len(rollout.stages)}, {rollout.running.title}"
    return f"version {rollout.version}, {where} {cite(rollout.position)}"


def _next_said(rollout: Rollout) -> str:
    then = "all traffic" if rollout.last else rollout.stages[rollout.stage + 1].title
    return f"{then}, from {moment(rollout.due)} on: `sterling promote`"


def _paused_said(rollout: Rollout) -> str:
    return f"{rollout.reason} {cite(rollout.paused or 0)} `sterling promote` goes on, `sterling rollback` ends it."


def _routing_said(routing: Routed) -> str:
    by = routing.unit or "named by each request"
    kept = f", {as_percent(routing.holdout)} held out" if routing.holdout else ""
    drawn = f", {as_percent(routing.explore)} to explore" if routing.explore else ""
    return f"{by}{kept}{drawn} {cite(routing.position)}"


def _stage_said(place: int, stage: Stage | None) -> tuple[str, str, str]:
    if stage is None:
        return str(place + 1), "all traffic", ""
    return str(place + 1), stage.title, f"at least {stage.lasts}"
