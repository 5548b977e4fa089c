"""Resolve, run, record: the only place where stages and the ledger meet."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from sterling.core.canonical import digest
from sterling.core.code import library_versions, source_of_module_closure
from sterling.core.cost import Cost, measured
from sterling.core.errors import ConflictError, StageFailedError, SterlingError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.core.parts import is_whole
from sterling.core.refs import Ref, refs_in_file
from sterling.views.plan import PlannedStep, changes
from sterling.views.registry import CHAMPION_KINDS, champion

if TYPE_CHECKING:
    from sterling.stages.contract import Context, Outcome, Step


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run is doing.

    Attributes:
        title: The step.
        state: ``started``, or how it ended.
        seconds: How long it took; 0 when it was answered from the ledger.
    """

    title: str
    state: Literal["started", "ran", "cached", "failed"]
    seconds: float = 0.0


Observer = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True)
class Done:
    """A step that is on record.

    Attributes:
        title: The step.
        key: Identity of what was done.
        outputs: Refs by name.
        position: Position of its ``stage.completed``.
        cached: Whether it was answered from the ledger.
    """

    title: str
    key: str
    outputs: Mapping[str, Ref]
    position: int
    cached: bool


def identity(step: Step, inputs: Mapping[str, Ref], seed: int) -> dict[str, Any]:
    """Everything that decides what a step makes: which stage, its code, its libraries, parameters, inputs and seed."""
    stage = step.stage
    return {
        "stage": stage.name,
        "parameters": stage.parameters(),
        "inputs": dict(inputs),
        "seed": seed,
        "source": source_of_module_closure(type(stage).__module__),
        "libraries": library_versions(stage.libraries),
    }


def execute(
    steps: Sequence[Step],
    ledger: Ledger,
    context: Context,
    observe: Observer = ignore,
    *,
    environment: Callable[[], str] | None = None,
) -> tuple[Done, ...]:
    """Do every step that is not on record, in order, and record it.

    Args:
        steps: The steps; each takes its inputs from refs or from steps before it.
        ledger: The project's chain.
        context: Store, engine and seed.
        observe: Told when a step starts and ends.
        environment: Records what this process runs with, and gives its name; asked before the first step that runs.

    Returns:
        What is on record now, step by step.

    Raises:
        SterlingError: what a stage raised about its data; ``stage.failed`` is recorded with its log.
        StageFailedError: if a stage raised anything else, or made something else than what is on record.
    """
    done: dict[str, Done] = {}
    place = cache(environment or _nowhere)
    for step in steps:
        inputs = _inputs(step, {title: item.outputs for title, item in done.items()}, ledger)
        assert inputs is not None
        done[step.stage.title] = _do(step, inputs, ledger, context, observe, place)
    return tuple(done.values())


def _nowhere() -> None:
    """Nothing is recorded of where the steps run."""


def resolve(steps: Sequence[Step], ledger: Ledger, context: Context) -> tuple[PlannedStep, ...]:
    """What `execute` would do, and why; nothing is run or recorded."""
    outputs: dict[str, Mapping[str, Ref]] = {}
    planned = []
    for step in steps:
        inputs = _inputs(step, outputs, ledger)
        if inputs is None:
            waits = sorted(
                {source.step for source in step.inputs.values() if not isinstance(source, str)} - set(outputs)
            )
            planned.append(PlannedStep(step.stage.title, "unknown", (", ".join(waits),), None))
            continue
        wanted = identity(step, inputs, context.seed)
        entry = _completed(ledger, digest(wanted))
        if entry:
            outputs[step.stage.title] = entry.body["outputs"]
        if entry and _kept(entry, context):
            planned.append(PlannedStep(step.stage.title, "cached", (), entry.position))
        else:
            reasons = ("what it made is no longer in the store",) if entry else _reasons(step, wanted, ledger)
            planned.append(PlannedStep(step.stage.title, "run", reasons, None))
    return tuple(planned)


def _inputs(step: Step, outputs: Mapping[str, Mapping[str, Ref]], ledger: Ledger) -> dict[str, Ref] | None:
    """The refs that a step reads, or None while one of them depends on a step that has not run."""
    refs: dict[str, Ref] = {}
    for name, source in step.inputs.items():
        if isinstance(source, str):
            refs[name] = source
        elif source.step in outputs:
            refs[name] = outputs[source.step][source.name]
        else:
            return None
    if step.champion_of and (found := champion(ledger.read(Query(CHAMPION_KINDS)), refs[step.champion_of])):
        refs["champion"] = Ref(found.model)
        if step.champion_policy and found.policy:
            refs["champion_policy"] = found.policy
    return refs


def _completed(ledger: Ledger, key: str) -> Entry | None:
    return next(ledger.read(Query(("stage.completed",), (f"key:{key}",)), newest_first=True), None)


