"""Backup and restore: what comes back, from which state of the workspace, after which kill, and what is left alone."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sterling.core.backup import Restored, backed_up, backup, restore
from sterling.core.connect import connect_ledger, list_chains
from sterling.core.errors import StorageError, TamperedLedgerError
from sterling.core.evidence import Evidence, Record
from sterling.core.ledger import check_chain
from sterling.core.push import Progress
from sterling.core.refs import ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.sqlite_schema import first_id
from sterling.core.store import LocalStore
from sterling.core.verify import Cited, verify
from sterling.core.walk import check_index
from tests.core.sides import STOPPING, Side


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of 15 entries, and a backup of it."""
    root = tmp_path_factory.mktemp("template")
    side = Side(root / "work")
    side.record(0, 10)
    backup(side.ledger, side.store, root / "backup")
    side.ledger.close()
    return root


@pytest.fixture
def work(template: Path, tmp_path: Path) -> Side:
    return Side(Path(shutil.copytree(template / "work", tmp_path / "work")))


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """The backup."""
    return Path(shutil.copytree(template / "backup", tmp_path / "backup"))


def restored(folder: Path, place: Path) -> Restored:
    (chain,) = backed_up(folder)
    return restore(folder, chain, f"sqlite:{place / 'ledger.db'}", LocalStore(place / "store"))


def kept(folder: Path) -> list[Record]:
    (chain,) = backed_up(folder)
    return list(SQLiteLedger(folder / "ledger.db", chain.project, chain=chain).records())


def require_restored(folder: Path, place: Path, found: Restored) -> None:
    """The workspace's own chain is the backup's, appendable, and whole."""
    ledger = SQLiteLedger(place / "ledger.db", "flights")
    assert list(ledger.records()) == kept(folder)
    assert (found.proven, found.same, found.refused, found.broken) == (True, True, None, None)
    assert (found.entries, found.digest) == (15, kept(folder)[-1].digest.hex())
    assert check_index(ledger) is None
    report = verify(ledger, LocalStore(place / "store"))
    assert (report.intact, report.blobs, report.missing) == (True, 30, ())
    assert ledger.append([Evidence("life.goes.on")]) == 16


def damage(path: Path, position: int, *, chain: int = 1) -> None:
    """Change an entry behind Sterling's back."""
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER IF EXISTS records_stay")
        content = "CAST(replace(content, '2026', '2020') AS BLOB)"
        db.execute(f"UPDATE record SET content = {content} WHERE id = ?", (first_id(chain) + position,))
    db.close()


def cut(path: Path, position: int, *, labels: bool = True) -> None:
    """Remove the entries behind a position, and what they are found by."""
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER records_are_kept")
        db.execute("DELETE FROM record WHERE id > ?", (first_id(1) + position,))
        if labels:
            db.execute("DELETE FROM label WHERE record > ?", (first_id(1) + position,))
    db.close()


def aside(place: Path) -> list[Path]:
    return sorted(path for path in place.glob("ledger.db.damaged-*") if not path.name.endswith(("-wal", "-shm")))


def test_a_backup_that_is_repeated_takes_only_what_is_new(work: Side, folder: Path) -> None:
    assert backup(work.ledger, work.store, folder).new == 0
    work.record(10, 12)
    done = backup(work.ledger, work.store, folder)
    assert (done.new, done.blobs, done.entries, done.whole) == (3, 6, 18, True)
    assert kept(folder) == list(work.ledger.records())


def test_a_backup_is_one_state_of_a_ledger_that_goes_on(work: Side, tmp_path: Path) -> None:
    stop = threading.Event()

    def go_on() -> None:
        writer, n = Side(work.folder), 20
        while not stop.is_set():
            writer.record(n, n + 1)
            n += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        for _ in range(3):
            done = backup(work.ledger, work.store, tmp_path / "backup")
            records = kept(tmp_path / "backup")
            assert (done.whole, done.entries, done.missing) == (True, len(records), ())
            assert check_chain(records) == (len(records), None)
    finally:
        stop.set()
        thread.join()
    assert list(work.ledger.records(until=len(records))) == records


