"""A walk in two processes finds what a walk in one finds."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterling.core.evidence import Evidence
from sterling.core.ledger import Broken
from sterling.core.refs import ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.sqlite_schema import first_id
from sterling.core.walk import walk

LENGTH = 20
BASE = first_id(1)
EDITS = (
    "UPDATE record SET content = CAST(replace(content, 'kind', 'kino') AS BLOB) WHERE id = {id}",
    "UPDATE record SET digest = zeroblob(32) WHERE id = {id}",
    "UPDATE record SET content = x'00' WHERE id = {id}",
    "DELETE FROM record WHERE id = {id}",
    "DELETE FROM label WHERE record = {id}",
    "DELETE FROM record WHERE id >= {id}",
    "INSERT OR IGNORE INTO label SELECT 1, {id} + 40",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with SQLiteLedger(path, "flights") as ledger:
        ledger.append([Evidence(f"kind.{n % 3}", (f"n:{n}",), {"ref": ref_of(bytes([n % 7]))}) for n in range(LENGTH)])
    db = sqlite3.connect(path)
    db.executescript("DROP TRIGGER records_stay; DROP TRIGGER records_are_kept;")
    db.close()
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.sampled_from(EDITS), st.integers(1, LENGTH)), max_size=3))
def test_whatever_was_edited_two_processes_find_what_one_does(path: Path, edits: list[tuple[str, int]]) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    path.with_suffix(".copy").unlink(missing_ok=True)
    db.execute("VACUUM INTO ?", (str(path.with_suffix(".copy")),))
    db.close()
    db = sqlite3.connect(path.with_suffix(".copy"), isolation_level=None)
    for edit, position in edits:
        db.execute(edit.format(id=BASE + position))
    db.close()
    with SQLiteLedger(path.with_suffix(".copy"), "flights") as ledger:
        assert walk(ledger, split_from=2) == walk(ledger)


def test_an_intact_chain_is_walked_whole(path: Path) -> None:
    with SQLiteLedger(path, "flights") as ledger:
        walked = walk(ledger, split_from=2)
    assert (walked.entries, walked.broken) == (LENGTH, None)
    assert walked.first_cited == {ref_of(bytes([n])): n + 1 for n in range(7)}


def test_a_system_that_does_not_tell_which_cores_may_be_used_walks_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.sched_getaffinity")
    with SQLiteLedger(path, "flights") as ledger:
        assert walk(ledger, split_from=2)[:2] == (LENGTH, None)


def test_what_is_appended_meanwhile_is_no_fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SQLiteLedger(path, "flights") as ledger:
        index = ledger.index

        def appending(*, after: int = 0, until: int | None = None) -> object:
            ledger.append([Evidence("kind.0", ("late",))])
            return index(after=after, until=until)

        monkeypatch.setattr(ledger, "index", appending)
        assert walk(ledger)[:2] == (LENGTH, None)


def test_a_missing_middle_is_named_where_the_halves_meet(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DELETE FROM record WHERE id = ?", (BASE + LENGTH // 2,))
    db.execute("DELETE FROM label WHERE record = ?", (BASE + LENGTH // 2,))
    db.commit()
    db.close()
    with SQLiteLedger(path, "flights") as ledger:
        broken = walk(ledger, split_from=2).broken
    assert isinstance(broken, Broken)
    assert (broken.position, "entry 10 is missing: the chain goes on" in broken.reason) == (10, True)
