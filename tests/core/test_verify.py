"""Tampering, seen from outside: every way of editing a ledger or a blob behind our back is found and named."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterling.core.canonical import canonical
from sterling.core.evidence import Entry, Evidence, Query, link
from sterling.core.ledger import Broken
from sterling.core.refs import Ref, ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.core.verify import Cited, verify
from sterling.testing import FixedClock

UNLOCK = "DROP TRIGGER entries_stay; DROP TRIGGER entries_are_kept; PRAGMA foreign_keys = OFF;"
SWAP = """
UPDATE entry SET position = -3 WHERE position = 3;
UPDATE entry SET position = 3 WHERE position = 5;
UPDATE entry SET position = 5 WHERE position = -3;
"""
MAKE_ROOM = """
UPDATE entry SET position = -position - 1 WHERE position >= 4; UPDATE entry SET position = -position WHERE position < 0;
UPDATE subject SET position = -position - 1 WHERE position >= 4; UPDATE subject SET position = -position WHERE position < 0;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def ledger(path: Path) -> SQLiteLedger:
    ledger = SQLiteLedger(path, "flights", clock=FixedClock())
    ledger.append([Evidence(f"kind.{n % 2}", (f"n:{n}", "all"), {"auc": 0.7, "n": n}) for n in range(1, 8)])
    ledger.close()
    return ledger