def test_one_folder_backs_up_several_projects(work: Side, folder: Path) -> None:
    churn = SQLiteLedger(work.path, "churn")
    churn.append([Evidence("a.happened")])
    backup(churn, work.store, folder)
    assert [chain.project for chain in backed_up(folder)] == ["churn", "flights"]


def test_a_signed_head_is_kept_with_the_chain_and_is_never_ahead_of_it(work: Side, tmp_path: Path) -> None:
    heads, folder = tmp_path / "heads", tmp_path / "backup"
    heads.mkdir()
    name = work.ledger.chain.id

    def head() -> None:
        (heads / name).write_text(f"count {work.ledger.head()[0]}")

    def go_on(_: Progress) -> None:
        work.record(30, 31)
        head()

    backup(work.ledger, work.store, folder, heads=heads)
    assert not (folder / "heads").exists()
    head()
    done = backup(work.ledger, work.store, folder, heads=heads, observe=go_on)
    assert (folder / "heads" / name).read_text() == f"count {done.entries}" == "count 15"
    assert [path.name for path in (folder / "heads").iterdir()] == [name]


def test_a_ledger_that_went_another_way_does_not_touch_the_backup(work: Side, folder: Path) -> None:
    before = kept(folder)
    work.go_back(6)
    work.ledger.append([Evidence("other.way")] * 20)
    done = backup(work.ledger, work.store, folder)
    assert done.refused
    assert done.refused.position == 7
    assert kept(folder) == before


def test_a_lost_workspace_comes_back(work: Side, folder: Path) -> None:
    work.ledger.close()
    shutil.rmtree(work.folder)
    found = restored(folder, work.folder)
    assert (found.new, found.blobs, found.checked, found.moved) == (15, 30, 30, None)
    require_restored(folder, work.folder, found)


def test_restoring_what_is_whole_brings_nothing_and_proves_it(work: Side, folder: Path) -> None:
    found = restored(folder, work.folder)
    assert (found.new, found.blobs, found.checked) == (0, 0, 30)
    require_restored(folder, work.folder, found)
    assert aside(work.folder) == []


def test_a_chain_that_a_command_has_begun_without_recording_anything_gives_way(work: Side, folder: Path) -> None:
    work.lose_ledger()
    begun = SQLiteLedger(work.path, "flights")
    require_restored(folder, work.folder, restored(folder, work.folder))
    assert begun.chain._replace(copied=True) in list_chains(f"sqlite:{work.path}")


@pytest.mark.parametrize("position", [0, 6, 14])
def test_a_cut_tail_comes_back_in_place(work: Side, folder: Path, position: int) -> None:
    cut(work.path, position)
    found = restored(folder, work.folder)
    assert (found.new, found.damaged) == (15 - position, None)
    require_restored(folder, work.folder, found)
    assert aside(work.folder) == []


def test_a_cut_tail_that_queries_still_look_for_is_damage(work: Side, folder: Path) -> None:
    cut(work.path, 6, labels=False)
    found = restored(folder, work.folder)
    assert found.damaged == "entry 7 is missing: queries still look for it"
    require_restored(folder, work.folder, found)


def test_lost_and_altered_blobs_come_back(work: Side, folder: Path) -> None:
    work.store.delete(ref_of(b"PAR1 3 0"))
    work.alter(ref_of(b"PAR1 4 1"))
    found = restored(folder, work.folder)
    assert (found.new, found.blobs, found.altered) == (0, 2, ())
    require_restored(folder, work.folder, found)


