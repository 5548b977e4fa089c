"""Serving as its operators see it: keys, several processes, the prediction log, and the check before a release."""

from __future__ import annotations

import json
import math
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from sterling.core.evidence import Evidence, Query
from sterling.core.refs import Ref
from sterling.core.workspace import Workspace
from sterling.engine.tables import put_table, read_table
from sterling.erasure.erase import erase
from sterling.project.load import load_project
from sterling.stages.person import Subject
from tests.cli.conftest import COMMAND, environment, sterling

ROW = {"depot": "north", "weight": 3.0, "busy_count_1d": 5, "slow_mean_hours_3d": 20.0}


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *options], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            assert " on " in said, said
            yield said.split(" on ")[1].split("/v1/predict")[0], server
        finally:
            server.terminate()
            server.wait(30)


@pytest.mark.slow
def test_predictions_and_outcomes_become_tables_that_a_person_can_be_taken_out_of(folder: Path) -> None:
    with serving(folder) as (url, _):
        for name in ("r1", "r2"):
            asked = {"rows": [ROW], "unit": "customer-C1" if name == "r1" else None}
            httpx.post(f"{url}/v1/predict", json=asked, headers={"X-Request-Id": name}).raise_for_status()
        httpx.post(f"{url}/v1/outcomes", json={"request_id": "r2", "outcome": True}).raise_for_status()
    kept = sterling(folder, "predictions")
    assert kept.code == 0, kept.errors
    assert kept.out.startswith("2 predictions in 1 segment, 1 of them new.\nThe outcome of 1 of 2 is known")
    again = sterling(folder, "predictions", "--json").json
    assert again["new"] == 0
    workspace = Workspace(folder)
    (segment,) = again["segments"]
    table = read_table(workspace.store(), Ref(segment["ref"]))
    assert table["_request_id"].to_pylist() == ["r1", "r2"]
    assert table["weight"].to_pylist() == [3.0, 3.0]
    joined = read_table(workspace.store(), Ref(again["joined"]["ref"]))
    assert joined["_outcome"].to_pylist() == [None, 1.0]
    assert sterling(folder, "gc").code == 0
    assert workspace.store().has(Ref(segment["ref"]))
    report = erase(load_project(folder), folder, [Subject("unit", "customer-C1")], confirm=True)
    assert report.left == ()
    assert sterling(folder, "predictions").code == 0
    assert "customer-C1" not in str(_newest(folder).to_pylist())


def _newest(folder: Path) -> Any:
    workspace, project = Workspace(folder), load_project(folder)
    from sterling.core.elsewhere import without_erased

    ledger = workspace.ledger(project.name)
    entry = next(ledger.read(Query(("outcomes.joined",)), newest_first=True))
    return read_table(without_erased(workspace.store(), ledger), Ref(entry.body["ref"]))


@pytest.mark.slow
def test_several_processes_share_a_port_and_one_that_is_killed_is_replaced(folder: Path) -> None:
    with serving(folder, "--workers", "2", "--cpu-price", "0.04") as (url, server):
        processes = _children(server.pid)
        assert len(processes) == 2
        asked = [httpx.post(f"{url}/v1/predict", json=ROW).raise_for_status().json() for _ in range(20)]
        assert len({answer["request_id"] for answer in asked}) == 20
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        assert 'sterling_predictions_total{version="1"} 20.0' in lines
        assert any(line.startswith('sterling_cost_per_1000_predictions{version="1"}') for line in lines)
        os.kill(processes[0], signal.SIGKILL)
        deadline = time.monotonic() + 20
        while len(alive := set(_children(server.pid)) - {processes[0]}) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for _ in range(20):
            assert httpx.post(f"{url}/v1/predict", json=ROW, timeout=20).status_code == 200
    assert server.returncode == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in alive)
    assert sterling(folder, "predictions", "--json").json["segments"][0]["rows"] >= 1


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_beyond_loopback_nobody_is_served_without_keys_unless_it_is_said(released: Path) -> None:
    answer = sterling(released, "serve", "--host", "0.0.0.0", "--port", "0")
    assert answer.code == 2
    assert "--without-keys" in answer.errors


def test_a_key_is_made_once_and_asked_for(folder: Path) -> None:
    made = sterling(folder, "apikey", "shop", "--role", "predict")
    assert made.code == 0, made.errors
    with serving(folder, "--keys", "keys.json") as (url, _):
        assert httpx.post(f"{url}/v1/predict", json=ROW).status_code == 401
        named = {"Authorization": f"Bearer {made.out.strip()}"}
        assert httpx.post(f"{url}/v1/predict", json=ROW, headers=named).status_code == 200
    assert "no role" in sterling(folder, "apikey", "shop", "--role", "everything").errors


@pytest.mark.slow
def test_over_tls_answers_come_encrypted(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-keyout", "key.pem", "-out", "cert.pem", "-nodes",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]  # fmt: skip
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl makes the certificate")
    with serving(folder, "--tls-cert", "cert.pem", "--tls-key", "key.pem") as (url, _):
        assert url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        with urllib.request.urlopen(f"{url}/ready", context=trusted) as answer:
            assert json.load(answer)["status"] == "ready"
    wrong = sterling(folder, "serve", "--tls-cert", "key.pem", "--tls-key", "key.pem", "--port", "0")
    assert wrong.code == 2
    assert "no certificate and its key" in wrong.errors


def test_the_server_gives_training_rows_the_very_scores_of_training(released: Path) -> None:
    answer = sterling(released, "serve", "--check")
    assert answer.code == 0, answer.errors
    assert "256 training rows the scores of training, to the last bit" in answer.out
    shown = sterling(released, "log", "--kind", "served.checked", "--json")
    assert shown.code == 0, shown.errors


@pytest.mark.slow
def test_a_version_whose_server_answers_otherwise_is_not_released(folder: Path) -> None:
    workspace = Workspace(folder)
    ledger, store = workspace.ledger(load_project(folder).name), workspace.store()
    registered = next(ledger.read(Query(("model.registered",))))
    trained = next(ledger.read(Query(("model.trained",), (f"model:{registered.body['model']}",))))
    table = read_table(store, Ref(trained.body["probe"]))
    other = [
        math.nextafter(score, 1) if number == 3 else score for number, score in enumerate(table["score"].to_pylist())
    ]
    probe = put_table(store, table.set_column(2, "score", pa.array(other)))
    ledger.append([Evidence("model.trained", trained.evidence.subjects, {**trained.body, "probe": probe})])
    answer = sterling(folder, "serve", "--check")
    assert answer.code == 1, answer.errors
    assert "gives 1 of 256 training rows another score, by up to" in answer.out
    again = {**registered.body, "version": 2}
    ledger.append([Evidence("model.registered", ("version:2", f"model:{registered.body['model']}"), again)])
    refused = sterling(folder, "release", "2", "--now")
    assert refused.code == 2
    assert "Version 2 is not released. The server gives 1 of 256" in refused.errors
