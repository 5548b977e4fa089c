"""The steps of a project: which stages there are, and what each of them reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from sterling.core.refs import Ref
from sterling.features.online import source_of
from sterling.project.bind import is_personal
from sterling.project.checks import References
from sterling.project.features import (
    Derived,
    Expression,
    Feature,
    FeatureService,
    FeatureView,
    First,
    Last,
    OnDemand,
    feature_names,
    served,
    view_name,
)
from sterling.project.gates import EverySlice, Golden
from sterling.project.load import read_text, supplied_code
from sterling.project.metrics import DECISIONS
from sterling.project.project import Project, Source
from sterling.project.recipe import LightGBM, model_name
from sterling.project.sources import Columns, Query, locator_of, table_name
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.project.tasks import Binary, Quantiles
from sterling.stages.aggregates import PickedFeatures, ViewFeatures
from sterling.stages.bind import Bind
from sterling.stages.contract import Output, Stage, Step
from sterling.stages.decide import PREDICTED, Decide
from sterling.stages.derived import DerivedFeatures
from sterling.stages.evaluate import BASELINE, Evaluate
from sterling.stages.fairness import Fairness
from sterling.stages.feasibility import Feasibility
from sterling.stages.feasible_gates import ASSESSED
from sterling.stages.features import has_leaks, reads
from sterling.stages.frame import assemble
from sterling.stages.leak_effect import LeakEffect
from sterling.stages.leakage import Leakage, ModelLeakage
from sterling.stages.on_demand import OnDemandFeatures
from sterling.stages.outside import Against, Ask
from sterling.stages.parity import Parity, RowParity
from sterling.stages.policy import ChoosePolicy, Contender
from sterling.stages.raw import Intake
from sterling.stages.reliability import Reliability
from sterling.stages.row import RowFeatures
from sterling.stages.snapshot import AsOf, Prepare, Snapshot, raw_input
from sterling.stages.spine import Spine
from sterling.stages.studies import study_steps
from sterling.stages.train import Train
from sterling.stages.tune import Tuning
from sterling.stages.validate import Validate

Inputs = dict[str, Ref | Output]
_SPINE: Inputs = {"spine": Output("spine", "spine")}
_FRAME = Output("frame", "frame")
CANDIDATE = "train candidate"
"""Title of the step that trains the candidate."""


def graph(
    project: Project,
    folder: Path,
    intake: Intake,
    as_of: str | None,
    *,
    leak_effect: bool = True,
    parity: bool = True,
    studies: bool = True,
) -> tuple[Step, ...]:
    """The steps of a project, each after those that it reads from.

    Args:
        project: The project.
        folder: Its folder.
        intake: Takes its raw files into the store.
        as_of: ISO 8601 time as of which data count; None for the newest that they show.
        leak_effect: Whether the recipe is also trained as if availability were ignored.
        parity: Whether features are held against what is served.
        studies: Whether the candidate is looked at after its evaluation.
    """
    before = (*check_graph(project, folder, intake, as_of), *assessments(project))
    compared = parity_steps(project) if parity else ()
    models = tuple(_models(project, folder, intake, leak_effect=leak_effect))
    candidate = Output(CANDIDATE, "model")
    after = study_steps(project, folder, intake, _FRAME, candidate, tuned_input(project)) if studies else ()
    return (*before, *compared, *models, *after)


def check_graph(project: Project, folder: Path, intake: Intake, as_of: str | None) -> tuple[Step, ...]:
    """The steps before anything is trained: all that can show that a project does not fit its data."""
    tables = tuple(_tables(project, folder, intake))
    snapshots = tuple(_snapshot(source, folder, intake) for source in project.sources().values())
    bound = Step(Bind(project), _snapshots(project))
    return (*tables, *snapshots, bound, *_data(project, as_of), *_features(project, folder))


def assessments(project: Project) -> tuple[Step, ...]:
    """The steps that look at the frame before anything is trained: for leaks, and for what the holdout can show."""
    start, end = project.holdout.span()
    personal = tuple(name for name in feature_names(project.features) if is_personal(project, name))
    leakage = Leakage(start, end, project.error_budget, project.cluster is not None, project.groups(), personal)
    gates = tuple(gate for gate in project.gates if isinstance(gate, ASSESSED))
    feasibility = Feasibility(
        gates, start, end, project.error_budget, project.cluster is not None, project.task, project.problem.value
    )
    return Step(leakage, {"frame": _FRAME}), Step(feasibility, {"frame": _FRAME})


def parity_steps(project: Project) -> tuple[Step, ...]:
    """The steps that hold the features as they are served against the offline ones."""
    return tuple(_parity(project, feature) for feature in project.features.features if served(feature))


def _parity(project: Project, feature: Feature) -> Step:
    spine, own = project.spine, dict([_built(feature)])
    match feature:
        case FeatureView() | Last() | First():
            return Step(Parity(feature, spine), _SPINE | _of_events(feature, spine) | own)
        case Derived():
            return Step(RowParity(feature, spine), dict(map(_built, reads(feature, project.features))) | own)
        case _:
            assert isinstance(feature, Expression)
            return Step(RowParity(feature, spine), _SPINE | {_clean(spine.source): _cleaned(spine.source)} | own)


def _of_events(feature: FeatureView | Last | First, spine: EventSpine | ScheduledSpine) -> Inputs:
    return {_clean(source): _cleaned(source) for source in (spine.source, source_of(feature))}


def _tables(project: Project, folder: Path, intake: Intake) -> Iterator[Step]:
    """One step for each preparation query, even where several sources read it."""
    queries = {s.table.file: s.table for s in project.sources().values() if isinstance(s.table, Query)}
    for query in queries.values():
        taken = {locator_of(given): intake.take(given, folder) for given in query.inputs}
        tables = tuple((table_name(locator), tuple(file.locator for file in files)) for locator, files in taken.items())
        inputs = {raw_input(file.locator): file.ref for files in taken.values() for file in files}
        yield Step(Prepare(query.file, read_text(folder, query.file), tables), inputs)


def _snapshot(source: Source, folder: Path, intake: Intake) -> Step:
    if isinstance(source.table, Query):
        return Step(Snapshot(source), {"table": Output(f"prepare {source.table.file}", "table")})
    files = intake.take(source.table, folder)
    return Step(Snapshot(source), {raw_input(file.locator): file.ref for file in files})


def _snapshots(project: Project) -> Inputs:
    return {f"snapshot:{name}": Output(f"snapshot {name}", "snapshot") for name in project.sources()}


def cleaning_steps(project: Project, folder: Path, intake: Intake, as_of: str | None) -> tuple[Step, ...]:
    """The steps up to the clean rows of every source, as a run has them."""
    snapshots = (_snapshot(source, folder, intake) for source in project.sources().values())
    return (*_tables(project, folder, intake), *snapshots, *_cleaning(project, as_of))


def feature_steps(project: Project, folder: Path) -> tuple[Step, ...]:
    """The steps from ``spine`` of the step of that name, and from clean rows, to the frame."""
    return tuple(_features(project, folder))


def _data(project: Project, as_of: str | None) -> Iterator[Step]:
    yield from _cleaning(project, as_of)
    inputs = {_clean(source): _cleaned(source) for source in (project.spine.source, project.label.source)}
    yield Step(
        Spine(project.spine, project.label, project.cluster, project.task), inputs | {"as_of": Output("as of", "as_of")}
    )


def _cleaning(project: Project, as_of: str | None) -> Iterator[Step]:
    yield Step(AsOf(as_of), _snapshots(project))
    for source in project.sources().values():
        others = {check.source for check in source.checks if isinstance(check, References)}
        inputs = {"snapshot": Output(f"snapshot {source.name}", "snapshot"), "as_of": Output("as of", "as_of")}
        inputs |= {f"snapshot:{name}": Output(f"snapshot {name}", "snapshot") for name in sorted(others)}
        yield Step(Validate(source), inputs)


def _clean(source: Source) -> str:
    return f"clean:{source.name}"


def _cleaned(source: Source) -> Output:
    return Output(f"validate {source.name}", "clean")


def _features(project: Project, folder: Path) -> Iterator[Step]:
    spine, service = project.spine, project.features
    own: Inputs = {_clean(spine.source): _cleaned(spine.source)}
    inputs: Inputs
    for feature in sorted(service.features, key=_rank):
        match feature:
            case OnDemand() | Derived():
                below = reads(feature, service)
                inputs = {**dict(map(_built, below)), **_leaks(below, service)}
            case FeatureView() | Last() | First():
                inputs = _of_events(feature, spine) | _SPINE
            case Columns() | Expression():
                inputs = own | _SPINE
        if isinstance(feature, OnDemand):
            yield Step(OnDemandFeatures(feature, supplied_code(feature, folder)), inputs)
        else:
            yield Step(feature_stage(feature, spine), inputs)
    inputs = own | _SPINE | dict(map(_built, service.features)) | _leaks(service.features, service)
    yield Step(assemble(service, spine, tuple(project.carried()), project.grouping()), inputs)


def _rank(feature: Feature) -> int:
    """Features of the data come first, then those that functions compute from them, then those of any of these."""
    return {OnDemand: 1, Derived: 2}.get(type(feature), 0)


def _built(feature: Feature) -> tuple[str, Output]:
    return f"features:{view_name(feature)}", Output(f"features {view_name(feature)}", "features")


def _leaks(features: Iterable[Feature], service: FeatureService) -> Inputs:
    """What these would be if availability were ignored, of those that read events."""
    return {
        f"leaks:{view_name(feature)}": Output(f"features {view_name(feature)}", "leaks")
        for feature in features
        if has_leaks(feature, service)
    }


def _models(project: Project, folder: Path, intake: Intake, *, leak_effect: bool) -> Iterator[Step]:
    start, end = project.holdout.span()
    recipe = project.recipe
    candidate = Train(
        recipe.model, "candidate", start, recipe.cv, supplied_code(recipe.model, folder), project.task,
        recipe.calibration if isinstance(project.task, Binary | Quantiles) else None, project.cluster is not None,
    )  # fmt: skip
    chosen = tuned_input(project)
    if recipe.tune and isinstance(recipe.model, LightGBM):
        yield Step(
            Tuning(recipe.model, recipe.tune, start, project.cluster is not None, project.task), {"frame": _FRAME}
        )
    yield Step(candidate, {"frame": _FRAME, **chosen})
    models: Inputs = {"candidate": Output(candidate.title, "model")}
    if (leaks := _leaks(project.features.features, project.features)) and leak_effect:
        effect = LeakEffect(
            recipe.model, start, end, project.error_budget, project.cluster is not None, candidate.code,
            project.task,
        )  # fmt: skip
        yield Step(effect, {"frame": _FRAME, **models, **chosen, **leaks})
    for trainer in recipe.ladder(project.task):
        baseline = Train(trainer, "baseline", start, code=supplied_code(trainer, folder), task=project.task)
        yield Step(baseline, {"frame": _FRAME})
        models[f"baseline:{model_name(trainer)}"] = Output(baseline.title, "model")
    yield from _outside(project)
    leakage = ModelLeakage(model_name(recipe.model), start, end, project.error_budget, project.cluster is not None)
    yield Step(leakage, {"frame": _FRAME, **models})
    for gate in project.gates:
        if isinstance(gate, Golden):
            models["golden"] = intake.take(gate.file, folder)[0].ref
    sliced = [g.metric for g in project.gates if isinstance(g, EverySlice) and g.metric not in DECISIONS]
    evaluate = Evaluate(
        model_name(project.recipe.model), start, end, project.error_budget, project.cluster is not None,
        project.slices(), tuple(dict.fromkeys(sliced)), project.task,
    )  # fmt: skip
    yield Step(evaluate, {"frame": _FRAME, **models}, champion_of="candidate")
    models.pop("golden", None)
    if isinstance(project.task, Binary):
        yield from _decisions(project, folder, models, chosen)


def tuned_input(project: Project) -> Inputs:
    """The settings that a search found, for every stage that trains the candidate's recipe; none without a search."""
    searched = project.recipe.tune and isinstance(project.recipe.model, LightGBM)
    return {"trainer": Output("tune candidate", "trainer")} if searched else {}


