from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.features.table_leaks import LeakReport, table_leaks
from tests.stages.bench import TIME, at


def log(*rows: tuple[Any, ...]) -> pa.Table:
    """Rows as (who, happened, known, value)."""
    times = [[None if row[n] is None else at(row[n]) for row in rows] for n in (1, 2)]
    return pa.table({
        "who": [row[0] for row in rows], "happened": pa.array(times[0], TIME), "known": pa.array(times[1], TIME),
        "value": pa.array([row[3] for row in rows], pa.float64()),
    })  # fmt: skip


def report(table: pa.Table, **options: Any) -> LeakReport:
    return table_leaks(table, "happened", "known", ["who"], ["value"], **{"windows": ["5h"], **options})


def test_where_all_is_known_at_once_nothing_leaks() -> None:
    found = report(log(("a", 1, 1, 1.0), ("a", 2, 2, 2.0), ("b", 3, 3, 3.0)))
    assert (found.rows, found.changed, found.dropped) == (3, 0.0, 0)
    assert [(leak.feature, leak.changed, leak.known) for leak in found.features] == [
        ("count_5h", 0.0, 1.0), ("mean_value_5h", 0.0, 1.0), ("last_value", 0.0, None)
    ]  # fmt: skip


def test_what_was_not_known_in_time_leaks_into_the_rows_that_see_it() -> None:
    """Of the event at 1, known at 2.5, the moment at 2 should see nothing; the ones at 3 and 4 may see it."""
    found = report(log(("a", 1, 2.5, 9.0), ("a", 2, 2, 2.0), ("a", 3, 3, 2.0), ("b", 4, 4, 3.0), (None, None, 4, 1.0)))
    assert (found.rows, found.dropped, found.changed) == (4, 1, 0.25)
    assert {leak.feature: leak.changed for leak in found.features} == {
        "count_5h": 0.25,
        "mean_value_5h": 0.25,
        "last_value": 0.25,
    }
    assert {leak.feature: leak.known for leak in found.features}["count_5h"] == pytest.approx(2 / 3)
    assert found.quantiles[1.0] == 1.5 * 3_600_000_000


def test_moments_may_be_others_than_the_events() -> None:
    table = log(("a", 1, 5, 9.0), ("a", 2, 2, 2.0)).append_column("asked", pa.array([at(3), None], TIME))
    found = report(table, at="asked")
    assert (found.rows, found.changed) == (1, 1.0)


def test_a_bias_and_a_delay_that_is_too_small_are_warned_of() -> None:
    """What ends early is known early: of trips that take as long as their value, the known ones are short."""
    rows = [("a", n / 10, n / 10 + (n * 7 % 40) / 10, float(n * 7 % 40)) for n in range(400)]
    found = report(log(*rows), windows=["2h"], delay="30m")
    mean = next(leak for leak in found.features if leak.feature == "mean_value_2h")
    assert mean.warning is not None
    assert "of the window's events are known at the moment; their mean is" in mean.warning
    assert found.later == pytest.approx(34 / 40)
    assert found.warning is not None


def test_times_without_a_zone_are_local_where_it_is_said() -> None:
    morning, noon = (at(0).replace(year=2025, month=7, hour=h, tzinfo=None) for h in (10, 12))
    naive = pa.table({
        "who": ["a", "a"], "happened": pa.array([morning, noon], pa.timestamp("us")),
        "known": pa.array([at(0), at(0)], TIME), "value": [1.0, 2.0],
    })  # fmt: skip
    here, there = (report(naive, tz=tz).quantiles[1.0] for tz in ("UTC", "Europe/Berlin"))
    assert there - here == 2 * 3_600_000_000


def test_mistakes_name_what_would_work() -> None:
    table = log(("a", 1, 2, 1.0))
    with pytest.raises(InvalidDefinitionError, match=r"There is no column 'knwn'. Did you mean 'known'\?"):
        table_leaks(table, "happened", "knwn", ["who"])
    with pytest.raises(InvalidDefinitionError, match=r"'who' is string, no time. Name a column with times"):
        table_leaks(table, "who", "known", ["who"])
    with pytest.raises(DataError, match="No row has a time in 'happened': there are no events"):
        report(log(("a", None, 2, 1.0)))
    with pytest.raises(InvalidDefinitionError, match="'1x'"):
        report(table, windows=["1x"])
