from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sterling.features.inside import Inside, Values
from sterling.features.windows import NEVER, Moments, Reach, key_codes

codes = st.sampled_from([-1, 0, 1, 2**20])
times = st.one_of(st.integers(0, 5), st.sampled_from([-(2**55), 2**55, 2**55 + 1]))
pairs = st.lists(st.tuples(codes, times), max_size=10)


def ints(values: Any) -> np.ndarray:
    return np.array(list(values), np.int64)


@given(pairs, st.lists(st.tuples(codes, times, times, st.integers(-9, 9)), max_size=10))
def test_an_event_counts_after_it_enters_and_until_it_leaves_however_far_apart_times_lie(at: Any, log: Any) -> None:
    moments = Moments(ints(code for code, _ in at), ints(t for _, t in at))
    keys = ints(e[0] for e in log)
    enter, leave = moments.after(keys, ints(e[1] for e in log)), moments.after(keys, ints(e[2] for e in log))
    rows = np.flatnonzero(enter < leave)
    values = Values(pa.chunked_array([[e[3] for e in log]], pa.int64()))
    found = Inside(moments.size, Reach(rows, enter[rows], leave[rows]), np.arange(len(log)), values)
    there = [[n for n, e in enumerate(log) if code >= 0 and e[0] == code and e[1] < t <= e[2]] for code, t in at]
    inside = [[log[n][3] for n in events] for events in there]
    assert moments.spread(found.count, 0).tolist() == [len(events) for events in inside]
    assert moments.spread(found.total, 0).tolist() == [sum(events) for events in inside]
    assert moments.spread(found.distinct, 0).tolist() == [len(set(events)) for events in inside]
    assert moments.spread(found.newest(), -1).tolist() == [max(events, default=-1) for events in there]
    assert moments.spread(found.newest(first=True), NEVER).tolist() == [min(events, default=NEVER) for events in there]
    greatest = moments.spread(found.extreme(least=False), 0).tolist()
    assert [g for g, events in zip(greatest, inside, strict=True) if events] == [max(e) for e in inside if e]


def test_what_is_never_known_enters_nowhere() -> None:
    moments = Moments(ints([0]), ints([10]))
    assert moments.after(ints([0]), ints([NEVER])).tolist() == [1]


def test_composite_keys_are_equal_where_all_parts_are() -> None:
    text, whole = pa.chunked_array([["a", "b", "a", None]]), pa.chunked_array([[1, 1, 2, 1]])
    events, moments = key_codes([text, whole], [text.take([0, 1, 2]), whole.take([0, 1, 2]).cast(pa.int32())])
    assert events.tolist()[:3] == moments.tolist()
    assert len(set(events.tolist())) == 4
    assert events.tolist()[3] == -1
