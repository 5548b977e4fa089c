"""The SQLite ledger: the contract, and what only real processes, kills and broken files show."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sterling.core.errors import StorageError, TamperedLedgerError
from sterling.core.evidence import Evidence, Query
from sterling.core.ledger import check_chain
from sterling.core.sqlite import SQLiteLedger
from sterling.core.walk import check_index
from sterling.testing import FixedClock, LedgerContract
from sterling.testing.ledger import COPY

HEADER = """
import sys
from pathlib import Path
from sterling.core.errors import ConflictError, StorageError
from sterling.core.evidence import Evidence, Query
from sterling.core.sqlite import SQLiteLedger
from sterling.core.walk import check_index
path, name = Path(sys.argv[1]), sys.argv[2]
"""
APPEND_IN_PAIRS = """
ledger = SQLiteLedger(path, "flights", actor=name)
print("ready", flush=True)
for n in range(int(sys.argv[3])):
    ledger.append([Evidence("a.happened", (f"pair:{n}",), {"n": n}), Evidence("b.happened", (f"pair:{n}",), {"n": n})])
"""
DECIDE = """
ledger, won = SQLiteLedger(path, "flights", actor=name), 0
for n in range(int(sys.argv[3])):
    subject = (f"release:{n}",)
    seen = ledger.append([])
    if next(ledger.read(Query(("release.promoted",), subject)), None):
        continue
    try:
        ledger.append([Evidence("release.promoted", subject)], unless=Query(("release.promoted",), subject), after=seen)
        won += 1
    except ConflictError:
        pass
print(won)
"""


def start(program: str, path: Path, name: str = "x", *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HEADER + program, str(path), name, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run_at_once(program: str, path: Path, *args: object) -> list[str]:
    processes = [start(program, path, f"process:{n}", *args) for n in range(4)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    return said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "ledger.db"


class TestSQLiteLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, path: Path) -> SQLiteLedger:
        return SQLiteLedger(path, "contract", clock=FixedClock())

    @pytest.fixture
    def copy(self, path: Path) -> SQLiteLedger:
        return SQLiteLedger(path, "contract", chain=COPY)


def test_processes_that_append_at_once_lose_nothing(path: Path) -> None:
    run_at_once(APPEND_IN_PAIRS, path, 50)
    ledger = SQLiteLedger(path, "flights")
    assert check_chain(ledger.records()) == (400, None)
    assert check_index(ledger) is None
    entries = list(ledger.read())
    for n in range(4):
        assert [entry.body["n"] for entry in entries if entry.actor == f"process:{n}"] == [m // 2 for m in range(100)]
    pairs = [(a.actor, a.body["n"]) == (b.actor, b.body["n"]) for a, b in zip(entries[::2], entries[1::2], strict=True)]
    assert all(pairs)


def test_reading_while_another_process_appends_gives_whole_transactions(path: Path) -> None:
    ledger = SQLiteLedger(path, "flights")
    process = start(APPEND_IN_PAIRS, path, "writer", 100)
    while process.poll() is None:
        count, broken = check_chain(ledger.records())
        assert (count % 2, broken) == (0, None)
    process.communicate()
    assert check_chain(ledger.records()) == (200, None)


def test_of_processes_that_decide_on_the_same_evidence_exactly_one_wins(path: Path) -> None:
    wins = [int(said) for said in run_at_once(DECIDE, path, 40)]
    promoted = [entry.evidence.subjects for entry in SQLiteLedger(path, "flights").read(Query(("release.promoted",)))]
    assert sum(wins) == len(promoted) == len(set(promoted)) == 40


def test_a_kill_while_appending_leaves_whole_transactions_only(path: Path) -> None:
    ledger, lengths = SQLiteLedger(path, "flights"), []
    for n in range(24):
        process = start(APPEND_IN_PAIRS, path, "victim", 10_000)
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.002 * (n % 12))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        count, broken = check_chain(ledger.records())
        assert (count % 2, broken, check_index(ledger)) == (0, None, None)
        lengths.append(count)
    assert lengths[-1] > lengths[0]
    assert ledger.append([Evidence("a.happened")]) == lengths[-1] + 1


def test_a_forked_child_and_its_parent_append_to_one_chain(path: Path) -> None:
    ledger = SQLiteLedger(path, "flights")
    ledger.append([Evidence("parent.spoke")])
    halfway = ledger.read()
    next(halfway)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for _ in range(20):
                ledger.append([Evidence("child.spoke")])
            status = 0
        finally:
            os._exit(status)
    for _ in range(20):
        ledger.append([Evidence("parent.spoke")])
    assert os.waitpid(child, 0)[1] == 0
    assert check_chain(ledger.records()) == (41, None)
    assert len(list(ledger.read(Query(("child.spoke",))))) == 20


def test_one_file_holds_a_chain_for_each_project(path: Path) -> None:
    flights, churn = SQLiteLedger(path, "flights"), SQLiteLedger(path, "churn")
    flights.append([Evidence("a.happened", ("s",))])
    churn.append([Evidence("b.happened", ("s",))] * 2)
    assert flights.chain != churn.chain
    assert [entry.kind for entry in flights.read(Query((), ("s",)))] == ["a.happened"]
    assert check_chain(churn.records()) == (2, None)
    assert SQLiteLedger(path, "flights").chain == flights.chain


def test_entries_say_who_acted_what_vouches_for_it_and_when(path: Path) -> None:
    ledger = SQLiteLedger(path, "flights", actor="user:ada", attestor="ci", clock=FixedClock())
    ledger.append([Evidence("a.happened")])
    (entry,) = ledger.read()
    assert (entry.actor, entry.attestor, entry.recorded_at) == ("user:ada", "ci", "2026-01-01T00:00:00.000000Z")


@pytest.mark.parametrize("edit", ["UPDATE record SET content = x'00'", "DELETE FROM record"])
def test_entries_cannot_be_edited_in_place(path: Path, edit: str) -> None:
    SQLiteLedger(path, "flights").append([Evidence("a.happened")])
    db = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="ledger entries are never"):
        db.execute(edit)
    db.close()


def test_a_closed_ledger_opens_again_when_it_is_used(path: Path) -> None:
    with SQLiteLedger(path, "flights") as ledger:
        ledger.append([Evidence("a.happened")])
    assert [entry.kind for entry in ledger.read()] == ["a.happened"]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("This is a letter and no database." * 100)
    with pytest.raises(StorageError, match=r"ledger.db: it is no SQLite file. Choose another path"):
        SQLiteLedger(path, "flights")


def test_a_database_of_a_newer_version_is_left_alone(path: Path) -> None:
    SQLiteLedger(path, "flights").close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(StorageError, match=r"written by a newer Sterling \(version 7 .* Upgrade: pip install"):
        SQLiteLedger(path, "flights")


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"it cannot be opened. Choose a folder that you may write to"):
        SQLiteLedger(tmp_path, "flights")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/ledger.db: File exists. Choose a folder"):
        SQLiteLedger(tmp_path / "file" / "ledger.db", "flights")


def test_a_read_only_folder_is_named(read_only_folder: Path) -> None:
    with pytest.raises(StorageError, match=r"Choose a folder that you may write to"):
        SQLiteLedger(read_only_folder / "ledger.db", "flights")


def test_a_full_disk_is_named_and_nothing_is_half_written(path: Path) -> None:
    program = """
