"""Policies, values and sensitive attributes are refused where they do not fit together, with what would work."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import sterling as sl
from sterling.core.errors import InvalidDefinitionError
from sterling.project import gates
from sterling.project.bind import bind
from sterling.project.project import Project
from tests.project.flights import SCHEMAS, project

VALUE = sl.Value("USD", true_positive=40, false_positive=-5)


def deciding(value: sl.Value | None = VALUE, **changed: Any) -> Project:
    problem = msgspec.structs.replace(project.problem, value=value)
    return msgspec.structs.replace(project, problem=problem, gates=(), **changed)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (sl.Threshold, "one of at= and maximize="),
        (lambda: sl.Threshold(at=0.5, maximize="f1"), "one of at= and maximize="),
        (lambda: sl.Threshold(at=1.5), "lies in [0, 1]"),
        (lambda: sl.Threshold(maximize="f1", blocks=0), "at least 1"),
        (lambda: sl.Threshold(maximize="f1", block="4 weeks"), "a whole number and a unit"),
        (lambda: sl.Top(0), "at least 1"),
        (lambda: sl.Value("USD", -1, -5), "Acting would never be right"),
        (lambda: sl.Value("USD", 40, 5), "Leaving would never be right"),
        (lambda: sl.Value("USD", float("inf"), -5), "not finite"),
        (lambda: sl.Sensitive("sex", min_rows=0), "at least 1"),
        (lambda: gates.Fair("precision", by="sex"), "one of at_most= and ratio_at_least="),
        (lambda: gates.Fair("precision", by="sex", at_most=1.5), "between 0 and 1"),
        (lambda: gates.Fair("precision", by="sex", ratio_at_least=1.5), "(0, 1]"),
        (lambda: gates.Fair("calibration_gap", by="sex", ratio_at_least=0.8), "has no ratio"),
        (lambda: gates.WorthMore(than="nobody", by=-1), "at least 0"),
        (lambda: gates.EverySlice("false_positive_rate", by=["origin"], at_least=0.1), "of which less is better. It takes at_most="),
        (lambda: deciding(policy=None), "no Project.policy makes any"),
        (lambda: deciding(None, policy=sl.ExpectedValue()), "does not say what decisions are worth"),
        (lambda: deciding(None, policy=sl.Threshold(maximize="value")), "does not say what decisions are worth"),
        (lambda: deciding(policy=sl.Top(5)), "per= has to say"),
        (lambda: deciding(policy=sl.ExpectedValue(), sensitive=["origin", sl.Sensitive("origin")]), "'origin' twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(build: Any, said: str) -> None:
    with pytest.raises(InvalidDefinitionError) as refused:
        build()
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (gates.Fair("precision", by="origin", at_most=0.1), "Project.sensitive does not name"),
        (gates.WorthMore(than="nobody"), "does not say what decisions are worth"),
        (gates.AtLeast("value", 10), "does not say what decisions are worth"),
        (gates.AtLeast("precision", 0.5), "no Project.policy makes any"),
        (gates.AtMost("selection_rate", 0.5), "no Project.policy makes any"),
    ],
)
def test_a_gate_on_what_nobody_decides_is_refused(gate: gates.Gate, said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said):
        msgspec.structs.replace(project, gates=(gate,))


def test_fairness_without_decisions_is_about_calibration_alone() -> None:
    wanted = gates.Fair("calibration_gap", by="origin", at_most=0.1)
    found = msgspec.structs.replace(project, sensitive=("origin",), gates=(wanted,))
    assert found.attributes() == (sl.Sensitive("origin"),)
    with pytest.raises(InvalidDefinitionError, match=r"no Project\.policy makes any"):
        msgspec.structs.replace(
            project, sensitive=("origin",), gates=(gates.Fair("precision", by="origin", at_most=0.1),)
        )


def test_a_label_that_is_a_number_is_not_decided_by_its_chance() -> None:
    recipe = sl.Recipe(baselines=[sl.Prior()])
    with pytest.raises(InvalidDefinitionError, match=r"Project\.policy is about the chance"):
        msgspec.structs.replace(project, gates=(), recipe=recipe, task=sl.Regression(), policy=sl.Threshold(at=0.5))
    with pytest.raises(InvalidDefinitionError, match=r"Project\.sensitive is about the chance"):
        msgspec.structs.replace(project, gates=(), recipe=recipe, task=sl.Regression(), sensitive=["carrier"])


def test_a_capacity_is_for_a_duration_a_column_or_a_moment() -> None:
    assert (sl.Top(5, per="1d").per_us, sl.Top(5, per="1d").per_column) == (86_400_000_000, None)
    assert (sl.Top(5, per="local_day").per_us, sl.Top(5, per="local_day").per_column) == (None, "local_day")
    assert (sl.Top(5).per_us, sl.Top(5).per_column) == (None, None)
    with pytest.raises(InvalidDefinitionError, match="starts with a letter"):
        _ = sl.Top(5, per="1 day").per_us


def test_columns_of_policy_and_fairness_stand_beside_the_features() -> None:
    found = deciding(policy=sl.Top(5, per="origin"), sensitive=["carrier"])
    assert found.carried() == {"origin": "Top.per", "carrier": "Project.sensitive"}


def test_an_attribute_that_is_held_out_is_read_by_no_feature() -> None:
    bind(deciding(policy=sl.ExpectedValue(), sensitive=["carrier"]), SCHEMAS)
    with pytest.raises(InvalidDefinitionError, match=r"held_out=True.*the feature 'carrier' reads it"):
        bind(deciding(policy=sl.ExpectedValue(), sensitive=[sl.Sensitive("carrier", held_out=True)]), SCHEMAS)


def test_a_column_that_is_not_there_is_refused_by_the_place_that_names_it() -> None:
    with pytest.raises(InvalidDefinitionError, match=r"Project\.sensitive names 'carier'"):
        bind(deciding(policy=sl.ExpectedValue(), sensitive=["carier"]), SCHEMAS)
