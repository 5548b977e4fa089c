"""What kind of problem a project is: what its label is, and what a prediction says."""

from __future__ import annotations

from sterling.project.definition import Definition


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

    classes: tuple[str, ...] = ()


Task = Binary | Regression

CONDITION: Task = Binary()
"""The task of a project that names none."""

METRICS_OF: dict[type[Task], tuple[str, ...]] = {
    Binary: ("roc_auc", "average_precision", "log_loss", "brier", "ece"),
    Regression: ("rmse", "mae", "r2"),
}
"""What is measured under each task, for every model; gates may name these."""

LOSS_OF: dict[type[Task], str] = {Binary: "log_loss", Regression: "rmse"}
"""The metric of each task that training and tuning go by."""


def outputs_of(task: Task | Multiclass) -> tuple[str, ...]:
    """Names of what a model of a task answers, where that is several numbers a row; none where it is one.

    Example:
        >>> outputs_of(Binary()), outputs_of(Multiclass(("AA", "UA")))
        ((), ('AA', 'UA'))
    """
    return task.classes if isinstance(task, Multiclass) else ()
