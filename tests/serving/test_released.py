"""What the server answers while versions come, go and come back."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyarrow.parquet as pq
import pytest

from sterling.core.refs import Ref
from sterling.decisions.release import release
from sterling.decisions.rollout import pause, promote, rollback
from sterling.models import Column, Constant, Model
from sterling.project.rollout import Canary, Routing, Shadow
from sterling.serving.endpoints import Service
from sterling.serving.prediction_log import PredictionLog
from sterling.serving.released import Follower
from sterling.serving.requests import Asked
from sterling.serving.router import CANARY, HOLDOUT, SEVERAL
from sterling.serving.segments import convert, segments
from sterling.serving.server import Server
from sterling.stages.contract import put_bytes
from tests.decisions.released import World

COLUMNS = (Column("distance", "number"), Column("carrier", "category", ("AA", "UA")))
ROW = {"distance": 95.0, "carrier": "UA"}
ROLLOUT = (Shadow("1d"), Canary("30%", "1d"))
FEATURES = {"type": "FeatureService", "features": []}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Version 1 answers .25 and is live, version 2 answers .75 and is registered."""
    world = World(tmp_path)
    for name, score in (("a", 0.25), ("b", 0.75)):
        world.models[name] = put_bytes(world.store, Model(COLUMNS, Constant(score)).to_bytes())
        world.register(name, features=FEATURES)
    release(world.ledger, world.store, 1)
    return world


def go_on(world: World) -> None:
    promote(world.ledger, world.store, early=True, clock=world.clock)


def answer(follower: Follower, unit: str, row: dict[str, Any] = ROW) -> tuple[str, float]:
    """Arm and score of one request."""
    (routed,) = follower.route([row], unit, "request-1")
    return routed.assigned.arm, float(routed.served.predict([row])[0])


def test_a_canary_answers_its_units_and_no_others(world: World) -> None:
    release(world.ledger, world.store, 2, rollout=ROLLOUT[1:])
    follower = Follower(world.ledger, world.store)
    found = {unit: answer(follower, unit) for unit in map(str, range(2_000))}
    assert set(found.values()) == {("live", 0.25), ("canary", 0.75)}
    assert 500 < sum(arm == "canary" for arm, _ in found.values()) < 700
    assert found == {unit: answer(follower, unit) for unit in found}
    (routed,) = follower.route([ROW], next(unit for unit, (arm, _) in found.items() if arm == "canary"), "")
    assert (routed.served.version, routed.served.position) == (2, world.head)
    assert routed.assigned.probability == pytest.approx(0.3)


def test_a_unit_keeps_its_arm_over_pause_and_promotion(world: World) -> None:
    release(world.ledger, world.store, 2, rollout=(Canary("10%", "1d"), Canary("40%", "1d")))
    follower = Follower(world.ledger, world.store)
    units = [str(number) for number in range(500)]
    first = {unit for unit in units if answer(follower, unit)[0] == CANARY}
    pause(world.ledger, reason="Slow.")
    follower.look()
    assert {answer(follower, unit) for unit in units} == {("live", 0.25)}
    go_on(world)
    follower.look()
    assert {unit for unit in units if answer(follower, unit)[0] == CANARY} == first
    go_on(world)
    follower.look()
    assert {unit for unit in units if answer(follower, unit)[0] == CANARY} > first


def test_the_unit_is_what_the_request_names_or_its_column_or_the_request_itself(world: World) -> None:
    release(world.ledger, world.store, 2, rollout=ROLLOUT[1:], routing=Routing("carrier"))
    follower = Follower(world.ledger, world.store)

    def arm(rows: list[dict[str, Any]], unit: str | None = None, request: str = "r") -> str:
        (routed,) = follower.route(rows, unit, request)
        return routed.assigned.arm

    named = {unit: arm([ROW], unit) for unit in map(str, range(200))}
    assert {unit: arm([{"carrier": unit}]) for unit in named} == named
    assert {unit: arm([{"carrier": None}], request=unit) for unit in named} == named
    assert arm([{"carrier": "1"}, {"carrier": "1"}]) == named["1"]


def test_who_is_held_out_meets_no_canary(world: World) -> None:
    release(world.ledger, world.store, 2, rollout=(Canary("99%", "1d"),), routing=Routing(holdout="20%"))
    follower = Follower(world.ledger, world.store)
    found = Counter(answer(follower, str(unit)) for unit in range(1_000))
    assert set(found) <= {(HOLDOUT, 0.25), ("live", 0.25), (CANARY, 0.75)}
    assert 150 < found[HOLDOUT, 0.25] < 250


def test_a_canary_that_cannot_be_loaded_leaves_its_units_to_the_live_version_and_is_tried_again(world: World) -> None:
    path = world.store.open(Ref(world.models["b"]))
    path.rename(path.with_suffix(".away"))
    release(world.ledger, world.store, 2, rollout=ROLLOUT[1:])
    follower = Follower(world.ledger, world.store)
    assert {answer(follower, str(unit)) for unit in range(100)} == {("live", 0.25)}
    assert "Version 2 cannot be its canary, and the live version answers all" in (follower.trouble or "")
    follower.look()
    assert follower.trouble
    path.with_suffix(".away").rename(path)
    follower.look()
    assert follower.trouble is None
    assert {arm for arm, _ in (answer(follower, str(unit)) for unit in range(100))} == {"live", "canary"}


