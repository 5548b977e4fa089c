"""A project's run: its stages, then the decisions gate, register and release, on one ledger."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sterling.core.canonical import canonical, digest
from sterling.core.clock import from_micros, iso, utcnow
from sterling.core.code import source_of_module_closure
from sterling.core.elsewhere import REFERENCED, WithoutErased, erased_in
from sterling.core.environment import ENVIRONMENT, environment_of
from sterling.core.errors import ConflictError, RefusedError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.core.lock import together
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.core.workspace import Workspace
from sterling.decisions.gate import judge, title
from sterling.decisions.reference import ExternalFile, reference
from sterling.decisions.register import decided, register
from sterling.decisions.release import live, release
from sterling.project.definition import to_json
from sterling.project.features import feature_names, of_events, view_name
from sterling.project.gates import Gate
from sterling.project.load import define
from sterling.project.project import Project
from sterling.project.times import moment_micros
from sterling.runner import Done, Observer, Progress, execute, ignore, resolve
from sterling.views.differences import changes
from sterling.views.external import Reference, ended, references
from sterling.views.features import redefined
from sterling.views.plan import Plan, PlannedStep

if TYPE_CHECKING:
    from sterling.engine.tables import StoredTable
    from sterling.features.online import ViewPlan
    from sterling.features.online_store import OnlineStore
    from sterling.features.skew import Skew
    from sterling.stages.contract import Context, Step
    from sterling.stages.raw import Intake

CANDIDATE, POLICY = "train candidate", "policy"
JUDGED = frozenset({
    "leakage", "leakage of candidate", "evaluate", "decide", "fairness", "robustness", "behaviour",
    "compare with champion",
})  # fmt: skip
"""Steps whose facts gates look at, besides parity."""
_WAITING = Progress("wait until gc or erase has ended", "started")
Answer = Literal["passed", "failed", "ungated"]


@dataclass(frozen=True, slots=True)
class Result:
    """What is on record after a run.

    Attributes:
        project: Name of the project.
        definition: Hash of its definition.
        candidate: Ref of the trained model.
        verdict: Whether it passed its gates; ``ungated`` where the project has none.
        version: The version that it is registered as, or None.
        released: Whether that version is live.
        steps: The steps, in order.
        gates: The ``gate.judged`` entries, in the order of the gates.
        position: Position of the ``run.completed``.
        news: Whether anything was recorded.
        warnings: What should not stay as it is, such as a promise that has ended, or why a version was not released.
    """

    project: str
    definition: str
    candidate: str
    verdict: Answer
    version: int | None
    released: bool
    steps: tuple[Done, ...]
    gates: tuple[Entry, ...]
    position: int
    news: bool
    warnings: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """The result in a notebook."""
        from sterling.views.fragments import result_fragment
        from sterling.views.report import gate_rows

        said = {"passed": "passed its gates", "failed": "failed a gate", "ungated": "was trained; there are no gates"}
        as_version = f" and is version {self.version}" if self.version else ""
        live = ", which takes all traffic" if self.released else ""
        steps = ((step.title, "from the ledger" if step.cached else "ran", step.position) for step in self.steps)
        return result_fragment(
            f"{self.project}: the candidate {said[self.verdict]}{as_version}{live} [{self.position}].",
            gate_rows(self.gates), steps,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Opened:
    """A project with its workspace at hand."""

    project: Project
    folder: Path
    defined: dict[str, Any]
    definition: str
    ledger: Ledger
    store: Store
    intake: Intake
    work: Path


def run_project(
    project: Project,
    folder: Path,
    *,
    as_of: str | None = None,
    release_now: bool = False,
    leak_effect: bool = True,
    parity: bool = True,
    studies: bool = True,
    observe: Observer = ignore,
    workspace: Workspace | None = None,
) -> Result:
    """Run a project: every stage that is not on record, then its decisions.

    Args:
        project: The project.
        folder: Its folder, which holds its files and its workspace.
        as_of: ``"now"`` or an ISO 8601 time; None for the newest availability that the data show.
        release_now: Release the version at once, without a staged rollout, if it passes its gates.
        leak_effect: Also train the candidate's recipe as if availability were ignored, to see what that would claim.
        parity: Hold features against what is served; without that no model passes its gates.
        studies: Look at the candidate after its evaluation; without that it passes no gate over what studies find.
        observe: Told when a step starts and ends.
        workspace: Where ledger and store lie; the folder's own where it is None.

    Raises:
        SterlingError: whatever is wrong with the project or its data, said with what would work.
    """
    workspace = workspace or Workspace(folder)
    with together(workspace.lock, lambda: observe(_WAITING)):
        opened = _open(project, folder, workspace)
        steps = _steps(opened, as_of, leak_effect=leak_effect, parity=parity, studies=studies)
        return _run(opened, steps, observe, release_now=release_now)


def _run(opened: _Opened, steps: Sequence[Step], observe: Observer, *, release_now: bool) -> Result:
    before = _head(opened.ledger)
    _record_definition(opened)
    external = _reference(opened)
    done = execute(steps, opened.ledger, _context(opened, external), observe, environment=partial(_environment, opened))
    candidate = next(step for step in done if step.title == CANDIDATE).outputs["model"]
    decision, judged = _judge(opened, candidate, done)
    verdict: Answer = "ungated"
    version = None
    if judged:
        passed = sum(entry.body["passed"] for entry in judged)
        verdict = "passed" if passed == len(judged) else "failed"
        _say(observe, opened, before, f"gate: {passed} of {len(judged)} passed")
        policy = next((step.outputs["policy"] for step in done if step.title == POLICY), None)
        version = _settle(opened, candidate, decision, judged, policy)
        _say(observe, opened, before, f"register: version {version}" if version else "register: refused")
    refused: list[str] = []
    if version and release_now:
        try:
            _check_served(opened, version)
            release(opened.ledger, opened.store, version, routing=opened.project.routing)
            _say(observe, opened, before, f"release: version {version}, all traffic at once")
        except RefusedError as error:
            refused.append(str(error))
    newest = live(opened.ledger)
    position = _complete(opened, done, candidate, decision, verdict)
    return Result(
        opened.project.name, opened.definition, candidate, verdict, version,
        released=newest is not None and newest.body["version"] == version,
        steps=done, gates=judged, position=position, news=_head(opened.ledger) > before,
        warnings=(*refused, *ended(external, utcnow())),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checked:
    """A project that fits its data.

    Attributes:
        project: Name of the project.
        sources: Names of its sources.
        features: Names of its features, in order.
        rows: Moments of prediction.
        labelled: How many of them have a label.
        positives: How many of these are positive; None where they are numbers.
        frame: Ref of the table with every feature.
        feasibility: What the data can show: the body of ``feasibility.assessed``.
        leakage: What leakage checks found before training: the body of ``leakage.checked``.
        positions: Where these two stand in the ledger.
    """

    project: str
    sources: tuple[str, ...]
    features: tuple[str, ...]
    rows: int
    labelled: int
    positives: int | None
    frame: Ref
    feasibility: Mapping[str, Any]
    leakage: Mapping[str, Any]
    positions: Mapping[str, int]

    @property
    def feasible(self) -> bool:
        """Whether something can be trained and judged, and every gate be passed."""
        gates = self.feasibility["gates"]
        return not self.feasibility["impossible"] and all(gate["state"] != "impossible" for gate in gates)


def check_project(project: Project, folder: Path, *, observe: Observer = ignore) -> Checked:
    """Do everything before training: snapshots, columns and types, checks, labels, and what is known at prediction.

    What it computes is on record, and a run takes it from there.

    Raises:
        SterlingError: whatever is wrong with the project or its files, said with what would work.
    """
    from sterling.stages.graph import assessments

    with _prepared(project, folder, observe, assessments(project)) as (opened, _, done):
        pass
    keys = {step.title: step.key for step in done}

    def fact(kind: str, title: str) -> Entry:
        return next(opened.ledger.read(Query((kind,), (f"key:{keys[title]}",))))

    spine = fact("spine.built", "spine").body
    found = fact("feasibility.assessed", "feasibility"), fact("leakage.checked", "leakage")
    return Checked(
        project.name, tuple(project.sources()), feature_names(project.features),
        spine["rows"], spine["matured"], spine.get("positives"),
        next(step.outputs["frame"] for step in done if step.title == "frame"),
        found[0].body, found[1].body, {entry.kind: entry.position for entry in found},
    )  # fmt: skip


def parity_project(project: Project, folder: Path, *, observe: Observer = ignore) -> tuple[Entry, ...]:
    """Compute every feature and hold it against what the code that serves answers; what is on record is taken from there.

    Returns:
        The ``parity.measured`` entries, in the order of the features.

    Raises:
        SterlingError: whatever is wrong with the project or its files, said with what would work.
    """
    from sterling.stages.graph import parity_steps

    with _prepared(project, folder, observe, parity_steps(project)) as (opened, _, done):
        pass
    keys = [step.key for step in done if step.title.startswith("parity ")]
    measured = (opened.ledger.read(Query(("parity.measured",), (f"key:{key}",))) for key in keys)
    return tuple(next(entries) for entries in measured)


def build_online(project: Project, folder: Path, store: OnlineStore, *, observe: Observer = ignore) -> dict[str, bool]:
    """Make the online state of every view from the history, so that a server goes on from there.

    A view that has followed the log of rows that arrive since it was made is left as it is, and so is one of a source of
    versions, whose history is in that log.

    Args:
        project: The project.
        folder: Its folder.
        store: Where the states go.
        observe: Told when a step starts and ends.

    Returns:
        For each view whether it was made here.

    Raises:
        SterlingError: whatever is wrong with the project or its files, said with what would work.
    """
    from sterling.features.applier import fill
    from sterling.features.seeds import seed
    from sterling.stages.snapshot import read_as_of

    made, seeded = dict[str, bool](), dict[str, int]()
    with _prepared(project, folder, observe) as (_, context, done):
        as_of = next(step.outputs["as_of"] for step in done if step.title == "as of")
        at = read_as_of(as_of, context) + 1
        for plan, table in _views(project, context, done):
            name = view_name(plan.feature)
            observe(Progress(f"online {name}", "started"))
            if plan.replaces and plan.source.name not in seeded:
                seeded[plan.source.name] = seed(Workspace(folder).events, plan.source, table)
            offset = seeded.get(plan.source.name, 0)
            made[name] = fill(store, project.name, plan, table, context.engine, at=at, offset=offset)
            observe(Progress(f"online {name}", "ran"))
    return made


def skew_project(project: Project, folder: Path, *, observe: Observer = ignore) -> tuple[Skew, ...]:
    """Compare the vectors that were served, as far as they were kept, with the history as it is now.

    Returns:
        What was found for each view that served any.

    Raises:
        SterlingError: whatever is wrong with the project or its files, said with what would work.
    """
    from sterling.features.served import read_served
    from sterling.features.skew import Skew, history_of, skew

    workspace = Workspace(folder)
    served = tuple(read_served(workspace.served))
    with _prepared(project, folder, observe) as (_, context, done):
        found = [
            skew(history_of(plan, table, context.engine, workspace.events), served)
            for plan, table in _views(project, context, done)
        ]
    gone = Counter(one.view for one in served) - Counter({one.view: one.vectors for one in found})
    lost = (Skew(view, count, 0, {"definition changed": count}) for view, count in gone.items())
    return tuple(one for one in (*found, *lost) if one.vectors)


@contextmanager
def _prepared(
    project: Project, folder: Path, observe: Observer, more: Sequence[Step] = ()
) -> Iterator[tuple[_Opened, Context, tuple[Done, ...]]]:
    """A project after everything before training, and some more steps; gc and erase wait until the block ends."""
    from sterling.stages.graph import check_graph

    workspace = Workspace(folder)
    with together(workspace.lock, lambda: observe(_WAITING)):
        opened = _open(project, folder, workspace)
        steps = (*check_graph(project, folder, opened.intake, None), *more)
        opened.intake.save()
        context = _context(opened, _reference(opened))
        yield (
            opened,
            context,
            execute(steps, opened.ledger, context, observe, environment=partial(_environment, opened)),
        )


@contextmanager
def cleaned_project(
    project: Project, folder: Path, until: int, *, observe: Observer = ignore
) -> Iterator[tuple[Context, Mapping[str, Mapping[str, Ref]]]]:
    """The clean rows of a project's sources, as of the newest that the data show or a later moment; gc and erase wait.

    Args:
        project: The project.
        folder: Its folder.
        until: The moment in microseconds that rows count at least up to.
        observe: Told when a step starts and ends.

    Yields:
        What stages work with, and the outputs of each step by its title.

    Raises:
        SterlingError: whatever is wrong with the project or its files, said with what would work.
    """
    from sterling.stages.graph import cleaning_steps
    from sterling.stages.snapshot import read_as_of

    workspace = Workspace(folder)
    with together(workspace.lock, lambda: observe(_WAITING)):
        opened = _open(project, folder, workspace)
        steps = cleaning_steps(project, folder, opened.intake, None)
        opened.intake.save()
        context = _context(opened, _reference(opened))
        environment = partial(_environment, opened)
        data = tuple(step for step in steps if not step.stage.title.startswith("validate "))
        done = execute(data, opened.ledger, context, observe, environment=environment)
        newest = next(step.outputs["as_of"] for step in done if step.title == "as of")
        if read_as_of(newest, context) < until:
            steps = cleaning_steps(project, folder, opened.intake, iso(from_micros(until)))
        done = execute(steps, opened.ledger, context, observe, environment=environment)
        yield context, {step.title: step.outputs for step in done}


def _views(project: Project, context: Context, done: Sequence[Done]) -> Iterator[tuple[ViewPlan, StoredTable]]:
    """Each feature of events, and the rows of its source."""
    from sterling.engine.tables import StoredTable
    from sterling.features.online import ViewPlan, source_of

    outputs = {step.title: step.outputs for step in done}
    for feature in filter(of_events, project.features.features):
        table = StoredTable(context.store, outputs[f"validate {source_of(feature).name}"]["clean"])
        yield ViewPlan(feature, {field.name: str(field.type) for field in table.schema}), table


def plan_project(project: Project, folder: Path, *, as_of: str | None = None) -> Plan:
    """What `run_project` would do, and why; nothing is run or recorded."""
    workspace = Workspace(folder)
    with together(workspace.lock):  # planning looks at raw files, and so brings them into the store
        opened = _open(project, folder, workspace)
        planned = resolve(_steps(opened, as_of), opened.ledger, _context(opened, ()))
    last = _last_run(opened.ledger)
    return Plan(
        project.name, opened.definition, _as_of(opened.ledger, planned), _changed(opened, last), planned,
        warnings=tuple(ended(_external(opened), utcnow())), redefined=_redefined(opened),
    )  # fmt: skip


def _redefined(opened: _Opened) -> tuple[str, ...]:
    """What the live version reads by another definition than the project has now."""
    from sterling.stages.features import definition_hashes

    return redefined(opened.ledger.read(), definition_hashes(opened.project, opened.folder))


def _open(project: Project, folder: Path, workspace: Workspace) -> _Opened:
    from sterling.stages.raw import Intake

    defined, ledger = define(project, folder), workspace.ledger(project.name)
    erased, store = erased_in(ledger), workspace.store()
    intake = Intake(store, workspace.fingerprints, {ref: erasure.position for ref, erasure in erased.items()})
    current = WithoutErased(store, erased) if erased else store
    return _Opened(project, folder, defined, digest(defined), ledger, current, intake, workspace.work)


def _steps(opened: _Opened, as_of: str | None, **parts: bool) -> tuple[Step, ...]:
    from sterling.stages.graph import graph

    at = iso(utcnow()) if as_of == "now" else as_of
    if at is not None:
        moment_micros(at, field="as_of")
    steps = graph(opened.project, opened.folder, opened.intake, at, **parts)
    opened.intake.save()
    return steps


def _reference(opened: _Opened) -> tuple[Reference, ...]:
    """Record which files are read where they lie, and give what is on record of them."""
    files = (
        ExternalFile(file.locator, file.ref, file.size, said.keep) for file, said in opened.intake.external.items()
    )
    reference(opened.ledger, files, utcnow())
    return _external(opened)


def _external(opened: _Opened) -> tuple[Reference, ...]:
    """What is on record of the files that the project reads where they lie."""
    read = {(file.locator, file.ref) for file in opened.intake.external}
    known = references(opened.ledger.read(Query((REFERENCED,)))) if read else ()
    return tuple(file for file in known if (file.locator, file.ref) in read)


def _context(opened: _Opened, external: Sequence[Reference]) -> Context:
    from sterling.engine.duckdb import DuckDBEngine
    from sterling.stages.contract import Context
    from sterling.stages.external import ExternalFiles, Promised

    files = tuple(Promised(file.locator, file.ref, file.until) for file in external)
    store = ExternalFiles(opened.store, files, opened.folder, opened.intake.fingerprints) if files else opened.store
    return Context(store, DuckDBEngine(), opened.project.seed, opened.work)


def _say(observe: Observer, opened: _Opened, before: int, what: str) -> None:
    """Tell of a decision, unless all of the run was on record already."""
    if _head(opened.ledger) > before:
        observe(Progress(what, "ran"))


def _check_served(opened: _Opened, version: int) -> None:
    """Have the server answer rows of the training.

    Raises:
        DataError: if it gives one another score.
    """
    from sterling.serving.checked import check_unless_live
    from sterling.serving.on_demand import supplied_by

    check_unless_live(opened.ledger, opened.store, version, supplied_by(opened.project, opened.folder))


def _record_definition(opened: _Opened) -> None:
    subject = f"definition:{opened.definition}"
    same = Query(("project.defined",), (subject,))
    before = next(opened.ledger.read(same), None)
    if before and opened.store.has(before.body["ref"]):
        return
    ref = opened.store.put(io.BytesIO(canonical(opened.defined)))
    fact = Evidence(
        "project.defined", (subject, f"project:{opened.project.name}"), {"definition": opened.definition, "ref": ref}
    )
    with suppress(ConflictError):
        opened.ledger.append([fact], unless=same)


def _environment(opened: _Opened) -> str:
    """Record what this process runs with, unless the very same is on record, and give its name."""
    from sterling.models.blas import blas_libraries

    found, lock = environment_of(opened.folder, blas_libraries())
    name: str = found["environment"]
    same = Query((ENVIRONMENT,), (f"environment:{name}",))
    before = next(opened.ledger.read(same), None)
    if before is None or not opened.store.has(before.body["lock"]):
        ref = opened.store.put(io.BytesIO(canonical(lock)))
        with suppress(ConflictError):
            opened.ledger.append([Evidence(ENVIRONMENT, same.subjects, found | {"lock": ref})], unless=same)
    return name


def _judge(opened: _Opened, candidate: str, done: Sequence[Done]) -> tuple[str, tuple[Entry, ...]]:
    """Judge every gate on the facts of one evaluation, of models from outside, of parity and of studies, once: a decision is known by what it is based on."""
    gates = opened.project.judged()
    evaluated = [step.key for step in done if step.title in JUDGED]
    parity = [step.key for step in done if step.title.startswith("parity ")]
    outside = [step.key for step in done if step.title.startswith("against ")]
    basis = {
        "gates": [to_json(gate) for gate in gates],
        "error_budget": opened.project.error_budget,
        "definition": opened.definition,
        "evaluation": evaluated,
        "parity": parity,
        "source": source_of_module_closure("sterling.decisions.gate"),
        **({"outside": outside} if outside else {}),
    }
    decision = digest(basis)
    same = Query(("gate.judged",), (f"decision:{decision}",))
    if gates and not (judged := tuple(opened.ledger.read(same))):
        keys = (*parity, *outside, *evaluated)
        facts = tuple(entry for key in keys for entry in opened.ledger.read(Query(subjects=(f"key:{key}",))))
        verdicts = [_judged(gate, facts, candidate, decision) for gate in gates]
        with suppress(ConflictError):
            opened.ledger.append(verdicts, unless=same)
        judged = tuple(opened.ledger.read(same))
    return decision, judged if gates else ()


def _judged(gate: Gate, facts: Sequence[Entry], candidate: str, decision: str) -> Evidence:
    verdict = judge(gate, facts)
    body = {"gate": to_json(gate), "title": title(gate), **asdict(verdict)}
    return Evidence("gate.judged", (f"model:{candidate}", f"decision:{decision}"), body)


def _settle(opened: _Opened, candidate: str, decision: str, judged: Sequence[Entry], policy: str | None) -> int | None:
    """The version that the decision ended in, or None where it refused the model.

    A model of one definition is one version, however often it is judged.
    """
    known = opened.ledger.read(Query(("model.registered",), (f"model:{candidate}",)), newest_first=True)
    same = next((entry for entry in known if entry.body["definition"] == opened.definition), None)
    if same and all(entry.body["passed"] for entry in judged):
        return int(same.body["version"])
    while not (entry := decided(opened.ledger, decision)):
        with suppress(ConflictError):
            register(
                opened.ledger,
                model=candidate,
                definition=opened.definition,
                decision=decision,
                judged=judged,
                policy=policy,
                needs=opened.project.release_needs(),
            )
    version: int | None = entry.body.get("version")
    return version


def _complete(opened: _Opened, done: Sequence[Done], candidate: str, decision: str, verdict: Answer) -> int:
    start, end = opened.project.holdout.span()
    body = {
        "definition": opened.definition,
        "keys": [{"title": step.title, "key": step.key} for step in done],
        "candidate": candidate,
        "decision": decision,
        "verdict": verdict,
        "holdout": {"start_us": start, "end_us": end, "looks": opened.project.holdout.looks},
    }
    fact = Evidence("run.completed", ("run", f"definition:{opened.definition}"), body)
    while not ((last := _last_run(opened.ledger)) and last.body == body):
        with suppress(ConflictError):
            after = last.position if last else 0
            return opened.ledger.append([fact], unless=Query((fact.kind,)), after=after)
    return last.position


def _last_run(ledger: Ledger) -> Entry | None:
    return next(ledger.read(Query(("run.completed",)), newest_first=True), None)


def _head(ledger: Ledger) -> int:
    newest = next(ledger.read(newest_first=True), None)
    return newest.position if newest else 0


def _as_of(ledger: Ledger, planned: Sequence[PlannedStep]) -> str | None:
    """The as_of that is on record for a plan, if the step that resolves it would not run."""
    position = next((step.position for step in planned if step.title == "as of"), None)
    if position is None:
        return None
    key = next(ledger.read(after=position - 1)).body["key"]
    fact = next(ledger.read(Query(("as_of.resolved",), (f"key:{key}",))))
    resolved: str = fact.body["as_of"]
    return resolved


def _changed(opened: _Opened, last: Entry | None) -> tuple[str, ...]:
    """What changed in the definition since the last completed run."""
    if last is None or last.body["definition"] == opened.definition:
        return ()
    known = Query(("project.defined",), (f"definition:{last.body['definition']}",))
    ref = Ref(next(opened.ledger.read(known)).body["ref"])
    if not opened.store.has(ref):
        return ("the definition; what it was is no longer in the store",)
    return changes(json.loads(opened.store.open(ref).read_bytes()), opened.defined)
