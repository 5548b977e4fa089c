"""DuckDB as engine: in memory, in a UTC session, with nothing within reach but the tables that it is given."""

# ruff: noqa: S608  names and texts are quoted before they enter SQL

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from sterling.core.errors import DataError
from sterling.engine.tables import finite, read_table
from sterling.project.sql import quoted, quoted_text

_CHUNK = 1 << 20


class DuckDBEngine:
    """Computes tables with DuckDB.

    Args:
        threads: Threads of a query; results do not depend on them where the query orders its rows.

    Example:
        >>> DuckDBEngine().query("SELECT max(a) AS newest FROM t", {"t": pa.table({"a": [1, 2]})}).to_pylist()
        [{'newest': 2}]
    """

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads

    def query(self, sql: str, tables: Mapping[str, Path | pa.Table]) -> pa.Table:
        """The result of one SELECT over Parquet files and Arrow tables, by name; nothing else is within its reach.

        Raises:
            DataError: if DuckDB refuses the query or its data, in DuckDB's words.
        """
        files = {name: table for name, table in tables.items() if isinstance(table, Path)}
        with self._session(files.values()) as session:
            for name, table in tables.items():
                if isinstance(table, Path):
                    session.execute(
                        f"CREATE VIEW {quoted(name)} AS SELECT * FROM read_parquet({quoted_text(str(table))})"
                    )
                else:
                    session.register(name, table)
            return _fetch(session, sql)

    def read(self, path: Path, name: str) -> pa.Table:
        """A raw file as a table.

        In CSV an empty cell is null, and so is nothing else: ``NA`` may be Namibia. The type of a column is the
        narrowest that all its cells have; a time is in UTC only where the text says so, as in ``2013-01-01T06:00:00Z``,
        and else has no zone. NaN is null.

        Args:
            path: The file's bytes, under any name.
            name: The file's own name, whose ending tells the format: Parquet, CSV, ``.csv.gz`` or ``.csv.zip``.

        Raises:
            DataError: for another ending, a file that is not what its ending says, and infinities.
        """
        ending = name.lower()
        try:
            if ending.endswith(".parquet"):
                table = read_table(path)
            elif ending.endswith((".csv", ".csv.gz")):
                table = self._read_csv(path, "gzip" if ending.endswith(".gz") else "none")
            elif ending.endswith(".csv.zip"):
                with _unzipped(path, name) as inner:
                    table = self._read_csv(inner, "none")
            else:
                raise DataError(f"{name}: unknown format. Known endings: .parquet, .csv, .csv.gz, .csv.zip.")
        except (pa.ArrowException, zipfile.BadZipFile) as error:
            raise DataError(f"{name} is not what its ending says: {error}") from error
        return finite(table, name)

    def _read_csv(self, path: Path, compression: str) -> pa.Table:
        with self._session([path]) as session:
            return _fetch(
                session,
                f"SELECT * FROM read_csv({quoted_text(str(path))}, compression={quoted_text(compression)}, header=true, "
                "sample_size=-1, nullstr='', null_padding=false)",
            )

    @contextmanager
    def _session(self, files: Iterable[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
        allowed = ", ".join(quoted_text(str(path)) for path in files)
        with duckdb.connect(config={"threads": self._threads}) as session:
            session.execute("SET TimeZone = 'UTC'")
            session.execute("SET python_enable_replacements = false")
            session.execute(f"SET allowed_paths = [{allowed}]")
            session.execute("SET enable_external_access = false")
            session.execute("SET lock_configuration = true")
            yield session


def _fetch(session: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    try:
        table = session.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise DataError(f"DuckDB refuses: {error}") from error
    return table.combine_chunks()


@contextmanager
def _unzipped(path: Path, name: str) -> Iterator[Path]:
    """The only member of an archive, as a file that lives as long as it is read."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        members = [info for info in archive.infolist() if not info.is_dir()]
        if len(members) != 1:
            raise DataError(f"{name} holds {len(members)} files. Pack one file into one archive.")
        inner = Path(folder) / "table.csv"
        with archive.open(members[0]) as packed, inner.open("wb") as file:
            shutil.copyfileobj(packed, file, _CHUNK)
        yield inner
