"""Rows that arrive become states: all of them, each once, whatever is killed, and whoever else does the same."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.clock import from_micros
from sterling.core.errors import DataError, SterlingError
from sterling.engine.duckdb import DuckDBEngine
from sterling.features.applier import Applier, fill
from sterling.features.arriving import RowReader
from sterling.features.clocks import events_of, kept_columns, with_clocks
from sterling.features.event_log import EventLog
from sterling.features.online import State, ViewPlan
from sterling.features.online_sqlite import SQLiteOnlineStore
from sterling.features.online_store import OnlineStore, connect_online, offset_key, state_key
from sterling.project.aggregates import Count
from sterling.project.features import FeatureView
from sterling.project.sources import Delay, EventSource
from tests.adapters.valkey import running_valkey
from tests.features.arrivals import (
    HOUR,
    LATER,
    PLANS,
    READERS,
    START,
    TYPES,
    answers,
    applier,
    flight,
    order,
    pushes,
    states,
)  # fmt: skip

ENGINE = DuckDBEngine(1)
SQL_TYPES = {
    "int64": "BIGINT", "string": "VARCHAR", "double": "DOUBLE", "bool": "BOOLEAN", "decimal128(9, 2)": "DECIMAL(9, 2)",
    "timestamp[us, tz=UTC]": "TIMESTAMPTZ",
}  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "online.db", READERS)


@pytest.fixture
def store(tmp_path: Path) -> OnlineStore:
    return SQLiteOnlineStore(tmp_path / "state.db")


def whole(parts: list[tuple[str, list[dict[str, Any]]]]) -> dict[str, pa.Table]:
    """The tables that a warehouse would hold in the end, made without the log, with clocks."""
    flights: dict[int, dict[str, Any]] = {}
    orders: dict[str, dict[str, Any]] = {}
    for source, rows in parts:
        for row in rows:
            if source == "flights":
                flights.setdefault(row["id"], {}).update(row)
            else:
                orders[repr(row)] = row
    tables = {}
    for source, rows in (("flights", [*flights.values()]), ("orders", [*orders.values()])):
        plan = next(plan for plan in PLANS if plan.source.name == source)
        names = {name: pa.array([row.get(name) for row in rows]) for name in TYPES[source]}
        sql = ", ".join(f"CAST({name} AS {SQL_TYPES[kind]}) AS {name}" for name, kind in TYPES[source].items())
        raw = ENGINE.query(f"SELECT {sql} FROM made", {"made": pa.table(names)})
        table = with_clocks(plan.source, kept_columns(plan.source, raw.schema.names), raw, ENGINE)
        tables[source] = events_of(table) if source == "orders" else table
    return tables


def filled(parts: list[tuple[str, list[dict[str, Any]]]], folder: Path) -> OnlineStore:
    store = SQLiteOnlineStore(folder / "filled.db")
    tables = whole(parts)
    for plan in PLANS:
        assert fill(store, "shop", plan, tables[plan.source.name], ENGINE, at=LATER)
    return store


@given(st.integers(0, 2**32), st.integers(1, 25), st.sampled_from([3, 1000]))
@settings(max_examples=8, deadline=None)
def test_rows_in_any_order_and_in_any_parts_give_the_state_of_the_whole_table(
    seed: int, size: int, at_once: int
) -> None:
    parts = pushes(seed, size)
    with tempfile.TemporaryDirectory() as folder:
        log, store = EventLog(Path(folder) / "online.db", READERS), SQLiteOnlineStore(Path(folder) / "state.db")
        following = applier(log, store, at_once=at_once)
        for number, (source, rows) in enumerate(parts):
            assert not log.push(source, rows).refused
            if number % 3 == 0:
                following.step()
        while following.step():
            pass
        assert list(answers(store)) == list(answers(filled(parts, Path(folder))))


@pytest.mark.parametrize("at_once", [5, 1000])
@pytest.mark.parametrize("seed", range(2))
def test_many_rows_give_the_state_of_the_whole_table(tmp_path: Path, log: EventLog, seed: int, at_once: int) -> None:
    parts = pushes(seed, 500)  # enough that versions of one event are seen at one time
    for source, rows in parts:
        log.push(source, rows)
    assert list(answers(undisturbed(log, tmp_path, at_once=at_once))) == list(answers(filled(parts, tmp_path)))


def test_a_view_goes_on_from_the_table_that_it_was_made_of(tmp_path: Path, log: EventLog) -> None:
    parts = pushes(7, 40)
    first, rest = parts[: len(parts) // 2], parts[len(parts) // 2 :]
    for source, rows in first:
        log.push(source, rows)
    head, store = log.head(), SQLiteOnlineStore(tmp_path / "state.db")
    tables = whole(first)
    for plan in PLANS:
        assert fill(store, "shop", plan, tables[plan.source.name], ENGINE, at=LATER, offset=head)
        assert not fill(store, "shop", plan, tables[plan.source.name], ENGINE, at=LATER, offset=head)
    for source, rows in rest:
        log.push(source, rows)
    while applier(log, store).step():
        pass
    assert list(answers(store)) == list(answers(filled(parts, tmp_path)))


def test_a_batch_is_taken_once_by_those_who_follow_together(tmp_path: Path, log: EventLog) -> None:
    for source, rows in pushes(3, 60):
        log.push(source, rows)
    url = f"sqlite:{tmp_path}/state.db"
    both = [threading.Thread(target=drain, args=(EventLog(tmp_path / "online.db", READERS), url)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert states(connect_online(url)) == states(undisturbed(log, tmp_path))


def drain(log: EventLog, url: str, *, at_once: int = 5) -> None:
    following = applier(log, connect_online(url), at_once=at_once)
    while following.step():
        pass


def undisturbed(log: EventLog, folder: Path, *, at_once: int = 5) -> OnlineStore:
    url = f"sqlite:{folder}/undisturbed.db"
    drain(log, url, at_once=at_once)
    return connect_online(url)


@pytest.fixture(params=["sqlite", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/state.db"
    else:
        with running_valkey() as server:
            yield server.url


def kill_at_random(log: EventLog, folder: Path, url: str, *, kills: int, size: int, seed: int) -> None:
    """Two processes follow while rows are pushed, and are killed at random points, again and again."""
    parts, chance = pushes(seed, size), random.Random(seed)
    share = len(parts) // kills
    for kill in range(kills):
        for source, rows in parts[kill * share : (kill + 1) * share]:
            log.push(source, rows)
        running = [follow(folder, url) for _ in range(2)]
        for process in running:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.random() * 0.25)
        for process in running:
            process.kill()
            process.communicate()
    for source, rows in parts[kills * share :]:
        log.push(source, rows)
    drain(log, url, at_once=1000)


def follow(folder: Path, url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.features.arrivals", str(folder), url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_those_who_are_killed_at_any_point_lose_nothing_and_count_nothing_twice(
    log: EventLog, tmp_path: Path, url: str
) -> None:
    kill_at_random(log, tmp_path, url, kills=2, size=200, seed=11)
    check_nothing_is_lost(log, tmp_path, url)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_those_who_are_killed_often_lose_nothing_and_count_nothing_twice(
    log: EventLog, tmp_path: Path, url: str, seed: int
) -> None:
    kill_at_random(log, tmp_path, url, kills=6, size=500, seed=seed)
    check_nothing_is_lost(log, tmp_path, url)


def check_nothing_is_lost(log: EventLog, folder: Path, url: str) -> None:
    """The state is that of a run without disturbance: the same answers, and the same offset."""
    expected = undisturbed(log, folder, at_once=1000)
    found = connect_online(url)
    assert list(answers(found)) == list(answers(expected))
    assert any(any(cells) for cells in answers(found))
    assert applier(log, found).offsets() == applier(log, expected).offsets()


def test_a_version_that_nothing_orders_is_left_out_and_counted(log: EventLog, store: OnlineStore) -> None:
    log.push("orders", [order("o", START, START, price="1.00"), order("p", START, START, price="5.00")])
    log.push("orders", [order("o", START, START, price="2.00")])
    following = applier(log, store)
    while following.step():
        pass
    assert list(answers(store, START + HOUR))[-2][0] == 6.0
    assert log.refused() == {("orders", "tied"): 1}


def test_a_version_that_came_before_the_one_that_it_follows_takes_its_place(log: EventLog, store: OnlineStore) -> None:
    following = applier(log, store)
    for number, price in ((3, "3.00"), (1, "1.00"), (2, "2.00")):
        log.push("orders", [order("o", START, START + number * HOUR, number=number, price=price)])
        following.step()
    assert list(answers(store, START + 4 * HOUR))[-2][:2] == (3.0, 3.0)


def test_a_cell_that_is_filled_in_takes_back_what_was_said_of_it_being_empty(tmp_path: Path) -> None:
    parked = EventSource("parked", "p.parquet", event_id="id", event_time="since", available_at=Delay("0m"), entities=["k"])  # fmt: skip
    counts = [Count(windows=["24h"], where="tail IS NULL", name="nameless"), Count("tail", windows=["24h"])]
    single = Single(tmp_path, FeatureView("v", parked, ["k"], counts), {"id": "int64", "k": "string", "since": TIME, "tail": "string"})  # fmt: skip
    row = {"id": 1, "k": "a", "since": from_micros(START).isoformat()}
    assert single.after(row, {**row, "id": 2}) == (2, 0)
    assert single.after({**row, "tail": "N1"}) == (1, 1)


def test_changes_of_later_times_wait(tmp_path: Path, log: EventLog) -> None:
    store = SQLiteOnlineStore(tmp_path / "state.db")
    log.push("flights", [flight(1, LATER + HOUR), flight(2, LATER - HOUR)])
    applier(log, store).step()
    count = PLANS[0].names.index("late_count_24h")
    assert [next(answers(store, LATER + wait * HOUR))[count] for wait in (0, 1, 2)] == [1, 1, 2]


def test_a_row_on_which_an_expression_fails_holds_up_no_other(tmp_path: Path) -> None:
    single = said(tmp_path, "CAST(said AS TIMESTAMPTZ)")
    rows = [{"id": n, "k": "a", "said": "yesterday" if n == 2 else from_micros(START).isoformat()} for n in range(4)]
    assert single.after(*rows) == (3,)


def test_an_expression_that_can_never_be_computed_is_refused_before_any_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DuckDB refuses"):
        said(tmp_path, "CAST(said AS TIMESTAMPTZ) + said")


TIME = "timestamp[us, tz=UTC]"


def said(folder: Path, event_time: str) -> Single:
    raw = EventSource("raw", "raw.parquet", event_id="id", event_time=event_time, available_at=Delay("0m"), entities=["k"])  # fmt: skip
    view = FeatureView("v", raw, ["k"], [Count(windows=["24h"])])
    return Single(folder, view, {"id": "int64", "k": "string", "said": "string"})


class Single:
    """One view and the entity a."""

    def __init__(self, folder: Path, view: FeatureView, types: dict[str, str]) -> None:
        self.plan, self.source = ViewPlan(view, types), view.source
        self.log = EventLog(folder / "online.db", [RowReader(view.source, types)])
        self.store = SQLiteOnlineStore(folder / "state.db")
        self.store.put({offset_key("shop", self.plan.digest): b"0"})
        self.following = Applier(self.log, self.store, "shop", [self.plan], {view.source.name: types}, ENGINE)

    def after(self, *rows: dict[str, Any]) -> tuple[Any, ...]:
        """What the view says when these rows have come too."""
        assert not self.log.push(self.source.name, rows).refused
        while self.following.step():
            pass
        (packed,) = self.store.get([state_key("shop", self.plan.digest, b'["a"]')])
        assert packed
        return State.unpack(self.plan, packed).read(START + HOUR)


def test_an_event_of_the_history_that_ended_before_it_was_due_is_pending_no_more(tmp_path: Path, log: EventLog) -> None:
    due, store = START + 10 * HOUR, SQLiteOnlineStore(tmp_path / "state.db")
    table = whole([("flights", [flight(1, due)]), ("orders", [])])["flights"]
    assert fill(store, "shop", PLANS[0], table, ENGINE, at=START)
    log.push("flights", [flight(1, due, delay=-30.0)])
    while applier(log, store, plans=[PLANS[0]]).step():
        pass
    (packed,) = store.get([state_key("shop", PLANS[0].digest, b'["JFK"]')])
    assert packed is not None
    found = dict(zip(PLANS[0].names, State.unpack(PLANS[0], packed).read(LATER - 180 * HOUR), strict=True))
    assert found["late_pending_48h"] == 0


def test_a_view_whose_state_is_lost_is_not_begun_anew_without_its_history(log: EventLog, store: OnlineStore) -> None:
    following = applier(log, store, plans=[PLANS[0]])
    log.push("flights", [flight(1, START, delay=5.0)])
    assert following.step()
    store.put(dict.fromkeys([offset_key("shop", PLANS[0].digest), state_key("shop", PLANS[0].digest, b'["JFK"]')]))
    with pytest.raises(SterlingError, match=r"holds no state of 'late'. Build it: sterling features build"):
        following.step()