def test_blobs_that_the_backup_never_had_are_named_missing(work: Side, tmp_path: Path) -> None:
    gone = ref_of(b"PAR1 3 0")
    work.store.delete(gone)
    assert backup(work.ledger, work.store, tmp_path / "backup").missing == (Cited(gone, 5),)
    found = restored(tmp_path / "backup", work.folder)
    assert (found.missing, found.checked, found.proven) == ((Cited(gone, 5),), 29, True)


def test_a_blob_that_was_altered_in_the_backup_is_not_brought_back(work: Side, folder: Path) -> None:
    bad = ref_of(b"PAR1 3 0")
    Side(folder, work.ledger).alter(bad)
    work.store.delete(bad)
    found = restored(folder, work.folder)
    assert (found.altered, found.missing, found.proven) == ((Cited(bad, 5),), (), False)
    assert not work.store.has(bad)


def test_a_changed_entry_is_mended_and_the_file_kept(work: Side, folder: Path) -> None:
    work.ledger.close()
    damage(work.path, 9)
    found = restored(folder, work.folder)
    assert found.damaged == "entry 9 was changed: it does not match its digest"
    assert (found.new, found.later, found.left) == (15, 0, 0)
    require_restored(folder, work.folder, found)
    assert aside(work.folder) == [found.moved]
    assert found.moved
    damaged = SQLiteLedger(found.moved, "flights")
    assert check_chain(damaged.records())[0] == 8


def test_what_was_recorded_after_the_backup_is_taken_from_the_damaged_file(work: Side, folder: Path) -> None:
    work.record(10, 14)
    later = list(work.ledger.records(after=15))
    work.ledger.close()
    damage(work.path, 9)
    found = restored(folder, work.folder)
    assert (found.entries, found.new, found.later, found.left, found.proven) == (21, 15, 6, 0, True)
    ledger = SQLiteLedger(work.path, "flights")
    assert list(ledger.records()) == kept(folder) + later
    assert verify(ledger, work.store).intact


def test_what_does_not_follow_any_more_is_left_in_the_damaged_file_and_counted(work: Side, folder: Path) -> None:
    work.record(10, 14)
    work.ledger.close()
    damage(work.path, 18)
    found = restored(folder, work.folder)
    assert (found.entries, found.later, found.left, found.proven) == (17, 2, 4, True)
    assert found.damaged == "entry 18 was changed: it does not match its digest"


