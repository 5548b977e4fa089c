"""Lineage: from an entry to what it rests on, stage by stage, down to raw files and the project's definition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from sterling.core.canonical import digest
from sterling.core.evidence import Entry
from sterling.core.refs import refs_in, short
from sterling.views.facts import stage_key
from sterling.views.log import sentence
from sterling.views.text import cite, plural, size

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Node:
    """A statement and what it rests on.

    Attributes:
        text: The statement.
        position: Position in the ledger that says so, or None.
        children: What it rests on.
    """

    text: str
    position: int | None
    children: tuple[Node, ...] = ()


class Lineage:
    """Walks a chain backwards; each stage is expanded once, later mentions point to it.

    Args:
        entries: The ledger, oldest first.
    """

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self._at = {entry.position: entry for entry in entries}
        self._completed = {e.body["key"]: e for e in entries if e.kind == "stage.completed"}
        self._facts: dict[str, list[Entry]] = {}
        self._decisions: dict[str, list[Entry]] = {}
        self._defined = {e.body["definition"]: e for e in entries if e.kind == "project.defined"}
        for entry in entries:
            if (key := stage_key(entry)) is not None:
                self._facts.setdefault(key, []).append(entry)
            for subject in entry.evidence.subjects:
                if subject.startswith("decision:") and entry.kind == "gate.judged":
                    self._decisions.setdefault(subject, []).append(entry)
        self._makers: dict[str, list[Entry]] = {}
        for stage in self._completed.values():
            for ref in refs_in(stage.body["outputs"]):
                self._makers.setdefault(ref, []).append(stage)
        self._expanded: set[int] = set()

    def explain(self, entry: Entry) -> Node:
        """An entry and what it rests on."""
        body = entry.body
        match entry.kind:
            case "stage.completed":
                made = self._stage(entry)
                return replace(made, children=(Node(_identity(body["identity"]), None), *made.children))
            case "version.released" | "version.approved" | "approval.revoked" | "rollout.started" | "version.retired":
                below = self._each(body["seen"])
            case "version.promoted" | "version.paused" | "version.rolled_back" | "guardrails.judged":
                below = self._each(body["seen"])
            case "model.registered" | "model.refused":
                below = chain(self._each(body["seen"]), self._definition(body.get("definition")))
            case "gate.judged":
                below = self._seen(body["seen"])
            case "run.completed":
                below = self._run(body)
            case "project.defined":
                below = iter([Node(f"its JSON: {short(body['ref'])}", None)])
            case _:
                below = self._found_by([entry])
        return Node(sentence(entry), entry.position, tuple(below))

    def sources_of_refs(self) -> dict[str, Entry]:
        """Every ref that an entry speaks of, with the entry that says most about where it comes from."""
        found: dict[str, Entry] = {}
        for entry in self._at.values():
            for ref in refs_in(entry.body):
                found.setdefault(ref, entry)
        return found | {ref: makers[0] for ref, makers in self._makers.items()}

    def _each(self, positions: Iterable[int]) -> Iterator[Node]:
        for position in positions:
            if position in self._at:
                yield self.explain(self._at[position])

    def _run(self, body: Mapping[str, Any]) -> Iterator[Node]:
        yield from map(self.explain, self._decisions.get(f"decision:{body['decision']}", []))
        keys = [step["key"] for step in reversed(body["keys"])]
        yield from (self._stage(self._completed[key]) for key in keys if key in self._completed)
        yield from self._definition(body["definition"])

    def _definition(self, hashed: str | None) -> Iterator[Node]:
        if hashed in self._defined:
            yield self.explain(self._defined[hashed])

    def _seen(self, positions: Iterable[int]) -> Iterator[Node]:
        """What a gate looked at, and once for all of it the stage that found it."""
        facts = [self._at[position] for position in positions if position in self._at]
        yield from (Node(sentence(entry), entry.position) for entry in facts[:_SHOWN])
        if left := facts[_SHOWN:]:
            yield Node(
                f"and {plural(len(left), 'more entry', 'more entries')}: {cite(*(e.position for e in left))}", None
            )
        yield from self._found_by(facts)

    def _found_by(self, facts: Iterable[Entry]) -> Iterator[Node]:
        keys = dict.fromkeys(stage_key(entry) for entry in facts)
        yield from (self._stage(self._completed[key]) for key in keys if key in self._completed)

    def _stage(self, stage: Entry) -> Node:
        title = f"stage {stage.body['title']}"
        if stage.position in self._expanded:
            return Node(f"{title}: see {cite(stage.position)}", None)
        self._expanded.add(stage.position)
        below = chain(self._raw(stage), self._inputs(stage))
        return Node(title, stage.position, tuple(below))

    def _raw(self, stage: Entry) -> Iterator[Node]:
        """The raw files that a table was read from."""
        for fact in self._readings(stage):
            found = [file for file in fact.body["inputs"] if file["ref"] not in self._makers]
            files = (f"raw file {f['locator']}, {size(f['bytes'])}, {short(f['ref'])}" for f in found)
            yield Node(sentence(fact), fact.position, tuple(Node(text, None) for text in files))

    def _inputs(self, stage: Entry) -> Iterator[Node]:
        """The stages that made what this one read, each once."""
        known = {ref for fact in self._readings(stage) for ref in refs_in(fact.body["inputs"])}
        seen = {stage.position}
        for name, value in stage.body["identity"]["inputs"].items():
            for ref in refs_in(value):
                maker = self._maker(ref, stage)
                if maker is None and ref not in known:
                    yield Node(f"input {name}: {short(ref)}, given from outside", None)
                elif maker is not None and maker.position not in seen:
                    seen.add(maker.position)
                    yield self._stage(maker)

    def _maker(self, ref: str, reader: Entry) -> Entry | None:
        """The stage that made what another one read: the last before it, since a check that finds nothing passes it on."""
        makers = self._makers.get(ref, [])
        return next((e for e in reversed(makers) if e.position < reader.position), makers[0] if makers else None)

    def _readings(self, stage: Entry) -> list[Entry]:
        """Facts of a stage that name the files it read."""
        return [fact for fact in self._facts.get(stage.body["key"], []) if fact.body.get("inputs")]


def plain(text: str) -> str:
    """A text as it is compared: small letters, single spaces.

    Example:
        >>> plain("AtMost  ECE")
        'atmost ece'
    """
    return " ".join(text.lower().split())


def _identity(identity: Mapping[str, Any]) -> str:
    libraries = identity["libraries"]
    named = [f"{name} {version}" for name, version in libraries.items()] if isinstance(libraries, Mapping) else []
    parts = [f"parameters {_hashed(identity['parameters'])}", f"code {_hashed(identity['source'])}"]
    return ", ".join([*parts, *named, f"seed {identity['seed']}"])


def _hashed(value: Any) -> str:
    return short(value) if isinstance(value, str) else digest(value)[:12]
