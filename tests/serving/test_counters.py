"""What servers count of a rollout, and what is read of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from sterling.core.errors import StorageError
from sterling.core.refs import Ref
from sterling.decisions.guardrails import Counts
from sterling.decisions.release import release
from sterling.models import Column, Constant, Model
from sterling.project.guardrails import Latency
from sterling.project.rollout import Canary, Routing, Shadow, Step
from sterling.serving.counted import counted
from sterling.serving.counters import LIVE, OTHER, Tally, tally_of
from sterling.serving.endpoints import Service
from sterling.serving.server import Server
from sterling.stages.contract import put_bytes
from sterling.stats.sequential import Arm
from tests.decisions.guardrail_simulations import rollout
from tests.decisions.released import World
from tests.serving.test_released import COLUMNS, FEATURES, ROW, wait_for

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from sterling.serving.counters import OTHER, Tally
from tests.decisions.guardrail_simulations import rollout
tally = Tally(Path(sys.argv[1]), rollout(), 1)
for number in range(1_000):
    tally.answered(OTHER, str(number), seconds=0.002, cpu_seconds=0.001, scores=np.array([0.25]), decisions=[True])
print("counted", flush=True)
while True:
    pass
"""


def answered(tally: Tally, arm: int, unit: str, *, score: float = 0.25, seconds: float = 0.002) -> None:
    tally.answered(arm, unit, seconds=seconds, cpu_seconds=0.001, scores=np.array([score]), decisions=[score > 0.5])


def test_what_processes_count_is_added_up_and_a_kill_loses_none_of_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == "counted\n"
        os.kill(killed.pid, signal.SIGKILL)
    successor = Tally(tmp_path, rollout(), 1)
    for number in range(10):
        answered(successor, OTHER, str(number))
    successor.failed(OTHER, "7")
    found = counted([tmp_path, tmp_path / "of-another-machine"], 7)
    assert (found.processes, found.other.requests, found.other.errors) == (2, 1_011, 1)
    assert found.other.decisions == Arm(1_010, 1_010.0 - 10, 1_000.0)
    assert found.other.scores == Arm(1_010, 252.5, 63.125)
    assert found.other.latency == pytest.approx((1_010, 2_020, 4_040))
    assert found.live == Counts().live._replace(score_bins=(0.0,) * 10, latency_bins=(0.0,) * 13)


def test_a_stage_counts_from_nothing_and_what_is_long_over_is_removed(tmp_path: Path) -> None:
    before = Tally(tmp_path, rollout(), 1)
    answered(before, LIVE, "a")
    (old,) = tmp_path.glob("7-*.counts")
    os.utime(old, (0, 0))
    answered(Tally(tmp_path, replace(rollout(), position=8), 1), LIVE, "a")
    assert [counted([tmp_path], position).live.requests for position in (7, 8)] == [0, 1]


