"""Push: what arrives, in which order, after which kill, and what is refused."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from sterling.core.connect import connect_ledger, list_chains
from sterling.core.errors import StorageError
from sterling.core.evidence import Evidence
from sterling.core.ledger import ChainInfo, check_chain
from sterling.core.push import Fork, Progress, Pushed, compare, push
from sterling.core.refs import Ref, ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.core.verify import Cited, verify
from sterling.core.walk import check_index
from tests.core.sides import STOPPING, Side


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of 15 entries."""
    side = Side(tmp_path_factory.mktemp("template") / "here")
    side.record(0, 10)
    side.ledger.close()
    return side.folder


@pytest.fixture
def here(template: Path, tmp_path: Path) -> Side:
    return Side(Path(shutil.copytree(template, tmp_path / "here")))


@pytest.fixture
def there(tmp_path: Path, here: Side) -> Side:
    return Side(tmp_path / "there", here.ledger)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sterling.core.push._BATCH", 4)


def pushed(here: Side, there: Side) -> Pushed:
    return push(here.ledger, here.store, there.ledger, there.store)


def test_a_copy_is_the_chain_byte_for_byte_with_all_that_it_cites(here: Side, there: Side) -> None:
    done = pushed(here, there)
    records = list(here.ledger.records())
    assert list(there.ledger.records()) == records
    assert (done.entries, done.new, done.digest) == (15, 15, records[-1].digest.hex())
    assert (done.blobs, done.held, done.missing, done.altered, done.refused) == (30, 0, (), (), None)
    assert done.whole
    report = verify(there.ledger, there.store)
    assert (report.intact, report.entries, report.blobs, report.missing) == (True, 15, 30, ())


def test_a_copy_keeps_the_chains_id_and_is_a_copy(here: Side, there: Side) -> None:
    pushed(here, there)
    assert list_chains(f"sqlite:{there.path}") == (here.ledger.chain._replace(copied=True),)


def test_a_second_push_does_nothing(here: Side, there: Side) -> None:
    first, second = pushed(here, there), pushed(here, there)
    assert (second.entries, second.new, second.blobs, second.bytes, second.held) == (15, 0, 0, 0, 30)
    assert (second.digest, second.whole) == (first.digest, True)


def test_a_later_push_takes_only_what_is_new(here: Side, there: Side) -> None:
    pushed(here, there)
    here.record(10, 12)
    done = pushed(here, there)
    assert (done.entries, done.new, done.blobs, done.held) == (18, 3, 6, 30)


def test_what_is_recorded_while_it_runs_is_for_the_next_push(here: Side, there: Side) -> None:
    def work_on(_: Progress) -> None:
        if here.ledger.append([]) < 20:
            here.record(20, 21)

    done = push(here.ledger, here.store, there.ledger, there.store, observe=work_on)
    assert (done.entries, done.whole) == (15, True)
    assert pushed(here, there).entries == here.ledger.append([])


def test_blobs_that_gc_removed_are_counted_and_said(here: Side, there: Side) -> None:
    gone, kept_there = ref_of(b"PAR1 3 0"), ref_of(b"PAR1 4 0")
    there.put(b"PAR1 4 0")
    for ref in (gone, kept_there):
        here.store.delete(ref)
    done = pushed(here, there)
    assert (done.missing, done.blobs, done.held, done.whole) == ((Cited(gone, 5),), 28, 1, True)


def test_blobs_that_were_missing_are_brought_when_a_run_has_made_them_again(here: Side, there: Side) -> None:
    here.store.delete(ref_of(b"PAR1 3 0"))
    pushed(here, there)
    here.put(b"PAR1 3 0")
    done = pushed(here, there)
    assert (done.new, done.blobs, done.missing) == (0, 1, ())


def test_an_altered_blob_is_not_pushed_and_all_else_is(here: Side, there: Side) -> None:
    bad = ref_of(b"PAR1 3 0")
    here.alter(bad)
    done = pushed(here, there)
    assert (done.altered, done.entries, done.blobs, done.whole) == ((Cited(bad, 5),), 15, 29, False)
    assert not there.store.has(bad)
    assert set(there.store.list()) < set(here.store.list())
    here.store.delete(bad)
    here.put(b"PAR1 3 0")
    assert pushed(here, there).whole
    assert there.store.has(bad)


