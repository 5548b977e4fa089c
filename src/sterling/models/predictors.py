"""Predictors as data: what any trainer must come down to, so that a model is read by anyone and runs no code of its own.

A predictor gets the matrix that its model's columns encode: shape (rows, columns), float64, NaN where a value is
missing, a category as its place among the column's categories. It answers with probabilities, or with numbers: one a
row, or one for each of several outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import InvalidDefinitionError
from sterling.models.answers import Answers
from sterling.models.columns import Column, Matrix

Probabilities = NDArray[np.float64]
_CERTAIN = 1e100
"""Scores and log odds beyond this are as certain as any, and would overflow."""


class Predictor(Protocol):
    """What answers and is nothing but data: `Constant`, `Number`, `Linear` or `Trees`; or `Constants` and `Joined` of several."""

    @property
    def answers(self) -> Answers:
        """What it answers with."""
        ...

    @property
    def outputs(self) -> int:
        """How many numbers a row gets."""
        ...

    def predict(self, matrix: Matrix) -> Probabilities:
        """Answer to each row: shape (rows,), or (rows, outputs) where it answers with several."""
        ...

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse columns that the predictor was not made for."""
        ...

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """One probability for every row.

    Attributes:
        probability: In [0, 1].
    """

    probability: float
    answers: ClassVar[Answers] = "probability"
    outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise InvalidDefinitionError(f"Constant.probability is {self.probability}. It lies in [0, 1].")

    def predict(self, matrix: Matrix) -> Probabilities:
        """The probability, once a row.

        Example:
            >>> Constant(0.25).predict(np.zeros((2, 3)))
            array([0.25, 0.25])
        """
        return np.full(len(matrix), float(self.probability))

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse nothing: it reads no column."""

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        return {"type": "constant", "probability": float(self.probability)}


@dataclass(frozen=True, slots=True)
class Number:
    """One number for every row.

    Attributes:
        value: Finite.
    """

    value: float
    answers: ClassVar[Answers] = "number"
    outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InvalidDefinitionError(f"Number.value is {self.value}. It is finite.")

    def predict(self, matrix: Matrix) -> Probabilities:
        """The number, once a row.

        Example:
            >>> Number(7.5).predict(np.zeros((2, 3)))
            array([7.5, 7.5])
        """
        return np.full(len(matrix), float(self.value))

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse nothing: it reads no column."""

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        return {"type": "number", "value": float(self.value)}


@dataclass(frozen=True, slots=True)
class NumberTerm:
    """What a number adds to the sum: ``weight * (x - center) / scale``, or ``missing`` where it is missing."""

    center: float
    scale: float
    weight: float
    missing: float


@dataclass(frozen=True, slots=True)
class CategoryTerm:
    """What a category adds to the sum: its own weight, or ``missing`` where it is missing or was never seen."""

    weights: tuple[float, ...]
    missing: float


