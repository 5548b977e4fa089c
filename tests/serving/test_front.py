"""What comes before an endpoint: names of requests, types and sizes of bodies, keys, and whatever bytes there are."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.errors import FieldError
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.endpoints import Endpoints, Service
from sterling.serving.front import QUEUED
from sterling.serving.keys import Keys, add_key
from sterling.serving.released import Follower
from sterling.serving.requests import Limits, RefusedRequestError, read_request
from sterling.serving.server import Server
from tests.serving.test_server import ROW, put_model, release


@pytest.fixture
def follower(tmp_path: Path) -> Follower:
    ledger, store = SQLiteLedger(tmp_path / "ledger.db", "late-arrivals"), LocalStore(tmp_path / "store")
    release(ledger, put_model(store, 0.25), 1)
    return Follower(ledger, store)


@pytest.fixture
def url(follower: Follower) -> Iterator[str]:
    with Server(follower.ledger, follower.store).in_background() as address:
        yield address


class Said(dict[str, Any]):
    """An answer of the application, without a socket."""


def ask(
    follower: Follower, body: bytes = b"", path: str = "/v1/predict", method: str = "POST", *,
    headers: dict[str, str] | None = None, service: Service | None = None, scope: dict[str, Any] | None = None,
) -> Said:  # fmt: skip
    """What the application answers, without a socket."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    named = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    asked = {"type": "http", "method": method, "path": path, "headers": named, **(scope or {})}
    asyncio.run(Endpoints(follower, service or Service()).front()(asked, receive, send))
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Said(status=sent[0]["status"], headers=answered, body=sent[1]["body"], json=_json(sent[1]["body"]))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_a_request_or_refused(body: bytes) -> None:
    status, rows = 200, list[Any]()
    try:
        rows = list(read_request(body, Limits()).rows)
    except RefusedRequestError as error:
        status = error.status
    assert status in {200, 400, 422}
    assert all(isinstance(row, dict) for row in rows)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rows", "distance", "carrier", "features", "predict_at", "unit", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Follower:
    folder = tmp_path_factory.mktemp("fuzzed")
    ledger, store = SQLiteLedger(folder / "ledger.db", "late-arrivals"), LocalStore(folder / "store")
    release(ledger, put_model(store, 0.25), 1)
    return Follower(ledger, store)


@settings(max_examples=200, deadline=None)
@given(value=JSON)
def test_whatever_json_comes_is_answered_or_refused_with_a_problem(fuzzed: Follower, value: Any) -> None:
    answer = ask(fuzzed, json.dumps(value).encode())
    if answer["status"] == 200:
        assert all(score == 0.25 for score in answer["json"]["scores"])
    else:
        assert answer["status"] in {400, 422}
        assert answer["headers"]["content-type"] == "application/problem+json"
        assert answer["json"]["detail"].endswith((".", "?", ")"))


@pytest.mark.parametrize(
    ("row", "field", "kind"),
    [
        ({"distnace": 1, "carrier": None}, "distnace", "unknown-field"),
        ({"distance": 1}, "carrier", "missing-field"),
        ({"distance": "far", "carrier": None}, "distance", "wrong-type"),
        ({"distance": 10**400, "carrier": None}, "distance", "wrong-type"),
        ({"distance": 1, "carrier": "ZZ"}, "carrier", "unseen-category"),
        ({"distance": 1, "carrier": ["UA"]}, "carrier", "wrong-type"),
        ({"distance": 1, "carrier": "x" * 3_000_000}, "carrier", "unseen-category"),
    ],
)
def test_a_problem_names_the_field(follower: Follower, row: dict[str, Any], field: str, kind: str) -> None:
    answer = ask(follower, json.dumps(row).encode())
    assert (answer["status"], answer["json"]["field"]) == (422, field)
    assert answer["json"]["type"] == f"urn:sterling:problem:{kind}"
    assert len(answer["body"]) < 600


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ({"Content-Type": "text/csv"}, 415, "Content-Type"),
        ({"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        ({"X-Request-Id": "two words"}, 400, "X-Request-Id"),
        ({"X-Request-Id": "x" * 129}, 400, "X-Request-Id"),
    ],
)
def test_a_header_that_cannot_be_meant_is_refused_by_name(
    follower: Follower, headers: dict[str, str], status: int, field: str
) -> None:
    answer = ask(follower, json.dumps(ROW).encode(), headers=headers)
    assert (answer["status"], answer["json"]["field"]) == (status, field)


