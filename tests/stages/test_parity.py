"""Parity stages: what is served is held against what the history says, and a difference is found."""

from __future__ import annotations

from typing import Any

import pytest

from sterling.core.evidence import Entry
from sterling.decisions.gate import judge
from sterling.features import online
from sterling.features.aggregates import OPERATIONS
from sterling.project.aggregates import Count, Sum
from sterling.project.features import Derived, Expression, FeatureView
from sterling.project.gates import Parity as ParityGate
from sterling.stages.contract import Outcome
from sterling.stages.graph import feature_stage
from sterling.stages.parity import Parity, RowParity
from tests.decisions.test_gate import entry
from tests.stages.bench import Bench
from tests.stages.logs import APPENDED, SPINE, Case

LOG = [(number, "a", 0, float(number), float(number), 0.0, None, 1.5, 2, None, True, "x", False) for number in range(8)]
MOMENTS = [("a", 0, float(hour)) for hour in range(2, 20, 3)]
VIEW = FeatureView("x", APPENDED, ["k", "n"], [Count(windows=["3h"]), Sum("w", windows=["1d"])])


@pytest.fixture
def bench(tmp_path: Any) -> Bench:
    return Bench(tmp_path)


def parity(bench: Bench) -> Outcome:
    case = Case(bench, LOG, MOMENTS, "append")
    built = bench.run(feature_stage(VIEW, SPINE), case.inputs).outputs["features"]
    return bench.run(Parity(VIEW, SPINE), case.inputs | {"features:x": built})


def row_parity(bench: Bench, feature: Expression | Derived, others: FeatureView | None = None) -> Outcome:
    inputs = Case(bench, LOG, MOMENTS, "append").inputs
    read = {}
    if others:
        read = {f"features:{others.name}": bench.run(feature_stage(others, SPINE), inputs).outputs["features"]}
        inputs = read
    built = bench.run(feature_stage(feature, SPINE), inputs).outputs["features"]
    return bench.run(RowParity(feature, SPINE), inputs | {f"features:{feature.name}": built})


def entries(outcome: Outcome) -> list[Entry]:
    return [entry(number, fact.kind, **fact.body) for number, fact in enumerate(outcome.facts, start=1)]


def features_of(outcome: Outcome) -> list[Any]:
    (fact,) = outcome.facts
    found: list[Any] = fact.body["features"]
    return found


def test_a_view_that_is_online_what_it_is_offline_has_no_different_cell(bench: Bench) -> None:
    outcome = parity(bench)
    assert [(f["name"], f["cells"], f["unequal"], f["different"]) for f in features_of(outcome)] == [
        ("x_count_3h", 6, 0, 0), ("x_sum_w_1d", 6, 0, 0),
    ]  # fmt: skip
    assert judge(ParityGate(), entries(outcome)).passed


def test_an_online_count_that_is_off_by_one_is_found_and_fails_the_gate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: dict[Any, Any] = {
        **OPERATIONS,
        Count: OPERATIONS[Count]._replace(online=lambda run, first: len(run) - first + 1),
    }
    monkeypatch.setattr(online, "OPERATIONS", wrong)
    outcome = parity(bench)
    assert [f["different"] > 0 for f in features_of(outcome)] == [True, False]
    verdict = judge(ParityGate(), entries(outcome))
    assert not verdict.passed
    assert "1 of 2 features differ, 'x_count_3h' most" in verdict.reason


def test_without_any_parity_on_record_the_gate_fails() -> None:
    assert not judge(ParityGate(), []).passed


def test_an_expression_is_computed_without_a_database_and_compared(bench: Bench) -> None:
    (found,) = features_of(row_parity(bench, Expression("later", "hour(t) + n")))
    assert (found["cells"], found["unequal"], found["different"]) == (6, 0, 0)


def test_a_derived_feature_is_compared(bench: Bench) -> None:
    (found,) = features_of(row_parity(bench, Derived("share", "x_sum_w_1d / nullif(x_count_3h, 0)"), VIEW))
    assert (found["cells"], found["unequal"], found["different"]) == (6, 0, 0)


def test_sql_that_only_the_database_computes_is_named_and_is_no_failure(bench: Bench) -> None:
    outcome = row_parity(bench, Expression("said", "strftime(t, '%A')"))
    (fact,) = outcome.facts
    assert [item["name"] for item in fact.body["not_served"]] == ["said"]
    verdict = judge(ParityGate(), entries(outcome))
    assert verdict.passed
    assert "Requests have to bring said." in verdict.reason