@dataclass(frozen=True, slots=True)
class Linear:
    """Log odds as a sum of terms, one for each column; or a number as such a sum.

    Sums are made column by column and never by BLAS, so that one row alone and the same row among others get the same
    probability, bit for bit.

    Attributes:
        intercept: The sum where every term is 0.
        terms: One for each column, in order.
        answers: What the sum is: log odds of a probability, or the number itself.

    Example:
        >>> model = Linear(0.0, (NumberTerm(center=10, scale=5, weight=1.0, missing=0.5),))
        >>> model.predict(np.array([[10.0], [np.nan]])).round(4).tolist()
        [0.5, 0.6225]
    """

    intercept: float
    terms: tuple[NumberTerm | CategoryTerm, ...]
    answers: Answers = "probability"
    outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "intercept", float(self.intercept))
        object.__setattr__(self, "terms", tuple(_as_floats(term) for term in self.terms))
        if not all(map(math.isfinite, self._numbers())):
            raise InvalidDefinitionError("A weight of a Linear is not finite. Fit it again, on scaled numbers.")
        if any(isinstance(term, NumberTerm) and term.scale <= 0 for term in self.terms):
            raise InvalidDefinitionError("A scale of a Linear is not above 0. Use 1 for a constant column.")

    def predict(self, matrix: Matrix) -> Probabilities:
        """Answer to each row."""
        odds = np.full(len(matrix), self.intercept)
        for position, term in enumerate(self.terms):
            odds += _contribution(term, np.ascontiguousarray(matrix[:, position]))
        if self.answers == "number":
            return odds
        tail = np.exp(-np.abs(odds))
        probabilities: Probabilities = np.where(odds >= 0, 1.0, tail) / (1.0 + tail)
        return probabilities

    def contributions(self, matrix: Matrix) -> Matrix:
        """What each term adds to the sum of each row, and last the intercept; shape (rows, terms + 1)."""
        terms = [_contribution(term, np.ascontiguousarray(matrix[:, place])) for place, term in enumerate(self.terms)]
        return np.column_stack([*terms, np.full(len(matrix), self.intercept)])

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse columns that the terms were not made for."""
        if len(columns) != len(self.terms):
            raise InvalidDefinitionError(f"A Linear has {len(self.terms)} terms for {len(columns)} columns.")
        for column, term in zip(columns, self.terms, strict=True):
            wanted = "category" if isinstance(term, CategoryTerm) else "number"
            if column.kind != wanted:
                raise InvalidDefinitionError(f"{column.name!r} is a {column.kind}; its term is one of a {wanted}.")
            if isinstance(term, CategoryTerm) and len(term.weights) != len(column.categories):
                raise InvalidDefinitionError(
                    f"{column.name!r} has {len(column.categories)} categories and {len(term.weights)} weights."
                )

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        link = {} if self.answers == "probability" else {"answers": self.answers}
        terms = [_term_document(term) for term in self.terms]
        return {"type": "linear", "intercept": self.intercept, "terms": terms} | link

    def _numbers(self) -> Iterable[float]:
        yield self.intercept
        for term in self.terms:
            if isinstance(term, NumberTerm):
                yield from (term.center, term.scale, term.weight, term.missing)
            else:
                yield from (*term.weights, term.missing)


def constant_from(document: Mapping[str, Any]) -> Constant:
    """Read what `Constant.document` wrote."""
    return Constant(float(document["probability"]))


def number_from(document: Mapping[str, Any]) -> Number:
    """Read what `Number.document` wrote."""
    return Number(float(document["value"]))


def linear_from(document: Mapping[str, Any]) -> Linear:
    """Read what `Linear.document` wrote."""
    terms = tuple(_term_from(term) for term in document["terms"])
    return Linear(document["intercept"], terms, document.get("answers", "probability"))


def _contribution(term: NumberTerm | CategoryTerm, values: Matrix) -> Matrix:
    if isinstance(term, NumberTerm):
        with np.errstate(over="ignore"):
            score = np.clip((values - term.center) / term.scale, -_CERTAIN, _CERTAIN)
            odds = np.clip(score * term.weight, -_CERTAIN, _CERTAIN)
        return np.where(np.isnan(values), term.missing, odds)
    table = np.array([*term.weights, term.missing])
    return table[np.where(np.isnan(values), len(term.weights), values).astype(np.int64)]


def _as_floats(term: NumberTerm | CategoryTerm) -> NumberTerm | CategoryTerm:
    if isinstance(term, NumberTerm):
        return NumberTerm(float(term.center), float(term.scale), float(term.weight), float(term.missing))
    return CategoryTerm(tuple(map(float, term.weights)), float(term.missing))


def _term_document(term: NumberTerm | CategoryTerm) -> dict[str, Any]:
    if isinstance(term, CategoryTerm):
        return {"weights": list(term.weights), "missing": term.missing}
    return {"center": term.center, "scale": term.scale, "weight": term.weight, "missing": term.missing}


def _term_from(document: Mapping[str, Any]) -> NumberTerm | CategoryTerm:
    if "weights" in document:
        return CategoryTerm(tuple(document["weights"]), document["missing"])
    return NumberTerm(document["center"], document["scale"], document["weight"], document["missing"])
