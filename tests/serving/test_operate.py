"""Rollouts under real load: what is worse goes back by itself, what is not reaches all traffic, whatever is killed meanwhile."""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from sterling.core.canonical import canonical
from sterling.core.errors import StorageError
from sterling.core.evidence import Entry, Query
from sterling.core.sqlite import SQLiteLedger
from sterling.decisions.guardrails import Counts
from sterling.decisions.operate import Look
from sterling.decisions.register import register
from sterling.decisions.release import release
from sterling.models import CategoryTerm, Column, Linear, Model, NumberTerm
from sterling.project.guardrails import DecisionRate, Errors, Guardrail, Latency, Score
from sterling.project.rollout import Canary, Routing
from sterling.serving.controller import Controller
from sterling.serving.counted import counted
from sterling.stages.contract import put_bytes
from sterling.tasks.policies import Decider
from tests.cli.conftest import sterling
from tests.decisions.released import World
from tests.decisions.test_guardrails import seen
from tests.lifecycle.small import edit, write_project

SERVER = """
import sys
from pathlib import Path
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.endpoints import Service
from sterling.serving.server import serve
from sterling.serving.workers import run_workers

folder = Path(sys.argv[1])

def work(number, listening, say):
    ledger, store = SQLiteLedger(folder / "ledger.db", "flights"), LocalStore(folder / "store")
    serve(ledger, store, listening=listening, say=say, service=Service(counters=folder / "counters"))

sys.exit(run_workers(2, "127.0.0.1", 0, work, lambda said: print(said, flush=True)))
"""
CONTROLLER = """
import sys
from pathlib import Path
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.controller import Controller

folder = Path(sys.argv[1])
ledger, store = SQLiteLedger(folder / "ledger.db", "flights", actor="controller:" + sys.argv[2]), LocalStore(folder / "store")
Controller(ledger, store, [folder / "counters"], every_seconds=0.3).run(lambda found: print(found.why, flush=True))
"""
ROOT = Path(__file__).parents[2]
STAGES = (Canary("25%", "3s"), Canary("50%", "3s"))
WIDE = (Errors(margin=4, rate="5%"), Latency(margin=2), DecisionRate(margin=0.8), Score(margin=0.6))


class LiveWorld(World):
    """A world in which time goes on."""

    def beside(self, actor: str) -> SQLiteLedger:
        return SQLiteLedger(self.path, "flights", actor=actor)

    def add(self, name: str, *, shift: float = 0.0, carriers: tuple[str, ...] = ("AA", "UA")) -> None:
        """Register a version that scores by distance, and acts on a score of .5."""
        columns = (Column("distance", "number"), Column("carrier", "category", carriers))
        terms = (NumberTerm(0.0, 1.0, 1.0, 0.0), CategoryTerm((0.0,) * len(carriers), 0.0))
        self.models[name] = put_bytes(self.store, Model(columns, Linear(shift, terms)).to_bytes())
        policy = self.store.put(io.BytesIO(canonical(Decider(0.5, "given").document())))
        judged = self.judge(name)
        decision = judged.evidence.subjects[0].removeprefix("decision:")
        definition = self.define(features={"type": "FeatureService", "features": []})
        register(
            self.ledger,
            model=self.models[name],
            definition=definition,
            decision=decision,
            judged=[judged],
            policy=policy,
        )


class Asked(NamedTuple):
    """An answer as a client got it; of a connection that broke the status is 0."""

    status: int
    version: int
    arm: str


@pytest.fixture
def world(tmp_path: Path) -> LiveWorld:
    """Version 1 is live."""
    world = LiveWorld(tmp_path)
    world.add("a")
    release(world.ledger, world.store, 1, routing=Routing(holdout="5%", explore="5%"))
    return world


