"""A server whose ledger cannot be reached goes on by the plan that it kept, and believes no other one."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from sterling.core.errors import SignatureError, SterlingError, StorageError
from sterling.core.evidence import Query
from sterling.core.ledger import Ledger
from sterling.core.signing import KeyFile
from sterling.core.sqlite import SQLiteLedger
from sterling.decisions.release import release
from sterling.decisions.rollout import rollback
from sterling.project.rollout import Canary
from sterling.serving.kept_plan import AnotherChainError, PlanFile, Remembered, by_plan
from sterling.serving.released import Follower
from sterling.serving.server import Server
from tests.decisions.released import World
from tests.serving.test_released import ROW, answer, world

__all__ = ["world"]

PROJECT = "late-arrivals"


class Door:
    """The way to a ledger, which can be shut."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.shut = ledger, False

    def __call__(self) -> Ledger:
        if self.shut:
            raise StorageError("ledger.db: database is locked.")
        return self.ledger


@pytest.fixture
def file(tmp_path: Path) -> PlanFile:
    return PlanFile(tmp_path / "plan.json", KeyFile(tmp_path / "signing.key"))


def away(world: World, file: PlanFile) -> Follower:
    """A follower that starts where the ledger cannot be reached."""
    door = Door(world.ledger)
    door.shut = True
    return Follower(Remembered(door, PROJECT, file.read(PROJECT)), world.store, plan_file=file)


def kept(world: World, file: PlanFile) -> Follower:
    follower = Follower(Remembered(lambda: world.ledger, PROJECT), world.store, plan_file=file)
    follower.prepare()
    return follower


def test_a_server_starts_without_its_ledger_on_the_plan_that_it_kept_and_says_so(world: World, file: PlanFile) -> None:
    release(world.ledger, world.store, 2, rollout=(Canary("30%", "1d"),))
    there = kept(world, file)
    follower = away(world, file)
    units = [str(number) for number in range(100)]
    assert [answer(follower, unit) for unit in units] == [answer(there, unit) for unit in units]
    assert there.without_ledger is None
    unit = next(unit for unit in units if answer(there, unit)[0] == "live")
    with Server(world.ledger, world.store, follower=follower).in_background() as url:
        health = httpx.get(f"{url}/health").json()
        said = httpx.post(f"{url}/v1/predict", json={"rows": [ROW], "unit": unit}).json()
        assert said["position"] == follower.served.position
    assert health["status"] == "degraded"
    assert "goes on by the plan of position" in health["trouble"]
    assert "database is locked" in health["trouble"]


def test_a_server_whose_ledger_goes_away_stays_and_follows_again_once_it_is_back(world: World, file: PlanFile) -> None:
    door = Door(world.ledger)
    flaky = Remembered(door, PROJECT)
    follower = Follower(flaky, world.store, plan_file=file)
    door.shut, flaky._ledger = True, None
    follower.look()
    assert follower.without_ledger
    assert answer(follower, "7") == ("live", 0.25)
    release(world.ledger, world.store, 2)
    door.shut, flaky._again = False, 0.0
    follower.look()
    assert follower.without_ledger is None
    assert answer(follower, "7") == ("live", 0.75)
    newest = file.read(PROJECT)
    assert newest
    assert newest.position == world.head


def test_no_server_starts_on_another_ledger_than_the_one_that_was_read(
    world: World, file: PlanFile, tmp_path: Path
) -> None:
    kept(world, file)
    strange = SQLiteLedger(tmp_path / "new.db", "flights")
    with pytest.raises(
        AnotherChainError, match=r"was served before. Name that ledger, or remove \.sterling/plan\.json"
    ):
        Follower(Remembered(lambda: strange, PROJECT, file.read(PROJECT)), world.store)


