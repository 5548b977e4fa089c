"""The project: one frozen definition of everything that is wanted of a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.project.checks import References
from sterling.project.decided import check_decisions
from sterling.project.definition import Definition
from sterling.project.external import ExternalModel
from sterling.project.fallbacks import External, Link, When, check_fallback
from sterling.project.features import FeatureService, FeatureView, First, Last, feature_names, served
from sterling.project.gates import (
    Behaves,
    EverySlice,
    Fair,
    FewFlips,
    Gate,
    Golden,
    NoLeakage,
    Parity,
    Reproduced,
    Robust,
)
from sterling.project.guardrails import Guardrail, check_guardrails, default_guardrails
from sterling.project.metrics import DECISIONS
from sterling.project.policy import Policy, Sensitive, Top, Value
from sterling.project.recipe import CANDIDATE, Recipe, fits_task, model_name
from sterling.project.rollout import Canary, Routing, Shadow, check_rollout
from sterling.project.sources import Columns, EntitySource, EventSource
from sterling.project.spine import EventSpine, Holdout, Label, Occurs, ScheduledSpine
from sterling.project.splits import GroupKFold
from sterling.project.studies import Behaviour, Study, check_studies
from sterling.project.tasks import METRICS_OF, Binary, Multiclass, Quantiles, Task

if TYPE_CHECKING:
    from sterling.lifecycle import Result

PROJECT_NAME = re.compile(r"[a-z][a-z0-9-]*")
_FRAME = frozenset({"unit", "predict_at", "label", "matured_at", "status", "cluster"})

Source = EventSource | EntitySource


class Problem(Definition, frozen=True):
    """Which decision the model serves, and who answers for it.

    Args:
        decision: What is decided with its help.
        kpi: What the decision is to improve.
        owner: Who answers for the model.
        risk: How much harm a wrong decision can do.
        out_of_scope: What the model must not be used for.
        value: What each outcome of a decision is worth; None where that cannot be said.
    """

    decision: str
    kpi: str
    owner: str
    risk: Literal["minimal", "limited", "high"] = "minimal"
    out_of_scope: str | None = None
    value: Value | None = None


class Project(Definition, frozen=True):
    """Everything that is wanted of a model; building it checks its shape, and touches no data.

    Args:
        name: Name of the project; small letters, digits and hyphens.
        problem: The decision that the model serves.
        spine: The moments of prediction.
        label: What is to be predicted.
        task: What kind of problem that is; a condition by default.
        features: The vector that the model reads.
        holdout: The block that models are judged on.
        recipe: What is trained.
        cluster: Column of the spine's source whose values name rows that are not independent, such as a local day;
            intervals are clustered by it. None where every row is independent of the others.
        gates: What evidence must show before a release.
        studies: What is looked at after the headline metric, besides what every run does, or with other settings.
        error_budget: Chance, in (0, 0.5), to pass all gates when at least one of them should have failed; and to roll a version
            back by its guardrails that is no worse.
        seed: Seed of everything that is random.
        external: Models that live elsewhere, behind a URL, and that the candidate is held against.
        policy: What is decided from a score; None where nothing is.
        sensitive: Attributes of people between whose groups decisions are compared: columns of the spine's source, or
            `Sensitive`.
        rollout: Stages that a version goes through before it takes all traffic; none where `--now` is the only way.
        routing: Which units keep together, and which of them stay with what is known.
        guardrails: What a version on its way must not make worse; where none are named, errors, latency, decisions and scores.
        fallback: What answers where the version that is asked cannot, one after the other.
        fallback_when: When it does, besides where the version fails.
    """

    name: str
    problem: Problem
    spine: EventSpine | ScheduledSpine
    label: Label | Occurs
    features: FeatureService
    holdout: Holdout
    recipe: Recipe = Recipe()
    cluster: str | None = None
    gates: Sequence[Gate] = ()
    studies: Sequence[Study] = ()
    error_budget: float = 0.05
    seed: int = 0
    external: Sequence[ExternalModel] = ()
    policy: Policy | None = None
    sensitive: Sequence[str | Sensitive] = ()
    rollout: Sequence[Shadow | Canary] = ()
    routing: Routing = Routing()
    guardrails: Sequence[Guardrail] = ()
    task: Task = Binary()
    fallback: Sequence[Link] = ()
    fallback_when: When = When()

    def check(self) -> None:
        """Refuse what does not fit together."""
        if not PROJECT_NAME.fullmatch(self.name):
            raise InvalidDefinitionError(
                f"A Project is named {self.name!r}. Use small letters, digits and -, a letter first."
            )
        if not 0 < self.error_budget < 0.5:
            raise InvalidDefinitionError(f"Project.error_budget is {self.error_budget}. It lies between 0 and 0.5.")
        if sum(isinstance(gate, Golden) for gate in self.gates) > 1:
            raise InvalidDefinitionError("Project.gates has two Golden gates. Put all examples into one file.")
        if self.release_needs() and not self._gates_of_run():
            raise InvalidDefinitionError(
                "Project.gates has Reproduced alone, which is judged at the release. Add a gate that the run is judged by, "
                "such as gates.AtLeast('roc_auc', 0.7)."
            )
        gated = [one for gate in self.gates if isinstance(gate, Robust) for one in gate.under]
        check_studies(self.studies, gated, self.features, self.task)
        if any(isinstance(gate, Behaves) for gate in self.gates) and not any(
            isinstance(s, Behaviour) for s in self.studies
        ):
            raise InvalidDefinitionError(
                "A Behaves gate has nothing to judge. Add studies.Behaviour([…]) to Project.studies."
            )
        self._check_label()
        self._check_task()
        self._check_sources()
        self._check_rows()
        self._check_external()
        check_decisions(self.policy, self.problem.value, self.spine, self.attributes(), self.gates)
        check_rollout(self.rollout)
        check_guardrails(self.guardrails, self.policy)
        check_fallback(self.fallback, self.task)

    def sources(self) -> dict[str, Source]:
        """Every source that the project reads, by name."""
        found: dict[str, Source] = {}
        for source in self._mentioned():
            if found.setdefault(source.name, source) != source:
                raise InvalidDefinitionError(f"Two different sources are called {source.name!r}. Rename one.")
        return found

    def judged(self) -> tuple[Gate, ...]:
        """The gates that a model must pass: the project's own, and parity before them where features have two ways."""
        two_ways, gates = any(map(served, self.features.features)), self._gates_of_run()
        return tuple(dict.fromkeys((Parity(), *gates))) if gates and two_ways else gates

    def release_needs(self) -> tuple[Gate, ...]:
        """The gates that are judged at the release, on evidence that there can be only after the run."""
        return tuple(gate for gate in self.gates if isinstance(gate, Reproduced))

    def guards(self) -> tuple[Guardrail, ...]:
        """The guardrails of a rollout: the project's own, or those that suit its task and policy."""
        return tuple(self.guardrails) or default_guardrails(self.policy, self.task)

    def slices(self) -> tuple[str, ...]:
        """Columns that gates slice by, each once, in order."""
        named = [column for gate in self.gates if isinstance(gate, EverySlice) for column in gate.by]
        return tuple(dict.fromkeys(named))

    def attributes(self) -> tuple[Sensitive, ...]:
        """The sensitive attributes, each with what is asked of it."""
        return tuple(Sensitive(one) if isinstance(one, str) else one for one in self.sensitive)

    def carried(self) -> dict[str, str]:
        """Columns that stand beside the features, with what names them: those that gates, policy and fairness look at."""
        named = dict.fromkeys(self.slices(), "EverySlice.by")
        if isinstance(self.policy, Top) and self.policy.per_column:
            named.setdefault(self.policy.per_column, "Top.per")
        for one in self.attributes():
            named.setdefault(one.column, "Project.sensitive")
        return named

    def groups(self) -> tuple[str, ...]:
        """Columns whose values must not stand on both sides of the holdout, each once, in order."""
        named = [column for gate in self.gates if isinstance(gate, NoLeakage) for column in gate.groups]
        return tuple(dict.fromkeys(named))

    def grouping(self) -> tuple[str, ...]:
        """Columns that name groups, for the gates or for folds, each once, in order."""
        folds = [self.recipe.cv.by] if isinstance(self.recipe.cv, GroupKFold) else []
        return tuple(dict.fromkeys((*self.groups(), *folds)))

    def run(self, folder: str | Path = ".", *, as_of: str | None = None, release_now: bool = False) -> Result:
        """Do what ``sterling run`` does.

        Args:
            folder: The project's folder.
            as_of: ``"now"`` or an ISO 8601 time; None for the newest availability that the data show.
            release_now: Release at once, without a staged rollout, if every gate passes.
        """
        from sterling.lifecycle import run_project

        return run_project(self, Path(folder), as_of=as_of, release_now=release_now)

    def _gates_of_run(self) -> tuple[Gate, ...]:
        return tuple(gate for gate in self.gates if not isinstance(gate, Reproduced))

    def _mentioned(self) -> Iterator[Source]:
        yield self.spine.source
        yield self.label.source
        for feature in self.features.features:
            match feature:
                case Columns() | FeatureView():
                    yield feature.source
                case Last() | First():
                    yield feature.columns.source
                case _:
                    pass

    def _check_label(self) -> None:
        if isinstance(self.spine, ScheduledSpine) and isinstance(self.label, Label):
            raise InvalidDefinitionError(
                "A ScheduledSpine has no event to join a Label to. Use Occurs(source, within=…)."
            )
        if isinstance(self.label, Occurs) and isinstance(self.spine, ScheduledSpine):
            missing = sorted(set(self.label.source.entities) - set(self.spine.source.entities))
            if missing:
                raise InvalidDefinitionError(
                    f"Occurs: {self.label.source.name} is looked up by {missing[0]!r}, which is no entity of "
                    f"{self.spine.source.name}. {nearest(missing[0], self.spine.source.entities)}"
                )

    def _check_task(self) -> None:
        kind, task = type(self.task), type(self.task).__name__
        if isinstance(self.label, Occurs) and not isinstance(self.task, Binary):
            raise InvalidDefinitionError(
                f"Occurs says yes or no, and Project.task is {task}. Use a Label of a "
                f"{'class' if kind is Multiclass else 'number'}."
            )
        for gate in self.gates:
            metric = None if isinstance(gate, Fair) else getattr(gate, "metric", None)
            if metric is not None and metric not in (*METRICS_OF[kind], *DECISIONS):
                raise InvalidDefinitionError(
                    f"{type(gate).__name__}.metric is {metric!r}, which is not measured under the task {task}. "
                    f"Use one of {', '.join(METRICS_OF[kind])}."
                )
        if not isinstance(self.task, Binary) and any(isinstance(gate, FewFlips) for gate in self.gates):
            raise InvalidDefinitionError(f"FewFlips counts decisions, and Project.task is {task}. Use NonInferior.")
        if isinstance(self.task, Multiclass):
            self._check_classes()
        if isinstance(self.task, Multiclass | Quantiles):
            self._check_several()
        if isinstance(self.task, Quantiles) and len(self.task.levels) < 2:
            raise InvalidDefinitionError(
                f"Quantiles.levels is {list(self.task.levels)}. A project has two at least, which make an interval."
            )
        for trainer in self.recipe.trainers(self.task):
            fits_task(trainer, self.task)
        if not isinstance(self.task, Binary) and (self.policy is not None or self.sensitive):
            field = "sensitive" if self.policy is None else "policy"
            raise InvalidDefinitionError(
                f"Project.{field} is about the chance that something happens, and Project.task is {task}. Leave it out, or "
                "ask a yes-or-no question, such as Label('minutes >= 15')."
            )

    def _check_classes(self) -> None:
        if isinstance(self.label, Label) and self.label.missing != "drop":
            raise InvalidDefinitionError(
                f"Label.missing is {self.label.missing}, which is no class of Multiclass. "
                "Write coalesce(…, 'none') into the label, or leave it out."
            )

    def _check_several(self) -> None:
        for field, named in (
            ("gates", [gate for gate in self.gates if isinstance(gate, Golden)]),
            ("external", self.external),
        ):
            if named:
                raise InvalidDefinitionError(
                    f"Project.{field} names {type(named[0]).__name__}, which is about one score a row, and Project.task is "
                    f"{type(self.task).__name__}. Leave it out."
                )

    def _check_sources(self) -> None:
        sources = self.sources()
        for source in sources.values():
            for check in source.checks:
                if isinstance(check, References) and check.source not in sources:
                    raise InvalidDefinitionError(
                        f"{source.name}: References names the source {check.source!r}. {nearest(check.source, sources)}"
                    )

    def _check_external(self) -> None:
        names = [model.name for model in self.external]
        taken = {CANDIDATE, "champion", *map(model_name, self.recipe.trainers(self.task))}
        if twice := sorted({name for name in names if names.count(name) > 1 or name in taken}):
            raise InvalidDefinitionError(
                f"Two models of the project are called {twice[0]!r}. Rename the ExternalModel."
            )
        known = feature_names(self.features)
        for model in (*self.external, *(link.model for link in self.fallback if isinstance(link, External))):
            if unknown := [column for column in model.columns if column not in known]:
                raise InvalidDefinitionError(
                    f"ExternalModel.columns of {model.name!r} names {unknown[0]!r}, which is no feature. "
                    f"{nearest(unknown[0], known)}"
                )

    def _check_rows(self) -> None:
        names = feature_names(self.features)
        for feature in self.features.features:
            if isinstance(feature, Columns) and feature.source != self.spine.source:
                raise InvalidDefinitionError(
                    f"{feature.source.name}[{feature.names[0]!r}] is no column of the row that is predicted, which is "
                    f"{self.spine.source.name}'s. Use Last({feature.source.name}[…]) or a FeatureView."
                )
        if taken := [name for name in names if name in _FRAME or name.startswith("_")]:
            raise InvalidDefinitionError(
                f"A feature is called {taken[0]!r}, which is a column of the frame. Rename it."
            )
