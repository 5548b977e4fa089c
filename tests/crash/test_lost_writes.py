"""What a disk loses when the power goes: the store, the head and the ledger keep what they acknowledged, and nothing torn."""

from __future__ import annotations

import gzip
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sterling.core.evidence import Evidence
from sterling.core.ledger import check_chain
from sterling.core.refs import Ref
from sterling.core.signing import KeyFile
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.core.walk import check_index
from sterling.core.witness import Heads, WitnessedLedger, check_head
from tests.crash.disk import Disk, Step, lay_out, read_log
from tests.crash.shim import Answer, Crasher, Mode
from tests.crash.tasks import PROJECT

pytestmark = pytest.mark.slow

State = dict[str, bytes | None]
LIMIT = 100
OLD = Path(__file__).parents[1] / "core" / "ledgers" / "0.1.0.db.gz"
BLOBS = ("small", "middling" * 200, "large" * 1000, "small")


@pytest.fixture
def found() -> Iterator[Path]:
    """Where states are laid out: in memory where there is such a folder, as nothing there must last."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder) / "project"


@pytest.fixture
def root(tmp_path: Path, crasher: Crasher) -> Path:
    crasher.log.unlink(missing_ok=True)
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def logged(crasher: Crasher, root: Path, task: str, *arguments: object, stop_at: int = 0) -> Answer:
    """Run a task and write down its steps, after those that were written down before."""
    answer = crasher.run(f"tests.crash.tasks:{task}", root, *arguments, root=root, mode=Mode.LOG, at=stop_at)
    assert answer.status in {0, -9}, answer.errors
    return answer


def crashes(
    disk: Disk, steps: list[Step], *, limit: int = LIMIT, ignore: str = ""
) -> Iterator[tuple[State, list[str], str]]:
    """Every state that is tried after each of the steps, with what had been acknowledged by then."""
    acknowledged: list[str] = []
    for n, step in enumerate(steps):
        if step.name == "mark":
            acknowledged.append(step.path)
        disk.do(step)
        for state in disk.crashes(limit, random.Random(n), ignore=ignore):
            yield state, [*acknowledged], f"after step {n}, {step.name} {step.path} {step.other}"


def check_store(folder: Path, acknowledged: list[str], where: str) -> None:
    store = LocalStore(folder / ".sterling" / "store")
    altered = [ref for ref in store.list() if not store.intact(ref)]
    assert not altered, f"{altered} {where}"
    lost = [ref for ref in acknowledged if not store.has(Ref(ref))]
    assert not lost, f"{lost} {where}"
    assert store.open(store.put(io.BytesIO(b"next"))).read_bytes() == b"next"


def on_disk(root: Path) -> State:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def test_what_the_log_holds_is_all_that_happened_to_the_folder(crasher: Crasher, root: Path) -> None:
    disk = Disk(root)
    logged(crasher, root, "put_blobs", *BLOBS)
    logged(crasher, root, "append_facts", 30)
    for step in read_log(crasher.log):
        disk.do(step)
    assert disk.now() == on_disk(root)


def test_the_store_keeps_what_it_acknowledged_whatever_the_disk_lost(
    crasher: Crasher, root: Path, found: Path, record_property: Any
) -> None:
    disk, tried = Disk(root), 0
    logged(crasher, root, "put_blobs", *BLOBS)
    for state, acknowledged, where in crashes(disk, read_log(crasher.log)):
        check_store(lay_out(state, found), acknowledged, where)
        tried += 1
    record_property("tried: states of a store after a loss of power", tried)


def test_the_store_keeps_what_it_acknowledged_where_a_process_was_killed_before_the_power_went(
    crasher: Crasher, root: Path, found: Path, record_property: Any
) -> None:
    stop_at, tried, status = 1, 0, -9
    while status:
        crasher.log.unlink(missing_ok=True)
        lay_out({}, root)
        disk = Disk(root)
        status = logged(crasher, root, "put_blobs", "one" * 500, stop_at=stop_at).status
        logged(crasher, root, "put_blobs", "one" * 500, "two")
        steps = read_log(crasher.log)
        for state, acknowledged, where in crashes(disk, steps):
            check_store(lay_out(state, found), acknowledged, f"{where}, killed at {stop_at}")
            tried += 1
        stop_at += 1
    assert stop_at > 5
    record_property("tried: states of a store after a kill and a loss of power", tried)


def check_ledger(folder: Path, acknowledged: list[str], where: str) -> None:
    with SQLiteLedger(folder / ".sterling" / "ledger.db", PROJECT) as ledger:
        count, broken = check_chain(ledger.records())
        assert (broken, check_index(ledger), count % 2) == (None, None, 0), where
        assert count >= int(acknowledged[-1] if acknowledged else 0), where
        assert ledger.append([Evidence("next.happened")]) == count + 1, where


def check_head_kept(folder: Path, acknowledged: list[str], where: str) -> None:
    home = folder / ".sterling"
    with SQLiteLedger(home / "ledger.db", PROJECT) as ledger:
        heads = Heads(home / "heads", KeyFile(home / "signing.key"))
        kept = heads.newest(ledger.chain)
        seen = kept.head.count if kept.head else 0
        assert kept.fault is None, where
        assert seen >= int(acknowledged[-1] if acknowledged else 0), where
        assert check_head(kept, ledger).holds, where
        with WitnessedLedger(ledger, heads) as witnessed:
            count = witnessed.append([Evidence("next.happened")])
        after = heads.newest(ledger.chain).head
        assert after, where
        assert after.count == count, where


def test_the_head_is_an_old_or_a_new_one_and_never_torn_whatever_the_disk_lost(
    crasher: Crasher, root: Path, found: Path, record_property: Any
) -> None:
    disk, tried = Disk(root), 0
    logged(crasher, root, "append_witnessed", 4)
    for state, acknowledged, where in crashes(disk, read_log(crasher.log), limit=40, ignore="-shm"):
        check_head_kept(lay_out(state, found), acknowledged, where)
        tried += 1
    record_property("tried: states of a witnessed head after a loss of power", tried)


def test_the_head_and_its_key_hold_where_a_process_was_killed_before_the_power_went(
    crasher: Crasher, root: Path, found: Path, record_property: Any
) -> None:
    stop_at, tried, status, chance = 1, 0, -9, random.Random(7)
    while status:
        crasher.log.unlink(missing_ok=True)
        lay_out({}, root)
        disk = Disk(root)
        status = logged(crasher, root, "append_witnessed", 1, stop_at=stop_at).status
        logged(crasher, root, "append_witnessed", 1)
        states = [*crashes(disk, read_log(crasher.log), limit=16, ignore="-shm")]
        for state, acknowledged, where in [*chance.sample(states, min(len(states), 25)), *states[-15:]]:
            check_head_kept(lay_out(state, found), acknowledged, f"{where}, killed at {stop_at}")
            tried += 1
        stop_at += 1
    assert stop_at > 50
    record_property("tried: states of a witnessed head after a kill and a loss of power", tried)


@pytest.mark.parametrize("checkpoint_pages", [1000, 12])
def test_the_ledger_keeps_what_it_acknowledged_whatever_the_disk_lost(
    crasher: Crasher, root: Path, found: Path, record_property: Any, checkpoint_pages: int
) -> None:
    disk, tried = Disk(root), 0
    logged(crasher, root, "append_facts", 12, checkpoint_pages)
    for state, acknowledged, where in crashes(disk, read_log(crasher.log), ignore="-shm"):
        check_ledger(lay_out(state, found), acknowledged, where)
        tried += 1
    record_property("tried: states of a ledger after a loss of power", tried)


def test_the_ledger_keeps_what_it_acknowledged_where_a_process_was_killed_before_the_power_went(
    crasher: Crasher, root: Path, found: Path, record_property: Any
) -> None:
    stop_at, tried, status, chance = 1, 0, -9, random.Random(5)
    while status:
        crasher.log.unlink(missing_ok=True)
        lay_out({}, root)
        disk = Disk(root)
        status = logged(crasher, root, "append_facts", 4, 12, stop_at=stop_at).status
        logged(crasher, root, "append_facts", 2, 12)
        states = [*crashes(disk, read_log(crasher.log), limit=10, ignore="-shm")]
        for state, acknowledged, where in chance.sample(states, min(len(states), 40)):
            check_ledger(lay_out(state, found), acknowledged, f"{where}, killed at {stop_at}")
            tried += 1
        stop_at += 1
    assert stop_at > 50
    record_property("tried: states of a ledger after a kill and a loss of power", tried)


def test_a_ledger_of_an_earlier_version_is_brought_up_or_left_whatever_the_disk_lost(
    crasher: Crasher, root: Path, found: Path, record_property: Any
) -> None:
    (root / ".sterling").mkdir()
    with gzip.open(OLD) as old:
        (root / ".sterling" / "ledger.db").write_bytes(old.read())
    disk, tried = Disk(root), 0
    logged(crasher, root, "open_ledger", PROJECT)
    for state, _, where in crashes(disk, read_log(crasher.log), limit=12, ignore="-shm"):
        with SQLiteLedger(lay_out(state, found) / ".sterling" / "ledger.db", PROJECT) as ledger:
            assert check_chain(ledger.records()) == (103, None), where
            assert check_index(ledger) is None
        tried += 1
    assert tried > 50
    record_property("tried: states of a ledger of an earlier version after a loss of power", tried)