def tamper(path: Path, script: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(UNLOCK + script)
    db.close()


def first_fault(ledger: SQLiteLedger, store: LocalStore) -> tuple[int, str]:
    report = verify(ledger, store)
    assert not report.intact
    assert report.broken
    assert report.entries < report.broken.position
    return report.broken.position, report.broken.reason


def put(store: LocalStore, data: bytes) -> Ref:
    return store.put(io.BytesIO(data))


def alter(store: LocalStore, ref: Ref) -> None:
    path = store.open(ref)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def test_what_nobody_touched_is_intact(ledger: SQLiteLedger, store: LocalStore) -> None:
    report = verify(ledger, store)
    assert report.intact
    assert (report.entries, report.broken, report.blobs, report.altered, report.missing) == (7, None, 0, (), ())


@pytest.mark.parametrize(
    ("script", "position", "reason"),
    [
        ("UPDATE entry SET document = replace(document, '0.7', '0.9') WHERE position = 4", 4, "was changed"),
        ("UPDATE entry SET document = CAST(document || ' ' AS BLOB) WHERE position = 4", 4, "its bytes are not those"),
        ("UPDATE entry SET document = 'no json' WHERE position = 4", 4, "cannot be read any more"),
        ("UPDATE entry SET document = '[1]' WHERE position = 4", 4, "cannot be read any more"),
        ("UPDATE entry SET document = replace(document, '0.7', 'NaN') WHERE position = 4", 4, "was changed"),
        ("UPDATE entry SET recorded_at = '2020-01-01T00:00:00.000000Z' WHERE position = 2", 2, "was changed"),
        ("UPDATE entry SET actor = 'user:eve' WHERE position = 1", 1, "was changed"),
        ("UPDATE entry SET attestor = 'ci' WHERE position = 7", 7, "was changed"),
        ("UPDATE entry SET digest = 'x' WHERE position = 5", 5, "was changed"),
        ("UPDATE entry SET previous = 'no hex' WHERE position = 5", 5, "is not the one that was recorded"),
        ("DELETE FROM entry WHERE position = 4", 4, "entry 4 is missing: the chain goes on with 5"),
        ("DELETE FROM entry WHERE position = 1", 1, "entry 1 is missing: the chain goes on with 2"),
        (SWAP, 3, "entry 3 is not the one that was recorded there: it was moved"),
        ("UPDATE entry SET position = 70 WHERE position = 7", 7, "entry 7 is missing: the chain goes on with 70"),
        ("DELETE FROM entry WHERE position = 7", 7, "entry 7 is missing: queries still look for it"),
        ("UPDATE entry SET chain = 'another' WHERE position = 4", 4, "entry 4 is missing"),
        ("UPDATE entry SET kind = 'gate.judged' WHERE position = 3", 3, "says 'kind.1', but queries find it as"),
        ("DELETE FROM subject WHERE position = 6 AND subject = 'all'", 6, "carries ['all', 'n:6'], but queries"),
        (
            "UPDATE subject SET subject = 'n:9' WHERE position = 2 AND subject = 'n:2'",
            2,
            "find it under ['all', 'n:9']",
        ),
        ("INSERT INTO subject SELECT id, 'approved', 5 FROM chain", 5, "find it under ['all', 'approved', 'n:5']"),
        ("INSERT INTO subject SELECT id, 'approved', 9 FROM chain", 9, "entry 9 is missing: queries still look for it"),
        ("UPDATE subject SET position = 3 WHERE subject = 'n:5'", 3, "queries find it under ['all', 'n:3', 'n:5']"),
    ],
)
def test_an_edit_is_found_at_the_first_position_that_it_touches(
    ledger: SQLiteLedger, store: LocalStore, path: Path, script: str, position: int, reason: str
) -> None:
    tamper(path, script)
    found, said = first_fault(ledger, store)
    assert (found, reason in said) == (position, True), said


def test_an_entry_that_was_slipped_in_is_found(ledger: SQLiteLedger, store: LocalStore, path: Path) -> None:
    tamper(
        path,
        MAKE_ROOM
        + "INSERT INTO entry SELECT chain, 4, recorded_at, actor, attestor, kind, document, previous, digest FROM entry WHERE position = 3;",
    )
    assert first_fault(ledger, store)[0] == 4


def test_an_entry_that_was_slipped_in_with_a_digest_of_its_own_is_found_behind_it(
    ledger: SQLiteLedger, store: LocalStore, path: Path
) -> None:
    before = list(ledger.read())[2]
    ledger.close()
    forged = forge(before, Evidence("kind.0", (), {"forged": True}))
    tamper(path, MAKE_ROOM)
    insert(path, ledger.chain, forged)
    assert first_fault(ledger, store)[0] == 5


def test_an_entry_that_was_exchanged_with_a_digest_of_its_own_is_found_behind_it(
    ledger: SQLiteLedger, store: LocalStore, path: Path
) -> None:
    before = list(ledger.read())[2]
    ledger.close()
    tamper(path, "DELETE FROM entry WHERE position = 4; DELETE FROM subject WHERE position = 4")
    insert(path, ledger.chain, forge(before, Evidence("kind.0", (), {"forged": True})))
    position, reason = first_fault(ledger, store)
    assert (position, "entry 5 does not follow entry 4" in reason) == (5, True)


def test_an_index_whose_pages_were_edited_is_found(ledger: SQLiteLedger, store: LocalStore, path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entry_by_kind'").fetchone()
    db.close()
    data = path.read_bytes()
    start = (page - 1) * 4096
    index = data[start : start + 4096]
    at = index.index(b"kind.1")
    path.write_bytes(data[: start + at] + b"kind.9" + data[start + at + 6 :])
    position, reason = first_fault(ledger, store)
    assert "queries find it as ['kind.1', 'kind.9']" in reason
    assert position in {1, 3, 5, 7}


def test_pages_that_cannot_be_read_break_the_verdict(ledger: SQLiteLedger, store: LocalStore, path: Path) -> None:
    ledger.append([Evidence("a.happened", body={"x": "y" * 500})] * 200)
    ledger.close()
    data = path.read_bytes()
    path.write_bytes(data[: 4096 * 8] + b"\xff" * (len(data) - 4096 * 8))
    assert "is damaged. Restore it from a backup" in first_fault(ledger, store)[1]


def test_a_cut_tail_is_not_found_without_a_head_that_was_kept_elsewhere(
    ledger: SQLiteLedger, store: LocalStore, path: Path
) -> None:
    tamper(path, "DELETE FROM entry WHERE position > 4; DELETE FROM subject WHERE position > 4")
    assert verify(ledger, store).intact
    assert verify(ledger, store).entries == 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(1, 7), where=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_bit_flipped_anywhere_in_a_document_is_found_where_it_is(
    ledger: SQLiteLedger, store: LocalStore, path: Path, position: int, where: int, bit: int
) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DROP TRIGGER IF EXISTS entries_stay")
    (document,) = db.execute("SELECT document FROM entry WHERE position = ?", (position,)).fetchone()
    flipped = bytearray(document)
    flipped[where % len(document)] ^= 1 << bit
    db.execute("UPDATE entry SET document = ? WHERE position = ?", (bytes(flipped), position))
    broken = verify(ledger, store).broken
    db.execute("UPDATE entry SET document = ? WHERE position = ?", (document, position))
    db.close()
    assert broken
    assert broken.position == position
    assert verify(ledger, store).intact


def test_altered_and_missing_blobs_are_told_apart(path: Path, store: LocalStore) -> None:
    kept, bad, gone = put(store, b"kept"), put(store, b"bad"), put(store, b"gone")
    ledger = SQLiteLedger(path, "flights")
    ledger.append(
        [Evidence("stage.completed", body={"outputs": {"a": kept, "b": [gone]}}), Evidence("k.done", body={bad: 1})]
    )
    ledger.append([Evidence("k.done", body={"again": [bad, gone]})])
    store.delete(gone)
    report = verify(ledger, store)
    assert (report.intact, report.blobs, report.altered, report.missing) == (True, 2, (), (Cited(gone, 1),))
    alter(store, bad)
    report = verify(ledger, store)
    assert (report.intact, report.broken) == (False, None)
    assert (report.blobs, report.altered, report.missing) == (1, (Cited(bad, 2),), (Cited(gone, 1),))


def test_blobs_that_only_a_manifest_of_manifests_cites_are_checked(path: Path, store: LocalStore) -> None:
    segment, gone = put(store, b"PAR1 segment"), ref_of(b"never put")
    inner = put(store, json.dumps({"segments": [segment, gone]}).encode())
    outer = put(store, json.dumps([inner]).encode())
    ledger = SQLiteLedger(path, "flights")
    ledger.append([Evidence("k.done"), Evidence("data.snapshotted", body={"data": outer})])
    report = verify(ledger, store)
    assert (report.blobs, report.missing) == (3, (Cited(gone, 2),))
    alter(store, segment)
    assert verify(ledger, store).altered == (Cited(segment, 2),)


def test_blobs_behind_a_broken_entry_are_checked_too(path: Path, store: LocalStore) -> None:
    bad = put(store, b"bad")
    ledger = SQLiteLedger(path, "flights")
    ledger.append([Evidence("k.done"), Evidence("k.done"), Evidence("k.done", body={"ref": bad})])
    ledger.close()
    alter(store, bad)
    tamper(path, "UPDATE entry SET document = 'no json' WHERE position = 1")
    report = verify(ledger, store)
    assert report.broken == Broken(1, "entry 1 was changed: it cannot be read any more")
    assert report.altered == (Cited(bad, 3),)


def test_a_ledger_that_is_still_written_to_verifies(ledger: SQLiteLedger, store: LocalStore) -> None:
    reading = ledger.read(Query())
    next(reading)
    ledger.append([Evidence("k.done")])
    assert verify(ledger, store).entries == 8


def forge(before: Entry, fact: Evidence) -> Entry:
    position = before.position + 1
    digest = link(before.digest, position, before.recorded_at, "user:eve", "ci", fact)
    return Entry(position, before.recorded_at, "user:eve", "ci", before.digest, digest, fact)


def insert(path: Path, chain: str, entry: Entry) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    said_by = (chain, entry.position, entry.recorded_at, entry.actor, entry.attestor, entry.kind)
    linked = (canonical(entry.evidence.document()), entry.previous, entry.digest)
    db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*said_by, *linked))
    db.close()
