"""A moment of the past: which version was live, who released and who approved it, and on which evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sterling.core.evidence import Entry
from sterling.core.history import Place
from sterling.core.refs import short
from sterling.views.report import GateRow, gate_rows
from sterling.views.text import cite, moment

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody decided.

    Attributes:
        position: Where it is on record.
        kind: Kind of the entry.
        time: When it was recorded, ISO 8601.
        actor: Who acted.
        attestor: What vouches for the actor.
        seen: Positions of what was looked at.
    """

    position: int
    kind: str
    time: str
    actor: str
    attestor: str
    seen: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Then:
    """What was live at a moment.

    Attributes:
        position: The last position that counts; 0 where nothing was on record.
        until: A later position that was recorded by then too, where clocks disagree; else the same.
        recorded_at: When the entry there was recorded, ISO 8601.
        version: The version that took all traffic, or None.
        model: Ref of its model.
        released: Its release.
        registered: Its registration.
        approvals: Approvals of it, and what took them back, oldest first.
        gates: The verdicts that it was registered on.
    """

    position: int
    until: int
    recorded_at: str | None
    version: int | None = None
    model: str | None = None
    released: Act | None = None
    registered: Act | None = None
    approvals: tuple[Act, ...] = ()
    gates: tuple[GateRow, ...] = ()


def then(place: Place, last: Entry | None, entries: Iterable[Entry]) -> Then:
    """What was live at a moment.

    Args:
        place: Where the chain stood.
        last: The entry there, if there was one.
        entries: What decided about the version that was live: its release, its registration, the verdicts that this
            rests on, and its approvals; nothing where none was.
    """
    decided = tuple(entries)
    released, registered, judged = (
        [entry for entry in decided if entry.kind == kind]
        for kind in ("version.released", "model.registered", "gate.judged")
    )
    recorded_at = last.recorded_at if last else None
    if not released:
        return Then(place.position, place.until, recorded_at)
    body = released[-1].body
    return Then(
        place.position, place.until, recorded_at, body["version"], body["model"], _act(released[-1]),
        _act(registered[-1]) if registered else None,
        tuple(_act(entry) for entry in decided if entry not in (*released, *registered, *judged)), gate_rows(judged),
    )  # fmt: skip


def render(found: Then) -> RenderableType:
    """A moment of the past for a terminal."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text(_headline(found), style="bold")]
    if found.position:
        facts = Table.grid(padding=(0, 2))
        for name, value in _facts(found):
            facts.add_row(name, Text(value))
        parts += ["", facts]
    if found.gates:
        gates = Table.grid(padding=(0, 1))
        for gate in found.gates:
            gates.add_row("✓" if gate.passed else "✗", Text(gate.title), cite(gate.position).replace("[", r"\["))
        parts += ["", Text("Gates that it was registered on", style="bold"), Padding(gates, (0, 0, 0, 2))]
    if found.until > found.position:
        parts += ["", Text(_doubt(found))]
    return Group(*parts)


def _headline(found: Then) -> str:
    if found.position == 0:
        return "Nothing was on record."
    return "No version was live." if found.version is None else f"Version {found.version} took all traffic."


def _facts(found: Then) -> Iterator[tuple[str, str]]:
    yield "last entry", f"{moment(found.recorded_at)} {cite(found.position)}"
    if found.released is None or found.model is None:
        return
    yield "model", short(found.model)
    yield "released", _spelt(found.released)
    if found.registered:
        yield "registered", _spelt(found.registered)
    for act in found.approvals:
        yield (
            "approved" if act.kind == "version.approved" else act.kind,
            f"{_spelt(act)}{f', on {cite(*act.seen)}' if act.seen else ''}",
        )
    if not found.approvals:
        yield "approved", "no approval is on record"


def _doubt(found: Then) -> str:
    between = cite(*range(found.position + 1, found.until + 1))
    return f"Clocks disagree: of {between} some were recorded by then too. Ask by position to choose."


def _act(entry: Entry) -> Act:
    seen = tuple(entry.body.get("seen", ()))
    return Act(entry.position, entry.kind, entry.recorded_at, entry.actor, entry.attestor, seen)


def _spelt(act: Act) -> str:
    return f"{moment(act.time)} by {act.actor} ({act.attestor}) {cite(act.position)}"
