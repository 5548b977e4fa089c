"""Tampering, seen from outside: every way of editing a ledger or a blob behind our back is found and named."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterling.core.evidence import Evidence, Query, Record, Writer
from sterling.core.ledger import Broken
from sterling.core.refs import Ref, ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.sqlite_schema import first_id
from sterling.core.store import LocalStore
from sterling.core.verify import Cited, verify
from sterling.testing import FixedClock

UNLOCK = "DROP TRIGGER records_stay; DROP TRIGGER records_are_kept;"
BASE = first_id(1)
ID = f"id - {BASE}"
WORD = "(SELECT number FROM word WHERE text = '{}')"
SWAP = f"""
UPDATE record SET id = -3 WHERE {ID} = 3;
UPDATE record SET id = {BASE} + 3 WHERE {ID} = 5;
UPDATE record SET id = {BASE} + 5 WHERE id = -3;
"""
MAKE_ROOM = f"""
UPDATE record SET id = -id - 1 WHERE {ID} >= 4; UPDATE record SET id = -id WHERE id < 0;
UPDATE label SET record = -record - 1 WHERE record - {BASE} >= 4; UPDATE label SET record = -record WHERE record < 0;
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


def at(position: int, change: str) -> str:
    return f"UPDATE record SET {change} WHERE {ID} = {position}"


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
        (at(4, "content = replace(content, '0.7', '0.9')"), 4, "was changed"),
        (at(4, "content = CAST(replace(content, '0.7', '0.9') AS BLOB)"), 4, "it does not match its digest"),
        (at(4, "content = CAST(content || ' ' AS BLOB)"), 4, "it does not match its digest"),
        (at(4, "content = 'no json'"), 4, "was changed"),
        (at(4, "content = CAST('[1]' AS BLOB)"), 4, "was changed"),
        (at(2, "content = CAST(replace(content, '2026', '2020') AS BLOB)"), 2, "was changed"),
        (at(1, "content = CAST(replace(content, 'unknown', 'user:eve') AS BLOB)"), 1, "was changed"),
        (at(7, "content = CAST(replace(content, 'laptop', 'ci') AS BLOB)"), 7, "was changed"),
        (at(5, "digest = 'x'"), 5, "was changed"),
        (at(5, "digest = zeroblob(32)"), 5, "was changed"),
        (at(5, "previous = 'no digest'"), 5, "is not the one that was recorded"),
        (f"DELETE FROM record WHERE {ID} = 4", 4, "entry 4 is missing: the chain goes on with 5"),
        (f"DELETE FROM record WHERE {ID} = 1", 1, "entry 1 is missing: the chain goes on with 2"),
        (SWAP, 3, "entry 3 is not the one that was recorded there: it was moved"),
        (at(7, f"id = {BASE} + 70"), 7, "entry 7 is missing: the chain goes on with 70"),
        (f"DELETE FROM record WHERE {ID} = 7", 7, "entry 7 is missing: queries still look for it"),
        (at(4, f"id = id + {BASE}"), 4, "entry 4 is missing"),
        (
            f"UPDATE label SET word = {WORD.format('k:kind.0')} WHERE record - {BASE} = 3 AND word = {WORD.format('k:kind.1')}",
            3,
            "says 'kind.1', 'all', 'n:3', but queries find it under 'kind.0', 'all', 'n:3'",
        ),
        (
            f"DELETE FROM label WHERE record - {BASE} = 6 AND word = {WORD.format('s:all')}",
            6,
            "says 'kind.0', 'all', 'n:6', but queries find it under 'kind.0', 'n:6'",
        ),
        ("UPDATE word SET text = 's:n:9' WHERE text = 's:n:2'", 2, "find it under 'kind.0', 'all', 'n:9'"),
        (
            "UPDATE word SET text = 's:-' WHERE text = 's:n:2'; UPDATE word SET text = 's:n:2' WHERE text = 's:n:3';"
            "UPDATE word SET text = 's:n:3' WHERE text = 's:-'",
            2,
            "find it under 'kind.0', 'all', 'n:3'",
        ),
        (
            f"INSERT INTO label SELECT {WORD.format('s:n:1')}, {BASE} + 5",
            5,
            "find it under 'kind.1', 'all', 'n:1', 'n:5'",
        ),
        (f"INSERT INTO label VALUES (1, {BASE} + 9)", 9, "entry 9 is missing: queries still look for it"),
        (
            f"UPDATE label SET record = {BASE} + 3 WHERE word = {WORD.format('s:n:5')}",
            3,
            "queries find it under 'kind.1', 'all', 'n:3', 'n:5'",
        ),
    ],
)
def test_an_edit_is_found_at_the_first_position_that_it_touches(
    ledger: SQLiteLedger, store: LocalStore, path: Path, script: str, position: int, reason: str
) -> None:
    tamper(path, script)
    found, said = first_fault(ledger, store)
    assert (found, reason in said) == (position, True), said


