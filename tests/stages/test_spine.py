from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.clock import from_micros, to_micros
from sterling.core.errors import InvalidDefinitionError, NotKnownAtPredictionError
from sterling.project.sources import Delay, EntitySource, EventSource
from sterling.project.spine import EventSpine, Label, Occurs, ScheduledSpine
from sterling.stages.spine import Spine, local_moments
from tests.stages.bench import TIME, Bench, at, day, fact, rows, us

PLAN = EventSource(
    "plan",
    "p.csv",
    event_id="id",
    event_time="t",
    available_at="t - INTERVAL 9 HOUR",
    columns=["t", "k", "id"],
    known={"v": "t2"},
    entities=["k"],
)
DONE = EventSource("done", "d.csv", event_id="id", event_time="t", available_at="t2", entities=["k"])
SPINE = EventSpine(PLAN, "t - INTERVAL 2 HOUR")


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


def times(cells: Sequence[float | None]) -> pa.Array:
    return pa.array([None if cell is None else at(cell) for cell in cells], TIME)


def plan(ids: list[str], t: list[float], k: list[Any] | None = None, v: list[Any] | None = None) -> pa.Table:
    size = len(ids)
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "t": times(t),
            "t2": times([hour + 1 for hour in t]),
            "k": pa.array(k or ["a"] * size, pa.string()),
            "v": pa.array(v or [0] * size, pa.int64()),
        }
    )


def done(ids: list[str], t: list[float], t2: list[float | None], v: list[Any], k: list[Any] | None = None) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "t": times(t),
            "t2": times(t2),
            "v": pa.array(v, pa.int64()),
            "k": pa.array(k or ["a"] * len(ids), pa.string()),
        }
    )


def clean(bench: Bench, planned: pa.Table, ended: pa.Table, as_of: int) -> dict[str, Any]:
    return {"clean:plan": bench.clean(PLAN, planned, as_of), "clean:done": bench.clean(DONE, ended, as_of)}


def test_moments_are_ordered_by_time_and_unit_and_stand_on_their_rows(bench: Bench) -> None:
    inputs = clean(bench, plan(["b", "a", "c"], [5, 5, 3]), done([], [], [], []), us(99))
    made = bench.spine(SPINE, Label("v > 0", DONE, "1d"), inputs, us(99))
    table = bench.table(made.outputs["spine"])
    assert rows(table, "unit", "predict_at", "row") == [("c", us(1), 0), ("a", us(3), 1), ("b", us(3), 2)]


def test_moments_after_as_of_are_left_out_and_counted(bench: Bench) -> None:
    made = bench.spine(
        SPINE, Label("v > 0", DONE, "1d"), clean(bench, plan(["a", "b"], [5, 9]), done([], [], [], []), us(3)), us(3)
    )
    assert (fact(made, "spine.built").body["rows"], fact(made, "spine.built").body["after_as_of"]) == (1, 1)


def test_a_condition_that_is_known_only_later_is_refused(bench: Bench) -> None:
    inputs = clean(bench, plan(["a", "b"], [5, 9]), done([], [], [], []), us(99))
    with pytest.raises(
        NotKnownAtPredictionError,
        match=r"EventSpine.where reads 'v' of plan, which becomes known at t2; .* In 2 of 2 rows it is known only afterwards",
    ):
        bench.spine(EventSpine(PLAN, "t", where="v = 0"), Label("v > 0", DONE, "1d"), inputs)
    with pytest.raises(
        NotKnownAtPredictionError,
        match=r"EventSpine.predict_at reads 't2' of plan, which stands in neither columns= nor known=",
    ):
        bench.spine(EventSpine(PLAN, "t2"), Label("v > 0", DONE, "1d"), inputs)


def test_a_moment_must_be_a_time(bench: Bench) -> None:
    inputs = clean(bench, plan(["a"], [5]), done([], [], [], []), us(99))
    with pytest.raises(
        InvalidDefinitionError,
        match=r"EventSpine.predict_at is 'hour\(t\)', which is int64. It must be a time with a zone",
    ):
        bench.spine(EventSpine(PLAN, "hour(t)"), Label("v > 0", DONE, "1d"), inputs)


