"""Events that are corrected or deleted: what counts at each moment, and what the spine and the labels make of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.project.aggregates import Count, Sum, Variance
from sterling.project.checks import Unique
from sterling.project.features import FeatureView, Last
from sterling.project.sources import Delay, EntitySource, EventSource
from sterling.project.spine import EventSpine, Label, Occurs
from tests.stages.bench import FAR, TIME, Bench, at, fact, rows, us
from tests.stages.logs import REPLACED, SPINE, Case, logs, moments

ORDERS = EventSource(
    "orders",
    "o.csv",
    event_id="id",
    event_time="due",
    available_at="told",
    entities=["k"],
    updates="replace",
    deleted="gone",
)
ASKED = EventSource("asked", "a.csv", event_id="id", event_time="t", available_at="t - INTERVAL 1 DAY", entities=["k"])


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


def orders(*versions: tuple[Any, ...]) -> pa.Table:
    """Versions as (id, due, told, value, gone)."""
    return pa.table({
        "id": [v[0] for v in versions], "k": ["a"] * len(versions),
        "due": pa.array([None if v[1] is None else at(v[1]) for v in versions], TIME),
        "told": pa.array([None if v[2] is None else at(v[2]) for v in versions], TIME),
        "value": pa.array([v[3] for v in versions], pa.float64()), "gone": pa.array([v[4] for v in versions], pa.bool_()),
    })  # fmt: skip


def asked(*times: float) -> pa.Table:
    ids = [f"m{n}" for n in range(len(times))]
    return pa.table({"id": ids, "k": ["a"] * len(times), "t": pa.array(list(map(at, times)), TIME)})


def features(bench: Bench, table: pa.Table, *times: float) -> pa.Table:
    clean = {"clean:orders": bench.clean(ORDERS, table), "clean:asked": bench.clean(ASKED, asked(*times))}
    spine = EventSpine(ASKED, "t")
    inputs = clean | {"spine": bench.spine(spine, Label("k = 'a'", ASKED, "1d"), clean).outputs["spine"]}
    made = bench.feature(
        FeatureView("x", ORDERS, ["k"], [Count(windows=["99h"]), Sum("value", windows=["99h"])]), spine, inputs
    )
    last = bench.feature(Last(ORDERS["value"]), spine, inputs)
    return pa.table({"count": made["x_count_99h"], "sum": made["x_sum_value_99h"], "last": last["orders_value"]})


def test_at_each_moment_the_newest_version_counts_once(bench: Bench) -> None:
    table = orders(("a", 1, 2, 10.0, False), ("a", 1, 5, 30.0, False), ("b", 2, 3, 1.0, False))
    made = features(bench, table, 2, 2.5, 3.5, 5, 5.5)
    assert rows(made, "count", "sum", "last") == [
        (0, None, None), (1, 10.0, 10.0), (2, 11.0, 1.0), (2, 11.0, 1.0), (2, 31.0, 1.0)
    ]  # fmt: skip


def test_a_version_that_moves_to_another_entity_or_another_time_takes_the_event_along(bench: Bench) -> None:
    table = orders(("a", 1, 2, 10.0, False), ("a", 8, 5, 30.0, False))
    assert rows(features(bench, table, 4, 6, 9), "count", "last") == [(1, 10.0), (0, None), (1, 30.0)]
    moved = table.set_column(1, "k", pa.array(["a", "other"]))
    assert rows(features(bench, moved, 4, 6, 9), "count", "last") == [(1, 10.0), (0, None), (0, None)]


def test_a_deletion_ends_its_predecessor_and_is_nothing_itself(bench: Bench) -> None:
    table = orders(
        ("a", 1, 2, 10.0, False), ("a", None, 5, None, True), ("a", 1, 7, 40.0, None), ("b", 1, 3, None, True), ("c", 1, 3, None, True)
    )  # fmt: skip
    assert rows(features(bench, table, 4, 6, 8), "count", "sum") == [(1, 10.0), (0, None), (1, 40.0)]
    made = bench.snapshot(ORDERS, table)
    assert fact(made, "versions.counted").body == {
        "source": "orders",
        "events": 3,
        "versions": 5,
        "deleted": 3,
        "replaced": 1,
    }
    assert (fact(made, "data.snapshotted").body["rows"], fact(made, "data.snapshotted").body["no_event"]) == (2, 0)


def test_a_version_that_is_no_event_any_more_ends_its_predecessor(bench: Bench) -> None:
    table = orders(("a", 1, 2, 10.0, False), ("a", None, 5, 9.0, False))
    assert rows(features(bench, table, 4, 6), "count") == [1, 0]
    assert fact(bench.snapshot(ORDERS, table), "data.snapshotted").body["no_event"] == 1


def test_a_deletion_is_not_held_against_checks_and_versions_are_no_copies(bench: Bench) -> None:
    unique = EventSource(
        "orders", "o.csv", event_id="id", event_time="due", available_at="told", updates="replace", deleted="gone",
        checks=[Unique(["id"], stop=True)],
    )  # fmt: skip
    table = orders(("a", 1, 2, 10.0, False), ("a", 1, 5, 30.0, False), ("a", None, 7, None, True))
    assert bench.table(bench.clean(unique, table)).num_rows == 2


def test_versions_that_become_available_together_need_an_order(bench: Bench) -> None:
    table = orders(("a", 1, 2, 10.0, False), ("a", 1, 2, 30.0, False), ("b", 1, 2, 1.0, False))
    with pytest.raises(
        DataError, match=r"orders: 1 events have versions that became available at the same time, .* with version="
    ):
        bench.snapshot(ORDERS, table)
    ordered = EventSource(
        "orders", "o.csv", event_id="id", event_time="due", available_at="told", updates="replace", version="-value"
    )
    assert sorted(rows(bench.table(bench.clean(ordered, table)), "value", "_version")) == [
        (1.0, 1),
        (10.0, 2),
        (30.0, 1),
    ]
    same = EventSource(
        "orders", "o.csv", event_id="id", event_time="due", available_at="told", updates="replace", version="k"
    )
    with pytest.raises(DataError, match="at the same time with the same version="):
        bench.snapshot(same, table)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event_id": None, "available_at": "told"}, "updates='replace' needs event_id="),
        ({"available_at": Delay("1h")}, r"available_at=Delay\('1h'\) says the same of all. Name the column"),
        ({"updates": "append", "version": "v"}, "version= is for updates='replace'"),
        ({"updates": "append", "deleted": "v"}, "deleted= is for updates='replace'"),
        ({"updates": "upsert"}, "EventSource.updates is 'upsert'. It takes 'append' or 'replace'"),
    ],
)
def test_a_source_that_cannot_tell_its_versions_apart_is_refused(fields: dict[str, Any], message: str) -> None:
    base = {"event_id": "id", "event_time": "due", "available_at": "told", "updates": "replace"}
    with pytest.raises(InvalidDefinitionError, match=message):
        EventSource("orders", "o.csv", **(base | fields))


def test_a_label_is_that_of_the_newest_version_within_the_horizon(bench: Bench) -> None:
    """It matures with that version: who trains between two versions does not see the second."""
    table = orders(
        ("m0", 3, 4, 1.0, False), ("m0", 3, 9, 0.0, False), ("m0", 3, 40, 1.0, False), ("m1", 3, 4, 1.0, False), ("m1", 3, 6, None, True)
    )  # fmt: skip

    def labels(as_of: int) -> list[Any]:
        clean = {
            "clean:orders": bench.clean(ORDERS, table, as_of),
            "clean:asked": bench.clean(ASKED, asked(2, 2), as_of),
        }
        spine = bench.spine(EventSpine(ASKED, "t"), Label("value > 0", ORDERS, "1d"), clean, as_of)
        return rows(bench.table(spine.outputs["spine"]), "label", "matured_at", "status")

    assert labels(us(5)) == [(1, us(4), "matured"), (1, us(4), "matured")]
    assert labels(us(10)) == [(0, us(9), "matured"), (None, None, "pending")]
    assert labels(FAR) == [(0, us(9), "matured"), (None, None, "missing")]


def test_an_event_that_was_taken_back_did_not_occur_and_the_label_waits_for_that(bench: Bench) -> None:
    table = orders(
        ("a", 3, 4, 1.0, False), ("a", 3, 20, None, True), ("b", 13, 14, 1.0, False), ("b", 13, 30, 2.0, False)
    )

    def labels(as_of: int) -> list[Any]:
        clean = {
            "clean:orders": bench.clean(ORDERS, table, as_of),
            "clean:asked": bench.clean(ASKED, asked(2, 12), as_of),
        }
        spine = bench.spine(EventSpine(ASKED, "t"), Occurs(ORDERS, "5h"), clean, as_of)
        return rows(bench.table(spine.outputs["spine"]), "label", "matured_at")

    assert labels(us(19)) == [(1, us(7)), (1, us(17))]
    assert labels(us(25)) == [(0, us(20)), (1, us(17))]
    assert labels(FAR) == [(0, us(20)), (1, us(30))]


def test_a_moment_follows_from_the_version_that_was_known_then(bench: Bench) -> None:
    """``a`` is put off before it is due, and asked twice; ``b`` is put off after its moment, and asked once."""
    table = orders(
        ("a", 10, 1, 1.0, False), ("a", 20, 5, 2.0, False), ("b", 10, 1, 3.0, False), ("b", 10, 12, 4.0, False), ("c", 10, 1, 5.0, False),
        ("c", 10, 5, None, True),
    )  # fmt: skip
    spine = EventSpine(ORDERS, "due - INTERVAL 2 HOUR")
    clean = {"clean:orders": bench.clean(ORDERS, table)}
    inputs = clean | {"spine": bench.spine(spine, Label("value > 2", ORDERS, "1d"), clean).outputs["spine"]}
    found = bench.table(inputs["spine"])
    assert rows(found, "unit", "predict_at") == [("b", us(8)), ("a", us(18))]
    assert rows(bench.feature(ORDERS["value"], spine, inputs), "value") == [3.0, 2.0]
    early = orders(("a", 10, 1, 1.0, False), ("a", 20, 9, 2.0, False))
    clean = {"clean:orders": bench.clean(ORDERS, early)}
    found = bench.table(bench.spine(spine, Label("value > 2", ORDERS, "1d"), clean).outputs["spine"])
    assert rows(found, "unit", "predict_at", "label") == [("a", us(8), 0), ("a", us(18), 0)]


@given(logs, moments, st.integers(1, 24))
@settings(max_examples=10, deadline=None)
def test_features_of_corrected_events_as_of_a_time_are_what_they_will_ever_be(
    bench: Bench, log: list[Any], at_moments: list[Any], as_of: int
) -> None:
    view = FeatureView(
        "x",
        REPLACED,
        ["k", "n"],
        [Count(windows=["3h", "1d"]), Variance("v", windows=["1d"]), Sum("w", windows=["1d"], where="f")],
    )

    def made(moment: int) -> list[Any]:
        case = Case(bench, log, at_moments, "replace", moment)
        times = bench.table(case.inputs["spine"]).column("predict_at").to_pylist()
        past = pa.array([n for n, t in enumerate(times) if t <= us(as_of)], pa.int64())
        tables = [bench.feature(feature, SPINE, case.inputs).take(past) for feature in (view, Last(REPLACED["v", "w"]))]
        return [table.to_pylist() for table in tables]

    assert made(us(as_of)) == made(us(1000))


def test_rows_of_a_dimension_that_would_multiply_what_they_are_joined_to_are_refused(bench: Bench) -> None:
    source = EntitySource("accounts", "a.csv", entities=["id"], valid_from="f")
    table = pa.table(
        {"id": ["x", "x", "y"], "f": pa.array([at(1), at(1), at(1)], TIME), "plan": ["basic", "pro", "pro"]}
    )
    message = "accounts: id and valid_from name 1 rows more than once, one of them 2 times, so a join would multiply"
    with pytest.raises(DataError, match=message):
        bench.snapshot(source, table)