@contextmanager
def started(program: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has said its first line."""
    command = [sys.executable, "-c", program, str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.terminate()


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().split(" on ")[1].split("/v1/predict")[0]


@contextmanager
def load(url: str, row: Callable[[random.Random], dict[str, Any]], threads: int = 4) -> Iterator[list[Asked]]:
    """Ask without a pause meanwhile, each request about a unit of its own."""
    found: list[Asked] = []
    ended = threading.Event()

    def ask(number: int) -> None:
        chance, client = random.Random(number), http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        while not ended.is_set():
            body = json.dumps({"rows": [row(chance)], "unit": str(chance.random())})
            try:
                client.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
                answer = client.getresponse()
                said = json.loads(answer.read())
                found.append(Asked(answer.status, said.get("version", 0), said.get("arm", "")))
            except (OSError, http.client.HTTPException):
                client.close()
                found.append(Asked(0, 0, ""))
        client.close()

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for thread in asking:
        thread.start()
    try:
        yield found
    finally:
        ended.set()
        for thread in asking:
            thread.join()


def awaited(world: World, kind: str, count: int = 1, seconds: float = 60) -> list[Entry]:
    """Entries of a kind, once there are so many."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = list(world.ledger.read(Query((kind,))))
        if len(found) >= count:
            return found
        time.sleep(0.1)
    raise AssertionError([(entry.kind, entry.body) for entry in world.ledger.read(newest_first=True)][:3])


def flight(chance: random.Random) -> dict[str, Any]:
    return {"distance": chance.gauss(-0.5, 1), "carrier": chance.choice(["AA", "UA"])}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guardrail", "harm"),
    [
        (Errors(), {"carriers": ("AA",)}),
        (DecisionRate(direction="no higher"), {"shift": 1.5}),
        (DecisionRate(direction="no lower"), {"shift": -1.5}),
        (Score(), {"shift": 1.0}),
        (Score(), {"shift": -1.0}),
    ],
)
def test_a_canary_that_is_worse_goes_back_by_itself_and_no_request_fails(
    world: LiveWorld, tmp_path: Path, guardrail: Guardrail, harm: dict[str, Any]
) -> None:
    world.add("b", **harm)
    with (
        started(CONTROLLER, tmp_path, "a") as controller,
        started(SERVER, tmp_path) as server,
        load(url_of(server), flight) as answers,
    ):
        assert controller.stdout
        assert controller.stdout.readline() == "No version is on its way: version 1 takes all traffic.\n"
        release(world.ledger, world.store, 2, rollout=[Canary("25%", "1h")], guardrails=[guardrail])
        (back,) = awaited(world, "version.rolled_back")
        time.sleep(0.5)
        settled = len(answers)
        time.sleep(0.5)
    (judged,) = world.ledger.read(Query(("guardrails.judged",)))
    counted = judged.body["requests"]["live"] + judged.body["requests"]["version"]
    print(f"{guardrail}: {counted} of {judged.body['guardrails'][0]['planned']} requests; {len(answers)} answers")
    assert back.body["seen"][-1] == judged.position
    assert judged.body["guardrails"][0]["state"] == "breached"
    assert {one.status for one in answers} == {200}
    assert {one.version for one in answers[settled:]} == {1}
    assert {"live", "canary", "holdout", "explore"} <= {one.arm for one in answers}
    assert counted < len(answers)


@pytest.mark.slow
def test_a_canary_that_is_no_worse_reaches_all_traffic_though_a_controller_and_a_worker_are_killed(
    world: LiveWorld, tmp_path: Path
) -> None:
    world.add("b")
    with ExitStack() as stack:
        server = stack.enter_context(started(SERVER, tmp_path))
        answers = stack.enter_context(load(url_of(server), flight))
        release(world.ledger, world.store, 2, rollout=STAGES, guardrails=WIDE)
        killed, left = (stack.enter_context(started(CONTROLLER, tmp_path, name)) for name in "ab")
        time.sleep(1)
        killed.send_signal(signal.SIGKILL)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        awaited(world, "version.released", 2)
        time.sleep(0.5)
        settled = len(answers)
        time.sleep(0.5)
        assert left.poll() is None
    print(f"{len(answers)} answers, {sum(one.status == 0 for one in answers)} broken by the kill")
    assert {one.status for one in answers} <= {200, 0}
    assert sum(one.status == 0 for one in answers) <= 4
    assert {one.version for one in answers[settled:]} == {2}
    kinds = [entry.kind for entry in world.ledger.read() if entry.kind.startswith(("guardrails.", "version."))]
    assert kinds == [
        "version.released", "guardrails.judged", "version.promoted", "guardrails.judged", "version.released",
    ]  # fmt: skip
    assert max(entry.body["processes"] for entry in world.ledger.read(Query(("guardrails.judged",)))) >= 2