def test_an_entry_that_was_slipped_in_is_found(ledger: SQLiteLedger, store: LocalStore, path: Path) -> None:
    copied = f"INSERT INTO record SELECT id + 1, previous, digest, content FROM record WHERE {ID} = 3"
    tamper(path, MAKE_ROOM + copied)
    assert first_fault(ledger, store)[0] == 4


def test_an_entry_that_was_slipped_in_with_a_digest_of_its_own_is_found_behind_it(
    ledger: SQLiteLedger, store: LocalStore, path: Path
) -> None:
    before = list(ledger.records())[2]
    ledger.close()
    tamper(path, MAKE_ROOM)
    insert(path, forged_after(before))
    assert first_fault(ledger, store)[0] == 5


def test_an_entry_that_was_exchanged_with_a_digest_of_its_own_is_found_behind_it(
    ledger: SQLiteLedger, store: LocalStore, path: Path
) -> None:
    before = list(ledger.records())[2]
    ledger.close()
    tamper(path, f"DELETE FROM record WHERE {ID} = 4; DELETE FROM label WHERE record - {BASE} = 4")
    insert(path, forged_after(before))
    position, reason = first_fault(ledger, store)
    assert (position, "entry 5 does not follow entry 4" in reason) == (5, True)


def test_an_index_whose_pages_were_edited_is_found(ledger: SQLiteLedger, store: LocalStore, path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'word_by_text'").fetchone()
    db.close()
    data = path.read_bytes()
    start = (page - 1) * 4096
    index = data[start : start + 4096]
    at = index.index(b"k:kind.1") + 2
    path.write_bytes(data[: start + at] + b"kind.9" + data[start + at + 6 :])
    position, reason = first_fault(ledger, store)
    assert (position, reason) == (
        1,
        "entry 1 says 'kind.1', 'all', 'n:1', but queries find it under 'kind.9', 'all', 'n:1'",
    )


def test_pages_that_cannot_be_read_break_the_verdict(ledger: SQLiteLedger, store: LocalStore, path: Path) -> None:
    ledger.append([Evidence("a.happened", body={"x": "y" * 500})] * 200)
    ledger.close()
    data = path.read_bytes()
    path.write_bytes(data[: 4096 * 8] + b"\xff" * (len(data) - 4096 * 8))
    assert "is damaged. Restore it from a backup" in first_fault(ledger, store)[1]


def test_a_cut_tail_is_not_found_without_a_head_that_was_kept_elsewhere(
    ledger: SQLiteLedger, store: LocalStore, path: Path
) -> None:
    tamper(path, f"DELETE FROM record WHERE {ID} > 4; DELETE FROM label WHERE record - {BASE} > 4")
    assert verify(ledger, store).intact
    assert verify(ledger, store).entries == 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(1, 7), where=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_bit_flipped_anywhere_in_a_document_is_found_where_it_is(
    ledger: SQLiteLedger, store: LocalStore, path: Path, position: int, where: int, bit: int
) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DROP TRIGGER IF EXISTS records_stay")
    (content,) = db.execute(f"SELECT content FROM record WHERE {ID} = ?", (position,)).fetchone()
    flipped = bytearray(content)
    flipped[where % len(content)] ^= 1 << bit
    db.execute(f"UPDATE record SET content = ? WHERE {ID} = ?", (bytes(flipped), position))
    broken = verify(ledger, store).broken
    db.execute(f"UPDATE record SET content = ? WHERE {ID} = ?", (content, position))
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
    tamper(path, at(1, "content = CAST('no json' AS BLOB)"))
    report = verify(ledger, store)
    assert report.broken == Broken(1, "entry 1 was changed: it does not match its digest")
    assert report.altered == (Cited(bad, 3),)


def test_a_ledger_that_is_still_written_to_verifies(ledger: SQLiteLedger, store: LocalStore) -> None:
    reading = ledger.read(Query())
    next(reading)
    ledger.append([Evidence("k.done")])
    assert verify(ledger, store).entries == 8


def forged_after(before: Record) -> Record:
    writer = Writer("user:eve", "ci", "2026-01-01T00:00:00.000000Z")
    return writer.record(before.digest, before.position + 1, Evidence("kind.0", (), {"forged": True}))


def insert(path: Path, record: Record) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("INSERT INTO record VALUES (?, ?, ?, ?)", (BASE + record.position, *record[1:]))
    db.execute("INSERT INTO label SELECT number, ? FROM word WHERE text = 'k:kind.0'", (BASE + record.position,))
    db.close()