@pytest.mark.parametrize("spoil", [
    lambda data: b"no database at all" * 1000,
    lambda data: data[: 4096 * 6] + b"\xff" * (len(data) - 4096 * 6),
    lambda data: b"\x00" * 100 + data[100:],
    lambda data: data[: len(data) // 2],
    lambda data: b"",
], ids=["no database", "damaged pages", "no header", "cut in half", "empty"])  # fmt: skip
def test_a_file_that_cannot_be_read_is_moved_aside(work: Side, folder: Path, spoil: Callable[[bytes], bytes]) -> None:
    work.ledger.close()
    spoilt = spoil(work.path.read_bytes())
    work.path.write_bytes(spoilt)
    found = restored(folder, work.folder)
    require_restored(folder, work.folder, found)
    if spoilt:
        assert found.moved
        assert found.damaged == "its file cannot be read any more"
        assert aside(work.folder) == [found.moved]


def test_a_log_that_sqlite_left_beside_a_lost_file_is_not_taken_for_the_new_ones(work: Side, folder: Path) -> None:
    work.record(10, 11)
    log = work.path.with_name("ledger.db-wal")
    held = SQLiteLedger(work.path, "flights")
    held.append([])
    data = log.read_bytes()
    assert data
    work.lose_ledger()
    held.close()
    log.write_bytes(data)
    require_restored(folder, work.folder, restored(folder, work.folder))


def test_a_ledger_that_goes_on_behind_the_backup_is_left_alone(work: Side, folder: Path) -> None:
    work.record(10, 11)
    before = list(work.ledger.records())
    found = restored(folder, work.folder)
    assert found.refused
    assert (found.refused.position, found.proven) == (16, False)
    assert "goes on behind the backup, which ends with entry 15" in found.refused.reason
    assert list(work.ledger.records()) == before


def test_a_ledger_that_went_another_way_is_left_alone(work: Side, folder: Path) -> None:
    work.go_back(6)
    work.ledger.append([Evidence("other.way")] * 3)
    before = list(work.ledger.records())
    found = restored(folder, work.folder)
    assert found.refused
    assert found.refused.position == 7
    assert "the two went different ways" in found.refused.reason
    assert list(work.ledger.records()) == before


def test_a_chain_that_was_begun_anew_is_left_alone(work: Side, folder: Path) -> None:
    work.lose_ledger()
    anew = SQLiteLedger(work.path, "flights")
    anew.append([Evidence("a.happened")])
    found = restored(folder, work.folder)
    assert found.refused
    assert f"has begun another chain there, {anew.chain.id}, of length 1" in found.refused.reason
    assert list_chains(f"sqlite:{work.path}") == (anew.chain,)


def test_a_damaged_file_with_other_chains_is_left_alone(work: Side, folder: Path) -> None:
    SQLiteLedger(work.path, "churn").append([Evidence("a.happened")])
    work.ledger.close()
    damage(work.path, 9)
    found = restored(folder, work.folder)
    assert found.refused
    assert "The file holds other chains too" in found.refused.reason
    assert aside(work.folder) == []


def test_a_chain_comes_back_beside_others(work: Side, folder: Path) -> None:
    work.lose_ledger()
    churn = SQLiteLedger(work.path, "churn")
    churn.append([Evidence("a.happened")])
    require_restored(folder, work.folder, restored(folder, work.folder))
    assert [entry.kind for entry in churn.read()] == ["a.happened"]


def test_a_damaged_backup_is_named_and_restores_nothing(work: Side, folder: Path) -> None:
    damage(folder / "ledger.db", 9)
    cut(work.path, 6)
    found = restored(folder, work.folder)
    assert found.refused
    assert found.refused.position == 9
    assert found.refused.reason.startswith("the backup itself is damaged: entry 9 was changed")
    assert work.ledger.head()[0] == 6


def test_a_folder_without_a_backup_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"is no backup: it holds no ledger.db with a chain"):
        backed_up(tmp_path)


def test_a_restored_chain_can_be_backed_up_and_pushed_on(work: Side, folder: Path) -> None:
    work.lose_ledger()
    restored(folder, work.folder)
    ledger = connect_ledger(f"sqlite:{work.path}", "flights")
    ledger.append([Evidence("life.goes.on")])
    assert backup(ledger, work.store, folder).new == 1


def test_records_that_do_not_follow_are_not_restored(work: Side, tmp_path: Path) -> None:
    first, second, third, *_ = work.ledger.records()
    forged = second._replace(content=second.content.replace(b"flights", b"trains").replace(b"n:", b"m:"))
    target = SQLiteLedger(tmp_path / "ledger.db", "flights", chain=work.ledger.chain._replace(copied=True))
    for records in [[second], [first, third], [first, forged]]:
        with pytest.raises(TamperedLedgerError, match="does not follow entry"):
            target.restore(records)
    assert (target.head()[0], target.chain.copied) == (0, True)
    assert list_chains(f"sqlite:{tmp_path / 'ledger.db'}")[0].copied
    assert target.restore([first]) == 1
    assert not list_chains(f"sqlite:{tmp_path / 'ledger.db'}")[0].copied


def test_an_own_chain_with_entries_does_not_give_way(work: Side, tmp_path: Path) -> None:
    own = SQLiteLedger(tmp_path / "ledger.db", "flights")
    own.append([Evidence("a.happened")])
    target = SQLiteLedger(tmp_path / "ledger.db", "flights", chain=work.ledger.chain._replace(copied=True))
    with pytest.raises(StorageError, match=r"has another chain of 'flights' already"):
        target.restore(work.ledger.records())
    assert (target.head()[0], SQLiteLedger(tmp_path / "ledger.db", "flights").chain) == (0, own.chain)


