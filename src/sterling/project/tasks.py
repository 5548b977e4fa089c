"""What kind of problem a project is: what its label is, and what a prediction says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition

_WHOLE = re.compile(r"-?[0-9]{1,18}")


class Binary(Definition, frozen=True):
    """Will it happen, and how likely is it? The label is a condition, a prediction the probability that it holds."""


class Regression(Definition, frozen=True):
    """How much will it be? The label is a number, a prediction the mean that is expected of it."""


class Multiclass(Definition, frozen=True):
    """Which of several will it be? The label names a class, a prediction is a probability for each of them.

    Attributes:
        classes: Names of the classes, in the order in which models answer; by default those of the labels that were known
            before the holdout, whole numbers by their size and names by the alphabet.
    """

    classes: Sequence[str] = ()

    def check(self) -> None:
        """Refuse classes that are no names, one alone, and too many."""
        names = tuple(self.classes)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidDefinitionError(f"Multiclass.classes names {twice[0]!r} twice.")
        if len(names) == 1 or not all(names):
            raise InvalidDefinitionError(
                f"Multiclass.classes is {list(names)}. It has two names at least, or none for those of the labels."
            )
        if len(names) > MOST_CLASSES:
            raise InvalidDefinitionError(f"Multiclass.classes has {len(names):,} names, and {MOST_CLASSES} at most.")


class Quantiles(Definition, frozen=True):
    """How much will it be, and between what? The label is a number, a prediction a quantile of it at each level.

    Attributes:
        levels: Shares of labels that lie at or below each quantile, in (0, 1), rising. The first and the last make the interval
            whose coverage is judged: 0.1 and 0.9 one of 80 %.
    """

    levels: Sequence[float] = (0.1, 0.5, 0.9)

    def check(self) -> None:
        """Refuse what is no level, and levels that do not rise."""
        levels = tuple(self.levels)
        if not levels or not all(0 < level < 1 for level in levels) or list(levels) != sorted(set(levels)):
            raise InvalidDefinitionError(
                f"Quantiles.levels is {list(levels)}. They lie between 0 and 1, and rise: [0.1, 0.5, 0.9]."
            )
        if len(levels) > MOST_LEVELS:
            raise InvalidDefinitionError(f"Quantiles.levels has {len(levels)} levels, and {MOST_LEVELS} at most.")


Task = Binary | Regression | Multiclass | Quantiles
NUMBERS = (Regression, Quantiles)
"""Tasks whose label is a number."""
MOST_LEVELS = 25
"""A model is trained for each level."""
MOST_CLASSES = 200
"""More classes than this have too few rows each, and a tree for each at every step."""

CONDITION: Task = Binary()
"""The task of a project that names none."""

METRICS_OF: dict[type[Task], tuple[str, ...]] = {
    Binary: ("roc_auc", "average_precision", "log_loss", "brier", "ece"),
    Regression: ("rmse", "mae", "r2"),
    Multiclass: ("log_loss", "accuracy", "macro_f1", "macro_roc_auc", "brier", "ece"),
    Quantiles: ("pinball", "coverage", "width"),
}
"""What is measured under each task, for every model; gates may name these."""

LOSS_OF: dict[type[Task], str] = {Binary: "log_loss", Regression: "rmse", Multiclass: "log_loss", Quantiles: "pinball"}
"""The metric of each task that training and tuning go by."""


def outputs_of(task: Task) -> tuple[str, ...]:
    """Names of what a model of a task answers, where that is several numbers a row; none where it is one.

    Example:
        >>> outputs_of(Binary()), outputs_of(Multiclass(("AA", "UA"))), outputs_of(Quantiles((0.1, 0.9)))
        ((), ('AA', 'UA'), ('0.1', '0.9'))
    """
    if isinstance(task, Quantiles) and len(task.levels) > 1:
        return tuple(map(level_name, task.levels))
    return tuple(task.classes) if isinstance(task, Multiclass) else ()


def level_name(level: float) -> str:
    """Name of a quantile.

    Example:
        >>> level_name(0.1), level_name(0.025)
        ('0.1', '0.025')
    """
    return repr(float(level))


def with_classes(task: Task, classes: Sequence[str]) -> Task:
    """A task whose classes are known; itself where it has none.

    Example:
        >>> with_classes(Multiclass(), ["AA", "UA"]), with_classes(Binary(), [])
        (Multiclass(classes=('AA', 'UA')), Binary())
    """
    return Multiclass(tuple(classes)) if isinstance(task, Multiclass) and classes else task


def in_class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes, each once: whole numbers by their size, and names by the alphabet.

    Example:
        >>> in_class_order(["10", "9", "9"]), in_class_order(["UA", "AA", "9"])
        (('9', '10'), ('9', 'AA', 'UA'))
    """
    found = set(names)
    whole = all(_WHOLE.fullmatch(name) for name in found)
    return tuple(sorted(found, key=lambda name: (int(name) if whole else 0, name)))