def test_a_release_that_cannot_be_loaded_leaves_the_whole_old_plan(world: World) -> None:
    follower = Follower(world.ledger, world.store)
    world.store.open(Ref(world.models["b"])).unlink()
    release(world.ledger, world.store, 2)
    follower.look()
    assert "Version 1 stays" in (follower.trouble or "")
    assert answer(follower, "7") == ("live", 0.25)
    assert follower.plan.live
    assert follower.plan.live.version == 1


def test_a_rollback_needs_no_bytes_from_the_store(world: World) -> None:
    release(world.ledger, world.store, 2)
    follower = Follower(world.ledger, world.store)
    follower.prepare()
    world.store.open(Ref(world.models["a"])).unlink()
    rollback(world.ledger, reason="Wrong.")
    follower.look()
    assert (answer(follower, "7"), follower.trouble) == (("live", 0.25), None)


def test_a_shadow_scores_what_was_answered_and_answers_nobody(world: World) -> None:
    release(world.ledger, world.store, 2, rollout=ROLLOUT)
    with Server(world.ledger, world.store).in_background() as url:
        answers = [httpx.post(f"{url}/v1/predict", json={"rows": [ROW, ROW]}).json() for _ in range(10)]
        assert {(a["version"], a["arm"], *a["scores"]) for a in answers} == {(1, "live", 0.25, 0.25)}
        found = wait_for(lambda: httpx.get(f"{url}/version").json()["shadow"], lambda said: said["requests"] == 10)
    expected = {"version": 2, "rows": 20, "equal": 0, "over_10": 20, "largest": 0.5, "shift": 10.0, "failed": 0}
    assert {name: found[name] for name in expected} == expected


def test_a_shadow_that_fails_hurts_nobody(world: World) -> None:
    world.models["c"] = put_bytes(world.store, Model((*COLUMNS, Column("new", "number")), Constant(0.5)).to_bytes())
    world.register("c", features=FEATURES | {"features": [{"type": "Columns"}]})
    release(world.ledger, world.store, 3, rollout=ROLLOUT)
    follower = Follower(world.ledger, world.store)
    (routed,) = follower.route([ROW], None, "r")
    asked = Asked([ROW])
    assert routed.shadow
    routed.shadow.put(asked, routed.served.answer(asked), routed.served.features)
    assert routed.shadow.wait()
    assert follower.disagreement
    assert (follower.disagreement.failed, follower.disagreement.rows) == (1, 0)
    routed.shadow.close()


def test_a_shadow_that_cannot_keep_up_drops_and_counts(world: World) -> None:
    release(world.ledger, world.store, 2, rollout=ROLLOUT)
    follower = Follower(world.ledger, world.store)
    (routed,), asked = follower.route([ROW], None, "r"), Asked([ROW] * 200)
    assert routed.shadow
    found = routed.served.answer(asked)
    for _ in range(3_000):
        routed.shadow.put(asked, found, routed.served.features)
    assert routed.shadow.wait()
    counts = routed.shadow.counts
    assert counts.requests + counts.dropped == 3_000
    assert counts.dropped
    routed.shadow.close()
    routed.shadow.put(asked, found, None)


def test_a_canary_that_cannot_answer_leaves_its_units_to_the_live_version_and_says_so(world: World) -> None:
    wider = Model((*COLUMNS, Column("new", "number")), Constant(0.5))
    world.models["c"] = put_bytes(world.store, wider.to_bytes())
    world.register("c", features=FEATURES)
    release(world.ledger, world.store, 3, rollout=(Canary("99.9%", "1d"),))
    with Server(world.ledger, world.store).in_background() as url:
        answers = [httpx.post(f"{url}/v1/predict", json={"rows": [ROW], "unit": str(n)}).json() for n in range(20)]
        metrics = httpx.get(f"{url}/metrics").text
    assert {(a["version"], a["arm"], *a["fallback"][0].values(), *a["scores"]) for a in answers} == {
        (1, "canary", 0, "live", "canary failed", 0.25)
    }
    assert 'sterling_fallbacks_total{link="live",reason="canary failed",version="3"} 20.0' in metrics


def test_the_prediction_log_keeps_arm_and_probability(world: World, tmp_path: Path) -> None:
    release(world.ledger, world.store, 2, rollout=ROLLOUT[1:], routing=Routing("carrier"))
    log = PredictionLog(tmp_path / "predictions")
    with Server(world.ledger, world.store, service=Service(log=log, beyond="null")).in_background() as url:
        for number in range(30):
            httpx.post(f"{url}/v1/predict", json={"rows": [ROW | {"carrier": str(number)}]}).raise_for_status()
    convert(tmp_path / "predictions")
    (path,) = segments(tmp_path / "predictions")
    kept = pq.read_table(path, columns=["_unit", "_arm", "_version", "_probability", "_score"]).to_pylist()
    found = {(row["_arm"], row["_version"], round(row["_probability"], 3), row["_score"]) for row in kept}
    assert found == {("live", 1, 0.7, 0.25), ("canary", 2, 0.3, 0.75)}
    assert {row["_unit"] for row in kept} == {str(number) for number in range(30)}


