"""Which code answers for which task of a project."""

from __future__ import annotations

from collections.abc import Sequence

from sterling.project import tasks as wanted
from sterling.tasks.binary import BINARY
from sterling.tasks.multiclass import Multiclass
from sterling.tasks.quantiles import Quantiles
from sterling.tasks.regression import REGRESSION
from sterling.tasks.task import Task


def task_of(task: wanted.Task, classes: Sequence[str] = ()) -> Task:
    """The task that a project names.

    Args:
        task: The task.
        classes: Its classes, where it has such and does not name them.

    Example:
        >>> task_of(wanted.Regression()).metrics
        ('rmse', 'mae', 'r2')
    """
    match task:
        case wanted.Binary():
            return BINARY
        case wanted.Regression():
            return REGRESSION
        case wanted.Quantiles(levels=levels):
            return Quantiles(levels)
        case wanted.Multiclass(classes=named):
            return Multiclass(tuple(named or classes))
