from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.errors import InvalidDefinitionError
from sterling.core.evidence import Entry, Evidence
from sterling.decisions.gate import judge, title
from sterling.project.gates import (
    Acknowledged,
    AtLeast,
    AtMost,
    EverySlice,
    Gate,
    Golden,
    Improves,
    NoLeakage,
    NonInferior,
)


def entry(position: int, kind: str, **body: Any) -> Entry:
    return Entry(position, "", "", "", "", "", Evidence(kind, (), body))


def measured(position: int, metric: str, value: float | None, *, half: float = 0.01, **more: Any) -> Entry:
    bounds = {"lower": None, "upper": None} if value is None else {"lower": value - half, "upper": value + half}
    body: dict[str, Any] = {"metric": metric, "role": "candidate", "slice": {}, "value": value, "rows": 1000, **bounds}
    return entry(position, "metric.measured", **(body | more))


def compared(position: int, metric: str, difference: float, against: str, role: str, *, half: float = 0.01) -> Entry:
    return entry(
        position, "metric.compared", metric=metric, difference=difference, lower=difference - half,
        upper=difference + half, against_name=against, against_role=role,
    )  # fmt: skip


GATES: list[Gate] = [
    AtLeast("roc_auc", 0.7),
    AtMost("ece", 0.06),
    Improves("average_precision", by=0.005),
    NonInferior("roc_auc", margin=0.005),
    EverySlice("roc_auc", by=["carrier"], at_least=0.6),
    Golden("golden.jsonl"),
    NoLeakage(),
]


@pytest.mark.parametrize("gate", GATES, ids=title)
def test_a_gate_without_evidence_fails(gate: Gate) -> None:
    verdict = judge(gate, [])
    assert not verdict.passed
    assert verdict.reason.startswith("No evidence of")
    assert verdict.seen == ()


def test_a_floor_is_judged_on_the_lower_bound_not_on_the_value() -> None:
    verdict = judge(AtLeast("roc_auc", 0.7), [measured(4, "roc_auc", 0.705)])
    assert not verdict.passed
    assert verdict.reason == "roc_auc 0.7050: lower bound 0.6950 is below 0.7."
    assert verdict.seen == (4,)
    assert verdict.margin == pytest.approx(-0.005)


def test_a_ceiling_is_judged_on_the_upper_bound() -> None:
    assert not judge(AtMost("ece", 0.06), [measured(4, "ece", 0.055)]).passed
    assert judge(AtMost("ece", 0.06), [measured(4, "ece", 0.045)]).passed


def test_a_metric_of_a_baseline_is_no_evidence_about_the_candidate() -> None:
    assert not judge(AtLeast("roc_auc", 0.7), [measured(4, "roc_auc", 0.9, role="baseline")]).passed


def test_an_undefined_metric_fails_and_says_why() -> None:
    verdict = judge(AtLeast("roc_auc", 0.7), [measured(4, "roc_auc", None, reason="only one class")])
    assert verdict.reason == "roc_auc is undefined: only one class."


def test_the_candidate_must_beat_its_hardest_rival() -> None:
    facts = [
        compared(5, "average_precision", 0.20, "prior", "baseline"),
        compared(6, "average_precision", 0.014, "logistic", "baseline"),
    ]
    verdict = judge(Improves("average_precision", by=0.005), facts)
    assert not verdict.passed
    assert "against logistic, its hardest rival" in verdict.reason
    assert verdict.seen == (5, 6)


def test_where_less_is_better_a_gain_is_a_fall() -> None:
    assert judge(Improves("log_loss", by=0.01), [compared(5, "log_loss", -0.03, "prior", "baseline")]).passed
    assert not judge(Improves("log_loss", by=0.01), [compared(5, "log_loss", 0.03, "prior", "baseline")]).passed


def test_the_first_release_has_no_champion_to_be_worse_than() -> None:
    facts = [entry(7, "champion.resolved", champion=None, comparable=False, reason="")]
    verdict = judge(NonInferior("roc_auc", margin=0.005), facts)
    assert (verdict.passed, verdict.seen) == (True, (7,))
    assert verdict.reason == "First release: there is no champion to compare with."