def test_each_row_of_a_request_is_answered_by_the_arm_of_its_unit(world: World, tmp_path: Path) -> None:
    release(world.ledger, world.store, 2, rollout=ROLLOUT[1:], routing=Routing("carrier"))
    log, units = PredictionLog(tmp_path / "predictions"), [str(number) for number in range(40)]
    rows = [ROW | {"carrier": unit} for unit in units]
    server = Server(world.ledger, world.store, service=Service(log=log, beyond="null"))
    with server.in_background() as url, httpx.Client(base_url=url) as client:
        alone = [client.post("/v1/predict", json={"rows": [row]}).json() for row in rows]
        together = client.post("/v1/predict", json={"rows": rows, "features": True}).json()
        wrong = client.post("/v1/predict", json={"rows": [*rows[:39], {"carrier": "39"}]}).json()
    assert together["scores"] == [score for one in alone for score in one["scores"]]
    assert together["versions"] == [one["version"] for one in alone]
    assert together["arms"] == [one["arm"] for one in alone]
    assert (together["arm"], together["version"], set(together["arms"])) == (SEVERAL, 1, {"live", CANARY})
    assert [row["carrier"] for row in together["features"]] == units
    assert wrong["row"] == 39
    convert(tmp_path / "predictions")
    (path,) = segments(tmp_path / "predictions")
    table = pq.read_table(path, columns=["_request_id", "_row", "_unit", "_version", "_arm", "_score"])
    kept = [row for row in table.to_pylist() if row["_request_id"] == together["request_id"]]
    assert sorted((row["_row"], row["_unit"], row["_version"], row["_arm"], row["_score"]) for row in kept) == [
        (number, units[number], together["versions"][number], together["arms"][number], together["scores"][number])
        for number in range(40)
    ]


class Seen(NamedTuple):
    """An answer as a client saw it.

    Attributes:
        asked: When it was asked for, on the clock of the machine.
        came: When it came.
        version: Its version; 0 where the request failed.
    """

    asked: float
    came: float
    version: int


@contextmanager
def load(urls: list[str], threads: int) -> Iterator[list[Seen]]:
    """Ask every address without a pause meanwhile."""
    seen: list[Seen] = []
    ended = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client(timeout=30) as client:
            while not ended.is_set():
                started = time.monotonic()
                try:
                    version = client.post(f"{url}/v1/predict", json=ROW).raise_for_status().json()["version"]
                except (httpx.HTTPError, KeyError, ValueError):
                    version = 0
                seen.append(Seen(started, time.monotonic(), version))

    asking = [threading.Thread(target=ask, args=(url,)) for url in urls for _ in range(threads)]
    for thread in asking:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in asking:
            thread.join()


def last_of(seen: list[Seen], version: int, since: float) -> float:
    """Seconds from a moment to the last answer of a version."""
    return max((one.came for one in seen if one.version == version and one.came > since), default=since) - since


def swap_under_load(world: World, urls: list[str], rounds: int, threads: int) -> tuple[list[Seen], list[float]]:
    """Release and roll back while requests come; gives all answers, and how long the old version lasted after each rollback."""
    lasted = []
    with load(urls, threads) as seen:
        for _ in range(rounds):
            release(world.ledger, world.store, 2)
            wait_for(lambda: {one.version for one in seen[-3 * len(urls) :]}, lambda found: found == {2})
            began = time.monotonic()
            rollback(world.ledger, reason="Wrong.")
            wait_for(lambda: {one.version for one in seen[-3 * len(urls) :]}, lambda found: found == {1})
            time.sleep(0.3)
            lasted.append(last_of(list(seen), 2, began))
    return seen, lasted


def test_no_request_fails_while_versions_are_released_and_rolled_back(world: World) -> None:
    with Server(world.ledger, world.store).in_background() as url:
        seen, _ = swap_under_load(world, [url], rounds=3, threads=2)
    assert {one.version for one in seen} == {1, 2}


PROGRAM = """
import sys
from pathlib import Path
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.server import serve
folder = Path(sys.argv[1])
serve(SQLiteLedger(folder / "ledger.db", "flights"), LocalStore(folder / "store"), port=0)
"""


@pytest.mark.slow
def test_a_rollback_reaches_the_last_of_three_processes_within_a_second_and_no_request_fails(
    world: World, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        urls = []
        for _ in range(3):
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.terminate)
            assert process.stdout
            urls.append(process.stdout.readline().split(" on ")[1].split("/v1/predict")[0])
        seen, lasted = swap_under_load(world, urls, rounds=20, threads=1)
    print(f"{len(seen)} answers, rollbacks took {sorted(round(each, 3) for each in lasted)} s")
    assert {one.version for one in seen} == {1, 2}
    assert max(lasted) < 1


def wait_for(look: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = look()
        if found and enough(found):
            return found
        time.sleep(0.01)
    raise AssertionError(look())