def test_a_blob_goes_after_all_that_it_cites_and_before_the_entry_that_cites_it(here: Side, there: Side) -> None:
    order: list[tuple[str, int]] = []

    class Noted(LocalStore):
        def put(self, stream: BinaryIO, *, admit: Callable[[Ref, Path], object] | None = None) -> Ref:
            ref = super().put(stream, admit=admit)
            what = "manifest" if b"segments" in self.open(ref).read_bytes() else "segment"
            order.append((what, len(list(there.ledger.records()))))
            return ref

    push(here.ledger, here.store, there.ledger, Noted(there.path.parent / "store"))
    assert [what for what, _ in order] == ["segment", "segment", "manifest"] * 10
    assert [entries for _, entries in order[:9]] == [0] * 9
    assert order[-1][1] == 12


def test_chains_that_went_different_ways_are_refused_at_the_first_position_that_differs(
    here: Side, there: Side
) -> None:
    pushed(here, there)
    before = list(there.ledger.records())
    here.go_back(6)
    here.ledger.append([Evidence("other.way")] * 20)
    done = pushed(here, there)
    assert done.refused
    assert (done.refused.position, done.new, done.blobs, done.whole) == (7, 0, 0, False)
    assert "entry 7 here is another than entry 7 of the copy" in done.refused.reason
    assert list(there.ledger.records()) == before


def test_a_chain_that_was_cut_is_refused_where_it_ends(here: Side, there: Side) -> None:
    pushed(here, there)
    here.go_back(6)
    done = pushed(here, there)
    assert done.refused
    assert done.refused.position == 7
    assert done.refused.reason == "the chain here ends with entry 6, and the copy goes on to entry 15"


def test_a_broken_chain_is_pushed_as_far_as_it_holds(here: Side, there: Side) -> None:
    here.ledger.close()
    with sqlite3.connect(here.path) as db:
        db.execute("DROP TRIGGER records_stay")
        db.execute("UPDATE record SET content = replace(content, 'flights', 'trains') WHERE id & 255 = 10")
        db.execute("UPDATE record SET content = replace(content, 'laptop', 'ci') WHERE id & 255 = 10")
    db.close()
    done = pushed(here, there)
    assert done.refused
    assert (done.refused.position, done.entries) == (10, 8)
    assert "entry 10 was changed" in done.refused.reason
    assert pushed(here, there).refused == done.refused


@pytest.mark.parametrize("position", [8, 10, 15])
def test_a_chain_with_a_gap_is_refused_there(here: Side, there: Side, position: int) -> None:
    here.ledger.close()
    with sqlite3.connect(here.path) as db:
        db.execute("DROP TRIGGER records_are_kept")
        db.execute("DELETE FROM record WHERE id & 255 = ?", (position,))
    db.close()
    done = pushed(here, there)
    if position == 15:  # a tail that was cut cannot be told from a short chain
        assert (done.refused, done.entries) == (None, 14)
    else:
        assert done.refused
        assert done.refused.position == position


def test_an_empty_chain_pushes_nothing(tmp_path: Path) -> None:
    here = Side(tmp_path / "here")
    done = pushed(here, Side(tmp_path / "there", here.ledger))
    assert (done.entries, done.new, done.digest, done.whole) == (0, 0, "", True)


def test_the_ledger_that_holds_the_chain_itself_is_no_place_to_push_to(here: Side) -> None:
    same = connect_ledger(f"sqlite:{here.path}", "flights", chain=here.ledger.chain._replace(copied=True))
    with pytest.raises(StorageError, match=r"holds the chain .* itself, and no copy of it"):
        push(here.ledger, here.store, same, here.store)


def test_two_laptops_push_chains_of_one_project_into_one_ledger(tmp_path: Path) -> None:
    team, laptops = tmp_path / "team", [Side(tmp_path / name) for name in ("ada", "bob")]
    for n, laptop in enumerate(laptops):
        laptop.record(10 * n, 10 * n + 5)
        assert pushed(laptop, Side(team, laptop.ledger)).whole
    own = SQLiteLedger(team / "ledger.db", "flights")
    own.append([Evidence("a.happened")])
    chains = list_chains(f"sqlite:{team / 'ledger.db'}")
    assert {chain.copied for chain in chains} == {True, False}
    assert {chain.id for chain in chains} == {*(laptop.ledger.chain.id for laptop in laptops), own.chain.id}
    for laptop in laptops:
        copy = SQLiteLedger(team / "ledger.db", "flights", chain=laptop.ledger.chain)
        assert list(copy.records()) == list(laptop.ledger.records())
        assert check_index(copy) is None