def test_a_champion_that_cannot_be_compared_stops_the_release() -> None:
    facts = [entry(7, "champion.resolved", champion="sha256:1", comparable=False, reason="it reads 'visib'")]
    assert not judge(NonInferior("roc_auc", margin=0.005), facts).passed


@given(st.floats(-0.1, 0.1), st.floats(0, 0.05))
def test_non_inferiority_needs_the_bound_above_the_margin(difference: float, margin: float) -> None:
    facts = [
        entry(7, "champion.resolved", champion="sha256:1", comparable=True, reason=""),
        compared(8, "roc_auc", difference, "version 1", "champion"),
    ]
    assert judge(NonInferior("roc_auc", margin=margin), facts).passed == (difference - 0.01 > -margin)


def test_a_gate_over_slices_is_as_strong_as_its_weakest_one() -> None:
    facts = [
        measured(9, "roc_auc", 0.75, slice={"carrier": "UA"}),
        measured(10, "roc_auc", 0.58, slice={"carrier": "F9"}),
        measured(11, "roc_auc", 0.30, slice={"carrier": "OO"}, rows=20),
    ]
    verdict = judge(EverySlice("roc_auc", by=["carrier"], at_least=0.6, min_rows=500), facts)
    assert not verdict.passed
    assert "worst for carrier F9, 0.5800" in verdict.reason
    assert "2 of 3 slices judged" in verdict.reason


def test_slices_that_are_all_too_small_are_no_pass() -> None:
    facts = [measured(9, "roc_auc", 0.75, slice={"carrier": "UA"}, rows=20)]
    assert not judge(EverySlice("roc_auc", by=["carrier"], at_least=0.6), facts).passed


def test_golden_examples_that_fail_are_named() -> None:
    facts = [entry(12, "golden.checked", examples=3, failed=[{"name": "storm"}])]
    assert judge(Golden("g.jsonl"), facts).reason == "1 of 3 examples are answered otherwise: storm."


def checked(position: int, when: str, *names: str, reason: str | None = None) -> Entry:
    findings = [{"name": name} for name in names]
    return entry(position, "leakage.checked", when=when, findings=findings, reason=reason, rows=1_000)


def test_a_leak_that_nobody_acknowledged_fails() -> None:
    facts = [checked(3, "before", "date:season", "target:refund"), checked(7, "after")]
    verdict = judge(NoLeakage([Acknowledged("date:season", "it recurs")]), facts)
    assert not verdict.passed
    assert verdict.reason == "1 of 2 findings are not acknowledged: target:refund."
    assert verdict.seen == (3, 7)


def test_acknowledged_leaks_pass_with_their_reasons_and_those_that_are_gone_are_named() -> None:
    gate = NoLeakage([Acknowledged("date:season", "it recurs"), Acknowledged("target:refund", "gone since May")])
    verdict = judge(gate, [checked(3, "before", "date:season"), checked(7, "after")])
    assert verdict.passed
    assert verdict.reason == (
        "Acknowledged: date:season (it recurs); 1,000 rows looked at. No longer found: target:refund."
    )


def test_no_finding_passes() -> None:
    verdict = judge(NoLeakage(), [checked(3, "before"), checked(7, "after")])
    assert verdict.passed
    assert verdict.reason == "No check has a finding; 1,000 rows looked at."


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([checked(3, "before")], "No evidence of leakage checks after training."),
        ([checked(3, "before", reason="all labels are alike"), checked(4, "after")], "Leaks could not be looked for: all labels are alike."),
    ],
)  # fmt: skip
def test_leaks_that_were_not_looked_for_are_never_a_pass(facts: list[Entry], said: str) -> None:
    verdict = judge(NoLeakage(), facts)
    assert (verdict.passed, verdict.reason) == (False, said)


@pytest.mark.parametrize(
    ("finding", "reason", "said"),
    [
        ("season", "x", "It is a check and a column"),
        (":season", "x", "It is a check"),
        ("date:season", " ", "has no reason"),
    ],
)
def test_an_acknowledgement_names_a_finding_and_a_reason(finding: str, reason: str, said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said):
        Acknowledged(finding, reason)
