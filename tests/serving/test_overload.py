"""More requests than there is room for: those beyond it are shed at once, and the others are answered."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.models import Column, Constant, Model
from tests.serving.test_server import ROW, put_model, release, wait_for

PROGRAM = """
import sys
from pathlib import Path
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.endpoints import Service
from sterling.serving.requests import Limits
from sterling.serving.server import serve
folder = Path(sys.argv[1])
serve(SQLiteLedger(folder / "ledger.db", "late-arrivals"), LocalStore(folder / "store"), port=0,
      drain_seconds=float(sys.argv[2]), service=Service(Limits(queue=8)))
"""


def start(folder: Path, drain: float = 0.0) -> tuple[subprocess.Popen[str], str]:
    ledger, store = SQLiteLedger(folder / "ledger.db", "late-arrivals"), LocalStore(folder / "store")
    release(ledger, put_model(store, 0.25), 1)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(drain)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, process.stdout.readline().split(" on ")[1].split("/v1/predict")[0]


def test_of_a_burst_those_within_the_queue_are_answered_and_the_rest_is_shed_at_once(tmp_path: Path) -> None:
    process, url = start(tmp_path)
    body = json.dumps(ROW).encode()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    with process:
        clients = [_connected(url) for _ in range(64)]
        assert httpx.get(f"{url}/ready").status_code == 200  # every connection before it has been taken
        os.kill(process.pid, signal.SIGSTOP)
        for client in clients:
            client.sendall(head + body)
        os.kill(process.pid, signal.SIGCONT)
        answers = [_read(client) for client in clients]
        statuses = [answer[9:12] for answer in answers]
        assert set(statuses) == {b"200", b"503"}
        assert statuses.count(b"200") >= 8
        assert statuses.count(b"503") >= 16
        assert all(b"retry-after: 1" in answer for answer in answers if answer[9:12] == b"503")
        assert httpx.post(f"{url}/v1/predict", json=ROW).status_code == 200
        assert "sterling_shed_requests_total" in httpx.get(f"{url}/metrics").text
        process.terminate()


def test_a_server_that_is_told_to_end_says_so_before_it_closes(tmp_path: Path) -> None:
    process, url = start(tmp_path, drain=1.5)
    with process, httpx.Client() as client:
        assert client.get(f"{url}/ready").status_code == 200
        process.send_signal(signal.SIGTERM)
        while (answer := client.get(f"{url}/ready")).status_code == 200:
            time.sleep(0.01)
        assert (answer.status_code, answer.headers["connection"]) == (503, "close")
        assert httpx.post(f"{url}/v1/predict", json=ROW).status_code == 200
        assert process.wait(20) == 0


def test_a_model_whose_bytes_were_altered_is_refused_by_its_hash_and_the_old_one_stays(tmp_path: Path) -> None:
    process, url = start(tmp_path)
    with process:
        ledger, store = SQLiteLedger(tmp_path / "ledger.db", "late-arrivals"), LocalStore(tmp_path / "store")
        ref = put_model(store, 0.75)
        path = store.open(ref)
        path.chmod(0o644)
        path.write_bytes(Model((Column("distance", "number"),), Constant(0.99)).to_bytes())
        release(ledger, ref, 2)
        health = wait_for(url, "degraded")
        assert "not those that its name says" in health["trouble"]
        assert httpx.post(f"{url}/v1/predict", json=ROW).json()["scores"] == [0.25]
        process.terminate()


def _connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def _read(client: socket.socket) -> bytes:
    with client:
        parts = []
        while part := client.recv(65_536):
            parts.append(part)
    return b"".join(parts)
