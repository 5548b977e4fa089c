"""What is said of censoring, against plain SQL; and how often its warning errs."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sterling.features.inside import Inside, Values
from sterling.features.leaks import Censoring, censoring, tallied
from sterling.features.windows import Log, Moments
from sterling.project.aggregates import Window

HOUR = 3_600_000_000
Ints = NDArray[np.int64]
WINDOW = Window("5h", "past")
ORACLE = """
WITH pairs AS (SELECT m.i, e.value, e.known < m.t AS seen FROM moments m JOIN events e
               ON e.key = m.key AND e.happened < m.t AND e.happened >= m.t - 18000000000)
SELECT (SELECT avg((n = 0)::DOUBLE) FROM (SELECT count(*) FILTER (p.seen) AS n FROM moments m LEFT JOIN pairs p USING (i) GROUP BY i)),
       sum(seen::INT) / count(*), avg(value) FILTER (seen), avg(value) FROM pairs
"""
events = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 9), st.integers(-9, 9)), min_size=1, max_size=30
)
moments = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 25)), min_size=1, max_size=15)


def found(keys: Ints, happened: Ints, known: Ints, values: NDArray[np.float64], asked: Ints, at: Ints) -> Censoring:
    beside = Moments(asked, at)
    clocks: dict[tuple[str, ...], Ints] = {("_event_time",): happened, ("_available_at",): known}
    log = Log(beside, keys, lambda names, rows: clocks[names][rows])
    seen, every = log.reach(WINDOW, ("_available_at",)), log.reach(WINDOW, None)
    numbers = Values(pa.chunked_array([pa.array(values)]))
    tally = tallied(beside, Inside(beside.size, seen, log.order).count, seen, every, log.order, numbers)
    return censoring([tally], len(beside), numeric=True)


@given(events, moments)
@settings(max_examples=30, deadline=None)
def test_shares_and_means_equal_plain_sql(log: list[tuple[int, ...]], asked: list[tuple[int, ...]]) -> None:
    key, happened, late, value = (np.array(column, np.int64) for column in zip(*log, strict=True))
    whose, at = (np.array(column, np.int64) for column in zip(*asked, strict=True))
    happened, known, at = happened * HOUR, (happened + late) * HOUR, at * HOUR
    mine = found(key, happened, known, value.astype(float), whose, at)
    session = duckdb.connect()
    session.register("events", pa.table({"key": key, "happened": happened, "known": known, "value": value}))
    session.register("moments", pa.table({"i": np.arange(len(at)), "key": whose, "t": at}))
    empty, share, known_mean, every_mean = session.execute(ORACLE).fetchall()[0]
    assert mine.empty == pytest.approx(empty)
    assert (mine.known is None) == (share is None)
    if share is not None:
        assert mine.known == pytest.approx(share)
    if share:
        assert mine.known_mean == pytest.approx(known_mean)
        assert mine.every_mean == pytest.approx(every_mean)


def warned(events: int, shift: float, *, repeats: int = 100) -> float:
    """How often it is warned of where the late half of the events has a mean that is so many deviations higher."""
    random, count = np.random.default_rng(1), 0
    for _ in range(repeats):
        happened = np.sort(random.integers(0, events, events)) * HOUR
        late = random.random(events) < 0.5
        values = random.normal(size=events) + shift * late
        zero = np.zeros(events, np.int64)
        at = np.arange(events, dtype=np.int64) * HOUR
        count += found(zero, happened, happened + np.where(late, 1000, 0) * HOUR, values, zero, at).warning is not None
    return count / repeats


def test_chance_is_rarely_warned_of_and_a_bias_nearly_always() -> None:
    for size in (30, 100, 1000):
        assert warned(size, 0.0) <= 0.02, size
    assert warned(1000, 0.5) >= 0.98
