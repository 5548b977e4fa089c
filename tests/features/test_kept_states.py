"""States that are kept answer as those that are unpacked anew."""

from __future__ import annotations

import pytest

from sterling.core.errors import SterlingError
from sterling.features.kept_states import KeptStates
from sterling.features.online import State, ViewPlan
from sterling.project.aggregates import Count, Sum
from sterling.project.features import FeatureView
from sterling.project.sources import Delay, EventSource

HOUR = 3_600_000_000
SOURCE = EventSource("s", "s.parquet", event_time="happened", available_at=Delay("0m"), entities=["k"])
PLAN = ViewPlan(FeatureView("v", SOURCE, ["k"], [Count(windows=["6h"]), Sum("x", windows=["6h"])]), {"x": "int64"})


def packed(*hours: int) -> bytes:
    state = PLAN.state()
    for hour in hours:
        state.apply(
            [
                (hour * HOUR, lane, True, hour * HOUR, (hour * HOUR, str(hour)), value)
                for lane, value in ((0, None), (1, hour))
            ]
        )
    return state.pack()


def test_a_state_is_unpacked_once_while_its_bytes_stay() -> None:
    kept, data = KeptStates(), packed(1, 2, 9)
    state = kept.state(PLAN, b"a", data)
    assert kept.state(PLAN, b"a", bytes(bytearray(data))) is state
    assert kept.state(PLAN, b"b", data) is not state
    assert state.read(3 * HOUR) == (2, 3)
    assert kept.state(PLAN, b"a", data).read(10 * HOUR) == (1, 9)


def test_other_bytes_are_another_state() -> None:
    kept = KeptStates()
    assert kept.state(PLAN, b"a", packed(1)).read(3 * HOUR) == (1, 1)
    assert kept.state(PLAN, b"a", packed(1, 2)).read(3 * HOUR) == (2, 3)
    assert kept.state(PLAN, b"a", None).read(3 * HOUR) == (0, None)


def test_an_earlier_moment_is_read_from_the_bytes() -> None:
    kept, data = KeptStates(), packed(1, 5)
    later = kept.state(PLAN, b"a", data)
    assert later.read(6 * HOUR) == (2, 6)
    with pytest.raises(SterlingError, match="moved on"):
        later.read(2 * HOUR)
    assert kept.state(PLAN, b"a", data, at=2 * HOUR).read(2 * HOUR) == (1, 1)
    assert kept.state(PLAN, b"a", data, at=6 * HOUR) is later


def test_those_that_were_not_asked_for_the_longest_go_first() -> None:
    data = packed(1)
    kept = KeptStates(most_bytes=2 * len(data))
    first, second = kept.state(PLAN, b"a", data), kept.state(PLAN, b"b", data)
    assert kept.state(PLAN, b"a", data) is first
    kept.state(PLAN, b"c", data)
    assert kept.state(PLAN, b"a", data) is first
    assert kept.state(PLAN, b"b", data) is not second


def test_a_state_larger_than_all_that_may_be_kept_is_read_all_the_same() -> None:
    kept = KeptStates(most_bytes=10)
    for _ in range(2):
        assert kept.state(PLAN, b"a", packed(1)).read(3 * HOUR) == State.unpack(PLAN, packed(1)).read(3 * HOUR)