def test_the_cluster_is_a_column_of_the_row(bench: Bench) -> None:
    inputs = clean(bench, plan(["a", "b"], [5, 6], ["x", None]), done([], [], [], []), us(99)) | {
        "as_of": bench.as_of(us(99))
    }
    found = bench.run(Spine(SPINE, Label("v > 0", DONE, "1d"), "k"), inputs)
    assert rows(bench.table(found.outputs["spine"]), "cluster") == ["x", None]
    with pytest.raises(
        InvalidDefinitionError, match=r"Project.cluster is 'kk', which plan does not list. Did you mean 'k'\?"
    ):
        bench.run(Spine(SPINE, Label("v > 0", DONE, "1d"), "kk"), inputs)


ends = st.lists(
    st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(0, 40)), st.one_of(st.none(), st.integers(-1, 1))),
    max_size=8,
)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), ends, st.integers(0, 40), st.sampled_from(["drop", 1]))
@settings(max_examples=30, deadline=None)
def test_labels_mature_when_their_event_is_known_and_are_missing_after_the_horizon(
    bench: Bench, planned: list[int], ended: list[Any], as_of: int, missing: Any
) -> None:
    ids = [f"e{n}" for n in range(8)]
    inputs = clean(
        bench, plan(ids[: len(planned)], list(map(float, planned))),
        done(ids[: len(ended)], [e[0] for e in ended], [e[1] for e in ended], [e[2] for e in ended]), us(as_of),
    )  # fmt: skip
    found = bench.table(
        bench.spine(SPINE, Label("v > 0", DONE, "6h", missing=missing), inputs, us(as_of)).outputs["spine"]
    )
    expected: dict[str, Any] = {}
    for n, hour in enumerate(planned):
        t = hour - 2
        if t > as_of or hour - 9 > as_of:
            continue
        _, known, value = ended[n] if n < len(ended) else (0, None, None)
        if value is not None and known is not None and known <= as_of and known <= t + 6:
            expected[ids[n]] = ("matured", int(value > 0), us(known))
        elif t + 6 > as_of:
            expected[ids[n]] = ("pending", None, None)
        else:
            expected[ids[n]] = ("missing", None, None) if missing == "drop" else ("matured", 1, us(t + 6))
    assert {row[0]: row[1:] for row in rows(found, "unit", "status", "label", "matured_at")} == expected


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 20)), min_size=1, max_size=6),
    st.lists(
        st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 30), st.integers(0, 12), st.integers(0, 1)),
        max_size=12,
    ),
    st.integers(0, 40),
)
@settings(max_examples=30, deadline=None)
def test_a_forward_window_matures_when_it_has_closed_and_what_is_in_it_is_known(
    bench: Bench, planned: list[Any], events: list[Any], as_of: int
) -> None:
    ids = [f"e{n}" for n in range(12)]
    inputs = clean(
        bench, plan(ids[: len(planned)], [float(p[1]) for p in planned], [p[0] for p in planned]),
        done(ids[: len(events)], [e[1] for e in events], [e[1] + e[2] for e in events], [e[3] for e in events], [e[0] for e in events]),
        us(as_of),
    )  # fmt: skip
    found = bench.table(bench.spine(SPINE, Occurs(DONE, "5h", where="v > 0"), inputs, us(as_of)).outputs["spine"])
    expected: dict[str, Any] = {}
    for n, (key, hour) in enumerate(planned):
        t = hour - 2
        if t > as_of or hour - 9 > as_of:
            continue
        inside = [
            e[1] + e[2]
            for e in events
            if key is not None and e[0] == key and t < e[1] <= t + 5 and e[3] and e[1] + e[2] <= as_of
        ]
        known = max([t + 5, *inside])
        expected[ids[n]] = ("matured", int(bool(inside)), us(known)) if known <= as_of else ("pending", None, None)
    assert {row[0]: row[1:] for row in rows(found, "unit", "status", "label", "matured_at")} == expected


