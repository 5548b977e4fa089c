"""Arrow tables as the store keeps them: Parquet whose bytes depend on the content alone, in segments where it is large.

A small table is one Parquet blob. A large one is a manifest, a canonical JSON object with ``format``, ``columns``,
``rows`` and ``segments``, whose segments are Parquet blobs of some rows each, in order. A table that has grown at its
end shares the segments before with what it was, and to change some rows is to write the segments that hold them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sterling.core.canonical import canonical
from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.core.store import Store

FORMAT = "sterling.table/1"
_MOST_ROWS = 131_072
_MOST_BYTES = 64 << 20
_FEWEST_ROWS = 1_024
_PARQUET = b"PAR1"


def put_table(store: Store, table: pa.Table) -> Ref:
    """Keep a table; the same rows in the same order have the same ref, however they lie in memory."""
    whole = _plain(table)
    size = _segment_rows(whole)
    if whole.num_rows <= size:
        return _put_segment(store, whole).ref
    segments = [_put_segment(store, whole.slice(start, size)) for start in range(0, whole.num_rows, size)]
    return _put_manifest(store, whole.schema, segments)


def read_table(store: Store, ref: Ref, columns: Sequence[str] | None = None) -> pa.Table:
    """A table, or some of its columns, each in one piece.

    Raises:
        MissingBlobError: if the store does not hold it, or one of its segments.
        DataError: if the bytes are no table.
    """
    stored = StoredTable(store, ref)
    return stored.select(stored.names if columns is None else columns)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A table from one Parquet file."""
    with path.open("rb") as file:  # by its bytes, since the store's names have no ending and a schema of their own
        return pq.ParquetFile(file).read(columns=None if columns is None else list(columns))


def is_table(path: Path) -> bool:
    """Whether a blob is a table: Parquet, or a manifest of segments."""
    return is_parquet(path) or _manifest(path) is not None


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def size_of(store: Store, ref: Ref) -> int:
    """Bytes that a blob takes, with the segments of a table."""
    manifest = _manifest(path := store.open(ref)) or {"segments": []}
    parts = (store.open(Ref(part["ref"])) for part in manifest["segments"])
    return sum(file.stat().st_size for file in (path, *parts))


class Segment(NamedTuple):
    """A part of a table.

    Attributes:
        ref: Its Parquet blob.
        rows: How many rows it has.
    """

    ref: Ref
    rows: int


