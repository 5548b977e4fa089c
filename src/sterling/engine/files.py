"""Raw files as tables: Parquet and comma-separated text, packed or not."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from sterling.core.errors import DataError
from sterling.engine.tables import finite, read_parquet

_BLOCK = 1 << 24
_LARGEST_BLOCK = (1 << 31) - 1


def read_file(path: Path, name: str) -> pa.Table:
    """A raw file as a table.

    In CSV an empty cell is null, and so is nothing else: ``NA`` may be Namibia. A column has the narrowest type that
    all its cells have, not only the first ones; a time is in UTC only where the text says so, as in
    ``2013-01-01T06:00:00Z``, and else has no zone. NaN is null. Times are kept to the microsecond.

    Args:
        path: The file's bytes, under any name.
        name: The file's own name, whose ending tells the format: Parquet, CSV, ``.csv.gz`` or ``.csv.zip``.

    Raises:
        DataError: for another ending, a file that is not what its ending says, and infinities.
    """
    try:
        table = read_parquet(path) if name.lower().endswith(".parquet") else _read_csv(path, name)
    except (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{name} is not what its ending says: {error}") from error
    return _to_microseconds(finite(table, name))


def _read_csv(path: Path, name: str) -> pa.Table:
    options = pa.csv.ConvertOptions(null_values=[""], strings_can_be_null=True)
    try:
        with _text(path, name) as stream:
            return pa.csv.read_csv(stream, pa.csv.ReadOptions(block_size=_BLOCK), convert_options=options)
    except pa.ArrowInvalid:  # a later cell does not have the type of the first ones: look at all of them
        with _text(path, name) as stream:
            return pa.csv.read_csv(stream, pa.csv.ReadOptions(block_size=_LARGEST_BLOCK), convert_options=options)


@contextmanager
def _text(path: Path, name: str) -> Iterator[Any]:
    """The unpacked text of a file."""
    ending = name.lower()
    if ending.endswith(".csv.zip"):
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) != 1:
                raise DataError(f"{name} holds {len(members)} files. Pack one file into one archive.")
            with archive.open(members[0]) as stream:
                yield stream
    elif ending.endswith((".csv", ".csv.gz")):
        with pa.input_stream(str(path), compression="gzip" if ending.endswith(".gz") else None) as stream:
            yield stream
    else:
        raise DataError(f"{name}: unknown format. Known endings: .parquet, .csv, .csv.gz, .csv.zip.")


def _to_microseconds(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit != "us":
            cells = table.column(index).cast(pa.timestamp("us", field.type.tz), safe=False)
            table = table.set_column(index, field.name, cells)
    return table
