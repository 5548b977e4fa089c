"""Predictors of several numbers a row: the same for every row, or one predictor for each output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sterling.core.errors import InvalidDefinitionError
from sterling.models.answers import SEVERAL, Answers, refusal
from sterling.models.columns import Column, Matrix
from sterling.models.predictors import Predictor, Probabilities

Link = Literal["softmax", "shares", "sorted"]
_INNER: dict[Link, Answers] = {"softmax": "number", "shares": "probability", "sorted": "number"}


@dataclass(frozen=True, slots=True)
class Constants:
    """The same answer of several numbers for every row.

    Attributes:
        values: One for each output.
        answers: ``probabilities``, which sum to 1, or ``numbers``, which never fall.

    Raises:
        InvalidDefinitionError: if there are fewer than two, or they are none of their kind.

    Example:
        >>> Constants((0.25, 0.75)).predict(np.zeros((2, 3))).tolist()
        [[0.25, 0.75], [0.25, 0.75]]
    """

    values: tuple[float, ...]
    answers: Answers = "probabilities"

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(map(float, self.values)))
        if self.answers not in SEVERAL or len(self.values) < 2:
            raise InvalidDefinitionError("Constants answer with several probabilities or numbers, two at least.")
        if reason := refusal(self.answers, np.array([self.values])):
            raise InvalidDefinitionError(f"Constants.values: {reason}")

    @property
    def outputs(self) -> int:
        """How many numbers a row gets."""
        return len(self.values)

    def predict(self, matrix: Matrix) -> Probabilities:
        """The values, once a row; shape (rows, outputs)."""
        return np.tile(np.array(self.values), (len(matrix), 1))

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse nothing: it reads no column."""

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        return {"type": "constants", "answers": self.answers, "values": list(self.values)}


@dataclass(frozen=True)
class Joined:
    """One predictor for each output, whose answers become those of a row.

    Attributes:
        parts: The predictors, each of one number a row.
        shifts: What is added to each part's number before they are sorted; empty for nothing.
        link: What joins them: ``softmax`` of numbers, ``shares`` for probabilities as they are, which sum to 1, or
            ``sorted`` for numbers in rising order.

    Raises:
        InvalidDefinitionError: if there are fewer than two, or a part answers with something else.

    Example:
        >>> from sterling.models.predictors import Number
        >>> Joined((Number(0.0), Number(float(np.log(3)))), "softmax").predict(np.zeros((1, 0))).round(4).tolist()
        [[0.25, 0.75]]
        >>> Joined((Number(2.0), Number(1.0)), "sorted").predict(np.zeros((1, 0))).tolist()
        [[1.0, 2.0]]
    """

    parts: tuple[Predictor, ...]
    link: Link
    shifts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.link not in _INNER:
            raise InvalidDefinitionError(f"Joined.link is {self.link!r}. It is one of {', '.join(_INNER)}.")
        if len(self.parts) < 2 or any(part.answers != _INNER[self.link] for part in self.parts):
            raise InvalidDefinitionError(
                f"{self.link!r} joins two predictors or more, each of which answers with a {_INNER[self.link]}."
            )

        object.__setattr__(self, "shifts", tuple(map(float, self.shifts)))
        wrong = len(self.shifts) != len(self.parts) or not np.isfinite(self.shifts).all() or self.link != "sorted"
        if self.shifts and wrong:
            raise InvalidDefinitionError("Joined.shifts are finite, one for each part, and of 'sorted' numbers alone.")

    @property
    def answers(self) -> Answers:
        """What they answer with together."""
        return "numbers" if self.link == "sorted" else "probabilities"

    @property
    def outputs(self) -> int:
        """How many numbers a row gets."""
        return len(self.parts)

    def predict(self, matrix: Matrix) -> Probabilities:
        """Answer to each row, shape (rows, outputs)."""
        found = np.empty((len(matrix), len(self.parts)))
        for place, part in enumerate(self.parts):
            found[:, place] = part.predict(matrix)
        if self.link == "softmax":
            return softmax(found)
        if self.shifts:
            found += np.array(self.shifts)
        if self.link == "sorted":
            found.sort(axis=1)
        return found

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse what a part refuses."""
        for part in self.parts:
            part.check(columns)

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        shifts = {"shifts": list(self.shifts)} if self.shifts else {}
        return {"type": "joined", "link": self.link, "parts": [part.document() for part in self.parts]} | shifts


def softmax(scores: Probabilities) -> Probabilities:
    """Probabilities in the proportion of e to the scores, of shape (rows, outputs).

    Sums are made output by output, so that one row alone and the same row among others get the same, bit for bit.
    """
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    total = np.zeros(len(scores))
    for place in range(scores.shape[1]):
        total += raised[:, place]
    found: Probabilities = raised / total[:, np.newaxis]
    return found


def constants_from(document: Mapping[str, Any]) -> Constants:
    """Read what `Constants.document` wrote."""
    return Constants(tuple(document["values"]), document["answers"])


def joined_from(document: Mapping[str, Any], inner: Callable[[Mapping[str, Any]], Predictor]) -> Joined:
    """Read what `Joined.document` wrote; the parts are read by ``inner``."""
    return Joined(tuple(map(inner, document["parts"])), document["link"], tuple(document.get("shifts", ())))