def _decisions(project: Project, folder: Path, models: Inputs, tuned: Inputs) -> Iterator[Step]:
    """What is decided from the models' scores, for whom, and how far scores can be taken at their word."""
    (start, end), recipe, clustered = project.holdout.span(), project.recipe, project.cluster is not None
    candidate, attributes = model_name(recipe.model), project.attributes()
    own: Inputs = {"frame": _FRAME, "candidate": models["candidate"], f"{PREDICTED}candidate": _predicted("candidate")}
    yield Step(Reliability(candidate, start, end, project.holdout.tz, clustered), own)
    if project.policy is not None:
        trainers = {
            "candidate": recipe.model,
            **{f"{BASELINE}{model_name(one)}": one for one in recipe.ladder(project.task)},
        }
        contenders = [
            Contender(key, trainer, supplied_code(trainer, folder), recipe.calibration if key == "candidate" else None)
            for key, trainer in trainers.items()
        ]
        value = project.problem.value
        yield Step(
            ChoosePolicy(project.policy, value, start, contenders, clustered), {"frame": _FRAME, **models, **tuned}
        )
        sliced = [
            (gate.metric, column)
            for gate in project.gates
            if isinstance(gate, EverySlice) and gate.metric in DECISIONS
            for column in gate.by
        ]
        decide = Decide(candidate, start, end, project.error_budget, clustered, value, tuple(dict.fromkeys(sliced)))
        predicted: Inputs = {PREDICTED + key: _predicted(key) for key in models}
        inputs = {"frame": _FRAME, "policies": Output("policy", "policies"), **models, **predicted}
        yield Step(decide, inputs, champion_of="candidate", champion_policy=True)
        own = own | {"policy": Output("policy", "policy")}
    if attributes:
        yield Step(Fairness(candidate, start, end, attributes, project.error_budget, clustered), own)


def _predicted(key: str) -> Output:
    return Output("evaluate", key)


def _outside(project: Project) -> Iterator[Step]:
    """Models from outside: what they answer, and the candidate against them."""
    start, end = project.holdout.span()
    name = model_name(project.recipe.model)
    for model in (model for model in project.external if model.role != "shadow"):
        asked = Ask(model, start, end, project.task)
        yield Step(asked, {"frame": _FRAME})
        clustered = project.cluster is not None
        against = Against(name, model.name, model.role, start, end, project.error_budget, clustered, project.task)
        inputs: Inputs = {
            "candidate": Output("train candidate", "model"),
            "predictions": Output(asked.title, "predictions"),
        }
        yield Step(against, {"frame": _FRAME, **inputs})


def feature_stage(
    feature: Columns | Expression | Last | First | FeatureView | Derived, spine: EventSpine | ScheduledSpine
) -> Stage:
    """The stage that computes a definition that is no code of the project's own."""
    match feature:
        case Columns() | Expression():
            return RowFeatures(feature, spine)
        case Last() | First():
            return PickedFeatures(feature, spine)
        case FeatureView():
            return ViewFeatures(feature, spine)
        case Derived():
            return DerivedFeatures(feature)
