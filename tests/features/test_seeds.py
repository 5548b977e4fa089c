"""Versions of the history in the log, so that a later version takes the place of the one before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sterling.engine.duckdb import DuckDBEngine
from sterling.features.applier import fill
from sterling.features.event_log import EventLog
from sterling.features.online import State
from sterling.features.online_sqlite import SQLiteOnlineStore
from sterling.features.online_store import OnlineStore, state_key
from sterling.features.seeds import seed
from tests.features.arrivals import HOUR, LATER, PLANS, READERS, START, applier, order
from tests.features.test_applier import whole

SALES = PLANS[2]
HISTORY = [order("o1", START + 200 * HOUR, START + 200 * HOUR), order("o2", START + 201 * HOUR, START + 201 * HOUR)]
LATER_VERSION = order("o1", START + 200 * HOUR, START + 205 * HOUR, shop="b", number=2, price="7.00")


def made(folder: Path) -> tuple[EventLog, OnlineStore, int]:
    table = whole([("orders", HISTORY)])["orders"]
    offset = seed(folder / "events.db", SALES.source, table)
    store = SQLiteOnlineStore(folder / "online.db")
    assert fill(store, "shop", SALES, table, DuckDBEngine(1), at=LATER, offset=offset)
    return EventLog(folder / "events.db", READERS), store, offset


def counts(store: OnlineStore) -> list[Any]:
    packed = store.get([state_key("shop", SALES.digest, shop) for shop in (b'["a"]', b'["b"]')])
    return [(State.unpack(SALES, one) if one else SALES.state()).read(LATER)[2] for one in packed]


def test_a_version_that_comes_takes_the_place_of_one_of_the_history(tmp_path: Path) -> None:
    log, store, offset = made(tmp_path)
    assert (offset, counts(store)) == (2, [2, 0])
    assert log.push("orders", [LATER_VERSION]).taken == 1
    while applier(log, store, plans=[SALES]).step():
        pass
    assert counts(store) == [1, 1]


def test_seeding_again_adds_nothing(tmp_path: Path) -> None:
    log, _, _ = made(tmp_path)
    head = log.head()
    seed(tmp_path / "events.db", SALES.source, whole([("orders", HISTORY)])["orders"])
    assert log.head() == head
