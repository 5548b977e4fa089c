from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.features.lateness import QUANTILES, lateness
from sterling.features.windows import NEVER

HOUR = 3_600_000_000
EVENTS = np.arange(1000, dtype=np.int64) * HOUR


def test_quantiles_and_the_proposed_delay_cover_what_they_say() -> None:
    late = (np.arange(1000) % 100 + 1) * 60_000_000
    found = lateness(EVENTS, EVENTS + late)
    assert dict(zip(QUANTILES, found.quantiles, strict=True)) == {
        0.5: 50 * 60_000_000, 0.9: 90 * 60_000_000, 0.99: 99 * 60_000_000, 0.999: 100 * 60_000_000, 1.0: 100 * 60_000_000
    }  # fmt: skip
    assert (found.proposed, found.later, found.warning, found.rows) == ("99m", None, None, 1000)


def test_a_declared_delay_that_is_too_small_is_warned_of() -> None:
    late = np.where(np.arange(1000) % 50 == 0, 2 * HOUR, HOUR // 2)
    assert lateness(EVENTS, EVENTS + late, EVENTS + HOUR).warning is not None
    assert lateness(EVENTS, EVENTS + late, EVENTS + HOUR).later == 0.02
    assert lateness(EVENTS, EVENTS + late, EVENTS + 2 * HOUR).warning is None


def test_a_clock_that_is_the_time_of_a_load_is_warned_of() -> None:
    loaded = (EVENTS // (24 * HOUR) + 1) * 24 * HOUR + 6 * HOUR
    found = lateness(EVENTS, loaded)
    assert found.warning is not None
    assert found.warning.startswith("1,000 rows became known at 42 times only, 19h after the event in the median: this looks like the time of a load")  # fmt: skip
    assert lateness(EVENTS, EVENTS + 18 * HOUR).warning is None
    assert lateness(EVENTS[:24], loaded[:24]).warning is None


def test_what_is_never_known_and_what_is_known_ahead_is_no_delay() -> None:
    assert lateness(EVENTS, np.full(1000, NEVER)).rows == 0
    assert lateness(EVENTS, EVENTS - HOUR).proposed == "0m"


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300))
@settings(max_examples=40, deadline=None)
def test_quantiles_equal_plain_sql(late: list[int]) -> None:
    found = lateness(np.zeros(len(late), np.int64), np.array(late, np.int64))
    session = duckdb.connect()
    session.register("rows", pa.table({"late": late}))
    sql = (
        "SELECT min(late) FROM (SELECT late, count(*) OVER (ORDER BY late) AS below FROM rows) "
        "WHERE 1000 * below >= ? * (SELECT count(*) FROM rows)"
    )
    wanted = [session.execute(sql, [round(1000 * share)]).fetchall()[0][0] for share in QUANTILES]
    assert list(found.quantiles) == wanted


def test_chance_alone_is_rarely_said_to_be_more_than_was_declared() -> None:
    random = np.random.default_rng(2)

    def warned(rows: int, late: float) -> float:
        flags = [random.random(rows) < late for _ in range(400)]
        happened = np.arange(rows, dtype=np.int64) * HOUR
        found = (lateness(happened, happened + chosen * HOUR, happened) for chosen in flags)
        return sum(one.warning is not None for one in found) / 400

    for rows in (200, 1000, 10_000):
        assert warned(rows, 0.01) <= 0.03, rows
    assert warned(10_000, 0.02) >= 0.98


def test_a_busy_stream_whose_clock_tells_seconds_is_no_load() -> None:
    seconds = np.repeat(np.arange(100, dtype=np.int64), 30) * 1_000_000
    assert lateness(seconds, seconds + 2 * HOUR).warning is None
    assert lateness(seconds, np.full(len(seconds), 50 * HOUR)).warning is not None
