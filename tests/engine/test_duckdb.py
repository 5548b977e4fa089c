from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sterling.core.errors import DataError
from sterling.engine import memory
from sterling.engine.duckdb import DuckDBEngine


@pytest.fixture(scope="module")
def engine() -> DuckDBEngine:
    return DuckDBEngine(1)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SET enable_external_access = true",
        "FROM outside",
    ],
)
def test_a_query_reaches_nothing_but_its_tables(engine: DuckDBEngine, sql: str) -> None:
    outside = pa.table({"a": [1]})
    with pytest.raises(DataError, match="DuckDB refuses"):
        engine.query(sql, {})
    assert outside.num_rows == 1


def test_tables_of_one_query_are_gone_in_the_next(engine: DuckDBEngine) -> None:
    engine.query("SELECT * FROM t", {"t": pa.table({"a": [1]})})
    with pytest.raises(DataError, match="does not exist"):
        engine.query("SELECT * FROM t", {})


def test_sessions_are_in_utc(engine: DuckDBEngine) -> None:
    found = engine.query(
        "SELECT hour(TIMESTAMPTZ '2013-07-01 10:00:00Z') AS utc, TIMESTAMPTZ '2013-07-01 10:00:00Z' AS t", {}
    )
    assert found.column("utc").to_pylist() == [10]
    assert found.schema.field("t").type == pa.timestamp("us", "UTC")


def test_what_does_not_fit_into_memory_is_sorted_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sterling.engine.duckdb.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("sterling.engine.duckdb._LEAST", 48 << 20)
    monkeypatch.setattr(memory, "available", lambda: 0)
    table = pa.table({"a": np.random.default_rng(1).random(2_000_000)})
    engine = DuckDBEngine(1)
    found = engine.query("SELECT max(n) AS n FROM (SELECT row_number() OVER (ORDER BY a) AS n FROM t)", {"t": table})
    assert found.column("n").to_pylist() == [2_000_000]
    assert list(tmp_path.iterdir())
