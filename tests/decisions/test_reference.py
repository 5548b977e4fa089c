from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sterling.core.elsewhere import REFERENCED
from sterling.core.evidence import Evidence, Query
from sterling.core.refs import ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.decisions.reference import ExternalFile, reference
from sterling.views.external import Reference, ended, references

NOW = datetime(2024, 1, 1, tzinfo=UTC)
FILE = ExternalFile("flights.parquet", ref_of(b"flights"), 7, "90d")


@pytest.fixture
def ledger(tmp_path: Path) -> SQLiteLedger:
    return SQLiteLedger(tmp_path / "ledger.db", "late")


def known(ledger: SQLiteLedger) -> tuple[Reference, ...]:
    return references(ledger.read(Query((REFERENCED,))))


def test_a_promise_runs_from_the_first_reading_however_often_the_file_is_read(ledger: SQLiteLedger) -> None:
    for days in (0, 30, 400):
        reference(ledger, [FILE], NOW + timedelta(days=days))
    (entry,) = ledger.read(Query((REFERENCED,), ("file:flights.parquet",)))
    assert entry.body == {
        "locator": "flights.parquet", "ref": FILE.ref, "bytes": 7,
        "since": "2024-01-01T00:00:00.000000Z", "until": "2024-03-31T00:00:00.000000Z",
    }  # fmt: skip


def test_a_longer_promise_is_recorded_and_runs_from_then_too(ledger: SQLiteLedger) -> None:
    reference(ledger, [FILE], NOW)
    for _ in range(2):
        reference(ledger, [FILE._replace(keep="120d")], NOW + timedelta(days=100))
    (found,) = known(ledger)
    assert (found.since[:10], found.until[:10], found.position) == ("2024-01-01", "2024-04-30", 2)


def test_another_content_is_another_promise_and_the_first_one_may_come_back(ledger: SQLiteLedger) -> None:
    other = FILE._replace(ref=ref_of(b"others"))
    for days, file in ((0, FILE), (10, other), (20, FILE._replace(keep="120d")), (30, other)):
        reference(ledger, [file], NOW + timedelta(days=days))
    assert [(found.ref, found.until[:10]) for found in known(ledger)] == [
        (FILE.ref, "2024-04-30"),
        (other.ref, "2024-04-10"),
    ]
    assert len(list(ledger.read())) == 3


def test_two_runs_at_once_record_a_file_once(ledger: SQLiteLedger, tmp_path: Path) -> None:
    class Slow(SQLiteLedger):
        def append(self, facts: Sequence[Evidence], *, unless: Query | None = None, after: int = 0) -> int:
            reference(ledger, [FILE], NOW)  # another run comes first
            return super().append(facts, unless=unless, after=after)

    reference(Slow(tmp_path / "ledger.db", "late"), [FILE], NOW)
    assert len(known(ledger)) == len(list(ledger.read())) == 1


def test_only_a_promise_that_has_ended_is_warned_of(ledger: SQLiteLedger) -> None:
    reference(ledger, [FILE], NOW)
    assert list(ended(known(ledger), NOW + timedelta(days=89))) == []
    (warning,) = ended(known(ledger), NOW + timedelta(days=91))
    assert warning.startswith("The promise to keep 'flights.parquet' as it is ended on 2024-03-31. Promise longer with")
