"""A name for rows by what they hold, however they lie in memory and in whatever pieces they come."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.canonical import digest


class RowsDigest:
    """Digests tables as they come, column by column.

    Example:
        >>> whole, parts = RowsDigest(), RowsDigest()
        >>> whole.add(pa.table({"n": [1, None, 3], "s": ["a", "", None]}))
        >>> for part in (pa.table({"n": [1, None], "s": ["a", ""]}), pa.table({"n": [3], "s": pa.array([None], "string")})):
        ...     parts.add(part)
        >>> whole.hexdigest() == parts.hexdigest()
        True
    """

    def __init__(self) -> None:
        self._columns: dict[str, tuple[str, tuple[Any, ...]]] = {}

    def add(self, table: pa.Table) -> None:
        """Take some more rows in."""
        for name in table.column_names:
            column = plain(table.column(name))
            fresh = (str(column.type), (hashlib.sha256(), hashlib.sha256(), hashlib.sha256()))
            hashes = self._columns.setdefault(name, fresh)[1]
            for part in column.chunks:
                _add(part, hashes)

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        said = {name: [kind, *(one.hexdigest() for one in hashes)] for name, (kind, hashes) in self._columns.items()}
        return digest(said)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without a dictionary, and of texts with short offsets."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    return column.cast(pa.string()) if pa.types.is_large_string(column.type) else column


def _add(values: pa.Array, hashes: tuple[Any, ...]) -> None:
    there, content, lengths = hashes
    there.update(np.ascontiguousarray(values.is_valid().to_numpy(zero_copy_only=False)))
    if pa.types.is_null(values.type):
        return
    if not (pa.types.is_primitive(values.type) or pa.types.is_string(values.type)):
        values = values.cast(pa.string())
    if pa.types.is_string(values.type):
        texts = pc.fill_null(values, "")
        lengths.update(np.ascontiguousarray(pc.binary_length(texts).to_numpy(zero_copy_only=False)))
        content.update(_signs(texts))
        return
    numbers = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
    if not (pa.types.is_integer(numbers.type) or pa.types.is_floating(numbers.type)):
        numbers = numbers.view(pa.int64() if numbers.type.bit_width == 64 else pa.int32())
    content.update(np.ascontiguousarray(pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False)))


def _signs(texts: pa.Array) -> memoryview:
    """All texts, one behind the other, as they lie in memory."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int32)
    return memoryview(data)[int(ends[texts.offset]) : int(ends[texts.offset + len(texts)])]