SLOW_FEATURE = """
def sluggish(weight: float) -> float:
    import time

    time.sleep(0.02)
    return weight
"""


@pytest.mark.slow
def test_the_command_rolls_back_a_function_of_the_project_that_is_slow(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    assert sterling(folder, "run", "--release-now").code == 0
    edit(folder, "project = sl.Project(", f"{SLOW_FEATURE}\nproject = sl.Project(")
    edit(
        folder, 'orders["depot", "weight"], busy, slow]',
        'orders["depot", "weight"], busy, slow, sl.OnDemand("sluggish", sluggish, ["weight"])]',
    )  # fmt: skip
    edit(
        folder,
        "    gates=[",
        '    rollout=[sl.Canary("50%", "1h")], guardrails=[sl.guardrails.Latency()],\n    gates=[',
    )
    ran = sterling(folder, "run")
    assert ran.code == 0, ran.errors
    command = [sys.executable, "-m", "sterling", "serve", "--port", "0", "--workers", "2", "--project", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            row = {"depot": "north", "weight": 3.0, "busy_count_1d": 2, "slow_mean_hours_3d": 20.0}
            with load(url_of(server), lambda _: row) as answers:
                released = sterling(folder, "release")
                assert released.code == 0, released.errors
                looks = [sterling(folder, "operate", "--once", "--json")]
                while len(looks) < 60 and not looks[-1].code:
                    looks.append(sterling(folder, "operate", "--once", "--json"))
                assert sterling(folder, "release", "--plan", "--json").json["weights"] == {"1": 1.0}
        finally:
            server.terminate()
    found = looks[-1].json
    print(found["why"], f"after {len(looks)} looks, {len(answers)} answers")
    assert (looks[-1].code, found["did"]) == (1, "rolled back")
    assert {one.status for one in answers} == {200}


def test_the_processes_of_a_served_project_count(world: LiveWorld, tmp_path: Path) -> None:
    world.add("b")
    release(world.ledger, world.store, 2, rollout=STAGES, guardrails=WIDE)
    with started(SERVER, tmp_path) as server:
        url = url_of(server)
        for number in range(4):
            httpx.post(f"{url}/v1/predict", json={"rows": [flight(random.Random(number))]}).raise_for_status()
        found = counted([tmp_path / "counters"], world.head)
    assert found.processes == 2
    assert found.live.requests + found.other.requests <= 4
    assert found.live.requests + found.other.requests > 0


def test_a_controller_that_cannot_decide_says_so_and_goes_on(world: LiveWorld, tmp_path: Path) -> None:
    world.add("b", shift=1.0)
    release(world.ledger, world.store, 2, rollout=STAGES, guardrails=WIDE)
    controller = Controller(world.ledger, world.store, [tmp_path / "counters"], every_seconds=0.05)
    append, fails = world.ledger.append, iter([True, True, False])

    def unreachable(*facts: Any, **condition: Any) -> int:
        if next(fails, False):
            raise StorageError("the ledger cannot be reached")
        return append(*facts, **condition)

    world.ledger.append = unreachable  # type: ignore[method-assign]
    controller._count = lambda position: Counts(seen(6_000), seen(2_000, mean=9.0))  # type: ignore[method-assign]
    found: list[Look] = []

    def say(look: Look) -> None:
        found.append(look)
        controller.stop()

    controller.run(say)
    assert controller.trouble is None
    assert found[-1].did == "rolled back"
