"""Features equal a naive inequality join, cell by cell, on random logs."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.project.aggregates import Count, Mean, Pending
from sterling.project.features import FeatureView, Last
from sterling.project.sources import EventSource
from sterling.project.spine import EventSpine, Label
from tests.stages.bench import TIME, Bench, at, us

WINDOWS = {"1h": 1, "3h": 3, "1d": 24}
hours = st.integers(0, 30).map(float)
times = st.one_of(st.none(), hours)
values = st.one_of(st.none(), st.sampled_from([1e17, 1.0, 2.0, -3.5, 0.1, 1e-9]), st.floats(-1e6, 1e6))
keys = st.sampled_from(["a", "b", None])
events = st.lists(
    st.tuples(keys, st.integers(0, 1), hours, times, times, times, values, st.one_of(st.none(), st.integers(-5, 5))),
    max_size=25,
)
moments = st.lists(st.tuples(keys, st.integers(0, 1), hours), min_size=1, max_size=12)

LOG = EventSource(
    "log", "log.parquet", event_time="happened", available_at="available", event_id="id", entities=["k", "n"],
    columns=["k", "n", "happened", "w"], known={"v": "v_known", "ended": "ended_known"},
)  # fmt: skip
BASE = EventSource(
    "base", "base.parquet", event_id="id", event_time="t", available_at="t - INTERVAL 9 HOUR", entities=["k", "n"]
)
SPINE = EventSpine(BASE, "t")
LABEL = Label("w > 0", LOG, horizon="1d")
VIEW = FeatureView(
    "x", LOG, entities=["k", "n"],
    features=[
        Count(windows=list(WINDOWS)), Count("v", windows=list(WINDOWS), where="w >= 0"), Mean("v", windows=list(WINDOWS)),
        Mean("w", windows=list(WINDOWS), where="v > 0"), Pending("ended", windows=list(WINDOWS)),
    ],
)  # fmt: skip


def log_table(rows: list[Any]) -> pa.Table:
    names = ["k", "n", "happened", "available", "v_known", "ended", "v", "w"]
    columns = {name: [row[index] for row in rows] for index, name in enumerate(names)}
    columns["ended_known"] = [
        None if e is None or a is None else e + 1 for e, a in zip(columns["ended"], columns["available"], strict=True)
    ]
    columns["id"] = [f"e{index}" for index in range(len(rows))]
    kinds = {"k": pa.string(), "n": pa.int64(), "v": pa.float64(), "w": pa.int64(), "id": pa.string()}
    return pa.table(
        {
            name: pa.array(
                [at(cell) if name not in kinds and cell is not None else cell for cell in cells], kinds.get(name, TIME)
            )
            for name, cells in columns.items()
        }
    )


def base_table(rows: list[Any]) -> pa.Table:
    return pa.table(
        {
            "id": [f"m{index}" for index in range(len(rows))],
            "k": pa.array([row[0] for row in rows], pa.string()),
            "n": [row[1] for row in rows],
            "t": pa.array([at(row[2]) for row in rows], TIME),
        }
    )


@pytest.fixture(scope="module")
def bench() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


def prepared(bench: Bench, log: list[Any], at_moments: list[Any]) -> tuple[dict[str, Any], duckdb.DuckDBPyConnection]:
    clean = {"clean:log": bench.clean(LOG, log_table(log)), "clean:base": bench.clean(BASE, base_table(at_moments))}
    spine = bench.spine(SPINE, LABEL, clean).outputs["spine"]
    session = duckdb.connect()
    base, numbered = bench.table(clean["clean:base"]), bench.table(spine)
    own = base.take(numbered.column("row"))
    session.register(
        "moments",
        pa.table(
            {
                "i": range(numbered.num_rows),
                "t": numbered.column("predict_at"),
                "k": own.column("k"),
                "n": own.column("n"),
            }
        ),
    )
    clean_log = bench.table(clean["clean:log"])
    session.register("log", clean_log.append_column("rank", pa.array(range(clean_log.num_rows), pa.int64())))
    return {**clean, "spine": spine}, session


def inside(clocks: list[str], window: int) -> str:
    known = " AND ".join(f"{clock} < t" for clock in ["_available_at", *clocks])
    return (
        f"moments.k = log.k AND moments.n = log.n AND {known} AND t - {us(window)} <= _event_time AND _event_time < t"
    )


@given(events, moments)
@settings(max_examples=30, deadline=None)
def test_windowed_aggregates_equal_a_naive_join(bench: Bench, log: list[Any], at_moments: list[Any]) -> None:
    inputs, session = prepared(bench, log, at_moments)
    made = bench.feature(VIEW, SPINE, inputs)
    for window, size in WINDOWS.items():
        expected = {
            f"x_count_{window}": (["count(log.id)"], inside([], size)),
            f"x_count_v_{window}": (["count(v)"], inside(["_known_v"], size) + " AND w >= 0"),
            f"x_mean_v_{window}": (["list(v) FILTER (v IS NOT NULL)"], inside(["_known_v"], size)),
            f"x_mean_w_{window}": (["list(w) FILTER (w IS NOT NULL)"], inside(["_known_v"], size) + " AND v > 0"),
            f"x_pending_{window}": (
                ["count(log.id)"],
                inside([], size) + " AND NOT coalesce(epoch_us(ended) < t AND _known_ended < t, FALSE)",
            ),
        }
        for name, (what, condition) in expected.items():
            found = session.execute(
                f"SELECT {what[0]} FROM moments LEFT JOIN log ON {condition} GROUP BY i ORDER BY i"
            ).fetchall()
            naive = [cell if not isinstance(cell, list) else math.fsum(cell) / len(cell) for (cell,) in found]
            assert made.column(name).to_pylist() == naive, name


@given(events, moments, st.sampled_from([None, "3h"]))
@settings(max_examples=30, deadline=None)
def test_the_last_value_equals_a_naive_join(
    bench: Bench, log: list[Any], at_moments: list[Any], max_age: str | None
) -> None:
    inputs, session = prepared(bench, log, at_moments)
    made = bench.feature(Last(LOG["v", "w"], max_age=max_age), SPINE, inputs)
    size = WINDOWS.get(max_age or "", 10_000)
    for column, clocks in (("v", ["_known_v"]), ("w", [])):
        found = session.execute(
            f"SELECT arg_max({column}, rank) FILTER ({column} IS NOT NULL) FROM moments LEFT JOIN log ON {inside(clocks, size)} "
            "GROUP BY i ORDER BY i"
        ).fetchall()
        assert made.column(f"log_{column}").to_pylist() == [cell for (cell,) in found]
