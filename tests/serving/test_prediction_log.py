"""The prediction log: what is kept of every request, whatever ends the process that keeps it."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.endpoints import Service
from sterling.serving.prediction_log import PredictionLog, Record, close_abandoned
from sterling.serving.segments import convert, segments
from sterling.serving.server import Server
from tests.serving.test_server import ROW, put_model, release

PROGRAM = """
import sys
from pathlib import Path
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.endpoints import Service
from sterling.serving.prediction_log import PredictionLog
from sterling.serving.server import serve
folder = Path(sys.argv[1])
serve(SQLiteLedger(folder / "ledger.db", "late-arrivals"), LocalStore(folder / "store"), port=0,
      service=Service(log=PredictionLog(folder / "predictions")))
heavy = {"lightgbm", "pandas", "sklearn", "pyarrow", "scipy", "duckdb"} & set(sys.modules)
print("ended", *sorted(heavy))
"""


def record(name: str, **more: Any) -> Record:
    rows = [ROW, ROW | {"distance": None}]
    return Record(name, 1_000_000, 1, "sha256:0", 7, rows, [0.25, 0.5], **more)


def kept(folder: Path) -> list[dict[str, Any]]:
    """All that is kept, after what was left behind is closed."""
    close_abandoned(folder)
    convert(folder)
    rows: list[dict[str, Any]] = [row for path in segments(folder) for row in pq.read_table(path).to_pylist()]
    return rows


def test_a_request_becomes_a_row_of_a_segment_for_each_of_its_rows(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add(record("r1", unit="C7", latency_us={"wait": 1, "read": 2, "predict": 3}, cpu_seconds=0.5))
    log.close()
    first, second = kept(tmp_path)
    assert (first["_request_id"], first["_row"], first["_unit"], first["_score"]) == ("r1", 0, "C7", 0.25)
    assert (first["distance"], first["carrier"], second["distance"]) == (95.0, "UA", None)
    assert (second["_row"], second["_cpu_seconds"], second["_predict_us"]) == (1, 0.25, 3)
    assert not list(tmp_path.glob("*.jsonl"))


def test_versions_with_other_features_share_a_segment(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add(record("r1"))
    log.add(Record("r2", 2_000_000, 2, "sha256:1", 9, [{"weight": 3}], [0.1], extra={"decision": ["offer"]}))
    log.close()
    (*_, last) = kept(tmp_path)
    assert (last["weight"], last["distance"], last["_decision"]) == (3.0, None, "offer")


def test_personal_features_are_not_kept(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, personal=["carrier"])
    log.add(record("r1"))
    log.close()
    assert "UA" not in next(tmp_path.glob("*.jsonl")).read_text()
    assert [row["carrier"] for row in kept(tmp_path)] == [None, None]


def test_a_line_that_was_cut_short_is_never_read(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add(record("r1"))
    log.close()
    (path,) = tmp_path.glob("closed-*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"request_id":"r2","at_us":1,"vers')
    assert {row["_request_id"] for row in kept(tmp_path)} == {"r1"}


def test_a_segment_that_is_half_written_is_never_read(tmp_path: Path) -> None:
    (tmp_path / ".170-1.parquet-99.arriving").write_bytes(b"PAR1")
    log = PredictionLog(tmp_path)
    log.add(record("r1"))
    log.close()
    assert len(kept(tmp_path)) == 2


def test_a_file_that_somebody_removes_meanwhile_is_begun_anew(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add(record("r1"))
    log.flush()
    next(tmp_path.glob("open-*.jsonl")).unlink()
    log.add(record("r2"))
    log.close()
    assert {row["_request_id"] for row in kept(tmp_path)} == {"r2"}


def test_a_file_of_a_process_that_lives_is_left_to_it(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add(record("r1"))
    log.flush()
    program = "import sys; from pathlib import Path; from sterling.serving.prediction_log import close_abandoned; print(close_abandoned(Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    log.close()


def test_what_the_disk_does_not_take_waits_and_then_is_dropped_and_counted(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, bound=3)
    log.add(record("r1"))
    log.flush()
    (path,) = tmp_path.glob("open-*.jsonl")
    size, before = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        for number in range(6):
            log.add(record(f"r2-{number}"))
            log.flush()
        assert "not logged" in str(log.trouble)
        assert path.stat().st_size == size
        assert log.dropped == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    log.close()
    assert log.trouble is None
    assert {row["_request_id"] for row in kept(tmp_path)} == {"r1", "r2-0", "r2-1", "r2-2", "r2-3"}


def test_a_full_disk_does_not_stop_answers(tmp_path: Path) -> None:
    ledger, store = SQLiteLedger(tmp_path / "ledger.db", "late-arrivals"), LocalStore(tmp_path / "store")
    release(ledger, put_model(store, 0.25), 1)
    log = PredictionLog(tmp_path / "predictions", every_seconds=0.01)
    log._folder = Path("/dev/full")  # every file there fails
    with Server(ledger, store, service=Service(log=log)).in_background() as address:
        assert httpx.post(f"{address}/v1/predict", json=ROW).json()["scores"] == [0.25]
        deadline = time.monotonic() + 10
        while (health := httpx.get(f"{address}/health").json())["status"] == "ok":
            assert time.monotonic() < deadline
        assert "not logged" in health["trouble"]
        assert httpx.post(f"{address}/v1/predict", json=ROW).json()["scores"] == [0.25]
        log._folder = tmp_path / "predictions"
    assert len(kept(tmp_path / "predictions")) == 2


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_has_kept_what_it_answered(tmp_path: Path, how: signal.Signals) -> None:
    """All of it at SIGTERM; at SIGKILL all but the last second."""
    ledger, store = SQLiteLedger(tmp_path / "ledger.db", "late-arrivals"), LocalStore(tmp_path / "store")
    release(ledger, put_model(store, 0.25), 1)
    answered: list[tuple[float, str]] = []
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().split(" on ")[1].split("/v1/predict")[0]
        thread = threading.Thread(target=_ask_until_it_ends, args=(url, answered))
        thread.start()
        while len(answered) < 300 or answered[-1][0] - answered[0][0] < 2.5:
            time.sleep(0.01)
        process.send_signal(how)
        ended = time.monotonic()
        thread.join()
        rest = process.stdout.read().strip()
    assert rest == ("ended" if how == signal.SIGTERM else "")
    due = {name for at, name in answered if how == signal.SIGTERM or at < ended - 1.0}
    found = {row["_request_id"] for row in kept(tmp_path / "predictions")}
    assert due
    assert due <= found


def _ask_until_it_ends(url: str, answered: list[tuple[float, str]]) -> None:
    with httpx.Client() as client:
        while True:
            try:
                answer = client.post(f"{url}/v1/predict", json=ROW)
            except httpx.TransportError:
                return
            answered.append((time.monotonic(), answer.json()["request_id"]))


def test_the_lines_are_json_that_says_everything(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.add(record("r1", arm="canary", probability=0.05, fallback="timeout"))
    log.close()
    said = json.loads(next(tmp_path.glob("*.jsonl")).read_text())
    assert (said["arm"], said["probability"], said["fallback"]) == ("canary", 0.05, "timeout")
