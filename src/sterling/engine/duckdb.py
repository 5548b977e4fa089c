"""DuckDB as engine: in memory, in a UTC session, with nothing within reach but the tables that it is given."""

# ruff: noqa: S608  names and texts are quoted before they enter SQL

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from sterling.core.errors import DataError
from sterling.engine.files import read_file
from sterling.project.sql import quoted, quoted_text


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
        """A raw file as a table, as `sterling.engine.files` reads it."""
        return read_file(path, name)

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
