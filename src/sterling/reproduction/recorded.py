"""What a run left on record that it can be executed again from: its steps, what each read and made, and where it ran."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sterling.core.elsewhere import ERASED, erasures
from sterling.core.errors import DataError
from sterling.core.evidence import Entry
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.views.external import references
from sterling.views.facts import Run

AS_RECORDED = frozenset({"ask"})
"""Stages that look at the world, and whose outputs are taken as they are on record, like raw files."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A step that is on record.

    Attributes:
        title: The step.
        stage: Name of its stage.
        identity: What decided about what it made.
        outputs: Refs that it made, by name.
        environment: What it ran with, as ``environment.recorded`` says it, or None where that is not on record.
        position: Position of its ``stage.completed``.
    """

    title: str
    stage: str
    identity: Mapping[str, Any]
    outputs: Mapping[str, Ref]
    environment: Mapping[str, Any] | None
    position: int


def steps_of(run: Run) -> tuple[Recorded, ...]:
    """The steps of a run, in the order in which they were done."""
    completed = {entry.body["key"]: entry for entry in run.of("stage.completed")}
    places = {entry.body["environment"]: entry.body for entry in run.of("environment.recorded")}
    found = []
    for title, key in run.steps:
        if key not in completed:
            raise DataError(f"The run at {run.position} has no completion of {title!r} on record.")
        entry = completed[key]
        place = places.get(entry.body.get("environment", ""))
        found.append(
            Recorded(title, entry.body["stage"], entry.body["identity"], entry.body["outputs"], place, entry.position)
        )
    return tuple(found)


def roots_of(steps: Sequence[Recorded]) -> dict[Ref, str]:
    """What a run read and did not make, by ref: raw files, examples, a champion, answers of others."""
    made: set[Ref] = set()
    roots: dict[Ref, str] = {}
    for step in steps:
        for name, ref in step.identity["inputs"].items():
            if ref not in made:
                roots.setdefault(ref, name)
        if step.stage in AS_RECORDED:
            roots |= {ref: f"{step.title}: {name}" for name, ref in step.outputs.items()}
        made |= set(step.outputs.values())
    return roots


def order(
    run: Run, steps: Sequence[Recorded], entries: Iterable[Entry], definition: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that a fresh process needs to know, as JSON."""
    chain = tuple(entries)
    erased = erasures(entry for entry in chain if entry.kind == ERASED)
    roots = roots_of(steps)
    return {
        "run": run.position,
        "definition": definition,
        "steps": [
            {"title": s.title, "stage": s.stage, "identity": s.identity, "outputs": s.outputs}
            for s in steps
            if s.stage not in AS_RECORDED
        ],
        "roots": roots,
        "erased": {ref: one.position for ref, one in erased.items() if ref in roots},
        "external": [[file.locator, file.ref, file.until] for file in references(chain) if file.ref in roots],
    }


def lock_of(environment: Mapping[str, Any] | None, store: Store) -> Mapping[str, Any] | None:
    """The lock of an environment, None where it is not on record or no longer in the store."""
    if environment is None or not store.has(Ref(environment["lock"])):
        return None
    lock: Mapping[str, Any] = json.loads(store.open(Ref(environment["lock"])).read_bytes())
    return lock
