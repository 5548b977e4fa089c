"""A model behind a URL answers where a version cannot, over real HTTP, and holds nobody up."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from sterling.core.errors import InvalidDefinitionError
from sterling.decisions.release import release
from sterling.models import Constant, Model
from sterling.project.definition import to_json
from sterling.project.external import ExternalModel
from sterling.project.fallbacks import Cached, External, check_fallback
from sterling.project.fallbacks import Constant as Always
from sterling.project.tasks import Binary, Multiclass
from sterling.serving.prediction_log import PredictionLog
from sterling.serving.released import SHADOW_AT_ONCE
from sterling.serving.segments import convert, segments
from sterling.serving.server import Server
from sterling.stages.contract import put_bytes
from tests.decisions.released import World
from tests.serving.test_fallback import BROKEN, GOOD, Asker, said, serving, world_of
from tests.serving.test_released import COLUMNS, FEATURES, ROW
from tests.stages.server import Said, server

NAMES = ["distance", "carrier"]
TOKEN = "SCORES_TOKEN_OF_THIS_TEST"
NOWHERE = "http://127.0.0.1:1/"
BAD = ROW | {"distance": BROKEN}


def link(url: str, timeout: str = "20s", connections: int = 8, **more: Any) -> External:
    return External(ExternalModel(url, name="vendor", columns=NAMES, **more), timeout, connections)


def each(score: float) -> Callable[[Any], Said]:
    return lambda body: Said({"scores": [score] * len(body["rows"])})


def tried(asker: Asker) -> list[tuple[str, str]]:
    (part,) = asker.ask(BROKEN)
    assert part.fell
    assert said([part]) == [(0.1, "constant", "error")]
    return [(one.name, one.reason) for one in part.fell.tried]


def test_it_is_sent_its_features_and_its_scores_are_answered_by_name_and_version(tmp_path: Path) -> None:
    with server(lambda body: Said({"scores": [row["distance"] / 10 for row in body["rows"]]})) as found:
        asker = Asker(world_of(tmp_path, link(found.url, version="3", batch_rows=2), Always(0.1)))
        parts = asker.ask(*[BROKEN] * 3)
    assert said(parts) == [(0.3, "external", "error")] * 3
    assert parts[0].fell
    assert parts[0].fell.external
    assert (parts[0].fell.external.name, parts[0].fell.external.version, parts[0].by_model) == ("vendor", "3", False)
    row = {"distance": BROKEN, "carrier": "UA"}
    assert [asked.body for asked in found.asked] == [{"rows": [row, row]}, {"rows": [row]}]


def test_mlflow_is_spoken_to_by_its_own_protocol(tmp_path: Path) -> None:
    with server(lambda _: Said({"predictions": [[0.2, 0.8]]})) as found:
        asker = Asker(world_of(tmp_path, link(found.url, protocol="mlflow")))
        assert said(asker.ask(BROKEN)) == [(0.8, "external", "error")]
    assert found.asked[0].body == {"dataframe_split": {"columns": NAMES, "data": [[BROKEN, "UA"]]}}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Said({"error": "no such column"}, 400), "error"),
        (Said({}, 302, (("Location", NOWHERE),)), "error"),
        (Said(b"<html>"), "malformed answer"),
        (Said({"scores": [0.5, 0.5]}), "malformed answer"),
        (Said({"scores": [1.5]}), "malformed answer"),
        (Said(b'{"scores": [0.5' + b"0" * 2_000_000 + b"]}"), "malformed answer"),
    ],
)
def test_what_is_no_score_a_row_is_counted_and_the_next_link_answers(tmp_path: Path, said: Said, reason: str) -> None:
    with server(lambda _: said) as found:
        asker = Asker(world_of(tmp_path, link(found.url), Always(0.1)))
        assert tried(asker) == [("vendor", reason)]
    text = asker.metrics.text().decode()
    assert f'sterling_external_failures_total{{model="vendor",reason="{reason}"}} 1.0' in text
    assert 'sterling_fallbacks_total{link="constant",reason="error",version="2"} 1.0' in text


def test_who_takes_too_long_is_nowhere_or_has_no_token_is_passed_over(tmp_path: Path) -> None:
    over = Event()
    with server(lambda _: Said({"waited": over.wait(60)})) as found:
        assert tried(Asker(world_of(tmp_path / "a", link(found.url, "50ms"), Always(0.1)))) == [("vendor", "timeout")]
        over.set()
    assert tried(Asker(world_of(tmp_path / "b", link(NOWHERE), Always(0.1)))) == [("vendor", "error")]
    assert tried(Asker(world_of(tmp_path / "c", link(NOWHERE, token_env=TOKEN), Always(0.1)))) == [("vendor", "error")]


def test_a_feature_that_cannot_be_computed_is_not_sent_and_many_waiting_requests_ask_no_model(tmp_path: Path) -> None:
    with server(each(0.9)) as found:
        everything = External(ExternalModel(found.url, name="vendor"))
        assert tried(Asker(world_of(tmp_path / "a", everything, Always(0.1)))) == [("vendor", "error")]
        asker = Asker(world_of(tmp_path / "b", link(found.url), Always(0.1)))
        asker.waiting = 75
        assert said(asker.ask(GOOD)) == [(0.1, "constant", "overload")]
    assert found.asked == []


def test_a_slow_one_holds_up_nobody_who_does_not_need_it_and_is_asked_no_more_than_it_has_connections(
    tmp_path: Path,
) -> None:
    over = Event()

    def slow(body: Any) -> Said:
        over.wait(60)
        return each(0.9)(body)

    with server(slow) as found, ThreadPoolExecutor(1) as thread:
        world = world_of(tmp_path, link(found.url, "60s", connections=1), Always(0.1))
        with serving(world) as url, httpx.Client(base_url=url, timeout=60) as client:
            until(lambda: found.asked)  # the one question that a server asks when it starts
            waiting = thread.submit(httpx.post, f"{url}/v1/predict", json=BAD, timeout=60)
            assert client.post("/v1/predict", json=ROW).json()["scores"] == [0.75]
            busy = client.post("/v1/predict", json=BAD).json()
            assert busy["fallback"][0]["tried"] == [{"name": "vendor", "reason": "busy"}]
            over.set()
            waiting.result()
            until(lambda: client.post("/v1/predict", json=BAD).json()["scores"] == [0.9])


def test_it_is_waited_for_while_others_are_answered(tmp_path: Path) -> None:
    over, first = Event(), Event()

    def slow(body: Any) -> Said:
        if first.is_set():
            over.wait(60)
        first.set()
        return each(0.9)(body)

    with server(slow, "HTTP/1.1") as found, ThreadPoolExecutor(1) as thread:
        world = world_of(tmp_path, link(found.url, "60s"), Always(0.1))
        with serving(world) as url:
            until(first.is_set)
            waiting = thread.submit(httpx.post, f"{url}/v1/predict", json={"rows": [BAD, BAD]}, timeout=60)
            until(lambda: len(found.asked) == 2)
            assert httpx.post(f"{url}/v1/predict", json=ROW).json()["scores"] == [0.75]
            assert not waiting.done()
            over.set()
            assert waiting.result().json()["scores"] == [0.9, 0.9]
    assert len({asked.port for asked in found.asked}) == 1  # the connection was kept


def test_over_http_it_is_in_the_answer_the_metrics_and_the_log_and_its_token_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(TOKEN, "s3cr3t")
    caplog.set_level(logging.DEBUG)
    log = PredictionLog(tmp_path / "log")
    with server(each(0.9)) as found:
        world = world_of(tmp_path, link(found.url, version="3", token_env=TOKEN), Always(0.1))
        with serving(world, log) as url:
            answer = httpx.post(f"{url}/v1/predict", json=BAD).raise_for_status().json()
            until(lambda: len(found.asked) == 2)
            monkeypatch.setenv(TOKEN, "s3cr3t\n")
            broken = httpx.post(f"{url}/v1/predict", json=BAD).raise_for_status().json()
            shown = [httpx.get(f"{url}/{path}").text for path in ("metrics", "health", "version", "openapi.json")]
    assert {asked.token for asked in found.asked} == {"Bearer s3cr3t"}
    used = {"row": 0, "link": "external", "reason": "error", "name": "vendor", "version": "3"}
    assert (answer["scores"], answer["fallback"]) == ([0.9], [used])
    failed = {"row": 0, "link": "constant", "reason": "error", "tried": [{"name": "vendor", "reason": "error"}]}
    assert broken["fallback"] == [failed]
    assert 'sterling_fallbacks_total{link="external",reason="error",version="2"} 1.0' in shown[0]
    assert "s3cr3t" not in f"{shown}{caplog.text}"
    convert(tmp_path / "log")
    (path,) = segments(tmp_path / "log")
    assert b"s3cr3t" not in path.read_bytes()
    columns = ["_version", "_score", "_fallback", "_external", "_external_version", "_tried"]
    assert [tuple(row.values()) for row in pq.read_table(path, columns=columns).to_pylist()] == [
        (2, 0.9, "external", "vendor", "3", None), (2, 0.1, "constant", None, None, "vendor: error"),
    ]  # fmt: skip


def test_a_wrong_address_shows_when_the_server_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(world_of(tmp_path, link(NOWHERE), Always(0.1))) as url:
        until(lambda: httpx.get(f"{url}/health").json().get("external", [{}])[0].get("trouble"))
        health = httpx.get(f"{url}/health").json()
    assert health["status"] == "ok"
    assert health["external"][0]["trouble"].startswith("The model 'vendor' cannot be reached at http://127.0.0.1:1/")
    assert "The model 'vendor' cannot be reached" in caplog.text


def test_another_server_of_sterling_can_be_the_model(tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    other.models["a"] = put_bytes(other.store, Model(COLUMNS, Constant(0.625)).to_bytes())
    other.register("a", features=FEATURES)
    release(other.ledger, other.store, 1)
    with Server(other.ledger, other.store).in_background() as model:
        world = world_of(tmp_path, link(f"{model}/v1/predict"), Always(0.1))
        with serving(world) as url, httpx.Client(base_url=url) as client:
            assert [scores(client), scores(client)] == [[0.625]] * 2


PROCESS = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        data = json.dumps({"scores": [0.9]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
http = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(http.server_address[1], flush=True)
http.serve_forever()
"""