def test_ten_megabytes_and_deep_json_are_refused(follower: Follower) -> None:
    assert ask(follower, json.dumps({"carrier": "x" * 10_000_000}).encode())["status"] == 413
    assert ask(follower, b'{"carrier":' * 100_000)["status"] == 400


def test_a_body_that_does_not_come_is_not_waited_for(follower: Follower) -> None:
    limits = Limits(body_seconds=0.2)
    with Server(follower.ledger, follower.store, limits=limits).in_background() as address:
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert b" 408 " in client.recv(1_000)


def test_each_answer_names_its_request(url: str) -> None:
    answers = [httpx.post(f"{url}/v1/predict", json=ROW) for _ in range(2)]
    assert all(answer.json()["request_id"] == answer.headers["x-request-id"] for answer in answers)
    assert len({answer.json()["request_id"] for answer in answers}) == 2


def test_requests_beyond_the_queue_are_shed(follower: Follower) -> None:
    service = Service(Limits(queue=2))
    body = json.dumps(ROW).encode()
    shed = ask(follower, body, service=service, scope={QUEUED: 2})
    assert (shed["status"], shed["headers"]["retry-after"]) == (503, "1")
    assert ask(follower, body, service=service, scope={QUEUED: 1})["status"] == 200
    assert ask(follower, path="/health", method="GET", service=service, scope={QUEUED: 9})["status"] == 200


def test_a_key_does_what_it_may_and_no_more(follower: Follower, tmp_path: Path) -> None:
    path, body = tmp_path / "keys.json", json.dumps(ROW).encode()
    shop, prometheus = add_key(path, "shop", ["predict"]), add_key(path, "prometheus", ["operate"])
    service = Service(keys=Keys(path))

    def status(key: str | None, name: str = "/v1/predict", method: str = "POST") -> int:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        found: int = ask(follower, body, name, method, headers=headers, service=service)["status"]
        return found

    assert [status(None), status("stk_x_y"), status(shop[:-1]), status(prometheus), status(shop)] == [
        401,
        401,
        401,
        403,
        200,
    ]
    assert [status(shop, "/metrics", "GET"), status(prometheus, "/metrics", "GET")] == [403, 200]
    assert [status(None, "/health", "GET"), status(None, "/ready", "GET")] == [200, 200]
    assert shop.rpartition("_")[2] not in path.read_text()


def test_a_key_that_asks_too_often_waits(tmp_path: Path) -> None:
    now = [0.0]
    key = add_key(tmp_path / "keys.json", "shop", ["predict"], per_second=2).encode()
    keys = Keys(tmp_path / "keys.json", clock=lambda: now[0])
    for _ in range(2):
        keys.allow(key, "predict")
    with pytest.raises(RefusedRequestError, match="2 times a second") as refused:
        keys.allow(key, "predict")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    now[0] = 0.5
    keys.allow(key, "predict")


def test_a_key_that_is_taken_out_of_the_file_is_refused_soon(tmp_path: Path) -> None:
    now = [0.0]
    path = tmp_path / "keys.json"
    key = add_key(path, "shop", ["predict"]).encode()
    keys = Keys(path, clock=lambda: now[0])
    keys.allow(key, "predict")
    path.write_text('{"format": "sterling.keys/1", "keys": []}')
    now[0] = 2.0
    with pytest.raises(RefusedRequestError, match="A key is needed"):
        keys.allow(key, "predict")


def test_metrics_count_answers_latency_and_cost(follower: Follower) -> None:
    endpoints = Endpoints(follower, Service(cpu_price_hour=3.6))
    endpoints.metrics.predicted(1, rows=2, seconds=0.004, cpu_seconds=0.002)
    endpoints.metrics.answered("predict", 200)
    text = endpoints.metrics.text().decode()
    for line in (
        'sterling_requests_total{endpoint="predict",status="200"} 1.0', 'sterling_predictions_total{version="1"} 2.0',
        'sterling_prediction_seconds_bucket{le="0.005",version="1"} 1.0', 'sterling_cost_per_1000_predictions{version="1"} 0.001',
        "sterling_live_version 1.0",
    ):  # fmt: skip
        assert line in text


def test_a_field_error_is_a_data_error_of_its_row() -> None:
    assert FieldError("'x' is 1.", "x", 3).row == 3