import resource, signal
ledger = SQLiteLedger(path, "flights")
ledger.append([Evidence("a.happened")])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    while True:
        ledger.append([Evidence("a.happened", body={"x": "y" * 5000})] * 2)
except StorageError as error:
    print(error)
"""
    said, _ = start(program, path).communicate()
    assert "the disk" in said
    assert "Make room" in said
    ledger = SQLiteLedger(path, "flights")
    count, broken = check_chain(ledger.records())
    assert (count % 2, broken) == (1, None)
    assert ledger.append([Evidence("a.happened")]) == count + 1


def test_a_ledger_that_another_process_holds_for_too_long_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sterling.core.sqlite_file._BUSY_SECONDS", 0.05)
    ledger = SQLiteLedger(path, "flights")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert list(ledger.read()) == []
    with pytest.raises(StorageError, match=r"another process has held it for \d+ seconds"):
        ledger.append([Evidence("a.happened")])
    other.close()
    assert ledger.append([Evidence("a.happened")]) == 1


def test_damaged_pages_are_named(path: Path) -> None:
    ledger = SQLiteLedger(path, "flights")
    ledger.append([Evidence("a.happened", body={"x": "y" * 500})] * 200)
    ledger.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 4)
        file.write(b"\xff" * (size - 4096 * 5))
    with pytest.raises(TamperedLedgerError, match=r"ledger.db is damaged. Restore it from a backup"):
        list(SQLiteLedger(path, "flights").read())


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(("b.happened",)),
        Query((), ("s:3",)),
        Query(("b.happened",), ("s:3", "all")),
        Query((), ("all", "s:3")),
        Query(("b.happened", "c.happened")),
    ],
)
def test_a_page_is_read_along_an_index_and_never_sorted(path: Path, query: Query) -> None:
    ledger = SQLiteLedger(path, "flights")
    ledger.append([Evidence("b.happened", (f"s:{n}", "all")) for n in range(10)] + [Evidence("c.happened")])
    seen: list[str] = []
    with ledger._file.connection() as db:
        db.set_trace_callback(seen.append)
        next(ledger.read(query, newest_first=True))
        db.set_trace_callback(None)
        plans = [row[3] for sql in seen for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert plans
    assert not [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan]