def test_another_ledger_in_the_place_of_the_one_that_was_read_is_not_followed(
    world: World, file: PlanFile, tmp_path: Path
) -> None:
    kept(world, file)
    door = Door(world.ledger)
    door.shut = True
    ledger = Remembered(door, PROJECT, file.read(PROJECT))
    follower = Follower(ledger, world.store)
    door.shut, door.ledger, ledger._again = False, SQLiteLedger(tmp_path / "new.db", "flights"), 0.0
    follower.look()
    assert answer(follower, "7") == ("live", 0.25)
    assert "was served before" in (follower.trouble or "")


def test_the_way_back_is_kept_as_well(world: World, file: PlanFile) -> None:
    release(world.ledger, world.store, 2)
    kept(world, file)
    follower = away(world, file)
    follower.prepare()
    assert follower.previous
    assert follower.previous.version == 1


def test_what_was_never_read_is_not_taken_for_what_is_not_there(world: World, file: PlanFile) -> None:
    kept(world, file)
    door = Door(world.ledger)
    door.shut = True
    ledger = Remembered(door, PROJECT, file.read(PROJECT))
    assert [entry.kind for entry in ledger.read(Query(("model.registered",), ("version:1",)))] == ["model.registered"]
    with pytest.raises(StorageError):
        list(ledger.read(Query(("model.registered",), ("version:2",))))
    with pytest.raises(StorageError):
        ledger.append([])


def test_a_plan_that_was_changed_or_is_signed_by_another_is_refused(
    world: World, file: PlanFile, tmp_path: Path
) -> None:
    kept(world, file)
    written = file.path.read_text()
    file.path.write_text(written.replace("version.released", "version.relaesed"))
    with pytest.raises(SignatureError, match="something else"):
        file.read(PROJECT)
    file.path.write_text(
        json.dumps(json.loads(written) | {"note": json.loads(written)["note"].replace("time", "tome")})
    )
    with pytest.raises(SignatureError):
        file.read(PROJECT)
    file.path.write_text(written)
    other = KeyFile(tmp_path / "other.key")
    stranger = PlanFile(file.path, other)
    with pytest.raises(SignatureError, match="No key that is believed"):
        stranger.read(PROJECT)
    own = KeyFile(tmp_path / "signing.key").need()
    name = json.loads(written)["note"].split("\n— ")[1].split(" ")[0]
    assert PlanFile(file.path, other, [own.verifier(name)]).read(PROJECT)
    with pytest.raises(SignatureError, match="another project"):
        file.read("other")


def test_a_plan_that_is_older_than_what_was_seen_is_refused(world: World, file: PlanFile) -> None:
    kept(world, file)
    old = file.path.read_bytes()
    release(world.ledger, world.store, 2)
    kept(world, file)
    ledger = by_plan(file, PROJECT, None)
    follower = Follower(ledger, world.store)
    assert follower.served.version == 2
    new = file.path.read_bytes()
    file.path.write_bytes(old)
    ledger._again = 0.0
    follower.look()
    assert follower.served.version == 2
    assert "is refused: it is of position" in (follower.without_ledger or "")
    with pytest.raises(SignatureError, match="was seen"):
        by_plan(file, PROJECT, ledger.kept)
    file.path.write_bytes(new)
    rollback(world.ledger, reason="Wrong.")
    kept(world, file)
    ledger._again = 0.0
    follower.look()
    assert follower.served.version == 1


def test_an_older_reading_never_takes_the_place_of_a_newer_one(world: World, file: PlanFile) -> None:
    first = kept(world, file)
    assert isinstance(first.ledger, Remembered)
    early = first.ledger.extract()
    release(world.ledger, world.store, 2)
    late = kept(world, file)
    file.write(early)
    found = file.read(PROJECT)
    assert found
    assert found.position == late.plan.position


def test_without_a_ledger_and_without_a_plan_nothing_is_served(world: World, file: PlanFile) -> None:
    with pytest.raises(SterlingError, match="database is locked"):
        away(world, file)
    with pytest.raises(StorageError, match="release --export"):
        by_plan(file, PROJECT, None)
