"""Fairness is judged on the bound of the largest gap between two groups; decisions on the bound of their gain."""

from __future__ import annotations

from typing import Any

import pytest

from sterling.core.evidence import Entry
from sterling.decisions.gate import judge, title
from sterling.project.gates import AtMost, Fair, Gate, WorthMore
from tests.decisions.test_gate import compared, entry, measured


def fairness(position: int = 5, **gaps: dict[str, Any]) -> Entry:
    groups = [{"group": name, "value": 0.3, "rows": 500, "reason": None} for name in ("f", "m")]
    groups.append({"group": None, "value": 0.9, "rows": 12, "reason": "12 rows enter, fewer than 100"})
    rates = [{"rate": rate, "groups": groups, **found} for rate, found in gaps.items()]
    return entry(position, "fairness.measured", attribute="sex", rates=rates)


def gap(value: float, bound: float, ratio: tuple[float, float] | None = None) -> dict[str, Any]:
    pair = {"most": "m", "least": "f", "reason": None}
    low = None if ratio is None else {"value": ratio[0], "bound": ratio[1], **pair}
    return {"difference": {"value": value, "bound": bound, **pair}, "ratio": low}


def test_a_difference_is_judged_on_its_upper_bound() -> None:
    facts = [fairness(selection_rate=gap(0.08, 0.11))]
    verdict = judge(Fair("selection_rate", by="sex", at_most=0.1), facts)
    assert not verdict.passed
    assert verdict.reason == (
        "Selection rate differs most between m and f, by 0.080: upper bound 0.110 exceeds 0.1. 1 of 3 groups are too small "
        "to compare."
    )
    assert verdict.seen == (5,)
    assert judge(Fair("selection_rate", by="sex", at_most=0.12), facts).passed


def test_a_ratio_is_judged_on_its_lower_bound() -> None:
    facts = [fairness(selection_rate=gap(0.05, 0.07, (0.85, 0.79)))]
    assert not judge(Fair("selection_rate", by="sex", ratio_at_least=0.8), facts).passed
    assert judge(Fair("selection_rate", by="sex", ratio_at_least=0.75), facts).passed


def test_equalised_odds_need_both_rates() -> None:
    odds = Fair("equalised_odds", by="sex", at_most=0.1)
    both = fairness(true_positive_rate=gap(0.02, 0.04), false_positive_rate=gap(0.05, 0.12))
    assert "False positive rate" in judge(odds, [both]).reason
    assert not judge(odds, [both]).passed
    assert not judge(odds, [fairness(true_positive_rate=gap(0.02, 0.04))]).passed


def test_a_gap_that_is_undefined_is_no_pass() -> None:
    undefined = {"value": None, "bound": None, "most": None, "least": None, "reason": "1 of 2 groups are large enough"}
    verdict = judge(
        Fair("precision", by="sex", at_most=0.1), [fairness(precision={"difference": undefined, "ratio": None})]
    )
    assert not verdict.passed
    assert "1 of 2 groups are large enough" in verdict.reason


@pytest.mark.parametrize("gate", [Fair("precision", by="sex", at_most=0.1), WorthMore(than="nobody")], ids=title)
def test_without_evidence_they_fail(gate: Gate) -> None:
    verdict = judge(gate, [fairness()])
    assert not verdict.passed
    assert verdict.reason.startswith("No evidence of")


def test_what_decisions_gain_is_judged_against_those_without_a_model() -> None:
    facts = [
        compared(8, "value", 120.0, "nobody", "nobody", half=30),
        compared(9, "value", 40.0, "everybody", "everybody", half=30),
    ]
    verdict = judge(WorthMore(than="nobody", by=50), facts)
    assert (verdict.passed, verdict.seen) == (True, (8,))
    assert verdict.reason == "value gains +120.0 against acting on nobody: lower bound +90.0 is above +50."
    assert not judge(WorthMore(than="everybody", by=50), facts).passed
    assert (
        title(WorthMore(than="everybody", by=50)) == "1,000 decisions are worth over 50 more than acting on everybody"
    )


def test_the_first_release_is_worth_more_than_no_champion() -> None:
    facts = [entry(7, "champion.resolved", champion=None, comparable=False, reason="")]
    assert judge(WorthMore(than="champion"), facts).passed


def test_a_selection_rate_has_a_limit() -> None:
    assert judge(AtMost("selection_rate", 0.2), [measured(4, "selection_rate", 0.15)]).passed
