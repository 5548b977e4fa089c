"""Looks at the holdout are counted from the ledger, by the models that were judged on overlapping rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sterling.core.evidence import Entry, Evidence
from sterling.views.facts import latest_run, runs
from sterling.views.looks import looks
from sterling.views.report import run_report
from sterling.views.status import status
from tests.views.ledger import Entries


def changed(entries: Entries, kind: str, change: Any) -> Entries:
    """The entries, with another body in those of a kind."""

    def other(entry: Entry) -> Entry:
        evidence = Evidence(kind, entry.evidence.subjects, change(dict(entry.body)))
        return replace(entry, evidence=evidence) if entry.kind == kind else entry

    return tuple(map(other, entries))


def planned(number: int) -> Any:
    return lambda body: body | {"holdout": {"start_us": 0, "end_us": 1, "looks": number}}


def test_a_model_that_is_judged_again_on_the_same_rows_is_one_look(refused: Entries) -> None:
    first, second, third = runs(refused)
    counts = [found.models for run in (first, second, third) if (found := looks(refused, run))]
    assert counts == [1, 2, 2]  # the third run judged the second's model by another gate
    found = looks(refused, third)
    assert found is not None
    assert (found.definitions, found.declared, found.warning) == (3, 20, None)
    judged = [e.position for e in refused if e.kind == "stage.completed" and e.body["stage"] == "evaluate"]
    assert found.positions == tuple(judged[:2])


def test_more_models_than_planned_are_warned_of_wherever_the_run_is_shown(second: Entries) -> None:
    entries = changed(second, "run.completed", planned(1))
    report = run_report(entries)
    assert report.looks is not None
    assert report.looks.warning is not None
    assert "2 models were judged on these rows, and Holdout(looks=1) plans for 1" in report.looks.warning
    assert report.warnings()[0] == (f"Holdout: {report.looks.warning}", report.looks.positions[-1])
    assert any(line.startswith("Holdout: 2 models") for line in status(entries).undone)
    assert run_report(changed(second, "run.completed", planned(2))).looks == replace(report.looks, declared=2)


def test_a_newer_block_has_no_looks_yet_and_one_that_is_moved_a_little_has_all_of_them(second: Entries) -> None:
    last = latest_run(second)
    assert last is not None
    own = next(e for e in reversed(last.of("stage.completed")) if e.body["stage"] == "evaluate")

    def moved(by: int) -> Entries:
        body = {**own.body, "identity": {**own.body["identity"], "parameters": {
            name: value + by if isinstance(value, int) else value
            for name, value in own.body["identity"]["parameters"].items()
        }}}  # fmt: skip
        other = replace(own, evidence=replace(own.evidence, body=body))
        return tuple(other if entry.position == own.position else entry for entry in second)

    day = 86_400_000_000
    counts = []
    for by in (29 * day, 30 * day):
        entries = moved(by)
        run = latest_run(entries)
        assert run is not None
        found = looks(entries, run)
        assert found is not None
        counts.append(found.models)
    assert counts == [2, 1]