@contextmanager
def process(port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A model in a process of its own."""
    command = [sys.executable, "-c", PROCESS, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as found:
        try:
            assert found.stdout
            yield found, int(found.stdout.readline())
        finally:
            found.kill()


def test_when_it_is_killed_the_next_link_answers_and_when_it_is_back_it_does_again(tmp_path: Path) -> None:
    with process() as (model, port):
        world = world_of(tmp_path, link(f"http://127.0.0.1:{port}/"), Always(0.1))
        with serving(world) as url, httpx.Client(base_url=url) as client:
            assert scores(client) == [0.9]
            model.send_signal(signal.SIGKILL)
            model.wait()
            assert scores(client) == [0.1]
            with process(port):
                assert scores(client) == [0.9]


def scores(client: httpx.Client) -> Any:
    return client.post("/v1/predict", json=BAD).raise_for_status().json()["scores"]


def shadow(url: str, **more: Any) -> dict[str, Any]:
    model = ExternalModel(url, name="old", role="shadow", version="7", **more)
    return {"external": to_json((model, ExternalModel(NOWHERE, name="champion-of-runs")))}


def test_a_shadow_is_asked_about_what_was_answered_and_held_against_it_row_by_row(tmp_path: Path) -> None:
    with server(lambda body: Said({"scores": [row["distance"] for row in body["rows"]]}), "HTTP/1.1") as found:
        world = world_of(tmp_path, Always(0.1), **shadow(found.url))
        with serving(world) as url, httpx.Client(base_url=url) as client:

            def said() -> dict[str, Any]:
                (one,) = client.get("/version").json().get("external_shadows", [{"requests": 0}])
                return dict(one)

            until(lambda: found.asked)
            rows = [ROW | {"distance": distance} for distance in (0.75, 0.0, 0.875)]
            answer = client.post("/v1/predict", json={"rows": rows}).raise_for_status().json()
            client.post("/v1/predict", json=BAD).raise_for_status()  # what a fallback answered is no pair
            until(lambda: said()["requests"] == 1)
            client.post("/v1/predict", json=ROW | {"distance": 2.5}).raise_for_status()  # no probability
            until(lambda: said()["failed"] == 1)
            counts, metrics = said(), client.get("/metrics").text
    assert (answer["scores"], answer.get("fallback")) == ([0.75] * 3, None)
    names = ("name", "version", "against", "rows", "equal", "over_10", "shift", "distance", "largest")
    assert [counts[name] for name in names] == ["old", "7", 2, 3, 1, 2, -0.625, 0.875, 0.75]
    assert 'sterling_external_difference_count{model="old",version="2"} 3.0' in metrics
    assert 'sterling_external_failures_total{model="old",reason="malformed answer"} 1.0' in metrics
    assert found.asked[1].body == {"rows": [{**row, "made": 0.0} for row in rows]}


def test_a_slow_shadow_holds_up_no_answer_and_what_it_cannot_keep_up_with_is_dropped(tmp_path: Path) -> None:
    over = Event()

    def slow(body: Any) -> Said:
        over.wait(60)
        return each(0.9)(body)

    with server(slow) as found:
        world = world_of(tmp_path, Always(0.1), **shadow(found.url, timeout="60s"))
        with serving(world) as url, httpx.Client(base_url=url) as client:
            for _ in range(SHADOW_AT_ONCE + 256 + 3):
                assert client.post("/v1/predict", json=ROW).json()["scores"] == [0.75]
            (said,) = client.get("/version").json()["external_shadows"]
        over.set()
    assert said["requests"] == 0
    assert said["dropped"] >= 3


def until(done: Callable[[], Any]) -> None:
    for _ in range(1_000):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("It has not come to pass.")


def test_a_link_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(InvalidDefinitionError, match=r"External\.connections is 0"):
        link(NOWHERE, connections=0)
    with pytest.raises(InvalidDefinitionError, match=r"External\.timeout"):
        link(NOWHERE, timeout="0s")
    with pytest.raises(InvalidDefinitionError, match="two models called 'vendor'"):
        check_fallback([link(NOWHERE), Cached("1h"), link(NOWHERE, timeout="2s")], Binary())
    with pytest.raises(InvalidDefinitionError, match="External answers with one number"):
        check_fallback([link(NOWHERE)], Multiclass())
    for url in ("http://a:99999/", "http://a..b/"):
        with pytest.raises(InvalidDefinitionError, match="no address"):
            ExternalModel(url)