class StoredTable:
    """A table in the store, read column by column as it is asked for.

    Args:
        store: Where it lies.
        ref: The table.

    Raises:
        MissingBlobError: if the store does not hold it.
        DataError: if the bytes are no table.
    """

    def __init__(self, store: Store, ref: Ref) -> None:
        self._store = store
        path = store.open(ref)
        self.parts = _parts(path, ref)
        """The segments, in order; the table itself where it is one blob."""
        self.num_rows = sum(part.rows for part in self.parts)
        self._read: dict[str, pa.ChunkedArray] = {}
        self.schema: pa.Schema = pq.read_schema(path if self.parts[0].ref == ref else store.open(self.parts[0].ref))

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        names: list[str] = self.schema.names
        return names

    def column(self, name: str) -> pa.ChunkedArray:
        """One column, in one piece."""
        return self.select([name]).column(0)

    def select(self, names: Sequence[str]) -> pa.Table:
        """Some columns, each in one piece."""
        if new := [name for name in names if name not in self._read]:
            self._read |= _joined(list(self.segments(new)), new)
        return pa.table({name: self._read[name] for name in names})

    def segments(self, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The table segment by segment, or some columns of it."""
        for part in self.parts:
            yield read_parquet(self._store.open(part.ref), names)


class HeldTable:
    """A table in memory, which is read as a stored one is.

    Args:
        table: The table.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.num_rows: int = table.num_rows
        self.schema: pa.Schema = table.schema

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        names: list[str] = self.schema.names
        return names

    def column(self, name: str) -> pa.ChunkedArray:
        """One column."""
        return self._table.column(name)

    def select(self, names: Sequence[str]) -> pa.Table:
        """Some columns."""
        return self._table.select(list(names))


AnyTable = StoredTable | HeldTable
"""A table whose columns can be asked for by name."""


def rewrite_table(store: Store, ref: Ref, change: Callable[[pa.Table, int], pa.Table]) -> Ref:
    """Keep a table with some rows changed or left out; segments that stay as they are stay the blobs that they are.

    Args:
        store: Where it lies.
        ref: The table.
        change: Given each segment and the place of its first row; gives back the very same table, or another one of
            the same columns.

    Returns:
        The ref of what is left, of no rows at all perhaps.
    """
    stored = StoredTable(store, ref)
    kept, start = list[Segment](), 0
    for part, segment in zip(stored.parts, stored.segments(), strict=True):
        changed = change(segment, start)
        kept.append(part if changed is segment else _put_segment(store, _plain(changed)))
        start += part.rows
    filled = [part for part in kept if part.rows] or kept[:1]
    return filled[0].ref if len(filled) == 1 else _put_manifest(store, stored.schema, filled)


def finite(table: pa.Table, what: str) -> pa.Table:
    """The table with null for NaN.

    Args:
        table: Any table.
        what: What it is; an error begins with it.

    Raises:
        DataError: for an infinity, naming the column.
    """
    for index, field in enumerate(table.schema):
        if not pa.types.is_floating(field.type):
            continue
        column = table.column(index)
        if infinite := pc.sum(pc.is_inf(column)).as_py():
            raise DataError(
                f"{what}: the column {field.name!r} is infinite in {infinite:,} of {table.num_rows:,} rows. "
                "Make such values null, for example with nullif on a divisor."
            )
        table = table.set_column(index, field.name, pc.if_else(pc.is_nan(column), None, column))
    return table


def _plain(table: pa.Table) -> pa.Table:
    """The table without what decides nothing about its rows: metadata, and the dictionaries of its columns."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table.replace_schema_metadata(None)


def _segment_rows(table: pa.Table) -> int:
    """Rows of a segment: halved while its columns take too many bytes, so that a table that grows a little keeps it."""
    size, total = _MOST_ROWS, sum(map(_bytes, table.columns))
    while size > _FEWEST_ROWS and size * total > _MOST_BYTES * table.num_rows:
        size //= 2
    return size


def _bytes(cells: pa.ChunkedArray) -> int:
    """Bytes that values take, from nothing but the values."""
    kind, offsets = cells.type, 4 * len(cells)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return offsets + (pc.sum(pc.binary_length(cells)).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return offsets + _bytes(pc.list_flatten(cells))
    try:
        return int(kind.bit_width) * len(cells) // 8
    except ValueError:
        return 16 * len(cells)


def _put_segment(store: Store, rows: pa.Table) -> Segment:
    file = io.BytesIO()
    # a dictionary of floats is rarely smaller than they are: without it, writing takes a third of the time
    encoded = [field.name for field in rows.schema if not pa.types.is_floating(field.type)]
    pq.write_table(
        rows.combine_chunks(), file, compression="zstd", row_group_size=max(rows.num_rows, 1), use_dictionary=encoded
    )
    file.seek(0)
    return Segment(store.put(file), rows.num_rows)


def _put_manifest(store: Store, schema: pa.Schema, segments: Sequence[Segment]) -> Ref:
    manifest = {
        "format": FORMAT,
        "columns": [{"name": field.name, "type": str(field.type)} for field in schema],
        "rows": sum(segment.rows for segment in segments),
        "segments": [segment._asdict() for segment in segments],
    }
    return store.put(io.BytesIO(canonical(manifest)))


def _parts(path: Path, ref: Ref) -> tuple[Segment, ...]:
    if is_parquet(path):
        return (Segment(ref, pq.read_metadata(path).num_rows),)
    if (manifest := _manifest(path)) is None:
        raise DataError(f"{ref} is no table: neither Parquet nor a manifest of the format {FORMAT!r}.")
    return tuple(Segment(Ref(part["ref"]), part["rows"]) for part in manifest["segments"])


def _manifest(path: Path) -> dict[str, Any] | None:
    with path.open("rb") as file:
        if file.read(1) != b"{":
            return None
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def _joined(segments: list[pa.Table], names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Columns of segments, each in one piece; no more than one of them is there twice."""
    pieces = {name: [chunk for part in segments for chunk in part.column(name).chunks] for name in names}
    kinds = {name: segments[0].schema.field(name).type for name in names}
    segments.clear()
    return {
        name: pa.table({name: pa.chunked_array(pieces.pop(name), kind)}).combine_chunks().column(0)
        for name, kind in kinds.items()
    }
