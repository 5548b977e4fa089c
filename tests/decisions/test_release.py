from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sterling.core.errors import ConflictError, InvalidDefinitionError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.sqlite import SQLiteLedger
from sterling.decisions.register import decided, register
from sterling.decisions.release import live, release
from sterling.views.registry import versions


@pytest.fixture
def ledger(tmp_path: Path) -> SQLiteLedger:
    return SQLiteLedger(tmp_path / "ledger.db", "flights")


def judge_and_register(ledger: SQLiteLedger, model: str, *, passed: bool = True) -> Entry:
    decision = f"decision of {model}"
    body = {"title": "roc_auc at least 0.7", "passed": passed, "reason": "because"}
    ledger.append([Evidence("gate.judged", (f"decision:{decision}",), body)])
    judged = tuple(ledger.read(Query(("gate.judged",), (f"decision:{decision}",))))
    register(ledger, model=model, definition="d", decision=decision, judged=judged)
    found = decided(ledger, decision)
    assert found is not None
    return found


def test_versions_are_dense(ledger: SQLiteLedger) -> None:
    assert [judge_and_register(ledger, model).body["version"] for model in "abc"] == [1, 2, 3]


def test_a_model_that_failed_a_gate_is_refused_with_the_reasons(ledger: SQLiteLedger) -> None:
    refused = judge_and_register(ledger, "a", passed=False)
    assert refused.kind == "model.refused"
    assert refused.body["reasons"] == ["roc_auc at least 0.7: because"]
    assert refused.body["seen"] == [1]


def test_a_decision_is_taken_once(ledger: SQLiteLedger) -> None:
    judge_and_register(ledger, "a", passed=False)
    with pytest.raises(ConflictError):
        judge_and_register(ledger, "a", passed=False)


def test_the_newest_version_is_released_and_says_what_it_replaces(ledger: SQLiteLedger) -> None:
    judge_and_register(ledger, "a")
    release(ledger)
    judge_and_register(ledger, "b")
    entry, new = release(ledger)
    assert (entry.body["version"], entry.body["replaces"], entry.body["rollout"], new) == (2, 1, "now", True)


def test_of_two_that_release_one_version_at_once_one_does_and_the_other_finds_it_done(ledger: SQLiteLedger) -> None:
    judge_and_register(ledger, "a")
    theirs = SQLiteLedger(ledger._file.path, "flights")
    append = ledger.append

    def append_later(*facts: Any, **condition: Any) -> int:
        release(theirs)
        return append(*facts, **condition)

    ledger.append = append_later  # type: ignore[method-assign]
    entry, new = release(ledger)
    assert (entry.body["version"], new) == (1, False)
    assert len(list(ledger.read(Query(("version.released",))))) == 1


def test_releasing_what_is_live_does_nothing(ledger: SQLiteLedger) -> None:
    judge_and_register(ledger, "a")
    first, _ = release(ledger)
    again, new = release(ledger, 1)
    assert (again.position, new) == (first.position, False)


def test_an_earlier_version_can_be_released_again(ledger: SQLiteLedger) -> None:
    for model in "ab":
        judge_and_register(ledger, model)
        release(ledger)
    release(ledger, 1)
    current = live(ledger)
    assert current is not None
    assert current.body["version"] == 1


def test_a_version_that_was_never_registered_cannot_be_released(ledger: SQLiteLedger) -> None:
    with pytest.raises(InvalidDefinitionError, match="`sterling run` registers a model that passes its gates"):
        release(ledger)
    judge_and_register(ledger, "a")
    with pytest.raises(InvalidDefinitionError, match=r"has not registered version 9. Known: 1\."):
        release(ledger, 9)


def test_what_decides_from_its_scores_is_registered_with_a_model(ledger: SQLiteLedger) -> None:
    verdict = Evidence("gate.judged", ("decision:d",), {"title": "t", "reason": "r", "passed": True})
    judged = [next(ledger.read(after=ledger.append([verdict]) - 1))]
    register(ledger, model="m", definition="d", decision="d", judged=judged, policy="sha256:" + "5" * 64)
    assert versions(ledger.read())[-1].policy == "sha256:" + "5" * 64
