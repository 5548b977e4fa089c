"""The server, over real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sterling.core.errors import SterlingError, TamperedLedgerError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.models import Column, Constant, Model
from sterling.models.frame import Frame
from sterling.models.training import fit
from sterling.project.recipe import LightGBM
from sterling.serving.released import Follower
from sterling.serving.requests import Limits
from sterling.serving.server import Server
from sterling.stages.contract import put_bytes, put_json
from sterling.tasks.policies import Decider
from tests.models.frames import DAY, frame

COLUMNS = (Column("distance", "number"), Column("carrier", "category", ("AA", "UA")))
ROW = {"distance": 95.0, "carrier": "UA"}


@pytest.fixture
def ledger(tmp_path: Path) -> SQLiteLedger:
    return SQLiteLedger(tmp_path / "ledger.db", "late-arrivals")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def url(ledger: SQLiteLedger, store: LocalStore) -> Iterator[str]:
    release(ledger, put_model(store, 0.25), 1)
    server = Server(ledger, store, limits=Limits(rows=3, body_bytes=1_000))
    with server.in_background() as address:
        yield address


def put_model(store: LocalStore, probability: float) -> Ref:
    return put_bytes(store, Model(COLUMNS, Constant(probability)).to_bytes())


def release(ledger: SQLiteLedger, ref: str, version: int) -> int:
    body = {"version": version, "model": ref, "rollout": "now", "replaces": None, "seen": []}
    return ledger.append([Evidence("version.released", (f"version:{version}", f"model:{ref}"), body)])


def test_a_score_comes_with_the_model_the_version_and_the_release_it_rests_on(
    url: str, ledger: SQLiteLedger, store: LocalStore
) -> None:
    answer = httpx.post(f"{url}/predict", json={"rows": [ROW, ROW | {"distance": None}]}).json()
    assert answer == {"model": put_model(store, 0.25), "version": 1, "position": 1, "scores": [0.25, 0.25]}


def test_what_the_policy_decides_stands_beside_the_score(ledger: SQLiteLedger, store: LocalStore) -> None:
    model = put_model(store, 0.25)
    definition = put_json(store, {"project": {"features": {"features": []}}, "code": []})
    ledger.append([Evidence("project.defined", ("definition:d",), {"definition": "d", "ref": definition})])
    for number, decider in enumerate(
        (Decider(0.2, "given"), Decider(0.3, "given"), Decider(None, "", k=5, per="1d")), 1
    ):
        policy = put_json(store, decider.document())
        body = {"version": number, "model": model, "definition": "d", "seen": [], "policy": policy}
        ledger.append([Evidence("model.registered", (f"version:{number}", f"model:{model}"), body)])
        release(ledger, model, number)
        with Server(ledger, store).in_background() as url:
            answer = httpx.post(f"{url}/predict", json={"rows": [ROW, ROW]}).json()
            said = httpx.get(f"{url}/version").json()["policy"]
        assert answer.get("decisions") == {1: [True, True], 2: [False, False], 3: None}[number]
        assert said["type"] == ("top" if number == 3 else "threshold")
    assert said["not_served"] == "A request does not see the other rows of its 1d."


def test_one_row_needs_no_list(url: str) -> None:
    assert httpx.post(f"{url}/predict", json=ROW).json()["scores"] == [0.25]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON"),
        (b'{"distance": NaN, "carrier": null}', 400, "send null"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"[" * 900, 400, "no JSON"),
        (b"[1]", 400, "no object"),
        (b'{"rows": []}', 400, "No rows"),
        (b'{"rows": [1]}', 400, "Row 0 is no object"),
        (json.dumps({"rows": [ROW] * 4}).encode(), 413, "Send 3 at most"),
        (b" " * 1_001, 413, "larger than 1,000 bytes"),
        (b'{"distnace": 1, "carrier": null}', 422, "Did you mean 'distance'?"),
        (b'{"distance": 1, "carrier": null, "x": 1}', 422, "'x' is no feature"),
        (b'{"distance": 1}', 422, "'carrier' left out. Send null if unknown."),
        (b'{"distance": "far", "carrier": null}', 422, "'distance' is 'far'. It is a number, or null."),
        (b'{"distance": true, "carrier": null}', 422, "'distance' is True. It is a number, or null."),
        (b'{"distance": 1, "carrier": 7}', 422, "'carrier' is 7. It is a category: text or null."),
        (b'{"distance": 1' + b"0" * 400 + b', "carrier": null}', 422, "finite"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_answered_is_refused_in_one_sentence(
    url: str, body: bytes, status: int, said: str
) -> None:
    answer = httpx.post(f"{url}/predict", content=body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert said in answer.json()["error"]
    assert "Traceback" not in answer.text


def test_a_row_among_several_is_named(url: str) -> None:
    answer = httpx.post(f"{url}/predict", json={"rows": [ROW, {"distance": 1}]})
    assert answer.json()["error"].startswith("Row 1: 'carrier' left out")


def test_what_is_not_served_says_what_is(url: str) -> None:
    assert httpx.get(f"{url}/predict").status_code == 405
    assert "POST /predict" in httpx.get(f"{url}/").json()["error"]


def test_the_version_says_what_it_reads(url: str) -> None:
    features = httpx.get(f"{url}/version").json()["features"]
    assert features == [{"name": "distance", "kind": "number"}, {"name": "carrier", "kind": "category"}]


def test_a_release_is_served_soon_and_no_request_fails_meanwhile(
    url: str, ledger: SQLiteLedger, store: LocalStore
) -> None:
    with httpx.Client() as client:
        first = client.post(f"{url}/predict", json=ROW).json()
        position = release(ledger, put_model(store, 0.75), 2)
        answers = [first]
        deadline = time.monotonic() + 5
        while answers[-1]["version"] == 1 and time.monotonic() < deadline:
            answers.append(client.post(f"{url}/predict", json=ROW).raise_for_status().json())
    assert {(a["version"], *a["scores"]) for a in answers} == {(1, 0.25), (2, 0.75)}
    assert answers[-1]["position"] == position


def test_a_release_that_cannot_be_loaded_leaves_the_old_one_and_says_so(
    url: str, ledger: SQLiteLedger, store: LocalStore
) -> None:
    absent = Model(COLUMNS, Constant(0.5)).ref
    release(ledger, absent, 2)
    health = wait_for(url, "degraded")
    assert health["version"] == 1
    assert absent in health["trouble"]
    put_model(store, 0.5)
    assert wait_for(url, "ok")["version"] == 2


def test_nothing_released_is_nothing_served(ledger: SQLiteLedger, store: LocalStore) -> None:
    with pytest.raises(SterlingError, match="Nothing is released"):
        Follower(ledger, store)


def test_altered_bytes_are_never_served(ledger: SQLiteLedger, store: LocalStore) -> None:
    ref = put_model(store, 0.25)
    path = store.open(ref)
    path.chmod(0o644)
    path.write_bytes(Model(COLUMNS, Constant(0.99)).to_bytes())
    release(ledger, ref, 1)
    with pytest.raises(TamperedLedgerError, match="not those that its name says"):
        Follower(ledger, store)


def test_a_taken_port_is_said_with_what_would_work(ledger: SQLiteLedger, store: LocalStore, url: str) -> None:
    with pytest.raises(SterlingError, match="Choose another --port"):
        Server(ledger, store, port=int(url.rpartition(":")[2]))


PROGRAM = """
import sys
from pathlib import Path
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.server import serve
folder = Path(sys.argv[1])
serve(SQLiteLedger(folder / "ledger.db", "late-arrivals"), LocalStore(folder / "store"), port=0)
heavy = {"lightgbm", "pandas", "sklearn", "pyarrow", "scipy", "duckdb"} & set(sys.modules)
print("ended", *sorted(heavy))
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_fresh_process_serves_trees_without_lightgbm_and_ends_when_asked(
    tmp_path: Path, ledger: SQLiteLedger, store: LocalStore, how: signal.Signals
) -> None:
    rows = Frame(frame(800))
    rows = rows.take(rows.known_before(50 * DAY))
    model = fit(LightGBM(trees=20), rows.training_rows(0))
    release(ledger, put_bytes(store, model.to_bytes()), 1)
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        url = process.stdout.readline().split(" on ")[1].split("/predict")[0]
        wanted = {name: rows.table[name].to_pylist()[:20] for name in model.names}
        asked = [dict(zip(wanted, values, strict=True)) for values in zip(*wanted.values(), strict=True)]
        answer = httpx.post(f"{url}/predict", json={"rows": asked}).json()
        process.send_signal(how)
        assert process.stdout.read().strip() == "ended"
    assert process.returncode == 0
    assert answer["scores"] == model.predict(rows.encode(model.columns))[:20].tolist()


def wait_for(url: str, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        health: dict[str, Any] = httpx.get(f"{url}/health").json()
        if health["status"] == status:
            return health
        time.sleep(0.05)
    raise AssertionError(health)