def _kept(entry: Entry, context: Context) -> bool:
    manifests = entry.body.get("manifests", ())  # the rest is not opened: a store may be far away
    outputs: Mapping[str, Ref] = entry.body["outputs"]
    return all(
        is_whole(context.store, ref) if name in manifests else context.store.has(ref) for name, ref in outputs.items()
    )


def _do(
    step: Step,
    inputs: Mapping[str, Ref],
    ledger: Ledger,
    context: Context,
    observe: Observer,
    place: Callable[[], str | None],
) -> Done:
    title = step.stage.title
    wanted = identity(step, inputs, context.seed)
    key = digest(wanted)
    before = _completed(ledger, key)
    if before and _kept(before, context):
        observe(Progress(title, "cached"))
        return Done(title, key, before.body["outputs"], before.position, cached=True)
    observe(Progress(title, "started"))
    environment = place()
    with measured() as cost:
        outcome = _attempt(step, inputs, key, ledger, context, observe)
    if before:
        position = _confirm(before, outcome, ledger)
    else:
        position = _record(step, key, wanted, outcome, cost, ledger, context, environment)
    observe(Progress(title, "ran", cost.seconds))
    return Done(title, key, outcome.outputs, position, cached=False)


def _attempt(
    step: Step, inputs: Mapping[str, Ref], key: str, ledger: Ledger, context: Context, observe: Observer
) -> Outcome:
    stage = step.stage
    with _logged() as log:
        try:
            return stage(inputs, context)
        except Exception as error:
            observe(Progress(stage.title, "failed"))
            log.write(traceback.format_exc())
            ref = context.store.put(io.BytesIO(log.getvalue().encode()))
            body = {"stage": stage.name, "title": stage.title, "key": key, "error": type(error).__name__, "log": ref}
            ledger.append([Evidence("stage.failed", (f"key:{key}", f"stage:{stage.name}"), body)])
            if isinstance(error, SterlingError):
                raise
            raise StageFailedError(
                f"{stage.title} failed: {type(error).__name__}: {error}. Its log: {context.store.open(ref)}"
            ) from error


@contextmanager
def _logged() -> Iterator[io.StringIO]:
    """What is logged meanwhile, kept in case the stage fails."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield text
    finally:
        root.removeHandler(handler)


def _record(
    step: Step,
    key: str,
    wanted: dict[str, Any],
    outcome: Outcome,
    cost: Cost,
    ledger: Ledger,
    context: Context,
    environment: str | None,
) -> int:
    """Append a stage's facts and its completion, unless another run has done so meanwhile."""
    stage, subject = step.stage, f"key:{key}"
    manifests = sorted(name for name, ref in outcome.outputs.items() if any(refs_in_file(context.store.open(ref))))
    body = {
        "stage": stage.name, "title": stage.title, "key": key, "identity": wanted,
        "outputs": dict(outcome.outputs), "manifests": manifests, "seconds": round(cost.seconds, 3),
        "seconds_cpu": round(cost.seconds_cpu, 3), "peak_bytes": cost.peak_bytes,
        **({"environment": environment} if environment else {}),
    }  # fmt: skip
    facts = [replace(fact, subjects=(*fact.subjects, subject)) for fact in outcome.facts]
    completed = Evidence("stage.completed", (subject, f"stage:{stage.name}"), body)
    same = Query(("stage.completed",), (subject,))
    try:
        return ledger.append([*facts, completed], unless=same)
    except ConflictError:
        theirs = _completed(ledger, key)
        assert theirs is not None
        return _confirm(theirs, outcome, ledger)


def _confirm(before: Entry, outcome: Outcome, ledger: Ledger) -> int:
    """Take what was made again for what is on record, if it is the same."""
    expected, found = dict(before.body["outputs"]), dict(outcome.outputs)
    if expected == found:
        return before.position
    body = {name: before.body[name] for name in ("stage", "title", "key")} | {"expected": expected, "found": found}
    ledger.append([Evidence("stage.diverged", before.evidence.subjects, body)])
    raise StageFailedError(
        f"{body['title']} made something else than on record at {before.position}, from the same code, libraries and "
        "inputs: it is not reproducible. Both refs stand in the entry `stage.diverged`."
    )


def _reasons(step: Step, wanted: dict[str, Any], ledger: Ledger) -> tuple[str, ...]:
    """What differs from the last time that a step of this title was completed."""
    earlier = ledger.read(Query(("stage.completed",), (f"stage:{step.stage.name}",)), newest_first=True)
    last = next((entry for entry in earlier if entry.body["title"] == step.stage.title), None)
    if last is None:
        return ("has not run yet",)
    known = last.body["identity"]
    found = list(changes(known["parameters"], wanted["parameters"]))
    found += [f"input {line}" for line in changes(known["inputs"], wanted["inputs"])]
    found += [f"library {line}" for line in changes(known["libraries"], wanted["libraries"])]
    found += [f"seed: {known['seed']} → {wanted['seed']}"] if known["seed"] != wanted["seed"] else []
    found += ["the code of the stage"] if known["source"] != wanted["source"] else []
    return tuple(found)
