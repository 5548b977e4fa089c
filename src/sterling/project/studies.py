"""Studies: what is looked at after the headline metric.

`Slices`, `Errors`, `Importance`, `Robustness` and `Flips` are part of every run; naming one changes its settings. The others
train again, or need to be told what to test, and act where a project names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.project.behaviour import BehaviourTest, Falls, Invariant, Rises, Scores
from sterling.project.definition import Definition
from sterling.project.features import (
    Feature,
    FeatureService,
    FeatureView,
    First,
    Last,
    feature_names,
    names_of,
    view_name,
)
from sterling.project.perturbations import Missing, Noise, OutOfRange, Perturbation, Scaled, Unseen
from sterling.project.sources import Columns
from sterling.project.tasks import CONDITION, Binary, Multiclass, Quantiles, Regression, Task
from sterling.project.times import micros

__all__ = [
    "DEFAULTS",
    "Ablation",
    "Behaviour",
    "Errors",
    "Falls",
    "Flips",
    "Importance",
    "Invariant",
    "LearningCurve",
    "Missing",
    "Noise",
    "OutOfRange",
    "Rises",
    "Robustness",
    "Scaled",
    "Scores",
    "Slices",
    "Staleness",
    "Study",
    "Unseen",
    "check_studies",
    "parts_of",
    "studied",
]


def _positive(field: str, value: int) -> None:
    if value < 1:
        raise InvalidDefinitionError(f"{field} is {value}. It is at least 1.")


class Slices(Definition, frozen=True):
    """Search the holdout for segments in which the candidate is wrong.

    Args:
        features: Features whose values, and pairs of values, are tried; empty for all that the model reads.
        least_rows: Rows of the smallest segment that matters.
        least_share: The same as a share of the holdout; the larger of both counts.
    """

    features: Sequence[str] = ()
    least_rows: int = 100
    least_share: float = 0.01


class Errors(Definition, frozen=True):
    """The most confident mistakes, the confusion of decisions, and calibration by slice and over time.

    Of numbers the largest residuals, and how residuals are distributed.

    Args:
        mistakes: How many mistakes are kept.
    """

    mistakes: int = 20

    def check(self) -> None:
        """Refuse none."""
        _positive("Errors.mistakes", self.mistakes)


class Importance(Definition, frozen=True):
    """What the candidate loses when a feature, or all of a view, is shuffled; and what each adds to its scores.

    Args:
        predictions: Rows that are scored at most, over all features: a bound on the cost.
        attributed: Rows whose attributions are computed.
    """

    predictions: int = 120_000
    attributed: int = 500

    def check(self) -> None:
        """Refuse no rows."""
        _positive("Importance.predictions", self.predictions)
        _positive("Importance.attributed", self.attributed)


class Robustness(Definition, frozen=True):
    """What the candidate loses when its input goes wrong.

    Args:
        under: What goes wrong, besides what gates name. Empty: each source and each view missing, each view's numbers
            times 1,000, noise in all numbers, all of them out of range, and categories that were never seen.
        predictions: Rows that are scored at most, over all of these: a bound on the cost.
    """

    under: Sequence[Perturbation] = ()
    predictions: int = 120_000

    def check(self) -> None:
        """Refuse no rows."""
        _positive("Robustness.predictions", self.predictions)


class Flips(Definition, frozen=True):
    """Rows that the candidate decides otherwise than the champion, or whose number moved, and why.

    Args:
        moved: How many of the rows whose score moved most are kept.
        tolerance: How far a predicted number may lie from the champion's before it counts as moved, in the label's unit;
            None for a tenth of the deviation of the labels known before the holdout. Decisions have none.
    """

    moved: int = 20
    tolerance: float | None = None

    def check(self) -> None:
        """Refuse none, and a tolerance below 0."""
        _positive("Flips.moved", self.moved)
        if self.tolerance is not None and not 0 <= self.tolerance < float("inf"):
            raise InvalidDefinitionError(f"Flips.tolerance is {self.tolerance}. It is 0 or more, in the label's unit.")


class Behaviour(Definition, frozen=True):
    """Tests of what the candidate must do, on the rows of the holdout.

    Args:
        tests: The tests.
        file: More of them, a JSON object a line, such as ``{"type": "Rises", "feature": "overdue", "by": 5}``; its path
            relative to the project, or None.
    """

    tests: Sequence[BehaviourTest] = ()
    file: str | None = None

    def check(self) -> None:
        """Refuse no test."""
        if not self.tests and self.file is None:
            raise InvalidDefinitionError("Behaviour has no tests. Give tests=[…], or a file with one a line.")


class Ablation(Definition, frozen=True):
    """Train without each view, or each source, and compare with the candidate on the holdout.

    Args:
        without: Views, sources or features; empty for each view.
    """

    without: Sequence[str] = ()


class LearningCurve(Definition, frozen=True):
    """Train on the newest part of the training's time only, and compare with the candidate on the holdout.

    Args:
        shares: Shares of the time that the training rows span, each in (0, 1), nested: all end where the holdout starts.
    """

    shares: Sequence[float] = (0.125, 0.25, 0.5)

    def check(self) -> None:
        """Refuse what is no part."""
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            raise InvalidDefinitionError(f"LearningCurve.shares are {list(self.shares)}. Each lies between 0 and 1.")


class Staleness(Definition, frozen=True):
    """Train on what was known some time before the holdout, and compare with the candidate on the holdout.

    Args:
        ages: How long before the holdout each training is frozen.
    """

    ages: Sequence[str] = ("28d", "56d", "84d")

    def check(self) -> None:
        """Refuse what is no duration."""
        if not self.ages:
            raise InvalidDefinitionError("Staleness.ages is empty. Name durations, such as ['28d', '84d'].")
        for age in self.ages:
            micros(age, field="Staleness.ages")


Study = (
    Slices | Errors | Importance | Robustness | Flips | Behaviour | Ablation | LearningCurve | Staleness
)  # fmt: skip
DEFAULTS: tuple[Study, ...] = (Slices(), Errors(), Importance(), Robustness(), Flips())
"""What every run looks at."""


STUDIES_OF: dict[type[Task], frozenset[type[Study]]] = {
    Binary: frozenset(get_args(Study)),
    Regression: frozenset(get_args(Study)),
    Quantiles: frozenset({Importance, Robustness, Ablation, LearningCurve, Staleness}),
    Multiclass: frozenset({Importance, Robustness, Ablation, LearningCurve, Staleness}),
}
"""What can be looked at under each task."""


def studied(named: Iterable[Study], task: Task = CONDITION) -> dict[type[Study], Study]:
    """The studies of a project by their type: those that it names, and the rest of the defaults, as far as its task has them.

    Example:
        >>> studied([Errors(mistakes=5), Ablation()])[Errors], Flips in studied([])
        (Errors(mistakes=5), True)
    """
    able = STUDIES_OF.get(type(task), frozenset[type[Study]]())
    return {type(study): study for study in (*DEFAULTS, *named) if type(study) in able}


def parts_of(service: FeatureService) -> dict[str, tuple[str, ...]]:
    """What perturbations and ablations can name, each with its features: sources, then views, then single features.

    Features that are computed from other features belong to no source.
    """
    sources: dict[str, list[str]] = {}
    views: dict[str, tuple[str, ...]] = {}
    for feature in service.features:
        if (source := _source(feature)) is not None:
            sources.setdefault(source, []).extend(names_of(feature))
        views[view_name(feature)] = names_of(feature)
    single = {name: (name,) for name in feature_names(service)}
    return single | views | {name: tuple(features) for name, features in sources.items()}


def check_studies(
    named: Sequence[Study], gated: Sequence[Perturbation], service: FeatureService, task: Task = CONDITION
) -> None:
    """Refuse two studies of a kind, those that the task does not have, and names that a project does not have."""
    able = STUDIES_OF.get(type(task), frozenset[type[Study]]())
    if unable := next((study for study in named if type(study) not in able), None):
        raise InvalidDefinitionError(
            f"{type(unable).__name__} is no study of the task {type(task).__name__}. Leave it out of Project.studies."
        )
    kinds = [type(study).__name__ for study in named]
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise InvalidDefinitionError(f"Project.studies has two {twice[0]}. Put all of it into one.")
    if isinstance(task, Binary) and any(isinstance(s, Flips) and s.tolerance is not None for s in named):
        raise InvalidDefinitionError("Flips.tolerance is of numbers, and Project.task is Binary. Leave it out.")
    known = set(feature_names(service))
    for place, name, allowed in _mentioned(named, gated, known, known | set(parts_of(service))):
        if name not in allowed:
            raise InvalidDefinitionError(f"{place}: {name!r} is not known. {nearest(name, allowed)}")


def _mentioned(
    named: Sequence[Study], gated: Sequence[Perturbation], features: set[str], parts: set[str]
) -> Iterator[tuple[str, str, set[str]]]:
    under = list(gated)
    for study in named:
        match study:
            case Slices():
                yield from (("Slices.features", name, features) for name in study.features)
            case Robustness():
                under += study.under
            case Ablation():
                yield from (("Ablation.without", name, parts) for name in study.without)
            case Behaviour():
                tests = (test for test in study.tests if not isinstance(test, Scores))
                yield from ((f"{type(test).__name__}.feature", test.feature, features) for test in tests)
            case _:
                pass
    yield from ((f"{type(one).__name__}.of", one.of, parts) for one in under if one.of is not None)


def _source(feature: Feature) -> str | None:
    match feature:
        case Columns() | FeatureView():
            return feature.source.name
        case Last() | First():
            return feature.columns.source.name
        case _:
            return None
