"""The columns that a model reads, and how their values become numbers: the whole of its preprocessing, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError, FieldError, InvalidDefinitionError, in_row, nearest

Matrix = NDArray[np.float64]
Kind = Literal["number", "category"]


@dataclass(frozen=True)
class Column:
    """A feature as a model reads it.

    Attributes:
        name: Name of the feature.
        kind: ``number`` or ``category``.
        categories: The categories that training saw, sorted; a category's number is its place here. Any other category
            is missing, as null is.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    codes: Mapping[str, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in {"number", "category"}:
            raise InvalidDefinitionError(f"{self.name!r} is a {self.kind!r}. A feature is a 'number' or a 'category'.")
        if self.kind == "number" and self.categories:
            raise InvalidDefinitionError(f"{self.name!r} is a number and has categories.")
        if list(self.categories) != sorted(set(self.categories)):
            raise InvalidDefinitionError(f"The categories of {self.name!r} are not sorted, or not each there once.")
        object.__setattr__(self, "codes", {name: float(code) for code, name in enumerate(self.categories)})

    def encode(self, value: object) -> float:
        """One value as a number; NaN where it is missing.

        Raises:
            DataError: if the value is of another kind, or not finite.

        Example:
            >>> carrier = Column("carrier", "category", ("AA", "UA"))
            >>> [carrier.encode(value) for value in ("UA", "ZZ", None)]
            [1.0, nan, nan]
        """
        if value is None:
            return math.nan
        if self.kind == "category":
            if not isinstance(value, str):
                raise FieldError(f"{self.name!r} is {_shown(value)}. It is a category: text or null.", self.name)
            return self.codes.get(value, math.nan)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FieldError(f"{self.name!r} is {_shown(value)}. It is a number, or null.", self.name)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise FieldError(f"{self.name!r} is {_shown(value)}. It is a finite number, or null.", self.name)
        return number


def encode_rows(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> Matrix:
    """Rows as a matrix of shape (rows, columns), in C order.

    Args:
        columns: The columns of a model.
        rows: For each row, a value for each column; a missing one is an explicit None.

    Raises:
        DataError: if a column is left out or unknown, or a value is of the wrong kind; the message names it, and the
            row where there are several.

    Example:
        >>> encode_rows([Column("distance", "number")], [{"distance": 95}, {"distance": None}])
        array([[95.],
               [nan]])
    """
    matrix = np.empty((len(rows), len(columns)), dtype=np.float64)
    if len(rows) >= _MANY_ROWS and _encode_columns(columns, rows, matrix):
        return matrix
    for number, row in enumerate(rows):
        try:
            matrix[number] = _encode_row(columns, row)
        except DataError as error:
            raise in_row(error, number, len(rows)) from None
    return matrix


def _encode_columns(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], matrix: Matrix) -> bool:
    """Encode column by column, several times as fast; False where any row is amiss, for the other way to say how."""
    if any(len(row) != len(columns) for row in rows):
        return False
    try:
        for place, column in enumerate(columns):
            values = [row[column.name] for row in rows]
            if column.kind == "category":
                if not {*map(type, values)} <= _TEXTS:
                    return False
                matrix[:, place] = [column.codes.get(value, math.nan) for value in values]
            else:
                if not {*map(type, values)} <= _NUMBERS:
                    return False
                matrix[:, place] = np.array(values, dtype=np.float64)  # None becomes NaN, and nothing else may be
                if np.count_nonzero(np.isnan(matrix[:, place])) != values.count(None):
                    return False
    except (KeyError, OverflowError):
        return False
    return not np.isinf(matrix).any()


_MANY_ROWS = 8
_TEXTS = frozenset({str, type(None)})
_NUMBERS = frozenset({float, int, type(None)})


def _encode_row(columns: Sequence[Column], row: Mapping[str, Any]) -> list[float]:
    try:
        encoded = [column.encode(row[column.name]) for column in columns]
    except KeyError:
        absent = [column.name for column in columns if column.name not in row]
    else:
        if len(row) == len(columns):
            return encoded
        absent = []
    names = [column.name for column in columns]
    if unknown := sorted(set(row) - set(names)):
        raise FieldError(
            f"{unknown[0][:80]!r} is no feature of this model. {nearest(unknown[0][:80], names)}",
            unknown[0][:80], problem="unknown-field",
        )  # fmt: skip
    raise FieldError(
        f"{', '.join(map(repr, absent[:5]))}{' and others' if len(absent) > 5 else ''} left out. Send null if unknown.",
        absent[0], problem="missing-field",
    )  # fmt: skip


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
