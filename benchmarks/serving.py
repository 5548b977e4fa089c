"""Requests a second and latency of one server process: the floor, Sterling with everything on, and what people write.

The floor is the same HTTP server returning constant bytes. Sterling validates, counts, names requests and logs every
prediction; with a shadow it scores each request a second time, after its answer. The peers are FastAPI with pydantic,
pandas and LightGBM, BentoML, and MLflow's scoring server, each in an interpreter that has it. All serve one model, 300
trees of 63 leaves on 22 numbers and 3 categories; their scores of all rows are equal to the last bit, or nothing is timed.
`wrk` asks where it is there, else threads of this process, which the table says. The server and all of its processes get
one core, who asks another one; the machine may be busy with other things, so compare within one run.

Run it with: python -m benchmarks.serving --fastapi /tmp/a/bin/python --bentoml /tmp/b/bin/python --mlflow /tmp/c/bin/python
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
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
folder, more = Path(sys.argv[1]), sys.argv[3:]
log = None if "no log" in more else PredictionLog(folder / "predictions")
ledger = SQLiteLedger(folder / ("shadow.db" if "shadow" in more else "ledger.db"), "bench")
serve(ledger, LocalStore(folder / "store"), port=int(sys.argv[2]),
      service=Service(outcomes=Outcomes(folder / "outcomes.db"), log=log, cpu_price_hour=0.04, counters=folder / "counters"))
"""
FASTAPI = """
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

BENTOML = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "bento.py").write_text('''
import json
from pathlib import Path
import bentoml, lightgbm, pandas as pd
FOLDER = Path(__file__).parent
@bentoml.service(workers=1)
class Peer:
    def __init__(self) -> None:
        self.booster = lightgbm.Booster(model_file=str(FOLDER / "model.txt"))
        self.kinds = {n: pd.CategoricalDtype(v) for n, v in json.loads((FOLDER / "spec.json").read_text())["categories"].items()}
    @bentoml.api(route="/v1/predict")
    def predict(self, rows: list[dict]) -> dict:
        return {"scores": self.booster.predict(pd.DataFrame(rows).astype(self.kinds), num_threads=1).tolist()}
''')
os.chdir(folder)
os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", "bento:Peer", "--port", sys.argv[2]])
"""
MLFLOW = """
import json, os, sys
from pathlib import Path
folder = Path(sys.argv[1])
if not (folder / "mlflow").exists():
    (folder / "mlflow_model.py").write_text('''
import json
from pathlib import Path
import lightgbm, mlflow, pandas as pd
class Peer(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.booster = lightgbm.Booster(model_file=context.artifacts["model"])
        spec = json.loads(Path(context.artifacts["spec"]).read_text())
        self.kinds = {n: pd.CategoricalDtype(v) for n, v in spec["categories"].items()}
    def predict(self, context, model_input, params=None):
        return self.booster.predict(model_input.astype(self.kinds), num_threads=1)
mlflow.models.set_model(Peer())
''')
    import mlflow, pandas as pd
    spec = json.loads((folder / "spec.json").read_text())
    sample = pd.DataFrame([{**{n: 0.5 for n in spec["numbers"]}, **{n: v[0] for n, v in spec["categories"].items()}}])
    mlflow.pyfunc.save_model(folder / "mlflow", python_model=folder / "mlflow_model.py",
        artifacts={n: str(folder / f) for n, f in (("model", "model.txt"), ("spec", "spec.json"))},
        signature=mlflow.models.infer_signature(sample, [0.5]), pip_requirements=["lightgbm"])
os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
os.execv(sys.executable, [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder / "mlflow"), "-p", sys.argv[2],
                          "--env-manager", "local", "--workers", "1"])
"""


class Server(NamedTuple):
    """Who is asked.

    Attributes:
        python: Its interpreter.
        program: What that runs; gets the folder and the port.
        more: Further arguments.
        path: Where it answers.
        asks: The name of the rows in what it is asked.
        answers: The name of the scores in what it answers; None where every answer is the same.
    """

    python: str
    program: str
    more: tuple[str, ...] = ()
    path: str = "/v1/predict"
    asks: str = "rows"
    answers: str | None = "scores"

    def body(self, rows: list[dict[str, Any]]) -> str:
        """Rows as it is asked about them."""
        return json.dumps({self.asks: rows})


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
    parser.add_argument("--fastapi", help="an interpreter with fastapi, uvicorn, pandas and lightgbm")
    parser.add_argument("--bentoml", help="an interpreter with bentoml, pandas and lightgbm")
    parser.add_argument("--mlflow", help="an interpreter with mlflow, pandas and lightgbm")
    asked = parser.parse_args()
    here = sys.executable
    servers = {
        "constant bytes": Server(here, FLOOR, answers=None),
        "sterling": Server(here, STERLING),
        "sterling --no-log": Server(here, STERLING, ("no log",)),
        "sterling + shadow": Server(here, STERLING, ("shadow",)),
        "FastAPI + pandas": Server(asked.fastapi, FASTAPI),
        "BentoML": Server(asked.bentoml, BENTOML),
        "MLflow": Server(asked.mlflow, MLFLOW, path="/invocations", asks="dataframe_records", answers="predictions"),
    }
    servers = {title: server for title, server in servers.items() if server.python}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = prepare(folder)
        compare(folder, servers, rows)
        print(f"asked by {'wrk' if shutil.which('wrk') else 'threads of Python'}; load {os.getloadavg()[0]:.1f}")
        print(
            f"{'server':18}{'rows':>5}{'conns':>6}{'req/s':>8}{'of floor':>9}{'p50 ms':>8}{'p99 ms':>8}{'cpu us':>8}"
            f"{'failed':>7}{'MB':>5}{'start s':>8}"
        )
        for count, connections in ((1, 8), (1, 64), (100, 8), (100, 64)):
            floor = None
            for title, server in servers.items():
                found = show(title, folder, server, rows[:count], connections, asked, floor)
                floor = floor or found


