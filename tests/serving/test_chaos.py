"""Real server processes, to which happens what happens: kills, locks, full disks, swaps and too much load."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyarrow.parquet as pq
import pytest

from sterling.decisions.release import release
from sterling.decisions.rollout import rollback
from sterling.models import Constant, Model
from sterling.project.definition import to_json
from sterling.project.fallbacks import Constant as Always
from sterling.project.fallbacks import When
from sterling.serving.prediction_log import close_abandoned
from sterling.serving.segments import convert, segments
from sterling.stages.contract import put_bytes
from tests.decisions.released import World
from tests.serving.test_released import COLUMNS, FEATURES, ROW, wait_for, world

__all__ = ["world"]

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from pathlib import Path
from sterling.core.signing import KeyFile
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.workers import run_workers
folder, log, workers, queue = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
def work(number, listening, tell):
    from sterling.serving.endpoints import Service
    from sterling.serving.kept_plan import PlanFile, Remembered
    from sterling.serving.prediction_log import PredictionLog
    from sterling.serving.requests import Limits
    from sterling.serving.server import serve
    file = PlanFile(folder / "plan.json", KeyFile(folder / "signing.key"))
    ledger = Remembered(lambda: SQLiteLedger(folder / "ledger.db", "flights"), "flights", file.read("flights"))
    serve(ledger, LocalStore(folder / "store"), say=tell, listening=listening, plan_file=file,
          service=Service(Limits(queue=queue), log=PredictionLog(log)))
sys.exit(run_workers(workers, "127.0.0.1", 0, work, lambda said: print(said, flush=True)))
"""


