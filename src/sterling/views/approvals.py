"""Approvals: who must let a version pass, who did, and what has become of that since."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import NODEFAULT
from msgspec.structs import fields

from sterling.core.evidence import Entry
from sterling.project.definition import to_json
from sterling.project.project import Project
from sterling.views.differences import changes
from sterling.views.text import cite, listed, moment

if TYPE_CHECKING:
    from rich.console import RenderableType

KINDS = ("version.approved", "approval.revoked", "gate.judged", "model.refused")
"""The kinds of evidence that approvals are, or that speak against them."""

ROLES = {
    "owner": "what is decided or predicted: problem, spine, label, policy",
    "consumers": "what requests bring and answers say: features, sources, fallbacks",
    "validation": "what evidence must show: gates, error budget, holdout, cluster, metrics, rollout, guardrails, alarms",
    "data-protection": "data of people: sensitive attributes, personal columns, models behind URLs that are sent features",
}
"""Who is asked, and about which changes."""

_RISKS = ("minimal", "limited", "high")
_ROLE_OF = {
    "problem": "owner", "spine": "owner", "label": "owner", "policy": "owner", "task": "owner", "features": "consumers",
    "sources": "consumers", "fallback": "consumers", "fallback_when": "consumers", "gates": "validation", "error_budget": "validation", "holdout": "validation",
    "cluster": "validation", "metrics": "validation", "monitors": "validation", "alert_budget": "validation",
    "studies": "validation", "rollout": "validation", "guardrails": "validation", "sensitive": "data-protection", "external": "data-protection",
}  # fmt: skip
_PERSONAL = re.compile(r"sources\.[^:]*\.(pii|person)\b")
_SHOWN = 3


class Need(NamedTuple):
    """An approval that a release needs.

    Attributes:
        role: In which role it is given.
        why: What asks for it: the risk, or changes of the definition.
    """

    role: str
    why: tuple[str, ...]


class Given(NamedTuple):
    """An approval.

    Attributes:
        position: Where it is on record.
        time: When it was given, ISO 8601.
        actor: Who gave it.
        attestor: What vouches for the actor.
        roles: In which roles.
        void: Why it counts no more, or None.
    """

    position: int
    time: str
    actor: str
    attestor: str
    roles: tuple[str, ...]
    void: str | None


@dataclass(frozen=True, slots=True)
class Approvals:
    """Whether a version may pass.

    Attributes:
        version: Its number.
        author: Who registered it.
        four_eyes: Whether the author's own approval does not count.
        needs: What must be approved.
        given: What was approved, oldest first.
        failed: The newest verdict against its model since it was registered, as position and words; or None.
    """

    version: int
    author: str
    four_eyes: bool
    needs: tuple[Need, ...]
    given: tuple[Given, ...]
    failed: tuple[int, str] | None

    @property
    def counted(self) -> tuple[Given, ...]:
        """The approvals that count."""
        return tuple(given for given in self.given if given.void is None)

    @property
    def missing(self) -> tuple[Need, ...]:
        """What nobody has approved."""
        had = {role for given in self.counted for role in given.roles}
        return tuple(need for need in self.needs if need.role not in had)


def risk_of(*definitions: Mapping[str, Any] | None) -> str:
    """The highest risk that any of some definitions names, so that lowering it takes the approvals of the higher one."""
    named = [defined["project"]["problem"].get("risk", "minimal") for defined in definitions if defined]
    return max(named, key=_RISKS.index, default="minimal")


def needs(candidate: Mapping[str, Any], live: Mapping[str, Any] | None) -> tuple[Need, ...]:
    """Who must approve a version, by its risk and by what it changes against the live one.

    Where the risk is minimal nobody must; where it is limited, those whose concern is changed; where it is high,
    the owner in any case.

    Args:
        candidate: JSON of the definition that the version was made by.
        live: That of the live version; None where nothing is live.

    Example:
        >>> before = {"project": {"problem": {"risk": "limited"}, "sensitive": ["sex"]}}
        >>> after = {"project": {"problem": {"risk": "limited"}, "sensitive": ["sex", "age"], "seed": 0}}
        >>> needs(after, before)
        (Need(role='data-protection', why=('sensitive: ["sex"] → ["sex", "age"]',)),)
        >>> needs(after, None)
        ()
    """
    risk = risk_of(candidate, live)
    if risk == "minimal":
        return ()
    asked: dict[str, list[str]] = {"owner": ["the risk is high"]} if risk == "high" else {}
    for line in changes(_spelt_out(live), _spelt_out(candidate)) if live is not None else ():
        for role in _roles(line):
            asked.setdefault(role, []).append(line)
    return tuple(Need(role, tuple(asked[role])) for role in ROLES if role in asked)


def approvals(
    entries: Iterable[Entry],
    registered: Entry,
    candidate: Mapping[str, Any],
    live: Mapping[str, Any] | None,
    against: str | None,
) -> Approvals:
    """Whether a version may pass.

    An approval counts until it is revoked, a verdict against the model is recorded, or another definition is live than
    the one that it was held against.

    Args:
        entries: Entries of the kinds `KINDS`, oldest first; others say nothing here.
        registered: The registration of the version.
        candidate: JSON of the definition that it was made by.
        live: That of the live version, or None.
        against: Hash of the latter, or None.
    """
    version, model = registered.body["version"], registered.body["model"]
    four_eyes = risk_of(candidate, live) == "high"
    about = [entry for entry in entries if {f"version:{version}", f"model:{model}"} & {*entry.evidence.subjects}]
    against_it = [entry for entry in _newest_decision(about) if _speaks_against(entry)]
    given = tuple(
        Given(
            entry.position, entry.recorded_at, entry.actor, entry.attestor, tuple(entry.body["roles"]),
            _void(entry, about, registered.actor if four_eyes else None, against),
        )
        for entry in about
        if entry.kind == "version.approved" and f"version:{version}" in entry.evidence.subjects
    )  # fmt: skip
    later = [entry for entry in against_it if entry.position > registered.position]
    failed = (later[-1].position, _verdict(later[-1])) if later else None
    return Approvals(version, registered.actor, four_eyes, needs(candidate, live), given, failed)


def lines(found: Approvals) -> Iterator[tuple[str, str]]:
    """Approvals in words, as pairs of a role and what is said of it."""
    for need in found.needs:
        held = [given for given in found.counted if need.role in given.roles]
        who = ", ".join(f"by {given.actor} ({given.attestor}) {cite(given.position)}" for given in held)
        yield need.role, f"{who or 'not yet'}; asked for by {_reasons(need)}"
    for given in found.given:
        if given.void:
            yield "void", f"{given.actor}, {moment(given.time)} {cite(given.position)}: {given.void}"
    if found.failed:
        yield "against it", f"{found.failed[1]} {cite(found.failed[0])}"


def render(found: Approvals) -> RenderableType:
    """Approvals for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    asked = "Nobody must approve" if not found.needs else "Approvals of"
    eyes = f", by somebody other than {found.author}" if found.needs and found.four_eyes else ""
    table = Table.grid(padding=(0, 2))
    for name, value in lines(found):
        table.add_row(name, Text(value))
    title = Text(f"{asked} version {found.version}{eyes}", style="bold")
    return Group(title, table) if table.row_count else Group(title)


