from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sterling.views.differences import changes
from sterling.views.plan import Plan, PlannedStep, render
from tests.views.golden import golden, on_terminal
from tests.views.ledger import definition

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)


def test_a_plan_says_what_would_run_and_why() -> None:
    steps = (
        PlannedStep("snapshot weather", "cached", (), 7),
        PlannedStep("train candidate", "run", ("model.trees: 300 → 500", "library lightgbm: 4.6.0 → 4.7.0"), None),
        PlannedStep("evaluate", "unknown", ("depends on train candidate",), None),
    )
    shown = on_terminal(
        render(
            Plan(
                "late-arrivals", "ab" * 32, "2013-10-01T08:41:00Z", changes(definition(), definition(trees=500)), steps
            )
        )
    )
    assert shown == golden("plan.txt", shown)


def test_a_plan_of_cached_steps_would_run_nothing() -> None:
    plan = Plan("late", "ab" * 32, None, (), (PlannedStep("snapshot weather", "cached", (), 7),))
    assert "Nothing would run: the ledger answers all 1 step." in on_terminal(render(plan))


def test_a_changed_parameter_is_one_path() -> None:
    assert changes(definition(), definition(trees=500)) == ("recipe.model.trees: 300 → 500",)


def test_a_source_that_is_mentioned_often_changes_once() -> None:
    old, new = definition(), definition()
    _everywhere(new, "weather", "event_time", "observed_at")
    assert changes(old, new) == ("sources.weather.event_time: time_hour → observed_at",)


def test_an_added_item_of_a_list_leaves_the_others_alone() -> None:
    old, new = definition(), definition()
    new["project"]["features"]["features"].insert(0, {"type": "Expression", "name": "dow", "sql": "dayofweek(t)"})
    (line,) = changes(old, new)
    assert line.startswith("features.features[Expression dow]: added")


def test_a_changed_query_is_a_change() -> None:
    old, new = definition(), definition()
    new["sql"]["prepare_flights.sql"] = "6f" * 32
    assert changes(old, new)[0].startswith("sql.prepare_flights.sql: 5e5e")


@settings(max_examples=60)
@given(JSON)
def test_nothing_differs_from_itself(tree: Any) -> None:
    assert changes(tree, tree) == ()


@settings(max_examples=100)
@given(JSON, JSON)
@example([], "")
def test_what_differs_is_said(old: Any, new: Any) -> None:
    assert bool(changes(old, new)) == (old != new)


def _everywhere(tree: Any, source: str, key: str, value: str) -> None:
    if isinstance(tree, dict):
        if tree.get("name") == source and key in tree:
            tree[key] = value
        for item in tree.values():
            _everywhere(item, source, key, value)
    elif isinstance(tree, list):
        for item in tree:
            _everywhere(item, source, key, value)
