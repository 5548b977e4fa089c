"""Where scores go and rows come from: folders of Parquet, tables of DuckDB, and what adapters offer by URL."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from sterling.core.connect import adapter
from sterling.core.destination import Destination, Rows, Written
from sterling.core.errors import InvalidDefinitionError, StorageError
from sterling.project.sql import quoted

if TYPE_CHECKING:
    import duckdb

_ENVIRONMENT, _DUCKDB = "env:", "duckdb:"
_RUN, _FILE = b"sterling.run", "scores.parquet"
_INCOMING, _LEFT_SECONDS = ".incoming-", 3_600
_ROWS = "_sterling_rows"
_EXAMPLE = "a folder, duckdb:scores.db, or postgresql://ada@db.example.com/scores"


def destination_of(named: str, table: str) -> Destination:
    """Open the place that scores go to.

    Args:
        named: A folder, ``duckdb:FILE``, the URL of a database, or ``env:NAME`` for the variable that says so.
        table: Name of the table, where it has tables.

    Raises:
        UnknownBackendError: if no adapter is registered for the URL's scheme.
    """
    url = resolved(named)
    if url.startswith(_DUCKDB):
        return DuckDBTable(Path(url.removeprefix(_DUCKDB)), table)
    if "://" in url:
        found: Destination = _adapted(url, table)
        return found
    return ParquetFolder(Path(url))


def rows_of(named: str, table: str | None) -> Rows | Path:
    """Open the table that rows come from, or give the path of a file.

    Args:
        named: A file or folder, ``duckdb:FILE``, the URL of a database, or ``env:NAME`` for the variable that says so.
        table: Name of the table, where it has tables.

    Raises:
        InvalidDefinitionError: if a database is named without a table.
        UnknownBackendError: if no adapter is registered for the URL's scheme.
    """
    url = resolved(named)
    if not url.startswith(_DUCKDB) and "://" not in url:
        return Path(url)
    if table is None:
        raise InvalidDefinitionError("--from names a database. Name its table as well: --from-table TABLE.")
    if url.startswith(_DUCKDB):
        return DuckDBTable(Path(url.removeprefix(_DUCKDB)), table)
    found: Rows = _adapted(url, table)
    return found


def resolved(named: str) -> str:
    """A place as it was named, or as an environment variable says, so that its password stands in no command.

    Raises:
        InvalidDefinitionError: if the variable is not set.
    """
    if not named.startswith(_ENVIRONMENT):
        return named
    variable = named.removeprefix(_ENVIRONMENT)
    if not (url := os.environ.get(variable)):
        raise InvalidDefinitionError(f"The environment variable {variable} is not set. It says {_EXAMPLE}.")
    return url


def _adapted(url: str, table: str) -> Any:
    scheme = url.partition(":")[0]
    return adapter("sterling.tables", scheme, built_in="duckdb", example="duckdb:scores.db")(url, table)


class ParquetFolder:
    """A folder with a file for each partition, which appears and is replaced in one step.

    Refused rows lie in ``_refused``, which readers of such folders pass over.

    Args:
        folder: The folder; made where it is not there.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> nobody = pa.table({"reason": pa.array([], pa.string())})
        >>> with TemporaryDirectory() as folder:
        ...     place = ParquetFolder(Path(folder))
        ...     place.replace("2024-05-01", "r1", [Written(pa.table({"score": [0.5]}), nobody)])
        ...     [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.parquet")], place.holds("2024-05-01", "r1", 1)
        (['partition=2024-05-01/scores.parquet'], True)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._folder)

    def holds(self, partition: str, run: str, rows: int) -> bool:
        """Whether the partition's file is whole, of that run, and has so many rows."""
        path = self._path(partition)
        try:
            with pq.ParquetFile(path) as file:
                found = file.metadata
                return found.num_rows == rows and (found.metadata or {}).get(_RUN) == run.encode()
        except (OSError, pa.ArrowException):
            return False

    def replace(self, partition: str, run: str, batches: Iterable[Written]) -> None:
        """Write the file beside the one that is there, and put it in its place."""
        mark = f"{_INCOMING}{uuid4().hex}"
        path = self._path(partition)
        _remove_left_behind(path.parent)
        refused = self._folder / "_refused" / path.parent.name / _FILE
        ours = (path.with_name(mark), refused.with_name(mark))
        try:
            _lay_down(batches, run, ours)
            _publish(ours[1], refused)
            _publish(ours[0], path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
        finally:
            for one in ours:
                one.unlink(missing_ok=True)

    def _path(self, partition: str) -> Path:
        return self._folder / f"partition={quote(partition, safe='')}" / _FILE


def _lay_down(batches: Iterable[Written], run: str, paths: tuple[Path, Path]) -> list[pa.Schema]:
    """Write the scored rows, and the refused ones where there are any; what columns they have."""
    said = {_RUN: run.encode()}
    schemas: list[pa.Schema] = []
    with ExitStack() as opened:
        writers: list[Any] = [None, None]
        for batch in batches:
            schemas = schemas or [table.schema for table in batch]
            for place, table in enumerate(batch):
                if writers[place] is None and (table.num_rows or place == 0):
                    paths[place].parent.mkdir(parents=True, exist_ok=True)
                    schema = table.schema.with_metadata(said)
                    writer = pq.ParquetWriter(paths[place], schema, compression="zstd", compression_level=1)
                    writers[place] = opened.enter_context(writer)
                if table.num_rows:
                    writers[place].write_table(table.replace_schema_metadata(said))
    return schemas


def _remove_left_behind(folder: Path) -> None:
    """Remove what a job that was killed was writing: nobody has written to it for an hour."""
    for file in folder.glob(f"{_INCOMING}*"):
        if file.stat().st_mtime < time.time() - _LEFT_SECONDS:
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def _publish(made: Path, path: Path) -> None:
    """Put a file in its place, durably; where none was made there is to be none."""
    if not made.exists():
        path.unlink(missing_ok=True)
        return
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class DuckDBTable:
    """A table in a DuckDB file; refused rows go to the table ``<name>_refused`` beside it.

    Args:
        file: The file.
        table: Name of the table; made where it is not there.
    """

    def __init__(self, file: Path, table: str) -> None:
        self._file, self._table = file, table

    @property
    def name(self) -> str:
        """The file and the table."""
        return f"duckdb:{self._file}#{self._table}"

    def holds(self, partition: str, run: str, rows: int) -> bool:
        """Whether the partition has so many rows, all of that run."""
        if not self._file.exists():
            return False
        with self._opened(read_only=True) as db:
            if not self._columns(db, self._table):
                return False
            found = db.execute(
                f"SELECT count(*), count(*) FILTER (run = $2) FROM {quoted(self._table)} WHERE partition = $1",  # noqa: S608
                [partition, run],
            ).fetchone()
        return found == (rows, rows)

    def replace(self, partition: str, run: str, batches: Iterable[Written]) -> None:
        """Lay the rows down beside the file, then take out what is there and put them in, in one transaction.

        A transaction that takes many small pieces would keep them all in memory.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(self._file.parent)
        with TemporaryDirectory(prefix=_INCOMING, dir=self._file.parent) as folder, self._opened(read_only=False) as db:
            paths = Path(folder, "scored.parquet"), Path(folder, "refused.parquet")
            schemas = _lay_down(batches, run, paths)
            db.execute("BEGIN")
            for name, path, schema in zip((self._table, f"{self._table}_refused"), paths, schemas, strict=True):
                self._begin(db, name, schema, partition)
                if path.exists():
                    rows = "SELECT *, $1 AS partition FROM read_parquet($2, hive_partitioning = false)"
                    db.execute(f"INSERT INTO {quoted(name)} BY NAME {rows}", [partition, str(path)])
            db.execute("COMMIT")

    def batches(self, folder: Path, rows: int) -> Iterator[pa.Table]:
        """The rows of the table, in its order."""
        del folder
        if not self._file.exists():
            raise InvalidDefinitionError(f"There is no file {self._file}.")
        with self._opened(read_only=True) as db:
            if not self._columns(db, self._table):
                raise InvalidDefinitionError(f"{self._file} has no table {self._table!r}.")
            found: Any = db.sql(f"SELECT * FROM {quoted(self._table)}")  # noqa: S608
            for batch in found.to_arrow_reader(rows):
                yield pa.Table.from_batches([batch])

    def _begin(self, db: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema, partition: str) -> None:
        """Make the table where it is not there, and take the partition out where it is."""
        db.register(_ROWS, schema.append(pa.field("partition", pa.string())).empty_table())
        db.execute(f"CREATE TABLE IF NOT EXISTS {quoted(name)} AS SELECT * FROM {_ROWS}")  # noqa: S608
        db.unregister(_ROWS)
        check_same_columns([*schema.names, "partition"], self._columns(db, name), name)
        db.execute(f"DELETE FROM {quoted(name)} WHERE partition = $1", [partition])  # noqa: S608

    def _columns(self, db: duckdb.DuckDBPyConnection, name: str) -> list[str]:
        found = db.execute(
            "SELECT column_name FROM duckdb_columns() WHERE table_name = $1 AND database_name = current_database()",
            [name],
        )
        return [str(row[0]) for row in found.fetchall()]

    def _opened(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        import duckdb

        try:
            db = duckdb.connect(str(self._file), read_only=read_only)
            db.execute("SET TimeZone = 'UTC'; SET memory_limit = '256MiB'")
        except duckdb.Error as error:
            raise StorageError(f"{self._file} cannot be opened: {str(error).splitlines()[0]}") from error
        return db


def check_same_columns(ours: list[str], theirs: list[str], table: str) -> None:
    """Refuse a table that was made for other columns.

    Raises:
        InvalidDefinitionError: naming those that differ.
    """
    if set(ours) != set(theirs):
        raise InvalidDefinitionError(
            f"The table {table} has the columns {', '.join(theirs)}; these scores have {', '.join(ours)}. Name another "
            "table with --to-table, or the same keys as before."
        )
