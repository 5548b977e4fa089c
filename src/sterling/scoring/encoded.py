"""Rows of a table as a model reads them, all at once; a row that does not meet the schema is refused with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import DataError
from sterling.models.columns import Column, Matrix
from sterling.project.checks import InRange
from sterling.scoring.digest import plain

Bools = NDArray[np.bool_]


class Refusal(NamedTuple):
    """Why a row is not scored.

    Attributes:
        row: Its place.
        field: The column that it is about.
        problem: ``wrong-type``, ``out-of-range``, ``unseen-category``, or what else was wrong, as the server names it.
        reason: A sentence.
    """

    row: int
    field: str | None
    problem: str
    reason: str


class Encoded(NamedTuple):
    """Rows as a model reads them.

    Attributes:
        matrix: Shape (rows, columns); of refused rows nothing is meant.
        refused: One for each row that is refused, for its first reason, in the order of the rows.
        nulled: Values that training did not know and that were taken as null.
    """

    matrix: Matrix
    refused: list[Refusal]
    nulled: int


def check_columns(columns: Sequence[Column], schema: pa.Schema) -> None:
    """Refuse a table that cannot be what a model reads.

    Raises:
        DataError: naming the first column that is missing, or is of a type that no value of is right.
    """
    if absent := [column.name for column in columns if column.name not in schema.names]:
        raise DataError(
            f"The table has no column {', '.join(map(repr, absent[:5]))}{' and others' if len(absent) > 5 else ''}, which the "
            f"model reads. It has: {', '.join(schema.names[:20])}."
        )
    for column in columns:
        kind = schema.field(column.name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        if not (text or pa.types.is_null(kind) or (column.kind == "number" and (number or pa.types.is_boolean(kind)))):
            wanted = "a number" if column.kind == "number" else "a category, which is text"
            raise DataError(f"The column {column.name!r} is {kind}. The model reads it as {wanted}.")


def encode(
    columns: Sequence[Column], table: pa.Table, ranges: Mapping[str, InRange], beyond: Literal["refuse", "null"]
) -> Encoded:
    """Encode the rows of a table.

    Args:
        columns: The columns of the model.
        table: The rows, whose columns `check_columns` has passed. NaN is null.
        ranges: In which range the values of a column lie, by its name.
        beyond: What becomes of values out of their range and of categories that training has not seen.

    Example:
        >>> from sterling.models import Column
        >>> rows = pa.table({"weight": [3.0, 900.0, None], "depot": ["north", "north", "mars"]})
        >>> columns = [Column("weight", "number"), Column("depot", "category", ("north",))]
        >>> found = encode(columns, rows, {"weight": InRange("weight", 0, 100)}, "refuse")
        >>> [(one.row, one.field, one.problem) for one in found.refused]
        [(1, 'weight', 'out-of-range'), (2, 'depot', 'unseen-category')]
        >>> encode(columns, rows, {"weight": InRange("weight", 0, 100)}, "null").matrix.tolist()
        [[3.0, 0.0], [nan, 0.0], [nan, nan]]
    """
    matrix = np.empty((table.num_rows, len(columns)), dtype=np.float64)
    refused: dict[int, Refusal] = {}
    nulled = 0
    for place, column in enumerate(columns):
        cells = plain(table.column(column.name))
        read = _numbers if column.kind == "number" else _categories
        values, wrong, unknown, said = read(column, cells, ranges.get(column.name))
        matrix[:, place] = values
        if wrong.any():
            _refuse(refused, wrong, column, cells, "wrong-type", _WRONG[column.kind])
        if unknown.any():
            if beyond == "refuse":
                _refuse(refused, unknown, column, cells, *said)
            else:
                nulled += int(unknown.sum())
    return Encoded(matrix, [refused[row] for row in sorted(refused)], nulled)


_WRONG = {"number": "It is a finite number, or null.", "category": "It is a category: text or null."}


def _numbers(
    column: Column, cells: pa.ChunkedArray, within: InRange | None
) -> tuple[Matrix, Bools, Bools, tuple[str, str]]:
    del column
    if pa.types.is_string(cells.type):
        values, wrong = _parsed(cells)
    else:
        whole = cells.cast(pa.int8()) if pa.types.is_boolean(cells.type) else cells
        values = np.array(whole.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
        wrong = np.isinf(values)
    if within is None:
        return values, wrong, np.zeros(len(values), np.bool_), ("", "")
    beyond = (values < within.low) | (values > within.high)
    beyond &= ~wrong
    values[beyond] = math.nan
    return values, wrong, beyond, ("out-of-range", f"It lies from {within.low:g} to {within.high:g}, or is null.")


def _parsed(cells: pa.ChunkedArray) -> tuple[Matrix, Bools]:
    """Texts as numbers; an empty one is null, as in a file."""
    texts = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    try:
        values: Matrix = np.array(texts.cast(pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowInvalid:
        values = np.array([_parse(text) for text in texts.to_pylist()], dtype=np.float64)
    said = pc.is_valid(texts).to_numpy()
    return values, said & ~np.isfinite(values)


def _parse(text: str | None) -> float:
    try:
        return math.nan if text is None else float(text)
    except ValueError:
        return math.nan


def _categories(
    column: Column, cells: pa.ChunkedArray, _: InRange | None
) -> tuple[Matrix, Bools, Bools, tuple[str, str]]:
    coded: Any = cells.cast(pa.string()).combine_chunks().dictionary_encode()
    codes = column.codes
    table = np.array([*(codes.get(name, math.nan) for name in coded.dictionary.to_pylist()), math.nan])
    values: Matrix = table[coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)]
    unseen = np.isnan(values) & coded.is_valid().to_numpy(zero_copy_only=False)
    said = f"Training has not seen it. It has seen {len(codes):,} values; null is none of them."
    return values, np.zeros(len(values), np.bool_), unseen, ("unseen-category", said)


def _refuse(
    refused: dict[int, Refusal], rows: Bools, column: Column, cells: pa.ChunkedArray, problem: str, said: str
) -> None:
    for row in np.flatnonzero(rows).tolist():
        if row not in refused:
            shown = repr(cells[row].as_py())
            shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
            refused[row] = Refusal(row, column.name, problem, f"{column.name!r} is {shown}. {said}")
