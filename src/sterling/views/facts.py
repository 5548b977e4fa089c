"""Runs, and the facts that belong to each: those of its stages, and those of its decision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sterling.core.environment import ENVIRONMENT
from sterling.core.errors import SterlingError
from sterling.core.evidence import Entry


class NoRunError(SterlingError, ValueError):
    """The ledger holds no completed run of what was asked for."""


@dataclass(frozen=True, slots=True)
class Run:
    """A completed run and its evidence.

    Attributes:
        position: Position of its ``run.completed``.
        recorded_at: When it was completed, ISO 8601.
        actor: Who ran it.
        definition: Hash of the project's definition.
        candidate: Ref of the model that it trained.
        decision: Key of its decision.
        verdict: ``passed``, ``failed`` or ``ungated``.
        facts: Its evidence, oldest first; a cached stage's facts are older than the run.
        steps: Title and key of each of its steps, in order.
    """

    position: int
    recorded_at: str
    actor: str
    definition: str
    candidate: str
    decision: str
    verdict: str
    facts: tuple[Entry, ...]
    steps: tuple[tuple[str, str], ...] = ()

    def of(self, *kinds: str) -> tuple[Entry, ...]:
        """The run's facts of some kinds, oldest first."""
        return tuple(entry for entry in self.facts if entry.kind in kinds)

    def newest(self, kind: str) -> Entry | None:
        """The run's newest fact of a kind."""
        return next(reversed(self.of(kind)), None)


def runs(entries: Iterable[Entry]) -> tuple[Run, ...]:
    """Every completed run, oldest first."""
    chain = tuple(entries)
    return tuple(_run(chain, entry) for entry in chain if entry.kind == "run.completed")


def latest_run(entries: Iterable[Entry], *, candidate: str | None = None) -> Run | None:
    """The newest completed run, of one candidate where it is named."""
    chain = tuple(entries)
    found = (e for e in reversed(chain) if e.kind == "run.completed" and candidate in {None, e.body["candidate"]})
    newest = next(found, None)
    return None if newest is None else _run(chain, newest)


def stage_key(entry: Entry) -> str | None:
    """Key of the stage that found a fact.

    Example:
        >>> from sterling.core.evidence import Evidence
        >>> stage_key(Entry(1, "", "", "", "", "", Evidence("spine.built", ("key:ab12",))))
        'ab12'
    """
    return next((s.removeprefix("key:") for s in entry.evidence.subjects if s.startswith("key:")), None)


def _run(chain: tuple[Entry, ...], run: Entry) -> Run:
    body = run.body
    subjects = {f"key:{step['key']}" for step in body["keys"]} | {f"decision:{body['decision']}"}
    before = chain[: chain.index(run)]
    facts = [entry for entry in before if not subjects.isdisjoint(entry.evidence.subjects)]
    places = {f"environment:{entry.body['environment']}" for entry in facts if "environment" in entry.body}
    facts += [e for e in before if e.kind == ENVIRONMENT and not places.isdisjoint(e.evidence.subjects)]
    facts += _loose(before, facts, body["definition"])
    return Run(
        run.position, run.recorded_at, run.actor, body["definition"], body["candidate"], body["decision"],
        body["verdict"], tuple(sorted(facts, key=lambda entry: entry.position)),
        tuple((step["title"], step["key"]) for step in body["keys"]),
    )  # fmt: skip


def _loose(before: tuple[Entry, ...], facts: list[Entry], definition: str) -> Iterable[Entry]:
    """Facts of the run that no stage found: its definition, and the time as of which it read the data."""
    defined = [e for e in before if e.kind == "project.defined" and e.body["definition"] == definition]
    as_of = [e for e in before if e.kind == "as_of.resolved"]
    named = any(entry.kind == "as_of.resolved" for entry in facts)
    return defined[-1:] + ([] if named else as_of[-1:])