def test_means_have_a_cap_that_the_project_set_and_several_rows_are_one_request(tmp_path: Path) -> None:
    tally = Tally(tmp_path, rollout([Latency(cap_ms=5.0)]), 1)
    answered(tally, LIVE, "a", seconds=10.0)
    tally.answered(
        LIVE, "b", seconds=0.001, cpu_seconds=0.0, scores=np.array([0.2, 0.8, 0.5, 0.9]), decisions=[True, True, False, True]
    )  # fmt: skip
    live = counted([tmp_path], 7).live
    assert live.latency == Arm(2, 6.0, 26.0)
    assert live.decisions == Arm(2, 0.75, 0.5625)
    assert live.score_bins == (0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    assert (live.latency_bins[1], live.latency_bins[-1]) == (1, 1)


def test_requests_of_one_unit_go_together(tmp_path: Path) -> None:
    tally = Tally(tmp_path, rollout(), 1)
    for number in range(4_000):
        answered(tally, LIVE, str(number), score=0.6 if number % 2 else 0.2)
        tally.failed(LIVE, str(number)) if number % 100 == 0 else None
    alone = counted([tmp_path], 7).effects
    assert max(alone["errors"], alone["scores"], alone["requests"]) < 1.5
    for _ in range(200):
        answered(tally, OTHER, "robot", score=0.9)
        tally.failed(OTHER, "robot-2")
    assert counted([tmp_path], 7).effects["errors"] > 20


def test_a_disk_without_room_stops_the_counting_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("no folder")
    assert tally_of(tmp_path / "full", rollout(), 1) is None
    assert tally_of(tmp_path, None, 1) is None


def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "7-1-1.counts").write_bytes(b"no counts")
    with pytest.raises(StorageError, match=r"7-1-1.counts holds no counts"):
        counted([tmp_path], 7)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Version 1 answers .25 and is live, 2 answers .75, 3 reads a column more."""
    world = World(tmp_path)
    wider = (*COLUMNS, Column("new", "number"))
    for name, columns, score in (("a", COLUMNS, 0.25), ("b", COLUMNS, 0.75), ("c", wider, 0.5)):
        world.models[name] = put_bytes(world.store, Model(columns, Constant(score)).to_bytes())
        world.register(name, features=FEATURES)
    release(world.ledger, world.store, 1)
    return world


def served(
    world: World, folder: Path, version: int, stages: tuple[Step, ...], rows: list[dict[str, Any]], **routing: Any
) -> Counts:
    """What a server counts of a version's first stage."""
    release(world.ledger, world.store, version, rollout=stages, routing=Routing(**routing), guardrails=(Latency(),))
    position = world.head
    with (
        Server(world.ledger, world.store, service=Service(counters=folder)).in_background() as url,
        httpx.Client(base_url=url) as client,
    ):
        for number, row in enumerate(rows):
            client.post("/v1/predict", json={"rows": [row], "unit": str(number)})

        def enough() -> Counts:
            return counted([folder], position)

        def done(found: Counts) -> bool:
            return not isinstance(stages[0], Shadow) or found.other.requests == found.live.requests

        return wait_for(enough, done)  # type: ignore[no-any-return]


def test_a_server_counts_the_arms_that_were_drawn_and_no_others(world: World, tmp_path: Path) -> None:
    rows = [ROW] * 60 + [ROW | {"carrier": "no such"}] * 20
    found = served(world, tmp_path / "counters", 2, (Canary("40%", "1d"),), rows, holdout="20%", explore="20%")
    assert found.live.errors == found.other.errors == 0
    assert found.live.scores.total == 0.25 * found.live.requests
    assert found.other.scores.total == 0.75 * found.other.requests
    assert 20 < found.live.requests + found.other.requests < 50  # of 60 that were right, 40 % take no part
    assert found.other.requests > 5


def test_requests_about_several_units_take_no_part(world: World, tmp_path: Path) -> None:
    release(world.ledger, world.store, 2, rollout=(Canary("50%", "1d"),), routing=Routing("carrier"))
    with Server(world.ledger, world.store, service=Service(counters=tmp_path / "c")).in_background() as url:
        for rows in ([ROW, ROW], [ROW | {"carrier": "AA"}, ROW]):
            httpx.post(f"{url}/v1/predict", json={"rows": rows}).raise_for_status()
    found = counted([tmp_path / "c"], world.head)
    assert found.live.requests + found.other.requests == 1


def test_what_a_canary_cannot_answer_is_its_error(world: World, tmp_path: Path) -> None:
    found = served(world, tmp_path / "counters", 3, (Canary("50%", "1d"),), [ROW] * 40)
    assert found.other.requests == found.other.errors > 5
    assert found.live.requests == 40 - found.other.requests
    assert found.live.errors == 0


def test_a_shadow_is_counted_by_what_it_says_differently(world: World, tmp_path: Path) -> None:
    found = served(world, tmp_path / "counters", 2, (Shadow("1d"), Canary("5%", "1d")), [ROW] * 20)
    assert found.live.requests == found.other.requests == 20
    assert found.other.scores == Arm(20, 10.0, 5.0)


def test_a_canary_that_cannot_be_loaded_is_not_counted(world: World, tmp_path: Path) -> None:
    world.store.open(Ref(world.models["b"])).unlink()
    release(world.ledger, world.store, 2, rollout=(Canary("40%", "1d"),))
    with Server(world.ledger, world.store, service=Service(counters=tmp_path / "counters")).in_background() as url:
        assert httpx.post(f"{url}/v1/predict", json=ROW).json()["arm"] == "live"
    assert counted([tmp_path / "counters"], world.head) == Counts()
