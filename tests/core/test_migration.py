"""Ledgers of every released version still read: what they say, what they are found by, and that they hold."""

from __future__ import annotations

import gzip
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sterling.core import sqlite_schema
from sterling.core.errors import StorageError
from sterling.core.evidence import Evidence, Query
from sterling.core.ledger import check_chain
from sterling.core.sqlite import SQLiteLedger
from sterling.core.walk import check_index
from sterling.views.log import line
from sterling.views.status import status
from sterling.views.why import why

OLD = Path(__file__).parent / "ledgers"
HEAD_OF_0_1_0 = "e16fb39ea96684c02ac0fe97d36eb34af28f14a236a1167b1f25c4cebf81431f"
OPEN = """
import sys
from pathlib import Path
from sterling.core.sqlite import SQLiteLedger
from sterling.core.walk import check_index
print(len(list(SQLiteLedger(Path(sys.argv[1]), "late-parcels").read())))
"""


def unpacked(version: str, folder: Path) -> Path:
    path = folder / "ledger.db"
    path.write_bytes(gzip.decompress((OLD / f"{version}.db.gz").read_bytes()))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return unpacked("0.1.0", tmp_path)


@pytest.mark.parametrize("version", sorted(path.name.removesuffix(".db.gz") for path in OLD.glob("*.db.gz")))
def test_a_released_ledger_says_what_it_said_then_and_every_view_reads_it(tmp_path: Path, version: str) -> None:
    entries = tuple(SQLiteLedger(unpacked(version, tmp_path), "late-parcels").read())
    said = "".join(f"{entry.position} {entry.kind} {entry.digest}\n" for entry in entries)
    assert said == (OLD / f"{version}.txt").read_text()
    assert not [entry for entry in entries if "has no sentence for" in line(entry)]
    live = status(entries).live
    assert live
    assert live.version == 2
    assert why(entries, "release").children


def test_every_digest_stays_and_the_chain_holds(path: Path) -> None:
    ledger = SQLiteLedger(path, "late-parcels")
    assert check_chain(ledger.records()) == (103, None)
    assert check_index(ledger) is None
    assert [record.digest.hex() for record in ledger.records()][-1] == HEAD_OF_0_1_0


def test_every_chain_of_a_file_comes_along_with_all_that_it_is_found_by(path: Path) -> None:
    other = SQLiteLedger(path, "another-project")
    assert check_chain(other.records()) == (2, None)
    assert [chain.project for chain in SQLiteLedger.chains(path)] == ["another-project", "late-parcels"]
    (noted,) = other.read(Query(("note.taken",), ("ünïcode:Ωmega", "emoji:🦆")))
    assert noted.body["nested"] == [{"🦆": None, "\ufb33": True}]
    assert [e.kind for e in SQLiteLedger(path, "late-parcels").read(Query(subjects=("version:2",)))] == [
        "model.registered", "version.released",
    ]  # fmt: skip


def test_an_old_ledger_goes_on(path: Path) -> None:
    ledger = SQLiteLedger(path, "late-parcels")
    assert ledger.append([Evidence("a.happened")]) == 104
    assert check_chain(SQLiteLedger(path, "late-parcels").records()) == (104, None)


@pytest.mark.parametrize(
    "edit",
    [
        "document = CAST(replace(document, '\"passed\":true', '\"passed\":null') AS BLOB)",
        "document = 'no json'",
        "document = CAST(document || ' ' AS BLOB)",
        "actor = 'user:eve'",
        "digest = 'no hex'",
        "previous = digest",
    ],
)
def test_what_was_tampered_with_before_is_found_afterwards(path: Path, edit: str) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TRIGGER entries_stay")
    db.execute(
        f"UPDATE entry SET {edit} WHERE position = 98 AND chain = (SELECT id FROM chain WHERE project LIKE 'late%')"
    )
    db.commit()
    db.close()
    count, broken = check_chain(SQLiteLedger(path, "late-parcels").records())
    assert broken
    assert (count, broken.position) == (97, 98)


def test_processes_that_open_an_old_file_at_once_bring_it_up_once(path: Path) -> None:
    opened = [
        subprocess.Popen([sys.executable, "-c", OPEN, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert [process.communicate()[0].strip() for process in opened] == ["103"] * 4
    assert check_chain(SQLiteLedger(path, "late-parcels").records()) == (103, None)


def test_a_file_that_cannot_be_brought_up_stays_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = sqlite3.connect(path)
    before = db.execute("SELECT * FROM entry").fetchall()
    monkeypatch.setattr(sqlite_schema, "_content_of_1", lambda *_: sys.exit("the power failed"))
    with pytest.raises(SystemExit):
        SQLiteLedger(path, "late-parcels")
    monkeypatch.undo()
    assert db.execute("SELECT * FROM entry").fetchall() == before
    db.close()
    assert check_chain(SQLiteLedger(path, "late-parcels").records()) == (103, None)


def test_a_file_of_a_later_version_is_refused(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match="was written by a newer Sterling"):
        SQLiteLedger(path, "late-parcels")
