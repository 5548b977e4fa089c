"""What a trainer gets: encoded rows whose labels were known in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sterling.models.columns import Column, Matrix
from sterling.project.tasks import CONDITION, Task


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
    """

    columns: tuple[Column, ...]
    matrix: Matrix
    label: NDArray[np.float64]
    seed: int
    task: Task = CONDITION

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(column.name for column in self.columns)

    @property
    def categorical(self) -> tuple[int, ...]:
        """Places of the features that are categories."""
        return tuple(place for place, column in enumerate(self.columns) if column.kind == "category")
