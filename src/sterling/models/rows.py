"""What a trainer gets: encoded rows whose labels were known in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sterling.models.columns import Column, Matrix
from sterling.project.tasks import CONDITION, Task, outputs_of


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Rows to train on, in the order of their prediction.

    Attributes:
        columns: The features, with the categories that these rows hold.
        matrix: Shape (rows, columns), float64, in C order; NaN where a value is missing, a category as its place among
            its column's categories.
        label: Shape (rows,), 0.0 or 1.0; numbers where the task is a regression.
        seed: Seed for everything random.
        task: What kind of problem it is.
        predict_at: Shape (rows,), the moments of prediction in microseconds; None where only their order is known.
        matured_at: Shape (rows,), when each label became known; None for at once.
    """

    columns: tuple[Column, ...]
    matrix: Matrix
    label: NDArray[np.float64]
    seed: int
    task: Task = CONDITION
    predict_at: NDArray[np.int64] | None = None
    matured_at: NDArray[np.int64] | None = None

    def take(self, chosen: NDArray[np.bool_]) -> TrainingRows:
        """The rows where a mask of shape (rows,) is true, in order."""
        times = (None if at is None else at[chosen] for at in (self.predict_at, self.matured_at))
        return TrainingRows(self.columns, self.matrix[chosen], self.label[chosen], self.seed, self.task, *times)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what a model of these rows answers, where that is several."""
        return outputs_of(self.task)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(column.name for column in self.columns)

    @property
    def categorical(self) -> tuple[int, ...]:
        """Places of the features that are categories."""
        return tuple(place for place, column in enumerate(self.columns) if column.kind == "category")
