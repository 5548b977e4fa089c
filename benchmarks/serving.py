"""Requests a second and latency of one server process: the floor, Sterling with everything on, and what people write.

The floor is the same HTTP server returning constant bytes. Sterling validates, counts, names requests and logs every
prediction. The peer is FastAPI with pydantic, pandas and LightGBM, in an interpreter that has them (--peer PYTHON). All
serve one model, 300 trees of 63 leaves on 22 numbers and 3 categories, and their answers are compared before anything is
timed. `wrk` asks where it is there, else threads of this process, which the table says. The server gets one core, who
asks another one; the machine may be busy with other things, so compare within one run.

Run it with: python -m benchmarks.serving --seconds 5 --peer /tmp/peer/bin/python
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

NUMBERS = [f"n{place:02}" for place in range(22)]
CATEGORIES = {name: [f"{name}{place:03}" for place in range(size)] for name, size in (("a", 3), ("b", 16), ("c", 100))}
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}

FLOOR = """
import sys, uvicorn
BODY = b'{"model":"sha256:0000000000000000000000000000000000000000000000000000000000000000","version":1,"scores":[0.25]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
async def app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False, http="httptools", loop="uvloop", lifespan="off")
"""
STERLING = """
import sys
from pathlib import Path
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.endpoints import Service
from sterling.serving.outcomes import Outcomes
from sterling.serving.prediction_log import PredictionLog
from sterling.serving.server import serve
folder = Path(sys.argv[1])
log = None if len(sys.argv) > 3 else PredictionLog(folder / "predictions")
serve(SQLiteLedger(folder / "ledger.db", "bench"), LocalStore(folder / "store"), port=int(sys.argv[2]),
      service=Service(outcomes=Outcomes(folder / "outcomes.db"), log=log, cpu_price_hour=0.04))
"""
PEER = """
import json, sys
from pathlib import Path
import lightgbm, pandas as pd, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, create_model
folder = Path(sys.argv[1])
booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
spec = json.loads((folder / "spec.json").read_text())
kinds = {name: pd.CategoricalDtype(values) for name, values in spec["categories"].items()}
Row = create_model("Row", **{n: (float | None, ...) for n in spec["numbers"]}, **{n: (str | None, ...) for n in kinds})
class Rows(BaseModel):
    rows: list[Row]
app = FastAPI()
@app.post("/v1/predict")
def predict(body: Rows):
    frame = pd.DataFrame([row.model_dump() for row in body.rows]).astype(kinds)
    return {"scores": booster.predict(frame, num_threads=1).tolist()}
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