def test_a_window_of_a_delayed_source_matures_only_when_the_delay_has_passed(bench: Bench) -> None:
    late = EventSource("done", "d.csv", event_time="t", available_at=Delay("3h"), entities=["k"])
    inputs = {
        "clean:plan": bench.clean(PLAN, plan(["a"], [5])),
        "clean:done": bench.clean(late, done(["x"], [50], [50], [1])),
    }
    found = bench.table(bench.spine(SPINE, Occurs(late, "1h"), inputs, us(99)).outputs["spine"])
    assert rows(found, "label", "matured_at") == [(0, us(3 + 1 + 3))]


ACCOUNTS = EntitySource("accounts", "a.csv", entities=["id"], valid_from="f", valid_to="u", available_at="a")
LEFT = EventSource("left", "l.csv", event_time="t", available_at=Delay("0m"), entities=["id"])


def accounts(history: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*history, strict=True))
    dates = {
        name: pa.array([None if cell is None else day(cell) for cell in columns[index]], TIME)
        for index, name in ((1, "f"), (2, "u"), (3, "a"))
    }
    return pa.table({"id": list(columns[0]), **dates, "status": list(columns[4])})


def test_a_population_is_who_is_true_and_known_at_each_moment(bench: Bench) -> None:
    history = accounts([
        ("x", "2025-03-01", None, "2025-03-01", "active"),
        ("y", "2025-03-01", "2025-03-20", "2025-03-01", "active"),
        ("y", "2025-03-20", None, "2025-03-26", "closed"),
        ("z", "2025-03-12", None, "2025-03-18", "active"),
    ])  # fmt: skip
    spine = ScheduledSpine(ACCOUNTS, every="MON 06:00", tz="Europe/Berlin", where="status = 'active'")
    end = to_micros(day("2025-04-01"))
    gone = pa.table({"id": ["x"], "t": pa.array([day("2025-03-12")], TIME)})
    inputs = {"clean:accounts": bench.clean(ACCOUNTS, history, end), "clean:left": bench.clean(LEFT, gone, end)}
    found = bench.table(bench.spine(spine, Occurs(LEFT, "7d"), inputs, end).outputs["spine"])
    assert rows(found, "unit", "label", "status") == [
        ("x@2025-03-03T05:00:00Z", 0, "matured"),
        ("y@2025-03-03T05:00:00Z", 0, "matured"),
        ("x@2025-03-10T05:00:00Z", 1, "matured"),
        ("y@2025-03-10T05:00:00Z", 0, "matured"),
        ("x@2025-03-17T05:00:00Z", 0, "matured"),
        ("y@2025-03-17T05:00:00Z", 0, "matured"),
        ("x@2025-03-24T05:00:00Z", 0, "matured"),
        ("z@2025-03-24T05:00:00Z", 0, "matured"),
        ("x@2025-03-31T04:00:00Z", None, "pending"),
        ("z@2025-03-31T04:00:00Z", None, "pending"),
    ]


def test_a_skipped_local_time_moves_forward_and_a_doubled_one_means_the_first() -> None:
    def moments(every: str, date: str) -> list[str]:
        noon = datetime.fromisoformat(f"{date}T12:00:00").replace(tzinfo=ZoneInfo("Europe/Berlin"))
        found = local_moments(every, "Europe/Berlin", to_micros(noon - timedelta(hours=14)), to_micros(noon))
        return [from_micros(t).isoformat() for t in found.tolist()]

    assert moments("SUN 02:30", "2025-03-30") == ["2025-03-30T01:30:00+00:00"]
    assert moments("SUN 02:30", "2025-10-26") == ["2025-10-26T00:30:00+00:00"]
    assert moments("DAY 06:00", "2025-03-30") == ["2025-03-30T04:00:00+00:00"]


def test_a_calendar_reaches_from_its_first_to_its_last_moment_inclusive() -> None:
    week = 7 * 24 * 3_600_000_000
    first = to_micros(day("2025-01-06"))
    assert np.diff(local_moments("MON 00:00", "UTC", first, first + 3 * week)).tolist() == [week] * 3
