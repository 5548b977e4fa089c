"""The frame: one row for each moment of prediction, with its label, its slices and the features, as stages pass it on.

Columns: ``unit``, ``predict_at`` and ``matured_at`` (microseconds, UTC), ``label``, ``status`` (``matured``,
``pending``, ``missing``), ``cluster``, then the features; ``_slice_<name>`` holds slices that are no feature. Rows are
sorted by (predict_at, unit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.engine.tables import read_table
from sterling.models.answers import places_of
from sterling.models.columns import Column, Matrix
from sterling.models.model import training_columns
from sterling.models.rows import TrainingRows
from sterling.project.tasks import CONDITION, Task, in_class_order, with_classes

SPINE = ("unit", "predict_at", "label", "matured_at", "status", "cluster")
SLICE = "_slice_"


@dataclass(frozen=True)
class Frame:
    """Rows of a frame.

    Attributes:
        table: The rows, with the columns of the module's first lines.
        named: Names of the classes where labels are such, in the order of their places; by default those of its own labels
            that are known.

    Raises:
        DataError: if a column of the spine is missing.
    """

    table: pa.Table
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if absent := sorted(set(SPINE) - set(self.table.column_names)):
            raise DataError(
                f"The frame has no column {absent[0]!r}. It has: {', '.join(self.table.column_names[:20])}."
            )

    @classmethod
    def read(cls, store: Store, ref: Ref) -> Frame:
        """A frame from the store."""
        return cls(read_table(store, ref))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(name for name in self.table.column_names if name not in SPINE and not name.startswith(SLICE))

    @cached_property
    def predict_at(self) -> NDArray[np.int64]:
        """Moments of prediction."""
        return _integers(self.table["predict_at"])

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Whether the label of a row is known."""
        matured = pc.and_(pc.equal(self.table["status"], "matured"), pc.is_valid(self.table["label"]))
        known: NDArray[np.bool_] = _booleans(pc.and_(matured, pc.is_valid(self.table["matured_at"])))
        return known

    @cached_property
    def label(self) -> NDArray[np.float64]:
        """Labels: 0.0 or 1.0, or numbers; places among `classes`, -1 for one that is none of them; NaN where there is none."""
        if not self.of_classes:
            return _floats(self.table["label"])
        return places_of(self.table["label"], self.classes)

    @property
    def of_classes(self) -> bool:
        """Whether labels are names of classes."""
        kind = self.table.schema.field("label").type
        return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their places; none where labels are numbers."""
        if self.named or not self.of_classes:
            return self.named
        known: list[str] = pc.unique(self.table["label"].filter(pa.array(self.known))).to_pylist()
        return in_class_order(known)

    def of(self, classes: Sequence[str]) -> Frame:
        """The same rows, with these as the classes; itself for none."""
        return Frame(self.table, tuple(classes)) if classes else self

    def unknown_classes(self) -> dict[str, int]:
        """How many of the rows have a label that is none of the classes, by its name."""
        if not self.of_classes:
            return {}
        counted = pc.value_counts(self.table["label"].drop_null()).to_pylist()
        return {one["values"]: one["counts"] for one in counted if one["values"] not in self.classes}

    def known_before(self, start_us: int) -> NDArray[np.bool_]:
        """Whether a row is predicted, and its label known, before a moment: what a training at that moment may use."""
        matured_at = _integers(pc.fill_null(self.table["matured_at"], np.iinfo(np.int64).max))
        return self.known & (self.predict_at < start_us) & (matured_at < start_us)

    def take(self, mask: NDArray[np.bool_]) -> Frame:
        """The rows where a mask is true, in order."""
        return Frame(self.table.filter(pa.array(mask)), self.classes)

    def kind(self, name: str) -> str:
        """Whether a feature is a ``number`` or a ``category``.

        Raises:
            DataError: if it is neither.
        """
        kind = self.table.schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return "category"
        numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
        if any(is_number(kind) for is_number in numeric):
            return "number"
        raise DataError(f"The feature {name!r} is of type {kind}. A feature is a number or text.")

    def has_slice(self, name: str) -> bool:
        """Whether there is such a slice, a feature or a column of its own."""
        return name in self.features or SLICE + name in self.table.column_names

    def slice_values(self, name: str) -> pa.Array:
        """Values of a slice, which is a feature or a column of its own.

        Raises:
            DataError: if the frame has neither.
        """
        column = name if name in self.features else SLICE + name
        if column not in self.table.column_names:
            raise DataError(f"The frame has neither a feature nor a slice {name!r}.")
        return self.table[column].combine_chunks()

    def columns(self) -> tuple[Column, ...]:
        """The features as a model trained on these rows reads them: with the categories that they hold."""
        vocabularies = {name: _categories(self.table[name]) for name in self.features if self.kind(name) == "category"}
        return training_columns(self.features, vocabularies)

    def encode(self, columns: Sequence[Column]) -> Matrix:
        """The features of a model as a matrix of shape (rows, columns), in C order.

        Raises:
            DataError: if a feature is not there, or of another kind.
        """
        if reason := self.cannot_encode(columns):
            raise DataError(f"The model cannot read this frame: {reason}.")
        matrix = np.empty((len(self), len(columns)), dtype=np.float64)
        for place, column in enumerate(columns):
            values = self.table[column.name]
            matrix[:, place] = _floats(values) if column.kind == "number" else _codes(values, column.codes)
        return matrix

    def cannot_encode(self, columns: Sequence[Column]) -> str | None:
        """Why a model with these columns cannot read the frame; None where it can."""
        for column in columns:
            if column.name not in self.features:
                return f"it reads the feature {column.name!r}, which the frame does not have"
            if (kind := self.kind(column.name)) != column.kind:
                return f"its feature {column.name!r} is a {column.kind}, and a {kind} in the frame"
        return None

    def training_rows(self, seed: int, task: Task = CONDITION) -> TrainingRows:
        """All rows, encoded with their own categories."""
        columns = self.columns()
        matured_at = _integers(pc.fill_null(self.table["matured_at"], np.iinfo(np.int64).max))
        known = with_classes(task, self.classes)
        return TrainingRows(columns, self.encode(columns), self.label, seed, known, self.predict_at, matured_at)


def _categories(values: pa.ChunkedArray) -> list[str]:
    return [value for value in pc.unique(values).to_pylist() if value is not None]


def _codes(values: pa.ChunkedArray, codes: Mapping[str, float]) -> Matrix:
    array: Any = values.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    table = np.array([*(codes.get(name, np.nan) for name in array.dictionary.to_pylist()), np.nan])
    found: Matrix = table[array.indices.fill_null(len(array.dictionary)).to_numpy(zero_copy_only=False)]
    return found


def _floats(values: pa.ChunkedArray) -> NDArray[np.float64]:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    array: NDArray[np.float64] = values.cast(pa.float64()).to_numpy()
    return array


def _integers(values: pa.ChunkedArray) -> NDArray[np.int64]:
    array: NDArray[np.int64] = values.to_numpy()
    return array


def _booleans(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    array: NDArray[np.bool_] = pc.fill_null(values, False).to_numpy()
    return array