class Load(NamedTuple):
    """What a load generator saw.

    Attributes:
        per_second: Requests a second.
        p50_ms: Median latency.
        p99_ms: Its 99th percentile.
        failed: Answers that were no success.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def main() -> None:
    """Print a table of all servers, one load after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peer", help="an interpreter with fastapi, pandas and lightgbm")
    asked = parser.parse_args()
    servers = {"constant bytes": (sys.executable, FLOOR, []), "sterling": (sys.executable, STERLING, []),
               "sterling --no-log": (sys.executable, STERLING, ["no log"])}  # fmt: skip
    if asked.peer:
        servers["FastAPI + pandas"] = (asked.peer, PEER, [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = prepare(folder)
        bodies = {count: json.dumps({"rows": rows[:count]}) for count in (1, 100)}
        print(
            f"asked by {'wrk' if shutil.which('wrk') else 'threads of Python, which are slow'}; load {os.getloadavg()[0]:.1f}"
        )
        print(
            f"{'server':20} {'rows':>4} {'conns':>5} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'cpu us':>8} {'failed':>6}   MB  start s"
        )
        for count, connections in ((1, 8), (1, 64), (100, 8), (100, 64)):
            for title, (python, program, more) in servers.items():
                show(title, folder, python, program, more, bodies[count], count, connections, asked)


def show(title: str, folder: Path, python: str, program: str, more: list[str], body: str, count: int, connections: int,
         asked: Any) -> None:  # fmt: skip
    with running(folder, python, program, more) as (process, port, started):
        answer(port, body)
        before = cpu_seconds(process.pid)
        found = [load(folder, port, body, connections, asked.seconds) for _ in range(asked.rounds)]
        spent = (cpu_seconds(process.pid) - before) / sum(one.per_second * asked.seconds for one in found) * 1e6
        best = max(found, key=lambda one: one.per_second)
        memory = _number(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text()) / 1024
    print(
        f"{title:20} {count:4} {connections:5} {best.per_second:9,.0f} {best.p50_ms:8.2f} {best.p99_ms:8.2f} {spent:8.0f} {best.failed:6} {memory:4.0f} {started:7.2f}",
        flush=True,
    )


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, which tells what a request costs however busy the machine is."""
    said = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")


def prepare(folder: Path) -> list[dict[str, Any]]:
    """A model, released in a ledger, as a file for the peer, and rows to ask about."""
    import lightgbm
    import numpy as np

    from sterling.core.evidence import Evidence
    from sterling.core.sqlite import SQLiteLedger
    from sterling.core.store import LocalStore
    from sterling.models import Column, Model, Trees
    from sterling.stages.contract import put_bytes

    random = np.random.default_rng(0)
    numbers = random.normal(size=(20_000, len(NUMBERS)))
    codes = np.stack([random.integers(0, len(values), 20_000) for values in CATEGORIES.values()], axis=1)
    label = (
        numbers[:, :5].sum(axis=1) + numbers[:, 5] * numbers[:, 6] + codes[:, 2] % 7 / 3 + random.normal(size=20_000)
    ) > 1
    places = list(range(len(NUMBERS), len(NUMBERS) + len(CATEGORIES)))
    parameters = {"objective": "binary", "num_leaves": 63, "verbose": -1, "num_threads": 1}
    data = lightgbm.Dataset(np.hstack([numbers, codes]), label.astype(float), categorical_feature=places)
    booster = lightgbm.train(parameters, data, 300)
    frame = _frame(numbers, codes)
    named = lightgbm.train(parameters, lightgbm.Dataset(frame, label.astype(float)), 300)
    named.save_model(folder / "model.txt")
    columns = (
        *(Column(name, "number") for name in NUMBERS),
        *(Column(n, "category", tuple(v)) for n, v in CATEGORIES.items()),
    )
    model = Model(columns, Trees(booster.model_to_string()))
    ref = put_bytes(LocalStore(folder / "store"), model.to_bytes())
    body = {"version": 1, "model": ref, "rollout": "now", "replaces": None, "seen": []}
    SQLiteLedger(folder / "ledger.db", "bench").append(
        [Evidence("version.released", ("version:1", f"model:{ref}"), body)]
    )
    (folder / "spec.json").write_text(json.dumps({"numbers": NUMBERS, "categories": CATEGORIES}))
    rows = [dict(zip(NUMBERS, row, strict=True)) for row in numbers[:100].tolist()]
    for row, found in zip(rows, codes[:100].tolist(), strict=True):
        row.update({name: values[code] for (name, values), code in zip(CATEGORIES.items(), found, strict=True)})
    return rows


def _frame(numbers: Any, codes: Any) -> Any:
    import pandas as pd  # type: ignore[import-untyped]

    frame = pd.DataFrame(numbers, columns=NUMBERS)
    for (name, values), column in zip(CATEGORIES.items(), codes.T, strict=True):
        frame[name] = pd.Categorical.from_codes(column, values)
    return frame


@contextlib.contextmanager
def running(folder: Path, python: str, program: str, more: list[str]) -> Iterator[tuple[Any, int, float]]:
    """A server on a port of its own, on the first core; gives how long it took until it answered."""
    port, before = 18_000 + os.getpid() % 1_000, time.perf_counter()
    pinned = ["taskset", "-c", "0"] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*pinned, python, "-c", program, str(folder), str(port), *more], stdout=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            while True:
                with contextlib.suppress(OSError):
                    answer(port, "{}")
                    break
                assert process.poll() is None
                time.sleep(0.01)
            yield process, port, time.perf_counter() - before
        finally:
            process.terminate()


def answer(port: int, body: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
    found = connection.getresponse().read()
    connection.close()
    return found


def load(folder: Path, port: int, body: str, connections: int, seconds: int) -> Load:
    return (
        _wrk(folder, port, body, connections, seconds)
        if shutil.which("wrk")
        else _threads(port, body, connections, seconds)
    )


def _wrk(folder: Path, port: int, body: str, connections: int, seconds: int) -> Load:
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[{body}]==]\n"
    )
    pinned = ["taskset", "-c", "1"] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []
    command = [
        *pinned,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}/v1/predict",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    latency = dict(re.findall(r"^\s+(50|99)%\s+([\d.]+\w+)", said, re.MULTILINE))
    failed = _number(r"Non-2xx or 3xx responses: (\d+)", said)
    return Load(_number(r"Requests/sec:\s+(\S+)", said), _ms(latency["50"]), _ms(latency["99"]), int(failed))


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0


def _ms(said: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s)", said)
    assert match
    return float(match[1]) * _UNITS[match[2]]


def _threads(port: int, body: str, connections: int, seconds: int) -> Load:
    seen: list[float] = []
    failed, until = [0], time.perf_counter() + seconds

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (start := time.perf_counter()) < until:
            connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
            found = connection.getresponse()
            found.read()
            seen.append((time.perf_counter() - start) * 1_000)
            failed[0] += found.status >= 300

    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen.sort()
    return Load(len(seen) / seconds, seen[len(seen) // 2], seen[len(seen) * 99 // 100], failed[0])


if __name__ == "__main__":
    main()
