"""Gates over studies hold bounds against what is asked for, and never pass without evidence."""

from __future__ import annotations

from typing import Any

import pytest

from sterling.core.evidence import Entry, Evidence
from sterling.decisions.gate import judge, title
from sterling.project.gates import Behaves, FewFlips, Gate, Robust
from sterling.project.perturbations import Missing, Scaled

ROBUST = Robust("roc_auc", loses_less_than=0.05, under=[Missing("weather"), Scaled("distance", by=0.3048)])


def entry(position: int, kind: str, **body: Any) -> Entry:
    return Entry(position, "", "", "", "", "", Evidence(kind, (), body))


def perturbed(title: str, difference: float | None, metric: str = "roc_auc") -> dict[str, Any]:
    bounds = {
        side: None if difference is None else difference + half for side, half in (("lower", -0.01), ("upper", 0.01))
    }
    return {"title": title, "metrics": [{"metric": metric, "difference": difference, **bounds, "reason": "one class"}]}


def robustness(*found: dict[str, Any]) -> list[Entry]:
    return [entry(7, "robustness.measured", perturbations=list(found))]


def behaviour(*tests: tuple[int, int, float | None]) -> list[Entry]:
    found = [
        {"title": f"test {n}", "rows": rows, "violations": bad, "share": bad / rows if rows else None, "upper": upper}
        for n, (rows, bad, upper) in enumerate(tests)
    ]
    return [entry(8, "behaviour.tested", tests=found)]


def flips(count: int, upper: float | None) -> list[Entry]:
    resolved = entry(3, "champion.resolved", champion="sha256:1", comparable=True, reason="")
    return [
        resolved,
        entry(9, "predictions.compared", negative_flips=count, rows=1_000, rate=count / 1_000, upper=upper),
    ]


@pytest.mark.parametrize("gate", [ROBUST, Behaves(), FewFlips(0.02)])
def test_no_evidence_is_never_a_pass(gate: Gate) -> None:
    verdict = judge(gate, [])
    assert not verdict.passed
    assert verdict.reason.startswith("No evidence")


class TestRobust:
    def test_the_bound_of_the_worst_decides(self) -> None:
        facts = robustness(perturbed("weather missing", -0.03), perturbed("distance × 0.3048", -0.01))
        verdict = judge(ROBUST, facts)
        assert (verdict.passed, verdict.seen) == (True, (7,))
        assert verdict.margin == pytest.approx(0.01)
        assert "loses most with weather missing, 0.0300: upper bound 0.0400 is below 0.05" in verdict.reason

    def test_a_loss_whose_bound_is_too_high_fails(self) -> None:
        verdict = judge(ROBUST, robustness(perturbed("weather missing", -0.045), perturbed("distance × 0.3048", 0.2)))
        assert not verdict.passed
        assert verdict.margin == pytest.approx(-0.005)

    def test_for_a_metric_where_less_is_better_a_loss_is_a_rise(self) -> None:
        gate = Robust("log_loss", loses_less_than=0.05, under=[Missing("weather")])
        assert not judge(gate, robustness(perturbed("weather missing", 0.045, "log_loss"))).passed
        assert judge(gate, robustness(perturbed("weather missing", -0.3, "log_loss"))).passed

    def test_what_was_not_measured_fails_by_name(self) -> None:
        one = robustness(perturbed("weather missing", 0.0))
        assert "distance × 0.3048" in judge(ROBUST, one).reason
        undefined = robustness(perturbed("weather missing", None), perturbed("distance × 0.3048", 0.0))
        assert "is undefined: one class" in judge(ROBUST, undefined).reason
        other = robustness(perturbed("weather missing", 0.0, "log_loss"), perturbed("distance × 0.3048", 0.0))
        assert "No evidence of roc_auc" in judge(ROBUST, other).reason


class TestBehaves:
    def test_tests_that_every_row_keeps_pass_whatever_the_bound(self) -> None:
        for at_most in (0.0, 0.1):
            assert judge(Behaves(at_most), behaviour((100, 0, None), (50, 0, None))).passed

    def test_one_row_that_breaks_a_test_fails_where_none_may(self) -> None:
        verdict = judge(Behaves(), behaviour((100, 0, None), (1_000, 1, 0.004)))
        assert not verdict.passed
        assert "1 of 1,000 rows break 'test 1'; 1 of 2 tests are broken" in verdict.reason

    def test_the_bound_of_the_share_decides_where_some_may(self) -> None:
        facts = behaviour((1_000, 10, 0.02), (1_000, 30, 0.05))
        assert judge(Behaves(0.05), facts).passed
        assert not judge(Behaves(0.04), facts).passed
        assert judge(Behaves(0.04), facts).margin == pytest.approx(-0.01)

    def test_a_share_of_unknown_uncertainty_and_a_test_of_no_row_fail(self) -> None:
        assert "too few clusters" in judge(Behaves(0.5), behaviour((100, 3, None))).reason
        assert "No row of the holdout" in judge(Behaves(0.5), behaviour((0, 0, None))).reason


class TestFewFlips:
    def test_the_bound_of_the_rate_decides(self) -> None:
        assert judge(FewFlips(0.02), flips(10, 0.015)).passed
        failed = judge(FewFlips(0.01), flips(10, 0.015))
        assert not failed.passed
        assert (
            "10 of 1,000 rows were decided rightly and are not any more: upper bound 0.0150 is above 0.01"
            in failed.reason
        )

    def test_a_first_release_passes(self) -> None:
        assert judge(FewFlips(0.02), [entry(3, "champion.resolved", champion=None)]).passed

    def test_no_flips_pass_without_a_bound_and_some_do_not(self) -> None:
        assert judge(FewFlips(0.02), flips(0, None)).passed
        assert not judge(FewFlips(0.02), flips(1, None)).passed


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (ROBUST, "roc_auc loses less than 0.05 with weather missing, or distance × 0.3048"),
        (Behaves(), "no row breaks a behavioural test"),
        (Behaves(0.01), "at most 1 % of the rows break a behavioural test"),
        (FewFlips(0.02), "at most 2 % of the rows are decided rightly by the champion and wrongly now"),
    ],
)
def test_a_gate_has_a_title(gate: Gate, expected: str) -> None:
    assert title(gate) == expected
