from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.project.checks import Check, Fresh, InRange, NotNull, OneOf, References, Unique
from sterling.project.sources import Delay, EventSource
from sterling.stages.contract import Outcome
from sterling.stages.validate import Validate, known_at
from tests.stages.bench import TIME, Bench, at, fact, rows, us


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def validated(
    bench: Bench, *checks: Check, as_of: int = us(10), known: dict[str, str] | None = None, **columns: list[Any]
) -> Outcome:
    data = pa.table({"t": pa.array([at(n) for n in range(len(next(iter(columns.values()))))], TIME)} | columns)
    log = EventSource("log", "log.csv", event_time="t", available_at=Delay("1h"), checks=checks, known=known or {})
    other = EventSource("other", "other.csv", event_time="t", available_at=Delay("0m"))
    beside = bench.snapshot(other, pa.table({"t": pa.array([at(0), at(99)], TIME), "key": ["a", "late"]})).outputs[
        "snapshot"
    ]
    inputs = {
        "snapshot": bench.snapshot(log, data).outputs["snapshot"],
        "as_of": bench.as_of(as_of),
        "snapshot:other": beside,
    }
    return bench.run(Validate(log), inputs)


def test_rows_that_fail_are_quarantined_and_cells_out_of_range_are_nulled(bench: Bench) -> None:
    checks: list[Check] = [
        NotNull("k", 0.5),
        InRange("v", 0, 10, 0.5),
        OneOf("c", ["x", "y"], 0.5),
        Unique(["k", "c"], 0.5),
        References("k", "other", "key", 1.0),
    ]
    made = validated(bench, *checks, k=["a", None, "a", "a"], v=[1.0, 2.0, 99.0, None], c=["x", "x", "y", "x"])
    assert rows(bench.table(made.outputs["clean"]), "k", "v", "c") == [("a", 1.0, "x"), ("a", None, "y")]
    assert rows(bench.table(made.outputs["quarantine"]), "k", "_failed") == [
        (None, "NotNull('k')"),
        ("a", "Unique('k', 'c')"),
    ]
    body = fact(made, "data.validated").body
    assert (body["rows"], body["quarantined"]) == (2, 2)
    assert [(check["failed"], check["action"]) for check in body["checks"]] == [
        (1, "quarantined"), (1, "nulled"), (0, "none"), (1, "quarantined"), (0, "none"),
    ]  # fmt: skip


def test_what_is_not_known_at_as_of_is_referenced_by_nothing(bench: Bench) -> None:
    body = fact(validated(bench, References("k", "other", "key", 1.0), k=["a", "late"]), "data.validated").body
    assert body["checks"][0]["failed"] == 1


def test_a_clean_snapshot_is_kept_as_it_is(bench: Bench) -> None:
    made = validated(bench, NotNull("k"), k=["a"])
    assert set(made.outputs) == {"clean"}
    assert fact(made, "data.validated").body["quarantine"] is None


def test_too_many_failures_stop_the_run_with_counts_and_no_values(bench: Bench) -> None:
    with pytest.raises(
        DataError,
        match=r"^log: InRange\('v', 0, 10\) fails in 2 of 4 rows \(50.000%\), and max_share=0.25 allows 1. Mend the data, or raise "
        r"max_share to null those cells.$",
    ):
        validated(bench, InRange("v", 0, 10, 0.25), v=[1, 2, 991, 992])
    with pytest.raises(
        DataError, match=r"OneOf\('k', 1 values\) fails in 1 of 3 rows \(33.333%\), and stop=True allows none."
    ):
        validated(bench, OneOf("k", ["a"], stop=True), k=["a", "a", "secret"])


def test_stale_data_stop_the_run(bench: Bench) -> None:
    with pytest.raises(DataError, match=r"log: Fresh\('6h'\) fails: at as_of the newest row is 8.0 hours old."):
        validated(bench, Fresh("6h"), k=["a", "b"])
    assert fact(validated(bench, Fresh("8h"), k=["a", "b"]), "data.validated").body["checks"][0]["failed"] == 0


def test_a_check_of_a_column_that_is_not_listed_is_refused(bench: Bench) -> None:
    with pytest.raises(
        InvalidDefinitionError,
        match=r"log: NotNull\('kk'\) checks 'kk', which the source does not list. Did you mean 'k'\?",
    ):
        validated(bench, NotNull("kk"), k=["a"])


hours = st.one_of(st.none(), st.integers(0, 9))


@given(st.lists(st.tuples(hours, hours, st.one_of(st.none(), st.integers(0, 5))), max_size=12), st.integers(0, 9))
def test_as_of_hides_exactly_what_becomes_known_later(log: list[tuple[Any, Any, Any]], as_of: int) -> None:
    columns = {name: [row[index] for row in log] for index, name in enumerate(["_available_at", "_known_v", "v"])}
    table = pa.table({name: pa.array(cells, pa.int64()) for name, cells in columns.items()})
    found, hidden = known_at(table, as_of)
    expected = [
        (known, value) if known is not None and known <= as_of else (None, None)
        for available, known, value in log
        if available is not None and available <= as_of
    ]
    assert rows(found, "_known_v", "v") == expected
    seen = [row for row in log if row[0] is not None and row[0] <= as_of]
    assert hidden == sum(value is not None and (known is None or known > as_of) for _, known, value in seen)
