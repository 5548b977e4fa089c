from __future__ import annotations

import pytest

from sterling.project.definition import to_json
from sterling.views.compare import UnknownRunError, compare, find, render
from tests.views.golden import golden, on_terminal
from tests.views.ledger import Entries, definition


def test_two_versions_differ_in_definition_metrics_and_gates(refused: Entries) -> None:
    both = find(refused, "version:1"), find(refused, "version:2")
    found = compare(refused, *both, definitions=(definition(), definition(trees=500)))
    shown = on_terminal(render(found))
    assert shown == golden("compare.txt", shown)


def test_a_paired_difference_is_used_where_one_was_recorded(refused: Entries) -> None:
    found = compare(refused, find(refused, "version:1"), find(refused, "version:2"))
    assert found.metrics[0].difference == pytest.approx(0.004)
    assert found.metrics[0].position is not None


def test_unpaired_values_stand_beside_each_other(refused: Entries) -> None:
    found = compare(refused, find(refused, "version:2"), find(refused, "version:1"))
    assert found.metrics[0].difference is None
    assert "not paired" in on_terminal(render(found))


def test_a_gate_that_changed_is_two_gates(refused: Entries) -> None:
    gates = compare(refused, find(refused, "previous"), find(refused, "latest")).gates
    assert {(gate.before, gate.after) for gate in gates} == {(True, True), (None, False), (True, None)}


def test_an_unknown_run_names_those_that_there_are(second: Entries) -> None:
    with pytest.raises(UnknownRunError, match=r"'version:7'.*: #\d+, #\d+\."):
        find(second, "version:7")


def test_changes_are_json(second: Entries) -> None:
    newest = find(second, "latest").position
    assert to_json(compare(second, find(second, "previous"), find(second, f"#{newest}")))["after"] == newest