RESTORE = (
    STOPPING
    + """
from sterling.core.backup import backed_up, restore
from sterling.core.connect import connect_store

(chain,) = backed_up(here)
found = restore(here, chain, f"sqlite:{there}/ledger.db", connect_store(f"file:{there}/store"))
assert found.proven
print(steps)
"""
)
BACK_UP = (
    STOPPING
    + """
from sterling.core.backup import backup
from sterling.core.connect import connect_ledger, connect_store

done = backup(connect_ledger(f"sqlite:{here}/ledger.db", "flights"), connect_store(f"file:{here}/store"), there)
assert done.whole
print(steps)
"""
)


def steps_of(program: str, here: Path, there: Path, stop: int) -> int | None:
    """Run a program until a step, and say how many steps there were; None where it was killed."""
    command = [sys.executable, "-c", program, str(here), str(there), str(stop)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode in {0, -signal.SIGKILL}, ran.stderr
    return int(ran.stdout) if ran.returncode == 0 else None


def stops(count: int, now: int) -> Iterator[object]:
    for n in range(count):
        yield n if n % (count // now) == 1 else pytest.param(n, marks=pytest.mark.slow)


def lose(work: Side) -> None:
    shutil.rmtree(work.folder)


def spoil_entry(work: Side) -> None:
    damage(work.path, 9)


def spoil_file(work: Side) -> None:
    work.path.write_bytes(b"no database at all" * 1000)


def cut_tail(work: Side) -> None:
    cut(work.path, 6)


@pytest.mark.parametrize("spoil", [lose, cut_tail, spoil_entry, spoil_file])
@pytest.mark.parametrize("part", [*stops(32, 2)])
def test_a_restore_that_is_killed_at_any_step_leaves_the_old_or_the_restored_state_and_a_rerun_finishes(
    work: Side, folder: Path, spoil: Callable[[Side], None], part: int
) -> None:
    place, undisturbed = work.folder, folder.parent / "undisturbed"
    work.ledger.close()
    spoil(work)
    if place.exists():
        shutil.copytree(place, undisturbed)
    old = state_of(place)
    steps = steps_of(RESTORE, folder, undisturbed, 0)
    assert steps
    assert steps_of(RESTORE, folder, place, 1 + steps * part // 32) is None
    assert state_of(place) in (old, kept(folder))
    require_restored(folder, place, restored(folder, place))
    if spoil in (spoil_entry, spoil_file):
        assert len(aside(place)) == 1


def state_of(place: Path) -> list[Record] | str:
    """The records of the project's own chain; none where it has none."""
    try:
        own = [chain for chain in list_chains(f"sqlite:{place / 'ledger.db'}") if not chain.copied]
    except StorageError as error:
        return str(error)
    return list(SQLiteLedger(place / "ledger.db", "flights").records()) if own else []


@pytest.mark.parametrize("part", [*stops(32, 4)])
def test_a_backup_that_is_killed_at_any_step_is_a_whole_beginning_and_goes_on(
    work: Side, tmp_path: Path, part: int
) -> None:
    steps = steps_of(BACK_UP, work.folder, tmp_path / "undisturbed", 0)
    assert steps
    assert steps_of(BACK_UP, work.folder, tmp_path / "backup", 1 + steps * part // 32) is None
    if list_chains(f"sqlite:{tmp_path / 'backup' / 'ledger.db'}"):
        copy = Side(tmp_path / "backup", work.ledger)
        report = verify(copy.ledger, copy.store)
        assert (report.intact, report.missing) == (True, ())
    assert backup(work.ledger, work.store, tmp_path / "backup").whole
    assert kept(tmp_path / "backup") == list(work.ledger.records())