@contextmanager
def serving(folder: Path, log: Path, workers: int = 1, queue: int = 128) -> Iterator[tuple[int, str]]:
    """Server processes; gives the pid of the one that watches them, and the address."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(log), str(workers), str(queue)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            yield process.pid, process.stdout.readline().split(" on ")[1].split("/v1/predict")[0]
        finally:
            process.terminate()


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Asked(NamedTuple):
    """A request as a client saw it: its name, when its answer came, and its version; 0 where it failed."""

    name: str
    came: float
    version: int


@contextmanager
def asking(url: str, threads: int) -> Iterator[list[Asked]]:
    """Ask without a pause, by as many connections, each of which is opened anew where it breaks."""
    seen: list[Asked] = []
    ended = threading.Event()

    def ask(number: int) -> None:
        count = 0
        with httpx.Client(base_url=url, timeout=30) as client:
            while not ended.is_set():
                count += 1
                name = f"{number}-{count}"
                try:
                    answer = client.post("/v1/predict", json=ROW, headers={"X-Request-Id": name})
                    version = answer.json()["version"] if answer.status_code == 200 else 0
                except httpx.TransportError:
                    version = 0
                seen.append(Asked(name, time.monotonic(), version))

    every = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for thread in every:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in every:
            thread.join()


def more(seen: list[Asked], count: int) -> None:
    """Wait until so many more requests have ended."""
    until = len(seen) + count
    wait_for(lambda: len(seen), lambda found: found >= until)


def logged(folder: Path) -> set[str]:
    close_abandoned(folder)
    convert(folder)
    found: set[str] = set()
    for path in segments(folder):
        found.update(pq.read_table(path, columns=["_request_id"])["_request_id"].to_pylist())
    return found


def test_a_worker_that_is_killed_under_load_loses_what_is_in_flight_and_nothing_else(
    world: World, tmp_path: Path
) -> None:
    log, clients, kills = tmp_path / "log", 4, list[float]()
    with serving(tmp_path, log, workers=3) as (pid, url):
        wait_for(lambda: children(pid), lambda found: len(found) == 3)
        with asking(url, clients) as seen:
            for _ in range(3):
                more(seen, 200)
                time.sleep(1.5)
                kills.append(time.monotonic())
                os.kill(children(pid)[0], signal.SIGKILL)
                wait_for(lambda: children(pid), lambda found: len(found) == 3)
            more(seen, 200)
        failed = [one for one in seen if not one.version]
        print(f"{len(seen)} requests, {len(failed)} failed by {len(kills)} kills of one of three workers")
        assert len(failed) <= clients * len(kills)
    due = {one.name for one in seen if one.version and not any(at - 1.0 < one.came < at + 0.2 for at in kills)}
    assert due <= logged(log)


def test_a_ledger_that_is_locked_keeps_no_server_from_starting_and_is_followed_once_it_is_free(
    world: World, tmp_path: Path
) -> None:
    with serving(tmp_path, tmp_path / "log") as (_, url):
        wait_for((tmp_path / "plan.json").exists, bool)
    world.ledger.close()
    held = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    held.execute("PRAGMA locking_mode = EXCLUSIVE")
    held.execute("BEGIN EXCLUSIVE")
    with serving(tmp_path, tmp_path / "log") as (_, url):
        assert httpx.post(f"{url}/v1/predict", json=ROW).json()["version"] == 1
        health = httpx.get(f"{url}/health").json()
        assert health["status"] == "degraded"
        assert "goes on by the plan of position" in health["trouble"]
        held.execute("ROLLBACK")
        held.close()
        wait_for(lambda: httpx.get(f"{url}/health").json()["status"], lambda status: status == "ok")
        release(world.ledger, world.store, 2)
        wait_for(lambda: httpx.post(f"{url}/v1/predict", json=ROW).json()["version"], lambda version: version == 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_disk_that_is_full_stops_no_answer_and_what_waits_is_written_once_there_is_room(
    world: World, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        filler = disk / "filler"
        filler.write_bytes(bytes(200_000))
        with serving(tmp_path, disk / "log") as (_, url):
            with asking(url, 2) as seen:
                wait_for(lambda: httpx.get(f"{url}/health").json()["trouble"], lambda said: "not logged" in said)
                more(seen, 50)
            last = seen[-1].name
            filler.unlink()
            wait_for(lambda: httpx.get(f"{url}/health").json()["status"], lambda status: status == "ok")
            dropped = httpx.get(f"{url}/metrics").text
        assert all(one.version for one in seen)
        assert "sterling_log_dropped_requests 0.0" in dropped
        lines = [json.loads(line) for path in (disk / "log").glob("*.jsonl") for line in path.read_bytes().splitlines()]
        assert {one.name for one in seen} <= {line["request_id"] for line in lines}
        assert last in {line["request_id"] for line in lines}
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_of_a_hundred_hot_swaps_under_load_no_request_fails(world: World, tmp_path: Path) -> None:
    with serving(tmp_path, tmp_path / "log", workers=2) as (_, url), asking(url, 2) as seen:
        for _ in range(50):
            release(world.ledger, world.store, 2)
            wait_for(lambda: seen and seen[-1].version, lambda version: version == 2)
            rollback(world.ledger, reason="Wrong.")
            wait_for(lambda: seen[-1].version, lambda version: version == 1)
    print(f"100 swaps, {len(seen)} answers, {sum(not one.version for one in seen)} failed")
    assert {one.version for one in seen} == {1, 2}


@pytest.mark.skipif(shutil.which("wrk") is None, reason="asks with wrk")
def test_at_more_than_it_can_do_a_server_sheds_falls_back_and_grows_no_further(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.models["a"] = put_bytes(world.store, Model(COLUMNS, Constant(0.25)).to_bytes())
    chain = {"fallback": to_json((Always(0.1),)), "fallback_when": to_json(When(queue="75%"))}
    world.register("a", features=FEATURES, **chain)
    release(world.ledger, world.store, 1)
    with serving(tmp_path, tmp_path / "log", queue=16) as (pid, url):
        (worker,) = children(pid)
        wrk(url, tmp_path, seconds=5)
        before = resident_mb(worker)
        said = wrk(url, tmp_path, seconds=20)
        grown = resident_mb(worker) - before
        assert httpx.post(f"{url}/v1/predict", json=ROW).json()["scores"] == [0.25]
        assert httpx.get(f"{url}/ready").status_code == 200
        metrics = httpx.get(f"{url}/metrics").text
    shed = number(r"^sterling_shed_requests_total (\S+)", metrics)
    fell = number(r'^sterling_fallbacks_total{link="constant",reason="overload",version="1"} (\S+)', metrics)
    whole = number(r'^sterling_prediction_seconds_count{version="1"} (\S+)', metrics)
    within = number(r'^sterling_prediction_seconds_bucket{le="2.0",version="1"} (\S+)', metrics)
    print(
        f"{said}\n{whole:,.0f} answered by the model, {fell:,.0f} by the constant, {shed:,.0f} shed; {grown:.1f} MB more"
    )
    assert min(shed, fell, whole) > 0
    assert within == whole
    assert grown < 10


def wrk(url: str, folder: Path, seconds: int) -> str:
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = '{json.dumps(ROW)}'"
    )
    command: Sequence[Any] = ["wrk", "-t1", "-c64", f"-d{seconds}s", "--latency", "-s", script, f"{url}/v1/predict"]
    return subprocess.run([str(one) for one in command], capture_output=True, text=True, check=True).stdout


def resident_mb(pid: int) -> float:
    return number(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) / 1024


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    return float(found[1]) if found else 0.0
