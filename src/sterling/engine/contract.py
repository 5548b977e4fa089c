"""The port of an engine: where tables are computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa


class Engine(Protocol):
    """Computes tables from tables by SQL, in a UTC session."""

    def query(self, sql: str, tables: Mapping[str, pa.Table]) -> pa.Table:
        """The result of one SELECT over tables, by name; nothing else is within its reach."""
        ...

    def read(self, path: Path, name: str) -> pa.Table:
        """A raw file as a table.

        Args:
            path: The file's bytes, under any name.
            name: The file's own name, whose ending tells the format: Parquet, CSV, ``.csv.gz`` or ``.csv.zip``.
        """
        ...
