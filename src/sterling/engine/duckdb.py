"""DuckDB as engine: in memory, in a UTC session, with nothing within reach but the tables that it is given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

import pyarrow as pa

from sterling.core.errors import DataError
from sterling.engine import memory
from sterling.engine.files import read_file

if TYPE_CHECKING:
    import duckdb

_LEAST = 512 << 20


class DuckDBEngine:
    """Computes tables with DuckDB, which writes to a temporary folder what does not fit into three quarters of the memory.

    Args:
        threads: Threads of a query; results do not depend on them where the query orders its rows.

    Example:
        >>> DuckDBEngine().query("SELECT max(a) AS newest FROM t", {"t": pa.table({"a": [1, 2]})}).to_pylist()
        [{'newest': 2}]
    """

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads

    @cached_property
    def _database(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        database = duckdb.connect(
            config={
                "threads": self._threads,
                "memory_limit": f"{max(memory.available() * 3 // 4, _LEAST) >> 20}MiB",
                "temp_directory": str(Path(gettempdir()) / f"sterling-duckdb-{os.getpid()}-{id(self):x}"),
            }
        )
        for setting in (
            "GLOBAL TimeZone = 'UTC'",
            "GLOBAL python_enable_replacements = false",
            "GLOBAL enable_external_access = false",
            "GLOBAL lock_configuration = true",
        ):
            database.execute(f"SET {setting}")
        return database

    def query(self, sql: str, tables: Mapping[str, pa.Table]) -> pa.Table:
        """The result of one SELECT over tables, by name; nothing else is within its reach.

        Raises:
            DataError: if DuckDB refuses the query or its data, in DuckDB's words.
        """
        import duckdb

        with self._database.cursor() as session:
            for name, table in tables.items():
                session.register(name, table)
            try:
                return session.sql(sql).to_arrow_table().combine_chunks()
            except duckdb.Error as error:
                raise DataError(f"DuckDB refuses: {error}") from error

    def read(self, path: Path, name: str) -> pa.Table:
        """A raw file as a table, as `sterling.engine.files` reads it."""
        return read_file(path, name)
