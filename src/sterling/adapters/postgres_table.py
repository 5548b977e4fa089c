"""A table of PostgreSQL that scores go to, or that rows come from; its columns travel as text, in batches."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from sterling.adapters.postgres_session import Channel, explained
from sterling.adapters.postgres_url import address_of
from sterling.core.destination import Written
from sterling.core.errors import InvalidDefinitionError

_TYPES = {  # of PostgreSQL, as Arrow holds them
    "smallint": pa.int64(), "integer": pa.int64(), "bigint": pa.int64(), "real": pa.float64(),
    "double precision": pa.float64(), "numeric": pa.float64(), "boolean": pa.bool_(), "date": pa.date32(),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"), "timestamp without time zone": pa.timestamp("us"),
}  # fmt: skip
_AS_TEXT = {
    "timestamp with time zone": 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"',
    "timestamp without time zone": 'YYYY-MM-DD"T"HH24:MI:SS.US',
}
_FORMAT = "(FORMAT csv, ENCODING 'UTF8')"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"


class PostgresTable:
    """A table in a PostgreSQL database; refused rows go to the table ``<name>_refused`` beside it.

    Args:
        url: The database; a password in it, in ``PGPASSWORD`` or in a passfile is used and never shown.
        table: Name of the table, with its schema or without; made where it is not there.
    """

    def __init__(self, url: str, table: str) -> None:
        self._address, self._table = address_of(url), table

    @property
    def name(self) -> str:
        """The database and the table, without a password."""
        return f"{self._address}#{self._table}"

    def holds(self, partition: str, run: str, rows: int) -> bool:
        """Whether the partition has so many rows, all of that run."""
        with self._opened() as channel:
            if not _columns(channel, self._table):
                return False
            [found] = channel.run(
                f"SELECT count(*), count(*) FILTER (WHERE run = :run) FROM {_quoted(self._table)} WHERE partition = :partition",  # noqa: S608
                run=run, partition=partition,
            )  # fmt: skip
        return list(found) == [rows, rows]

    def replace(self, partition: str, run: str, batches: Iterable[Written]) -> None:
        """Take out what is there and put the rows in, in one transaction; another job on the table waits meanwhile."""
        del run
        with self._opened() as channel:
            channel.run("BEGIN")
            channel.run(_LOCK, name=self._table)
            first = True
            for batch in batches:
                for name, table in zip((self._table, f"{self._table}_refused"), batch, strict=True):
                    if first:
                        _begin(channel, name, table.schema, partition)
                    if table.num_rows:
                        _copy(channel, name, table.append_column("partition", pa.repeat(partition, table.num_rows)))
                first = False
            channel.run("COMMIT")

    def batches(self, folder: Path, rows: int) -> Iterator[pa.Table]:
        """The rows of the table as the server gives them at one moment; they wait in a file."""
        del rows
        path = folder / "postgres.csv"
        with self._opened() as channel:
            columns = _columns(channel, self._table)
            if not columns:
                raise InvalidDefinitionError(f"{self._address} has no table {self._table!r}.")
            said = ", ".join(_as_text(name, kind) for name, kind in columns.items())
            with path.open("wb") as file:
                channel.run(f"COPY (SELECT {said} FROM {_quoted(self._table)}) TO STDOUT {_FORMAT}", stream=file)  # noqa: S608
        yield from _read(path, {name: _TYPES.get(kind, pa.string()) for name, kind in columns.items()})
        path.unlink()

    @contextmanager
    def _opened(self) -> Iterator[Channel]:
        with explained(self._address):
            channel = Channel(self._address)
            try:
                channel.wait_long()
                channel.run("SET TIME ZONE 'UTC'; SET client_min_messages = warning; SET extra_float_digits = 1")
                yield channel
            finally:
                channel.close()


def _begin(channel: Channel, name: str, schema: pa.Schema, partition: str) -> None:
    """Make the table where it is not there, and take the partition out where it is."""
    ours = {field.name: _type_of(field.type) for field in schema} | {"partition": "text"}
    if not (theirs := _columns(channel, name)):
        columns = ", ".join(f"{_quoted_part(column)} {kind}" for column, kind in ours.items())
        channel.run(f"CREATE TABLE {_quoted(name)} ({columns})")
        channel.run(f"CREATE INDEX ON {_quoted(name)} (partition)")
    elif set(ours) != set(theirs):
        raise InvalidDefinitionError(
            f"The table {name} has the columns {', '.join(theirs)}; these scores have {', '.join(ours)}. Name another table "
            "with --to-table, or the same keys as before."
        )
    channel.run(f"DELETE FROM {_quoted(name)} WHERE partition = :partition", partition=partition)  # noqa: S608


def _copy(channel: Channel, name: str, table: pa.Table) -> None:
    text = io.BytesIO()
    pa.csv.write_csv(table, text, pa.csv.WriteOptions(include_header=False))
    columns = ", ".join(map(_quoted_part, table.column_names))
    channel.run(f"COPY {_quoted(name)} ({columns}) FROM STDIN {_FORMAT}", stream=_pieces(text.getbuffer()))


def _pieces(text: memoryview, size: int = 1 << 18) -> Iterator[bytes]:
    for start in range(0, len(text), size):
        yield bytes(text[start : start + size])


def _read(path: Path, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    if not path.stat().st_size:
        yield pa.schema(types.items()).empty_table()
        return
    options = pa.csv.ConvertOptions(
        column_types=dict(types), null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
        true_values=["t"], false_values=["f"],
    )  # fmt: skip
    parsing = pa.csv.ParseOptions(newlines_in_values=True)
    reading = pa.csv.ReadOptions(block_size=1 << 23, column_names=list(types))
    with pa.csv.open_csv(path, reading, parsing, options) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _columns(channel: Channel, name: str) -> dict[str, str]:
    """Types of a table's columns by their names, in order; none where there is no such table."""
    rows: list[Any] = channel.run(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = to_regclass(:name) AND attnum > 0 "
        "AND NOT attisdropped ORDER BY attnum",
        name=_quoted(name),
    )
    return {str(column): str(kind) for column, kind in rows}


def _as_text(name: str, kind: str) -> str:
    column = _quoted_part(name)
    if kind in _AS_TEXT:
        return f"to_char({column}, '{_AS_TEXT[kind]}')"
    return column if kind in _TYPES else f"CAST({column} AS text)"


def _type_of(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "bigint"
    if pa.types.is_floating(kind):
        return "double precision"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp"
    if pa.types.is_boolean(kind):
        return "boolean"
    return "date" if pa.types.is_date(kind) else "text"


def _quoted(name: str) -> str:
    return ".".join(map(_quoted_part, name.split(".")))


def _quoted_part(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
