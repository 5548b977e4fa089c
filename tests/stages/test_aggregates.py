"""Every registered aggregate equals its meaning over a naive join, cell by cell, on random logs."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.features.aggregates import OPERATIONS
from sterling.project.aggregates import (
    Aggregate,
    AnyAggregate,
    Count,
    CountDistinct,
    Pending,
    Sum,
    Variance,
    aggregate_name,
    windows_of,
)
from sterling.project.features import FeatureView, First, Last, names_of
from sterling.project.sources import Delay, EventSource
from sterling.project.spine import EventSpine, Label
from sterling.stages.graph import feature_stage
from sterling.stages.windowed import Windowed
from tests.stages.bench import TIME, Bench, at, day, rows
from tests.stages.logs import KNOWN, SOURCES, SPINE, VALUES, Case, exact, inside, inside_blind, log_table, logs, moments

LENGTHS = {"1h": 1, "3h": 3, "1d": 24, "400d": 9600}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"windows": list(LENGTHS)}, "where": {"windows": ["3h", "1d"], "where": "f OR w > 1"},
    "known": {"windows": ["3h", "1d"], "on": "available_at"}, "ahead": {"ahead": ["3h", "1d"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


def every_aggregate() -> Iterator[tuple[Aggregate, str]]:
    """Each registered aggregate of each column that it can read, in each way."""
    kinds = {field.name: str(field.type) for field in log_table([], "append").schema}
    for operation, (way, fields) in itertools.product(OPERATIONS, WAYS.items()):
        if operation is Pending:
            yield Pending("ended", name=f"{way}_pending", **fields), "id"
            continue
        for column in VALUES:
            made = operation(column=column, name=f"{way}_{operation.__name__.lower()}_{column}", **fields)
            try:
                made.check_type(column, kinds[column], "here")
            except InvalidDefinitionError:
                continue
            yield made, column
    yield Count(windows=["1d"], name="events"), "id"


def test_every_aggregate_is_registered() -> None:
    assert set(OPERATIONS) == set(AnyAggregate.__args__)


def expected(aggregate: Aggregate, values: list[Any], column: str) -> Any:
    """What the registry says that an aggregate means."""
    operation = OPERATIONS[type(aggregate)]
    if len(values) < operation.least:
        return None
    found = operation.meaning(values if operation.result == "whole" else exact(values))
    whole = operation.result == "whole" or (operation.result == "column" and column in ("w", "f"))
    return int(found) if whole else float(found)


def check(bench: Bench, log: list[Any], at_moments: list[Any], updates: str) -> None:
    case = Case(bench, log, at_moments, updates)
    wanted, blind, whose = {}, {}, {}
    for aggregate, column in every_aggregate():
        for window in windows_of(aggregate):
            name = aggregate_name("x", aggregate, window)
            reads = {column, *(["w", "f"] if aggregate.where else [])}
            clocks = sorted({"available"}.union(*(KNOWN.get(read, []) for read in reads)))
            condition = inside(window.kind, LENGTHS[window.length], clocks)
            naive = inside_blind(window.kind, LENGTHS[window.length], clocks)
            if aggregate.where:
                condition, naive = (f"{rule} AND ({aggregate.where})" for rule in (condition, naive))
            if isinstance(aggregate, Pending):
                condition += " AND NOT coalesce(ended < t AND ended_known < t, FALSE)"
                naive += " AND NOT coalesce(ended < t AND ended_known IS NOT NULL, FALSE)"
            wanted[name], blind[name], whose[name] = (column, condition), (column, naive), aggregate
    held, there = case.windows(wanted), case.windows(blind, blind=True)
    view = FeatureView("x", SOURCES[updates], entities=["k", "n"], features=list(dict.fromkeys(whose.values())))  # type: ignore[arg-type]
    outcome = bench.run(feature_stage(view, SPINE), case.inputs)
    made, leaks = (bench.table(outcome.outputs[name]) for name in ("features", "leaks"))
    assert set(made.schema.names) == set(wanted)
    for name, aggregate in whose.items():
        column = wanted[name][0]
        answers = [expected(aggregate, values, column) for values in held[name]]
        assert made.column(name).to_pylist() == answers, name
        others = [expected(aggregate, values, column) for values in there[name]]
        flags = [a != b for a, b in zip(answers, others, strict=True)]
        assert leaks.column(name).to_pylist() == flags, name
        kept = [other if flag else None for other, flag in zip(others, flags, strict=True)]
        assert leaks.column(f"naive:{name}").to_pylist() == kept, name


@given(logs, moments)
@settings(max_examples=12, deadline=None)
def test_every_aggregate_means_the_same_as_a_naive_join_over_events(
    bench: Bench, log: list[Any], at_moments: list[Any]
) -> None:
    check(bench, log, at_moments, "append")


@given(logs, moments)
@settings(max_examples=12, deadline=None)
def test_every_aggregate_means_the_same_as_a_naive_join_over_corrected_events(
    bench: Bench, log: list[Any], at_moments: list[Any]
) -> None:
    check(bench, log, at_moments, "replace")


@pytest.mark.slow
@pytest.mark.parametrize("updates", SOURCES)
@given(logs, moments)
@settings(max_examples=20, deadline=None)
def test_every_aggregate_means_the_same_on_many_more_logs(
    bench: Bench, updates: str, log: list[Any], at_moments: list[Any]
) -> None:
    check(bench, log, at_moments, updates)


@pytest.mark.parametrize("updates", SOURCES)
@given(logs, moments, st.sampled_from([None, "3h"]), st.sampled_from([None, "f OR w > 1"]))
@settings(max_examples=12, deadline=None)
def test_the_last_and_the_first_value_equal_a_naive_join(
    bench: Bench, updates: str, log: list[Any], at_moments: list[Any], max_age: str | None, where: str | None
) -> None:
    case, columns = Case(bench, log, at_moments, updates), ("v", "w", "tag")
    wanted = {}
    for column in columns:
        reads = {column, *(["w", "f"] if where else [])}
        clocks = sorted({"available"}.union(*(KNOWN.get(read, []) for read in reads)))
        size = LENGTHS[max_age] if max_age else None
        wanted[column] = (column, f"{inside('past', size, clocks)} AND ({where or 'TRUE'})")
    held = case.windows(wanted)
    for kind, place in ((Last, -1), (First, 0)):
        feature = kind(SOURCES[updates]["v", "w", "tag"], max_age=max_age, where=where)
        made = bench.feature(feature, SPINE, case.inputs)
        for name, column in zip(names_of(feature), columns, strict=True):
            assert made.column(name).to_pylist() == [values[place] if values else None for values in held[column]]


def late(bench: Bench, values: list[Any], *features: Any, kind: pa.DataType | None = None) -> dict[str, list[Any]]:
    """Features, at hour 100, of one entity whose events happened an hour apart."""
    size = len(values)
    table = pa.table({"id": [str(n) for n in range(size)], "k": ["a"] * size, "h": pa.array([at(n) for n in range(size)], TIME), "v": pa.array(values, kind)})  # fmt: skip
    source = EventSource("log", "l.csv", event_id="id", event_time="h", available_at=Delay("0m"), entities=["k"])
    base = EventSource("base", "b.csv", event_id="id", event_time="t", available_at="t - INTERVAL 1 DAY")
    clean = {
        "clean:log": bench.clean(source, table),
        "clean:base": bench.clean(base, pa.table({"id": ["m"], "k": ["a"], "t": pa.array([at(100)], TIME)})),
    }
    spine = EventSpine(base, "t")
    inputs = clean | {"spine": bench.spine(spine, Label("v > 0", source, "1d"), clean).outputs["spine"]}
    made = bench.feature(FeatureView("x", source, ["k"], list(features)), spine, inputs)
    return {name: made.column(name).to_pylist() for name in made.schema.names}


def test_what_a_double_loses_is_kept(bench: Bench) -> None:
    found = late(bench, [1e17, 1.0, 2.0], Sum("v", windows=["99h", "400d"]), Variance("v", windows=["99h"]))
    assert found == {"x_sum_v_99h": [3.0], "x_sum_v_400d": [1e17 + 3], "x_variance_v_99h": [0.5]}
    spread = [1e9 + 0.25 * n for n in (0, 1, 2, 3)]
    assert late(bench, spread, Variance("v", windows=["400d"])) == {"x_variance_v_400d": [0.25**2 * 5 / 3]}


def test_a_whole_sum_beyond_64_bits_is_refused_and_one_within_is_exact(bench: Bench) -> None:
    assert late(bench, [2**62, 2**61, 1], Sum("v", windows=["400d"])) == {"x_sum_v_400d": [2**62 + 2**61 + 1]}
    with pytest.raises(DataError, match=r"x_sum_v_400d: a sum of whole numbers does not fit into 64 bits. Cast"):
        late(bench, [2**62, 2**62], Sum("v", windows=["400d"]))


def test_different_values_over_the_budget_are_refused_by_name(bench: Bench) -> None:
    values = [float(n % 30) for n in range(90)]
    assert late(bench, values, CountDistinct("v", windows=["400d"], budget=30)) == {"x_count_distinct_v_400d": [30]}
    message = (
        "x_count_distinct_v_400d: one window holds 30 different values of 'v', over the budget of 29. "
        "Shorten the window, narrow it with where=, or raise budget="
    )
    with pytest.raises(InvalidDefinitionError, match=message):
        late(bench, values, CountDistinct("v", windows=["400d"], budget=29))


def test_a_budget_is_looked_at_before_anything_else_is_computed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*_: Any) -> None:
        raise AssertionError("features were computed")

    monkeypatch.setattr(Windowed, "fill", computed)
    with pytest.raises(InvalidDefinitionError, match="over the budget of 2"):
        late(bench, [1.0, 2.0, 3.0], Sum("v", windows=["400d"]), CountDistinct("v", windows=["400d"], budget=2))


def test_an_entity_may_have_more_values_than_the_budget_where_its_windows_do_not(bench: Bench) -> None:
    made = late(bench, [float(n) for n in range(90)], CountDistinct("v", windows=["1h"], budget=29))
    assert max(made["x_count_distinct_v_1h"]) <= 29


def test_one_hot_entity_and_many_that_appear_once(bench: Bench) -> None:
    """20,000 events of one entity, and as many entities with one: numbers that are easy to say."""
    size = 20_000
    table = pa.table({
        "id": [str(n) for n in range(2 * size)],
        "k": ["hot"] * size + [f"k{n}" for n in range(size)],
        "h": pa.array([at(n / 100) for n in range(size)] * 2, TIME), "v": [float(n % 97) for n in range(2 * size)],
    })  # fmt: skip
    source = EventSource("log", "l.csv", event_id="id", event_time="h", available_at=Delay("1h"), entities=["k"])
    base = EventSource("base", "b.csv", event_id="id", event_time="t", available_at="t - INTERVAL 1 DAY")
    asked = pa.table(
        {"id": ["a", "b", "c"], "k": ["hot", "k5", "k6"], "t": pa.array([at(150), at(1.06), at(1.06)], TIME)}
    )
    clean = {"clean:log": bench.clean(source, table), "clean:base": bench.clean(base, asked)}
    spine = EventSpine(base, "t")
    inputs = clean | {"spine": bench.spine(spine, Label("v > 0", source, "1d"), clean).outputs["spine"]}
    view = FeatureView("x", source, ["k"], [Count(windows=["10h"]), CountDistinct("v", windows=["10h"])])
    made = bench.feature(view, spine, inputs)
    assert rows(made, "x_count_10h", "x_count_distinct_v_10h") == [(1, 1), (0, 0), (900, 97)]


def test_windows_are_hours_that_passed_where_clocks_are_changed(bench: Bench) -> None:
    """On 30 March 2025 Berlin has no hour from two to three; on 26 October it has it twice."""
    local = ["2025-03-30T01:30:00", "2025-03-30T03:30:00", "2025-10-26T01:30:00", "2025-10-26T03:30:00"]
    table = pa.table({
        "id": list("abcd"), "k": list("aabb"),
        "l": pa.array([day(text).replace(tzinfo=None) for text in local], pa.timestamp("us")),
    })  # fmt: skip
    source = EventSource(
        "log",
        "l.csv",
        event_id="id",
        event_time="l AT TIME ZONE 'Europe/Berlin'",
        available_at=Delay("0m"),
        entities=["k"],
    )
    base = EventSource("base", "b.csv", event_id="id", event_time="t", available_at="t - INTERVAL 1 DAY")
    asked = pa.table({
        "id": ["m", "n"], "k": ["a", "b"], "t": pa.array([day("2025-03-30T02:00:00"), day("2025-10-26T03:00:00")], TIME),
    })  # fmt: skip
    clean = {"clean:log": bench.clean(source, table), "clean:base": bench.clean(base, asked)}
    spine = EventSpine(base, "t")
    inputs = clean | {"spine": bench.spine(spine, Label("k = 'a'", source, "1d"), clean).outputs["spine"]}
    made = bench.feature(FeatureView("x", source, ["k"], [Count(windows=["1h", "2h", "4h"])]), spine, inputs)
    assert rows(made, "x_count_1h", "x_count_2h", "x_count_4h") == [(1, 2, 2), (1, 1, 2)]


def test_aggregates_of_one_name_are_told_apart() -> None:
    source = SOURCES["append"]
    with pytest.raises(
        InvalidDefinitionError, match=r"two aggregates are called 'x_count_1h'. Give one of them a name="
    ):
        FeatureView("x", source, ["k"], [Count(windows=["1h"]), Count(windows=["1h"], where="f")])
    view = FeatureView(
        "x", source, ["k"],
        [
            Count(windows=["1h"], ahead=["2h"]), Count(windows=["1h"], on="available_at"),
            Count(windows=["1h"], where="f", name="flagged"),
        ],
    )  # fmt: skip
    assert names_of(view) == ("x_count_1h", "x_count_ahead_2h", "x_count_known_1h", "x_flagged_1h")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"windows": []}, r"Count.windows is empty. Give lengths, such as windows=\['6h'\]"),
        ({"windows": ["6"]}, "Count.windows is '6'. Write a whole number and a unit"),
        ({"ahead": ["0h"]}, "Count.ahead is '0h': it must be longer than nothing"),
        ({"ahead": ["1h"], "on": "available_at"}, "does not go with on='available_at'. Write two aggregates"),
        ({"windows": ["1h"], "on": "loaded_at"}, "Count.on is 'loaded_at'. It takes 'event_time' or 'available_at'"),
        ({"windows": ["1h"], "name": "A b"}, "Count.name is named 'A b'"),
    ],
)
def test_what_no_aggregate_can_mean_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=message):
        Count(**wrong)


def test_a_budget_that_bounds_nothing_is_refused() -> None:
    with pytest.raises(InvalidDefinitionError, match=r"budget is 2,000,000. It lies between 1 and 1,000,000 values"):
        CountDistinct("v", windows=["1h"], budget=2_000_000)


def test_the_meaning_of_a_variance_is_the_unbiased_one() -> None:
    assert OPERATIONS[Variance].meaning([Fraction(1), Fraction(2), Fraction(4)]) == Fraction(7, 3)
