"""Preparation of columns as data: what an imputer, a scaler or a one-hot encoding does, a few steps for each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sterling.core.errors import InvalidDefinitionError
from sterling.models.answers import Answers
from sterling.models.columns import Column, Matrix
from sterling.models.predictors import Predictor, Probabilities

STEPS: Mapping[str, Callable[[Matrix, float], Matrix]] = {
    "fill": lambda x, value: np.where(np.isnan(x), value, x),
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "is": lambda x, value: (x == value).astype(np.float64),
    "missing": lambda x, _: np.isnan(x).astype(np.float64),
}
"""What a step does with a column and its number."""


class Made(NamedTuple):
    """A column that is made of another."""

    source: int
    """Place of that one."""
    steps: tuple[tuple[str, float], ...] = ()
    """What is done with it, one after the other: a name in `STEPS` and its number."""

    def then(self, *steps: tuple[str, float]) -> Made:
        """The same with further steps."""
        return Made(self.source, (*self.steps, *steps))


@dataclass(frozen=True)
class Prepared:
    """A predictor behind the preparation of its columns.

    Attributes:
        columns: How each column of the predictor is made of the model's.
        predictor: The predictor.

    Example:
        >>> from sterling.models.predictors import Linear, NumberTerm
        >>> inner = Linear(0.0, (NumberTerm(center=0, scale=1, weight=1.0, missing=0.0),))
        >>> Prepared((Made(0, (("fill", 3.0), ("subtract", 3.0))),), inner).predict(np.array([[np.nan]]))
        array([0.5])
    """

    columns: tuple[Made, ...]
    predictor: Predictor

    def __post_init__(self) -> None:
        made = tuple(Made(int(c.source), tuple((name, float(value)) for name, value in c.steps)) for c in self.columns)
        object.__setattr__(self, "columns", made)
        for name, value in (step for column in made for step in column.steps):
            if name not in STEPS or not np.isfinite(value) or (name == "divide" and value == 0):
                raise InvalidDefinitionError(f"A column is prepared by {name!r} with {value}, which is no step.")

    @property
    def answers(self) -> Answers:
        """What the predictor answers with."""
        return self.predictor.answers

    @property
    def outputs(self) -> int:
        """How many numbers a row gets."""
        return self.predictor.outputs

    def predict(self, matrix: Matrix) -> Probabilities:
        """Answer to each row."""
        prepared = np.empty((len(matrix), len(self.columns)))
        for place, column in enumerate(self.columns):
            values = np.ascontiguousarray(matrix[:, column.source])
            for name, number in column.steps:
                values = STEPS[name](values, number)
            prepared[:, place] = values
        return self.predictor.predict(prepared)

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse columns that there are not."""
        if (most := max((column.source for column in self.columns), default=-1)) >= len(columns):
            raise InvalidDefinitionError(f"A column is prepared from column {most} of {len(columns)}.")
        self.predictor.check([Column(str(place), "number") for place in range(len(self.columns))])

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        made = [{"source": column.source, "steps": [list(step) for step in column.steps]} for column in self.columns]
        return {"type": "prepared", "columns": made, "predictor": self.predictor.document()}


def prepared_from(document: Mapping[str, Any], inner: Callable[[Mapping[str, Any]], Predictor]) -> Prepared:
    """Read what `Prepared.document` wrote; the inner predictor is read by ``inner``."""
    columns = tuple(Made(c["source"], tuple((name, value) for name, value in c["steps"])) for c in document["columns"])
    return Prepared(columns, inner(document["predictor"]))