def compare(folder: Path, servers: dict[str, Server], rows: list[dict[str, Any]]) -> None:
    """Refuse to time servers whose scores differ."""
    scores: dict[str, list[float]] = {}
    for title, server in servers.items():
        with running(folder, server) as (_, port, _):
            said = json.loads(answer(port, server, server.body(rows)))
        if server.answers:
            scores[title] = said[server.answers]
    assert len({tuple(found) for found in scores.values()}) == 1, (
        f"scores differ: { ({t: s[:3] for t, s in scores.items()}) }"
    )
    print(f"{len(rows)} scores of {', '.join(scores)}: equal to the last bit")


def show(title: str, folder: Path, server: Server, rows: list[dict[str, Any]], connections: int, asked: Any,
         floor: float | None) -> float:  # fmt: skip
    body = server.body(rows)
    with running(folder, server) as (process, port, started):
        answer(port, server, body)
        before = cpu_seconds(process.pid)
        found = [load(folder, port, server, body, connections, asked.seconds) for _ in range(asked.rounds)]
        spent = (cpu_seconds(process.pid) - before) / (sum(one.per_second * asked.seconds for one in found) or 1) * 1e6
        best = max(found, key=lambda one: one.per_second)
        memory = sum(
            _number(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) / 1024 for pid in family(process.pid)
        )
    print(
        f"{title:18}{len(rows):5}{connections:6}{best.per_second:8,.0f}{best.per_second / (floor or best.per_second):9.3f}"
        f"{best.p50_ms:8.2f}{best.p99_ms:8.2f}{spent:8.0f}{best.failed:7}{memory:5.0f}{started:8.2f}",
        flush=True,
    )
    return best.per_second


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children, which tells what a request costs however busy the machine is."""
    said = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in family(pid)]
    return sum(int(one[11]) + int(one[12]) for one in said) / os.sysconf("SC_CLK_TCK")


def prepare(folder: Path) -> list[dict[str, Any]]:
    """A model, released in a ledger, as a file for the peer, and rows to ask about."""
    import lightgbm
    import numpy as np

    from sterling.core.evidence import Evidence
    from sterling.core.sqlite import SQLiteLedger
    from sterling.core.store import LocalStore
    from sterling.models import Column, Model, Trees
    from sterling.project.definition import to_json
    from sterling.project.guardrails import Errors, Latency, Score
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
    live = Evidence("version.released", ("version:1", f"model:{ref}"), body)
    SQLiteLedger(folder / "ledger.db", "bench").append([live])
    stages = [{"kind": "shadow", "share": 0, "lasts": "1d"}, {"kind": "canary", "share": 50_000, "lasts": "1d"}]
    begun = {"version": 2, "model": ref, "stages": stages, "salt": "00", "replaces": 1, "seen": [], "error_budget": 0.05,
             "guardrails": to_json((Errors(), Latency(), Score()))}  # fmt: skip
    shadow = Evidence("rollout.started", ("version:2", f"model:{ref}"), body=begun)
    SQLiteLedger(folder / "shadow.db", "bench").append([live, shadow])
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
def running(folder: Path, server: Server) -> Iterator[tuple[Any, int, float]]:
    """A server on a port of its own, on the first core; gives how long it took until it answered."""
    port, before = 18_000 + os.getpid() % 1_000, time.perf_counter()
    pinned = ["taskset", "-c", "0"] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []
    command = [*pinned, server.python, "-c", server.program, str(folder), str(port), *server.more]
    path = f"{Path(server.python).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow asks a shell for uvicorn
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path}
    with (
        (folder / "said.txt").open("w") as said,
        subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True) as process,
    ):
        try:
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    answer(port, server, "{}")
                    break
                assert process.poll() is None, (folder / "said.txt").read_text()[-2000:]
                time.sleep(0.01)
            yield process, port, time.perf_counter() - before
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def answer(port: int, server: Server, body: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", server.path, body, {"Content-Type": "application/json"})
    found = connection.getresponse().read()
    connection.close()
    return found


def load(folder: Path, port: int, server: Server, body: str, connections: int, seconds: int) -> Load:
    if shutil.which("wrk"):
        return _wrk(folder, f"http://127.0.0.1:{port}{server.path}", body, connections, seconds)
    return _threads(port, server.path, body, connections, seconds)


def _wrk(folder: Path, address: str, body: str, connections: int, seconds: int) -> Load:
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[{body}]==]\n"
    )
    pinned = ["taskset", "-c", "1"] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []
    command = [
        *pinned, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency", "-s", str(script), address,
    ]  # fmt: skip
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


def _threads(port: int, path: str, body: str, connections: int, seconds: int) -> Load:
    seen: list[float] = []
    failed, until = [0], time.perf_counter() + seconds

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (start := time.perf_counter()) < until:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
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
