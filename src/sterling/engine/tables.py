"""Arrow tables as the store keeps them: Parquet whose bytes depend on the content alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.core.store import Store

_ROWS_PER_GROUP = 131_072


def put_table(store: Store, table: pa.Table) -> Ref:
    """Keep a table as Parquet; the same rows in the same order have the same ref."""
    file = io.BytesIO()
    whole = table.combine_chunks().replace_schema_metadata(None)
    pq.write_table(whole, file, compression="zstd", row_group_size=_ROWS_PER_GROUP)
    file.seek(0)
    return store.put(file)


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A table from Parquet, or some of its columns, each in one piece."""
    with path.open("rb") as file:  # by its bytes, since the store's names have no ending and a schema of their own
        return pq.ParquetFile(file).read(columns=columns).combine_chunks()


class StoredTable:
    """A table in Parquet, read column by column as it is asked for.

    Args:
        path: The file's bytes, under any name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            parquet = pq.ParquetFile(file)
            self.names: list[str] = parquet.schema_arrow.names
            self.num_rows: int = parquet.metadata.num_rows
        self._read: dict[str, pa.ChunkedArray] = {}

    def column(self, name: str) -> pa.ChunkedArray:
        """One column."""
        return self.select([name]).column(0)

    def select(self, names: Sequence[str]) -> pa.Table:
        """Some columns."""
        if new := [name for name in names if name not in self._read]:
            table = read_table(self._path, new)
            self._read |= {name: table.column(name) for name in new}
        return pa.table({name: self._read[name] for name in names})


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