def test_pushes_of_one_chain_at_once_all_end_well(here: Side, there: Side) -> None:
    here.record(10, 40)

    def work(_: int) -> Pushed:
        copy = SQLiteLedger(there.path, "flights", chain=there.ledger.chain)
        return push(here.ledger, here.store, copy, there.store)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, range(4)))
    assert {one.whole for one in done} == {True}
    assert {one.entries for one in done} == {60}
    assert sum(one.new for one in done) >= 60
    assert list(there.ledger.records()) == list(here.ledger.records())


def test_progress_comes_to_the_end(here: Side, there: Side) -> None:
    seen: list[Progress] = []
    push(here.ledger, here.store, there.ledger, there.store, observe=seen.append)
    assert seen == sorted(seen)
    assert seen[-1][:3] == (15, 15, 30)


def test_what_is_alike_is_counted(tmp_path: Path) -> None:
    one, other = Side(tmp_path / "one"), Side(tmp_path / "other")
    assert compare(one.ledger, other.ledger) == Fork(0, here=False, there=False)
    one.record(0, 2)
    assert compare(one.ledger, other.ledger) == Fork(0, here=True, there=False)
    other.record(0, 1)
    assert compare(one.ledger, other.ledger) == Fork(1, here=True, there=False)
    other.ledger.append([Evidence("other.way")])
    assert compare(one.ledger, other.ledger) == Fork(1, here=True, there=True)


PUSH = (
    STOPPING
    + """
from sterling.core.connect import connect_ledger, connect_store
from sterling.core.ledger import chained

ledger = connect_ledger(f"sqlite:{here}/ledger.db", "flights")
copy = connect_ledger(f"sqlite:{there}/ledger.db", "flights", chain=chained(ledger).chain._replace(copied=True))
done = pushing.push(ledger, connect_store(f"file:{here}/store"), copy, connect_store(f"file:{there}/store"))
assert done.whole
print(steps)
"""
)


def steps_of(here: Side, there: Path, stop: int) -> int | None:
    """Push until a step, and how many steps there were; None where it was killed."""
    command = [sys.executable, "-c", PUSH, str(here.path.parent), str(there), str(stop)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode in {0, -signal.SIGKILL}, ran.stderr
    return int(ran.stdout) if ran.returncode == 0 else None


def require_whole_so_far(here: Side, there: Path) -> int:
    """What a killed push leaves is a beginning of the chain, and all that it cites is there."""
    if not list_chains(f"sqlite:{there / 'ledger.db'}"):
        return 0
    copy = Side(there, here.ledger)
    records = list(copy.ledger.records())
    assert records == list(here.ledger.records(until=len(records)))
    report = verify(copy.ledger, copy.store)
    assert (report.intact, report.missing) == (True, ())
    return len(records)


def stops(count: int) -> Iterator[object]:
    for n in range(count):
        yield n if n % 8 == 3 else pytest.param(n, marks=pytest.mark.slow)


@pytest.mark.parametrize("part", [*stops(64)])
def test_a_push_that_is_killed_at_any_step_leaves_a_whole_beginning_and_goes_on(
    here: Side, tmp_path: Path, part: int
) -> None:
    undisturbed = steps_of(here, tmp_path / "undisturbed", 0)
    assert undisturbed
    stop = 1 + undisturbed * part // 64
    there = tmp_path / "there"
    assert steps_of(here, there, stop) is None
    require_whole_so_far(here, there)
    done = pushed(here, Side(there, here.ledger))
    assert (done.entries, done.whole) == (15, True)
    assert require_whole_so_far(here, there) == 15


def test_a_push_that_is_killed_again_and_again_ends(here: Side, tmp_path: Path) -> None:
    there, chance = tmp_path / "there", random.Random(7)
    here.record(10, 60)
    reached = []
    for _ in range(8):
        command = [sys.executable, "-c", PUSH, str(here.path.parent), str(there), "0"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.15 + 0.1 * chance.random())
        process.kill()
        process.wait()
        reached.append(require_whole_so_far(here, there))
    assert reached == sorted(reached)
    assert pushed(here, Side(there, here.ledger)).entries == 90
    assert check_chain(Side(there, here.ledger).ledger.records()) == (90, None)


def test_a_copy_that_was_begun_elsewhere_is_not_continued_by_another_chain(here: Side, tmp_path: Path) -> None:
    other = Side(tmp_path / "other")
    other.record(20, 22)
    forged = ChainInfo(here.ledger.chain.id, "flights", other.ledger.chain.created_at, copied=True)
    copy = SQLiteLedger(tmp_path / "there" / "ledger.db", "flights", chain=forged)
    assert push(other.ledger, other.store, copy, LocalStore(tmp_path / "there" / "store")).whole
    assert push(here.ledger, here.store, copy, LocalStore(tmp_path / "there" / "store")).refused