def asked_for(found: Approvals) -> str:
    """What is missing, as a sentence that says who can mend it."""
    what = "; ".join(f"{need.role} ({_reasons(need)})" for need in found.missing)
    who = f" Ask somebody other than {found.author}, who registered it:" if found.four_eyes else ""
    voided = [given for given in found.given if given.void]
    lost = (
        f" The approval by {voided[-1].actor} {cite(voided[-1].position)} is void: {voided[-1].void}." if voided else ""
    )
    return (
        f"Version {found.version} needs the approval of {what}.{lost}{who} `sterling approve {found.version}` gives it."
    )


def _spelt_out(defined: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with the fields that there were not when it was recorded, as they would have been left out."""
    left_out = {
        field.name: to_json(field.default) for field in fields(Project) if field.default is not NODEFAULT
    }  # fmt: skip
    return {**defined, "project": left_out | {**defined["project"]}}


def _roles(line: str) -> Iterator[str]:
    top = re.split(r"[.\[:]", line, maxsplit=1)[0]
    if top in _ROLE_OF:
        yield _ROLE_OF[top]
    if _PERSONAL.match(line):
        yield "data-protection"


def _reasons(need: Need) -> str:
    shown = [*need.why[:_SHOWN], *([f"{len(need.why) - _SHOWN} more changes"] if len(need.why) > _SHOWN else [])]
    return listed(shown)


def _newest_decision(about: Iterable[Entry]) -> Iterator[Entry]:
    """The verdicts of the decision that was taken last about a model: later ones that let it pass make good earlier ones."""
    verdicts = [entry for entry in about if entry.kind in {"gate.judged", "model.refused"}]
    decisions = [{s for s in entry.evidence.subjects if s.startswith("decision:")} for entry in verdicts]
    return (entry for entry, decision in zip(verdicts, decisions, strict=True) if decision & decisions[-1])


def _speaks_against(entry: Entry) -> bool:
    return entry.kind == "model.refused" or (entry.kind == "gate.judged" and not entry.body["passed"])


def _void(approval: Entry, about: Iterable[Entry], author: str | None, against: str | None) -> str | None:
    if author is not None and approval.actor == author:
        return "the author's own, and four eyes are asked for"
    if approval.body["against"] != against:
        return "another version is live than the one that it was held against"
    for entry in about:
        if entry.position <= approval.position:
            continue
        if entry.kind == "approval.revoked" and {*approval.body["roles"]} & {*entry.body["roles"]}:
            return f"revoked by {entry.actor} {cite(entry.position)}"
        if _speaks_against(entry):
            return f"{_verdict(entry)} {cite(entry.position)}"
    return None


def _verdict(entry: Entry) -> str:
    if entry.kind == "model.refused":
        return "the model was refused since"
    return f"a gate failed since, {entry.body['title']}"
