"""The online state of one entity: what it keeps, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.errors import SterlingError
from sterling.features.lanes import Lane, Run
from sterling.features.online import Change, State, ViewPlan, entity_key
from sterling.project.aggregates import AnyAggregate, Count, CountDistinct, Max, Mean, Min, Sum, Variance
from sterling.project.features import FeatureView, First, Last
from sterling.project.sources import Delay, EventSource

MINUTE = 60_000_000
LANDED = EventSource("landed", "landed.parquet", event_time="at", available_at=Delay("0m"), entities=["origin"])
AGGREGATES: list[AnyAggregate] = [Count(windows=["1h"]), Sum("delay", windows=["1h"]), Mean("delay", windows=["1h"])]
VIEW = FeatureView("late", LANDED, ["origin"], AGGREGATES)
TYPES = {"delay": "double", "origin": "string"}


def plan(feature: FeatureView | Last | First = VIEW) -> ViewPlan:
    return ViewPlan(feature, TYPES)


def landed(minute: int, delay: float, *, known: int | None = None, lane: int = 1) -> Change:
    at = (minute if known is None else known) * MINUTE
    return (at, lane, True, minute * MINUTE, (at, f"f{minute}"), delay)


def answers(state: State, *minutes: int) -> list[tuple[Any, ...]]:
    return [state.read(minute * MINUTE) for minute in minutes]


def test_a_view_whose_aggregates_read_the_same_events_keeps_them_once() -> None:
    columns: list[AnyAggregate] = [
        Sum("delay", windows=["1h", "1d"]),
        Mean("delay", windows=["1h"]),
        Max("delay", windows=["1h"]),
    ]
    made = plan(FeatureView("late", LANDED, ["origin"], columns))
    assert [selection.column for selection in made.selections] == ["delay"]
    assert made.names == ("late_sum_delay_1h", "late_sum_delay_1d", "late_mean_delay_1h", "late_max_delay_1h")


def test_an_entity_of_which_nothing_is_known_has_counts_of_zero_and_nulls() -> None:
    assert plan().state().read(0) == (0, None, None)


def test_an_event_counts_only_for_moments_after_it_became_known() -> None:
    state = plan().state()
    state.apply([landed(10, 4.0, known=20), landed(10, 4.0, known=20, lane=0)])
    assert answers(state, 15, 20, 21) == [(0, None, None), (0, None, None), (1, 4.0, 4.0)]


def test_an_event_is_in_a_window_up_to_its_very_end() -> None:
    state = plan().state()
    state.apply([landed(10, 4.0)])
    assert answers(state, 70, 71) == [(0, 4.0, 4.0), (0, None, None)]


def test_a_moment_before_what_was_applied_cannot_be_read() -> None:
    state = plan().state()
    state.apply([landed(10, 4.0)])
    state.read(11 * MINUTE)
    with pytest.raises(SterlingError, match="has moved on"):
        state.read(10 * MINUTE)


def test_the_same_change_taken_twice_counts_once() -> None:
    state = plan().state()
    state.apply([landed(10, 4.0), landed(10, 4.0)])
    state.apply([landed(10, 4.0)])
    assert state.read(11 * MINUTE)[1] == 4.0


def test_an_event_that_is_taken_back_before_it_counts_never_does() -> None:
    state = plan().state()
    enters = landed(30, 4.0)
    state.apply([enters, (5 * MINUTE, 1, False, *enters[3:5], None)])
    assert answers(state, 6, 31) == [(0, None, None), (0, None, None)]


def test_sums_are_exact_however_large_and_small_values_mix() -> None:
    state = plan().state()
    state.apply([landed(1, 1e17), landed(2, 1.0), landed(3, -1e17), landed(4, 0.1)])
    assert state.read(5 * MINUTE)[1] == 1.1


def test_of_events_that_are_never_taken_back_only_the_last_is_kept() -> None:
    state = plan(Last(LANDED["delay"])).state()
    for minute in range(1, 1_000):
        state.apply([landed(minute, float(minute), lane=0)])
        assert state.read((minute + 1) * MINUTE) == (float(minute),)
    assert len(state.pack()) < 100


def test_a_long_history_is_forgotten_where_no_window_asks_for_it() -> None:
    state = plan().state()
    for minute in range(5_000):
        state.apply([landed(minute, 1.0)])
        state.read((minute + 1) * MINUTE)
    assert state.read(5_000 * MINUTE)[1] == 60.0
    assert len(state.pack()) < 10_000


def test_bytes_that_are_no_state_are_refused() -> None:
    with pytest.raises(SterlingError, match="features build"):
        State.unpack(plan(), b"\x93\x01\x02\x03")


@pytest.mark.parametrize("parts", [["JFK", None], [None]])
def test_an_entity_with_a_part_missing_is_none(parts: Sequence[Any]) -> None:
    assert entity_key(parts) is None


def test_a_whole_number_is_the_same_entity_however_a_request_writes_it() -> None:
    assert entity_key([17.0]) == entity_key([17]) == entity_key(["17"])


values = st.one_of(st.integers(-9, 9).map(float), st.sampled_from([1e17, 1.0, 2.0, 0.1, -1e-9]))
steps = st.lists(
    st.tuples(st.sampled_from(["enter", "enter", "leave", "turn"]), st.integers(0, 60), st.integers(0, 3), values),
    max_size=80,
)


@given(steps)
def test_what_a_lane_knows_of_its_runs_is_what_the_events_in_it_say(taken: list[tuple[str, int, int, float]]) -> None:
    lane, events, moment = Lane(), dict[tuple[int, tuple[int, str]], float](), 0
    for what, position, tie, value in taken:
        event = (position, (tie, "e"))
        if what == "turn":
            moment = position
            lane.turn(moment)
        elif what == "enter":
            lane.enter(*event, value, moment)
            events.setdefault(event, value)
        else:
            assert lane.leave(*event, moment) == (events.pop(event, None) is not None)
        past = [events[key] for key in sorted(events) if key[0] < moment]
        ahead = [events[key] for key in sorted(events, key=lambda key: (-key[0], key[1])) if key[0] >= moment]
        check(lane.past, past)
        check(lane.ahead, ahead)


def check(run: Run, held: list[float]) -> None:
    assert run.values == held
    for first in (0, len(held) // 2, len(held) - 1):
        rest = held[max(first, 0) :]
        if rest:
            assert run.total(max(first, 0)) == exact_sum(rest)
            assert run.extreme(max(first, 0), least=True) == min(rest)
            assert run.extreme(max(first, 0), least=False) == max(rest)
            assert run.distinct(max(first, 0)) == len(set(rest))


def exact_sum(numbers: list[float]) -> float:
    return math.fsum(numbers)


def test_every_operation_reads_the_end_of_a_long_run() -> None:
    columns: list[AnyAggregate] = [kind("delay", windows=["1h", "1d"]) for kind in (Min, Max, Sum, Mean, Variance)]
    view = FeatureView("late", LANDED, ["origin"], [*columns, CountDistinct("delay", windows=["1d"])])
    state = plan(view).state()
    state.apply([landed(minute, float(minute % 7), lane=0) for minute in range(600)])
    found = dict(zip(plan(view).names, state.read(600 * MINUTE), strict=True))
    assert (found["late_min_delay_1h"], found["late_max_delay_1h"]) == (0.0, 6.0)
    assert found["late_sum_delay_1d"] == sum(float(minute % 7) for minute in range(600))
    assert found["late_count_distinct_delay_1d"] == 7
