"""The status: where a project stands, and what is not done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sterling.core.evidence import Entry
from sterling.core.refs import short
from sterling.views.facts import Run, latest_run
from sterling.views.log import sentence
from sterling.views.looks import looks
from sterling.views.registry import Version, live, versions
from sterling.views.release_plan import NOTHING, ReleasePlan, Rollout, release_plan
from sterling.views.release_plan import as_json as plan_json
from sterling.views.release_plan import facts as plan_facts
from sterling.views.report import GateRow, candidate_name, gate_rows
from sterling.views.text import cite, moment, plural

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the last completed run trained, and what came of it.

    Attributes:
        run: Position of the run.
        time: When it was completed, ISO 8601.
        actor: Who ran it.
        name: Name of the model.
        model: Its ref.
        verdict: ``passed``, ``failed`` or ``ungated``.
        version: Version that it is registered as, or None.
    """

    run: int
    time: str
    actor: str
    name: str
    model: str
    verdict: str
    version: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """Where a project stands.

    Attributes:
        candidate: Of the last completed run; None where there is none.
        live: The version that takes all traffic, or None.
        gates: The candidate's gates.
        undone: What is not done, as sentences that name the next command.
        plan: Who answers which share of the traffic.
    """

    candidate: Candidate | None
    live: Version | None
    gates: tuple[GateRow, ...]
    undone: tuple[str, ...]
    plan: ReleasePlan = NOTHING


def status(entries: Iterable[Entry]) -> Status:
    """Where a project stands."""
    chain = tuple(entries)
    run = latest_run(chain)
    candidate = _candidate(run) if run else None
    gates = gate_rows(run.of("gate.judged")) if run else ()
    current = live(chain)
    plan = release_plan(chain)
    return Status(candidate, current, gates, tuple(_undone(chain, candidate, gates, plan)), plan)


def as_json(found: Status) -> dict[str, Any]:
    """A status for programs."""
    return {
        "candidate": found.candidate, "live": found.live, "gates": found.gates, "undone": found.undone,
        "release": plan_json(found.plan),
    }  # fmt: skip


def headline(candidate: Candidate | None, current: Version | None, gates: tuple[GateRow, ...]) -> str:
    """The verdict in one sentence.

    Example:
        >>> headline(None, None, ())
        'No run is completed yet.'
    """
    if candidate is None:
        return "No run is completed yet."
    failed = sum(not gate.passed for gate in gates)
    if candidate.verdict == "failed":
        said = f"The candidate {candidate.name} failed {failed} of {plural(len(gates), 'gate')} and is not released"
    elif candidate.verdict == "ungated":
        said = f"The candidate {candidate.name} was trained; the project has no gates that could let it pass"
    else:
        said = f"The candidate {candidate.name} passed {_all(len(gates))}"
        same = current is not None and current.version == candidate.version
        said += f" and is live as version {candidate.version}" if same else ""
    return f"{said}."


def render(found: Status) -> RenderableType:
    """A status for a terminal."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(found):
        facts.add_row(name, Text(value))
    gates = Table.grid(padding=(0, 1))
    for gate in found.gates:
        gates.add_row("✓" if gate.passed else "✗", Text(gate.title), cite(gate.position).replace("[", r"\["))
    parts: list[RenderableType] = [Text(headline(found.candidate, found.live, found.gates), style="bold"), "", facts]
    if found.gates:
        parts += ["", Text("Gates", style="bold"), Padding(gates, (0, 0, 0, 2))]
    undone = found.undone or ("Nothing: what the last run made is live.",)
    parts += ["", Text("Not done", style="bold"), *(Padding(Text(line), (0, 0, 0, 2)) for line in undone)]
    return Group(*parts)


def _facts(found: Status) -> Iterator[tuple[str, str]]:
    if found.candidate:
        run = found.candidate
        yield "last run", f"{moment(run.time)} by {run.actor} {cite(run.run)}"
        as_version = f", version {run.version}" if run.version else ""
        yield "candidate", f"{run.name}, model {short(run.model)}{as_version}"
    if found.live and found.live.released:
        yield "live", f"version {found.live.version}, model {short(found.live.model)} {cite(found.live.released)}"
    else:
        yield "live", "no version"
    if found.plan.rollout:
        yield from (pair for pair in plan_facts(found.plan) if pair[0] in {"rollout", "next", "paused"})


def _candidate(run: Run) -> Candidate:
    registered = run.newest("model.registered")
    version = registered.body["version"] if registered else None
    return Candidate(run.position, run.recorded_at, run.actor, candidate_name(run), run.candidate, run.verdict, version)


def _undone(
    chain: tuple[Entry, ...], candidate: Candidate | None, gates: tuple[GateRow, ...], plan: ReleasePlan
) -> Iterator[str]:
    since = candidate.run if candidate else 0
    for entry in chain:
        if entry.position > since and entry.kind in {"stage.failed", "stage.diverged"}:
            yield f"{sentence(entry)} {cite(entry.position)}"
    if candidate is None:
        yield "No run is completed. `sterling run` completes one."
        return
    for gate in gates:
        if not gate.passed:
            yield f"Failed gate: {gate.title}. {gate.reason} {cite(gate.position)}"
    if candidate.verdict == "ungated":
        yield "The project has no gates, so nothing is registered. Add gates=[…] to project.py."
    if plan.rollout:
        yield f"Version {plan.rollout.version} is on its way and not live. {_next(plan.rollout)}"
    waiting = [v for v in versions(chain) if v.version == candidate.version and v.version not in plan.retired]
    if over := overused(chain):
        yield over
    busy = {known.version for known in (plan.live, plan.rollout) if known}
    if waiting and candidate.version not in busy:
        yield f"Version {candidate.version} is registered and not live. `sterling release` releases it."


def _next(rollout: Rollout) -> str:
    if rollout.paused:
        return "`sterling promote` lets it go on, `sterling rollback` ends it."
    return f"`sterling promote` takes it further from {moment(rollout.due)} on."


def overused(chain: tuple[Entry, ...]) -> str | None:
    """What is to be done about a holdout on which more models were judged than planned."""
    run = latest_run(chain)
    found = looks(chain, run) if run else None
    return f"Holdout: {found.warning} {cite(found.positions[-1])}." if found and found.warning else None


def _all(count: int) -> str:
    return "its gate" if count == 1 else f"all {count} gates"
