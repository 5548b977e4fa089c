"""What leakage checks found is shown with what to do, and what the project says of it."""

from __future__ import annotations

from dataclasses import replace

from sterling.project.definition import to_json
from sterling.project.gates import Acknowledged, NoLeakage
from sterling.views.report import GateRow, Report, run_report
from sterling.views.report_leakage import folds_table, leakage_table
from sterling.views.report_tables import all_tables
from tests.views.ledger import Entries


def report_of(entries: Entries) -> Report:
    return run_report(entries)


def test_a_finding_is_shown_with_what_to_do_and_where_it_stands(refused: Entries) -> None:
    report = report_of(refused)
    (row,) = leakage_table(report).rows
    position = next(e.position for e in reversed(refused) if e.kind == "leakage.checked" and e.body["when"] == "before")
    assert row.cells[0] == "✗ date:season"
    assert row.cells[1].startswith("It tells the day")
    assert row.cells[1].endswith("Take it out, or keep what recurs of it (hour, weekday).")
    assert row.cells[2] == f"[{position}]"
    assert leakage_table(report).title in {table.title for table in all_tables(report)}


def test_an_acknowledged_finding_shows_the_project_s_reason(refused: Entries) -> None:
    gate = NoLeakage([Acknowledged("date:season", "fares follow it")])
    verdict = GateRow("", "NoLeakage", to_json(gate), passed=True, reason="", margin=None, seen=(), position=1)
    (row,) = leakage_table(replace(report_of(refused), gates=(verdict,))).rows
    assert row.cells[0] == "✓ date:season"
    assert row.cells[1].endswith("Acknowledged: fares follow it")


def test_the_note_says_what_a_random_split_would_claim_and_that_availability_is_kept(refused: Entries) -> None:
    note = leakage_table(report_of(refused)).note or ""
    assert "6 checks of 245,647 rows: 1 finding" in note
    assert "ROC AUC of 0.761 on a random half of the training rows, 0.729 on the holdout (+0.0320)" in note
    assert "Availability is kept: without it 41.2 % of rows would have other features" in note


def test_a_run_that_was_not_checked_says_so(second: Entries) -> None:
    assert leakage_table(report_of(second)).empty == "not checked"


def test_folds_show_why_they_ignore_time(second: Entries) -> None:
    report = report_of(second)
    assert folds_table(report).note is None
    facts = tuple(
        replace(e, evidence=replace(e.evidence, body={**e.body, "split": {"type": "KFold", "why": "drawn in one hour"}}))
        if e.kind == "model.validated" else e for e in report.run.facts
    )  # fmt: skip
    found = folds_table(replace(report, run=replace(report.run, facts=facts)))
    assert found.note == "KFold ignores time, because: drawn in one hour"
    assert len(found.rows) == 2
