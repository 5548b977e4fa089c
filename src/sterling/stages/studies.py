"""The steps of a project's studies: what is looked at after the headline metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sterling.core.refs import Ref
from sterling.project.features import Derived, FeatureService, OnDemand, names_of, view_name
from sterling.project.gates import Robust
from sterling.project.load import supplied_code
from sterling.project.perturbations import Missing, Noise, OutOfRange, Perturbation, Scaled, Unseen
from sterling.project.project import Project
from sterling.project.recipe import model_name
from sterling.project.studies import (
    Ablation,
    Behaviour,
    Errors,
    Flips,
    Importance,
    LearningCurve,
    Robustness,
    Slices,
    Staleness,
    Study,
    parts_of,
    studied,
)
from sterling.project.tasks import Binary, Multiclass, Quantiles, Regression, Task
from sterling.stages.behaviour import CheckBehaviour
from sterling.stages.contract import Output, Stage, Step
from sterling.stages.errors import AnalyseErrors
from sterling.stages.features import reads
from sterling.stages.flips import CompareWithChampion
from sterling.stages.holdout import CutHoldout
from sterling.stages.importance import MeasureImportance
from sterling.stages.moved import CompareNumbersWithChampion
from sterling.stages.number_errors import AnalyseNumberErrors
from sterling.stages.retraining import Question, Retrain, Variant
from sterling.stages.robustness import MeasureRobustness
from sterling.stages.segments import DiscoverSlices

if TYPE_CHECKING:
    from sterling.stages.raw import Intake

Inputs = Mapping[str, Ref | Output]
_METRICS: dict[type[Task], tuple[str, ...]] = {
    Binary: ("log_loss", "roc_auc"),
    Regression: ("rmse", "mae"),
    Multiclass: ("log_loss", "accuracy"),
    Quantiles: ("pinball", "coverage"),
}


def study_steps(
    project: Project, folder: Path, intake: Intake, frame: Output, candidate: Output, tuned: Inputs
) -> Iterator[Step]:
    """The step that cuts out the holdout, and one for each study.

    Args:
        project: The project.
        folder: Its folder.
        intake: Takes its raw files into the store.
        frame: Where the frame comes from.
        candidate: Where the candidate comes from.
        tuned: Where its settings come from, if they were tuned.
    """
    start, end = project.holdout.span()
    cut = CutHoldout(start, end)
    yield Step(cut, {"frame": frame})
    model: Inputs = {"holdout": Output(cut.title, "holdout"), "candidate": candidate}
    policy: Inputs = {"policy": Output("policy", "policy")} if project.policy is not None else {}
    before: Inputs = {**model, **policy, "before": Output(cut.title, "before")}
    for study in studied(project.studies, project.task).values():
        stage = _stage(study, project, folder)
        match study:
            case Errors():
                yield Step(stage, before)
            case Flips():
                yield Step(stage, before, champion_of="candidate", champion_policy=project.policy is not None)
            case Behaviour(file=str(file)):
                yield Step(stage, {**model, "tests": intake.take(file, folder)[0].ref})
            case Ablation() | LearningCurve() | Staleness():
                yield Step(stage, {**model, **tuned, "frame": frame})
            case _:
                yield Step(stage, model)


def _stage(study: Study, project: Project, folder: Path) -> Stage:  # noqa: PLR0911  a return for each study
    name, rate, clustered = model_name(project.recipe.model), project.error_budget, project.cluster is not None
    number = isinstance(project.task, Regression)
    match study:
        case Slices():
            return DiscoverSlices(name, study, rate, clustered, project.task)
        case Errors():
            errors = AnalyseNumberErrors if number else AnalyseErrors
            return errors(name, study, project.slices(), rate, clustered)
        case Importance():
            return MeasureImportance(name, study, _views(project.features), rate, clustered, project.task)
        case Robustness():
            return _robustness(study, project)
        case Flips():
            compare = CompareNumbersWithChampion if number else CompareWithChampion
            return compare(name, study, rate, clustered)
        case Behaviour():
            return CheckBehaviour(name, study.tests, rate, clustered)
        case Ablation():
            return _retrain("ablation", project, folder, [*_ablations(study, project.features)])
        case LearningCurve():
            shares = sorted(study.shares)
            variants = [Variant(f"newest {100 * share:g} % of the time", share=share) for share in shares]
            return _retrain("learning curve", project, folder, variants)
        case Staleness():
            return _retrain(
                "staleness", project, folder, [Variant(f"frozen {age} before", age=age) for age in study.ages]
            )


def _retrain(question: Question, project: Project, folder: Path, variants: Sequence[Variant]) -> Retrain:
    trainer = project.recipe.model
    return Retrain(
        question, trainer, tuple(variants), project.holdout.span()[0], project.error_budget,
        project.cluster is not None, supplied_code(trainer, folder), project.task,
    )  # fmt: skip


def _views(service: FeatureService) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((view_name(feature), names_of(feature)) for feature in service.features if len(names_of(feature)) > 1)


def _robustness(study: Robustness, project: Project) -> MeasureRobustness:
    gates = [gate for gate in project.gates if isinstance(gate, Robust)]
    named = [one for gate in gates for one in gate.under]
    under = dict.fromkeys([*(study.under or _usual(project.features)), *named])
    metrics = dict.fromkeys([*_METRICS[type(project.task)], *(gate.metric for gate in gates)])
    parts = parts_of(project.features)
    wanted = {one.of for one in under} - {None}
    return MeasureRobustness(
        model_name(project.recipe.model), tuple(under), {name: parts[name] for name in parts if name in wanted},
        dependents(project.features), tuple(metrics), study.predictions, project.error_budget,
        project.cluster is not None, project.task,
    )  # fmt: skip


def _usual(service: FeatureService) -> Iterator[Perturbation]:
    """What can go wrong anywhere: each source and each view gone, its numbers in another unit, and all at once."""
    parts, single = parts_of(service), {name for feature in service.features for name in names_of(feature)}
    several = {part: names for part, names in parts.items() if part not in single}
    groups = {frozenset(names): part for part, names in several.items()}  # a source of one view is that view
    yield from (Missing(part) for part in groups.values())
    yield from (Scaled(part) for part in groups.values())
    yield from (Noise(), OutOfRange(), Unseen())


def dependents(service: FeatureService) -> dict[str, tuple[str, ...]]:
    """Features that are computed from others, with all those that they read."""
    return {
        feature.name: tuple(name for one in reads(feature, service) for name in names_of(one))
        for feature in service.features
        if isinstance(feature, Derived | OnDemand)
    }


def _ablations(study: Ablation, service: FeatureService) -> Iterator[Variant]:
    """Each view, source or feature left out, with what is computed from it."""
    parts = parts_of(service)
    for part in study.without or dict.fromkeys(view_name(feature) for feature in service.features):
        gone = set(parts[part])
        gone |= {name for name, read in dependents(service).items() if gone & set(read)}
        yield Variant(f"without {part}", without=sorted(gone))
