"""The columns of a table of predictions, checked: labels, scores, clusters, slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import DataError, nearest
from sterling.models.answers import TOLERANCE, places_of

Floats = NDArray[np.float64]
MOST_SLICES = 1_000


@dataclass(frozen=True, slots=True)
class Predictions:
    """Rows with a label, and what was predicted of them.

    Attributes:
        label: 0 and 1, numbers, or places among the classes, -1 for one that is none of them; shape (rows,).
        scores: Predictions by the name of their column, each of shape (rows,), or (rows, classes).
        clusters: Number of the cluster of each row; every row its own where none is named.
        slices: Values by the name of their column.
        left_out: Rows that have no label.
        classes: Names of the classes, where labels are such.
        unknown: Rows whose label is none of the classes, by its name.
    """

    label: Floats
    scores: Mapping[str, Floats]
    clusters: NDArray[np.int64]
    slices: Mapping[str, Sequence[Any]]
    left_out: int
    classes: tuple[str, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)


def predictions_of(
    table: pa.Table,
    *,
    label: str,
    scores: Sequence[str],
    cluster: str | None,
    slices: Sequence[str],
    shares: bool = True,
    read: Callable[[pa.ChunkedArray, str], Floats] | None = None,
) -> Predictions:
    """The columns of a table, as rows that can be judged.

    Args:
        table: A row for each prediction.
        label: Column of what happened: 0 and 1, or false and true. Rows in which it is null are left out.
        scores: Columns of the probability of 1.
        cluster: Column whose values name rows that are not independent; None where all are.
        slices: Columns whose values make slices.
        shares: Whether labels are 0 and 1 and scores probabilities; else both are numbers.
        read: What reads the labels, where these are something else.

    Raises:
        DataError: if a column is missing, or holds what cannot be judged; the message names the column and a value.
    """
    for name in dict.fromkeys([label, *scores, *([cluster] if cluster else []), *slices]):
        if name not in table.column_names:
            raise DataError(f"There is no column {name!r}. {nearest(name, table.column_names)}")
    if not table.num_rows:
        raise DataError("The file has no rows.")
    known = table.filter(pc.is_valid(table.column(label)))
    left_out = table.num_rows - known.num_rows
    if not known.num_rows:
        raise DataError(f"{label!r} is null in all {left_out:,} rows, so there is nothing to judge by.")
    return Predictions(
        (read or (_labels if shares else _numbers))(known.column(label), label),
        {name: (_scores if shares else _numbers)(known.column(name), name) for name in scores},
        _clusters(known.column(cluster), cluster) if cluster else np.arange(known.num_rows),
        {name: _slices(known.column(name), name) for name in dict.fromkeys(slices)},
        left_out,
    )


def predictions_of_classes(
    table: pa.Table, *, label: str, scores: Sequence[str], cluster: str | None, slices: Sequence[str]
) -> Predictions:
    """The same of several classes, whose probabilities stand in one column each.

    Args:
        table: A row for each prediction.
        label: Column of the name of the class that came: text, or whole numbers.
        scores: What columns of probabilities begin with: those of ``p`` are ``p:<class>`` for each class.
        cluster: As for `predictions_of`.
        slices: As for `predictions_of`.

    Raises:
        DataError: if a column is missing, or holds what cannot be judged; the message names the column and a value.
    """
    classes = _classes_of(table, scores[0])
    columns = {name: [f"{name}:{one}" for one in classes] for name in scores}
    every = [column for of in columns.values() for column in of]
    whole = predictions_of(
        table, label=label, scores=every, cluster=cluster, slices=slices, read=lambda column, name: _names(column, name, classes)
    )  # fmt: skip
    known = table.column(label).drop_null().cast(pa.string())
    counts = {one["values"]: one["counts"] for one in pc.value_counts(known).to_pylist()}
    unknown = {name: count for name, count in counts.items() if name not in classes}
    joined = {name: np.column_stack([whole.scores[column] for column in of]) for name, of in columns.items()}
    for name, found in joined.items():
        if (off := np.abs(found.sum(axis=1) - 1) > TOLERANCE).any():
            total = float(found[off][0].sum())
            raise DataError(f"The columns {name}:… sum to {total:g} in {_rows(off)}. Probabilities sum to 1.")
    return Predictions(whole.label, joined, whole.clusters, whole.slices, whole.left_out, classes, unknown)


def _classes_of(table: pa.Table, score: str) -> tuple[str, ...]:
    found = tuple(n.removeprefix(f"{score}:") for n in table.column_names if n.startswith(f"{score}:"))
    if len(found) < 2:
        raise DataError(
            f"There are {len(found)} columns {score}:<class>, such as '{score}:late'. Each class has one, two at least."
        )
    return found


def _names(column: pa.ChunkedArray, name: str, classes: Sequence[str]) -> Floats:
    kind = column.type
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_dictionary(kind)
    ):
        raise DataError(f"{name!r} holds {kind}. A label is the name of a class: text, or a whole number.")
    places = places_of(column.cast(pa.string()), classes)
    if (places < 0).all():
        shown = ", ".join(classes[:10])
        raise DataError(f"{name!r} is none of the classes that have a column of probabilities, {shown}, in any row.")
    return places


def _labels(column: pa.ChunkedArray, name: str) -> Floats:
    values = _floats(column, f"{name!r} holds {column.type}. A label is 0 or 1, or false or true: compute it first.")
    bad = ~np.isin(values, (0, 1))
    if bad.any():
        raise DataError(f"{name!r} is {_first(values, bad)} in {_rows(bad)}. A label is 0 or 1, or false or true.")
    if (values == values[0]).all():
        raise DataError(f"{name!r} is {values[0]:g} in all {len(values):,} rows. Both classes are needed to judge.")
    return values


def _scores(column: pa.ChunkedArray, name: str) -> Floats:
    if column.null_count:
        raise DataError(
            f"{name!r} is null in {column.null_count:,} of {len(column):,} rows that have a label. Score them."
        )
    values = _floats(column, f"{name!r} holds {column.type}. A score is a number: the probability of 1.")
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        raise DataError(
            f"{name!r} is {_first(values, bad)} in {_rows(bad)}. A score is a probability, in [0, 1]; of log odds take "
            "1 / (1 + exp(-x))."
        )
    return values


def _numbers(column: pa.ChunkedArray, name: str) -> Floats:
    if column.null_count:
        raise DataError(
            f"{name!r} is null in {column.null_count:,} of {len(column):,} rows that have a label. Score them."
        )
    return _floats(column, f"{name!r} holds {column.type}. It is to be a number.")


def _clusters(column: pa.ChunkedArray, name: str) -> NDArray[np.int64]:
    if column.null_count:
        raise DataError(f"{name!r} is null in {column.null_count:,} of {len(column):,} rows. Name every row's cluster.")
    codes: NDArray[np.int64] = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _slices(column: pa.ChunkedArray, name: str) -> list[Any]:
    if (count := len(pc.unique(column))) > MOST_SLICES:
        raise DataError(f"{name!r} has {count:,} values. Slice by a column with {MOST_SLICES:,} at most.")
    values: list[Any] = column.to_pylist()
    return values


def _floats(column: pa.ChunkedArray, otherwise: str) -> Floats:
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(otherwise)
    values: Floats = column.cast(pa.float64()).to_numpy()
    return values


def _first(values: Floats, bad: NDArray[np.bool_]) -> str:
    return f"{values[bad][0]:g}"


def _rows(bad: NDArray[np.bool_]) -> str:
    return f"{int(bad.sum()):,} of {len(bad):,} rows, first in row {int(np.argmax(bad)) + 1:,}"
