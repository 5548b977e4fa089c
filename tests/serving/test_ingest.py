"""Rows that are pushed to the server, over real sockets, and what becomes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sterling.core.errors import StorageError
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.features.event_log import EventLog
from sterling.features.online_sqlite import SQLiteOnlineStore
from sterling.features.tail import FileTail
from sterling.serving.ingest import Ingestion, ingestion_of
from sterling.serving.requests import Limits
from sterling.serving.server import Server
from tests.features.arrivals import (
    LATER,
    READERS,
    START,
    TYPES,
    answers,
    applier,
    flight,
    order,
    project,
)
from tests.serving.test_server import ROW, put_model, release

PATIENCE_SECONDS = 20.0


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "online.db", READERS)


@pytest.fixture
def states(tmp_path: Path) -> SQLiteOnlineStore:
    return SQLiteOnlineStore(tmp_path / "state.db")


@pytest.fixture
def url(tmp_path: Path, log: EventLog, states: SQLiteOnlineStore) -> Iterator[str]:
    ingestion = Ingestion(log, lambda: applier(log, states), [FileTail(log, "flights", tmp_path / "flights.jsonl")])
    with serving(tmp_path, ingestion) as address:
        yield address


def serving(folder: Path, ingestion: Ingestion) -> Any:
    ledger, store = SQLiteLedger(folder / "ledger.db", "shop"), LocalStore(folder / "store")
    release(ledger, put_model(store, 0.25), 1)
    return Server(ledger, store, limits=Limits(rows=3, body_bytes=2_000), ingestion=ingestion).in_background()


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_rows_that_are_pushed_are_durable_and_become_states(url: str, log: EventLog, states: SQLiteOnlineStore) -> None:
    rows = [flight(1, LATER - 3_600_000_000), flight(2, START)]
    answer = httpx.post(f"{url}/v1/events/flights", json={"rows": rows})
    assert (answer.status_code, answer.json()) == (200, {"offset": 2, "taken": 2, "repeated": 0, "refused": []})
    assert log.head() == 2
    until(lambda: next(answers(states))[2] == 1)
    assert httpx.post(f"{url}/v1/events/flights", json={"rows": rows}).json()["repeated"] == 2


def test_a_file_is_followed_while_the_server_runs(url: str, tmp_path: Path, states: SQLiteOnlineStore) -> None:
    (tmp_path / "flights.jsonl").write_text(json.dumps(flight(1, LATER - 3_600_000_000)) + "\n")
    until(lambda: next(answers(states))[2] == 1)


def test_a_project_takes_rows_of_the_events_that_its_windows_read(tmp_path: Path, states: SQLiteOnlineStore) -> None:
    tails = {"flights": tmp_path / "flights.jsonl"}
    with serving(tmp_path, ingestion_of(project, TYPES, states, tmp_path / "online.db", tails)) as address:
        assert httpx.post(f"{address}/v1/events/orders", json=order("o", START, START)).json()["offset"] == 1
        tails["flights"].write_text(json.dumps(flight(1, START)) + "\n")
        offsets = applier(EventLog(tmp_path / "online.db", READERS), states).offsets
        until(lambda: list(offsets().values()) == [2, 2, 1])


def test_rows_are_refused_one_by_one(url: str, log: EventLog) -> None:
    answer = httpx.post(f"{url}/v1/events/flights", json={"rows": [flight(1, START), {"id": 2, "orign": "JFK"}]})
    assert answer.status_code == 200
    assert answer.json()["refused"] == [{"row": 1, "reason": "flights has no column 'orign'. Did you mean 'origin'?"}]
    answer = httpx.post(f"{url}/v1/events/flights", json={"id": 3})
    assert answer.status_code == 422
    assert log.head() == 1


@pytest.mark.parametrize(
    ("source", "body", "status", "said"),
    [
        ("flight", b'{"rows": [{}]}', 404, "Did you mean 'flights'?"),
        ("flights", b"{", 400, "no JSON"),
        ("flights", b'{"rows": []}', 400, "No rows"),
        ("flights", json.dumps({"rows": [{}] * 4}).encode(), 422, "Send 3 at most"),
        ("flights", b" " * 2_001, 413, "larger than 2,000 bytes"),
    ],
)
def test_what_is_no_push_is_refused_in_one_sentence(url: str, source: str, body: bytes, status: int, said: str) -> None:
    answer = httpx.post(f"{url}/v1/events/{source}", content=body)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_a_server_that_takes_no_rows_says_so(tmp_path: Path) -> None:
    ledger, store = SQLiteLedger(tmp_path / "ledger.db", "shop"), LocalStore(tmp_path / "store")
    release(ledger, put_model(store, 0.25), 1)
    with Server(ledger, store).in_background() as address:
        assert httpx.post(f"{address}/v1/events/flights", json=flight(1, START)).status_code == 404


def test_trouble_with_applying_is_told_and_passes_while_predictions_go_on(
    tmp_path: Path, log: EventLog, states: SQLiteOnlineStore
) -> None:
    away = [True]

    class Following:
        def step(self) -> int:
            if away[0]:
                raise StorageError("valkey://cache:6379/0 cannot be reached.")
            return applier(log, states).step()

    with serving(tmp_path, Ingestion(log, Following)) as address:
        assert httpx.post(f"{address}/v1/events/orders", json=order("o", START, START)).status_code == 200
        until(lambda: httpx.get(f"{address}/health").json()["status"] == "degraded")
        assert "cannot be reached" in httpx.get(f"{address}/health").json()["trouble"]
        assert httpx.post(f"{address}/v1/predict", json=ROW).json()["scores"] == [0.25]
        away[0] = False
        until(lambda: httpx.get(f"{address}/health").json()["status"] == "ok")
        until(lambda: applier(log, states).offsets() and list(applier(log, states).offsets().values())[2] == 1)
