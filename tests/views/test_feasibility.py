"""What the data can show, as the terminal says it."""

from __future__ import annotations

from typing import Any

from sterling.core.evidence import Entry
from sterling.views.feasibility import render
from tests.views.golden import golden, on_terminal
from tests.views.ledger import Entries

AT = {"feasibility.assessed": 95, "leakage.checked": 93}


def facts(entries: Entries) -> tuple[Entry, Entry]:
    def newest(kind: str, **wanted: Any) -> Entry:
        found = (e for e in reversed(entries) if e.kind == kind)
        return next(e for e in found if all(e.body[name] == value for name, value in wanted.items()))

    return newest("feasibility.assessed"), newest("leakage.checked", when="before")


def test_volume_gates_doubts_and_leaks_fit_a_terminal_of_80_columns(refused: Entries) -> None:
    feasible, leaks = facts(refused)
    shown = on_terminal(render(feasible.body, leaks.body, AT))
    assert shown == golden("feasibility.txt", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_what_is_impossible_is_said_instead_of_the_gates(refused: Entries) -> None:
    feasible, leaks = facts(refused)
    nothing = {**feasible.body, "gates": [], "impossible": ["All 30 labels known before the holdout are 0: …"]}
    shown = on_terminal(render(nothing, {**leaks.body, "findings": [], "reason": "all labels are alike"}, AT))
    assert "Nothing to assess: no model can be judged." in shown
    assert "✗ All 30 labels known before the holdout are 0" in shown
    assert "? Leaks were not looked for: all labels are alike [93]." in shown


def test_no_leak_is_said_with_what_was_looked_for(refused: Entries) -> None:
    feasible, leaks = facts(refused)
    shown = on_terminal(render(feasible.body, {**leaks.body, "findings": []}, AT))
    assert "✓ No leak found in 245,647 rows by future, identifier, date and target" in shown
