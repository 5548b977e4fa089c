"""Which code answers for which task of a project."""

from __future__ import annotations

from sterling.project import tasks as wanted
from sterling.tasks.binary import BINARY
from sterling.tasks.regression import REGRESSION
from sterling.tasks.task import Task


def task_of(task: wanted.Task) -> Task:
    """The task that a project names.

    Example:
        >>> task_of(wanted.Regression()).metrics
        ('rmse', 'mae', 'r2')
    """
    match task:
        case wanted.Binary():
            return BINARY
        case wanted.Regression():
            return REGRESSION
