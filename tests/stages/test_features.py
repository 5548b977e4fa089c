from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.errors import DataError, InvalidDefinitionError, NotKnownAtPredictionError
from sterling.project.aggregates import AnyAggregate, Count, Mean, Pending
from sterling.project.checks import NotNull
from sterling.project.features import (
    Derived,
    Expression,
    Feature,
    FeatureService,
    FeatureView,
    Last,
    OnDemand,
    view_name,
)
from sterling.project.sources import Delay, EntitySource, EventSource
from sterling.project.spine import EventSpine, Label, Occurs, ScheduledSpine
from sterling.stages.aggregates import ViewFeatures
from sterling.stages.features import reads
from sterling.stages.frame import assemble
from sterling.stages.graph import feature_stage
from tests.stages.bench import TIME, Bench, at, day, fact, rows, us
from tests.stages.test_features_oracle import BASE, LOG, VIEW, base_table, events, log_table, moments
from tests.stages.test_features_oracle import LABEL as LOG_LABEL
from tests.stages.test_features_oracle import SPINE as LOG_SPINE

FIELDS: dict[str, Any] = {
    "event_id": "id", "event_time": "due", "available_at": "due - INTERVAL 90 DAY", "columns": ["id", "due", "carrier", "miles", "early"],
    "known": {"gone": "gone", "delay": "gone"},
}  # fmt: skip
PLAN = EventSource("plan", "p.csv", **FIELDS)
SPINE = EventSpine(PLAN, "due - INTERVAL 2 HOUR")


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


def planned(bench: Bench, spine: EventSpine = SPINE, left: tuple[float | None, ...] = (11, 5, None)) -> dict[str, Any]:
    table = pa.table({
        "id": ["a", "b", "c"],
        "due": pa.array([at(10), at(11), at(12)], TIME),
        "gone": pa.array([None if hour is None else at(hour) for hour in left], TIME),
        "carrier": ["X", None, "Y"],
        "miles": pa.array([100, 200, None], pa.int32()),
        "early": [True, False, None],
        "delay": [5.0, 6.0, None],
        "loose": [1, 2, 3],
    })  # fmt: skip
    clean = {"clean:plan": bench.clean(spine.source, table)}
    return clean | {"spine": bench.spine(spine, Label("delay > 5", spine.source, "1d"), clean).outputs["spine"]}


def test_columns_and_expressions_come_from_the_row_itself(bench: Bench) -> None:
    inputs = planned(bench)
    made = bench.feature(PLAN["carrier", "miles", "early"], SPINE, inputs)
    assert rows(made, "carrier", "miles", "early") == [("X", 100, 1), (None, 200, 0), ("Y", None, None)]
    assert [str(kind) for kind in made.schema.types] == ["string", "int64", "int8"]
    assert rows(
        bench.feature(Expression("local_hour", "hour(due AT TIME ZONE 'Europe/Berlin')"), SPINE, inputs), "local_hour"
    ) == [11, 12, 13]


def test_availability_is_proved_where_both_times_are_a_column_and_a_constant(bench: Bench) -> None:
    made = bench.run(feature_stage(PLAN["carrier"], SPINE), planned(bench))
    assert fact(made, "availability.measured").body == {
        "feature": "carrier", "column": "carrier", "source": "plan", "known": "due - INTERVAL 90 DAY",
        "predict_at": "due - INTERVAL 2 HOUR", "share_known": 1.0, "median_lead_us": us(90 * 24 - 2), "proof": "constant",
    }  # fmt: skip
    assert fact(made, "features.built").body["features"][0]["nulls"] == pytest.approx(1 / 3)


def test_a_column_that_is_known_only_afterwards_is_refused_with_both_times(bench: Bench) -> None:
    with pytest.raises(
        NotKnownAtPredictionError,
        match=r"^Feature 'delay' reads 'delay' of plan, which becomes known at gone; the prediction is made at due - INTERVAL 2 HOUR. "
        r"In 1 of 3 rows it is known only afterwards, in the median 3 h 0 min later. Leave it out, predict later, or set partial=True on "
        r"plan to read it as null where it is not known.$",
    ):
        bench.feature(PLAN["delay"], SPINE, planned(bench))
    with pytest.raises(NotKnownAtPredictionError, match=r"Feature 'late' reads 'delay' of plan"):
        bench.feature(Expression("late", "delay > 1"), SPINE, planned(bench))


def test_a_column_that_is_known_in_every_row_by_measure_is_read(bench: Bench) -> None:
    made = bench.run(feature_stage(PLAN["delay"], SPINE), planned(bench, left=(5, 5, None)))
    body = fact(made, "availability.measured").body
    assert (body["proof"], body["share_known"]) == ("measured", pytest.approx(2 / 3))


def test_a_partial_source_gives_null_where_the_cell_is_not_known(bench: Bench) -> None:
    partial = EventSource("plan", "p.csv", partial=True, **FIELDS)
    spine = EventSpine(partial, SPINE.predict_at)
    inputs = planned(bench, spine)
    assert rows(bench.feature(partial["delay"], spine, inputs), "delay") == [None, 6.0, None]
    assert rows(bench.feature(Expression("known", "delay IS NOT NULL"), spine, inputs), "known") == [0, 1, 0]


def test_a_column_of_unknown_availability_is_no_feature(bench: Bench) -> None:
    listed = EventSource("plan", "p.csv", **(FIELDS | {"available_at": "due - to_days(80 + 10 * loose)"}))
    spine = EventSpine(listed, SPINE.predict_at)
    with pytest.raises(
        NotKnownAtPredictionError,
        match=r"Feature 'loose' reads 'loose' of plan, which stands in neither columns= nor known=",
    ):
        bench.feature(listed["loose"], spine, planned(bench, spine))


def test_mistakes_name_what_would_work(bench: Bench) -> None:
    inputs = planned(bench)
    wrong: list[tuple[Feature, str]] = [
        (PLAN["carier"], r"Feature 'carier': there is no column 'carier'. Did you mean 'carrier'\?"),
        (
            Expression("x", "mile + 1"),
            r"Expression 'x': there is no column 'mile' in 'mile \+ 1'. Did you mean 'miles'\?",
        ),
        (PLAN["due"], r"Feature 'due' is timestamp\[us, tz=UTC\]. A model reads numbers, texts and conditions"),
    ]
    for feature, message in wrong:
        with pytest.raises(InvalidDefinitionError, match=message):
            bench.feature(feature, SPINE, inputs)
    with pytest.raises(DataError, match=r"ratio: the column 'ratio' is infinite in 1 of 3 rows."):
        bench.feature(Expression("ratio", "1.0 / (miles - 100)"), SPINE, inputs)


def test_what_an_aggregate_cannot_read_is_refused(bench: Bench) -> None:
    inputs = planned(bench)
    wrong: list[tuple[AnyAggregate, str]] = [
        (Mean("carrier", windows=["1h"]), "reads 'carrier', which is string, not a number"),
        (Pending("delay", windows=["1h"]), "until is 'delay', which is double: no time with a zone"),
        (Count(windows=["1h"], where="loos > 1"), "there is no column 'loos'"),
    ]
    for aggregate, message in wrong:
        with pytest.raises(InvalidDefinitionError, match=message):
            bench.feature(FeatureView("view", PLAN, entities=["carrier"], features=[aggregate]), SPINE, inputs)


def test_a_frame_has_the_spine_the_features_and_the_slices(bench: Bench) -> None:
    inputs = planned(bench)
    service = FeatureService([PLAN["miles"], Derived("double", "miles * 2"), Expression("hour", "hour(due)")])
    outputs = dict(inputs)
    for feature in sorted(service.features, key=lambda item: isinstance(item, Derived)):
        assert not isinstance(feature, OnDemand)
        needed = (
            [f"features:{view_name(other)}" for other in reads(feature, service)]
            if isinstance(feature, Derived)
            else inputs
        )
        made = bench.run(feature_stage(feature, SPINE), {name: outputs[name] for name in needed})
        outputs[f"features:{view_name(feature)}"] = made.outputs["features"]
    made = bench.run(assemble(service, SPINE, ["carrier", "hour"]), outputs)
    frame = bench.table(made.outputs["frame"])
    assert frame.schema.names == [
        "unit", "predict_at", "label", "matured_at", "status", "cluster", "miles", "double", "hour", "_slice_carrier",
    ]  # fmt: skip
    assert rows(frame, "unit", "label", "status", "miles", "double", "hour", "_slice_carrier") == [
        ("a", 0, "matured", 100, 200, 10, "X"), ("b", 1, "matured", 200, 400, 11, None), ("c", None, "missing", None, None, 12, "Y"),
    ]  # fmt: skip
    assert fact(made, "frame.assembled").body["features"] == ["miles", "double", "hour"]


def test_a_derived_feature_reads_features_only() -> None:
    service = FeatureService([PLAN["miles"], Derived("double", "mils * 2")])
    feature = service.features[1]
    assert isinstance(feature, Derived)
    with pytest.raises(
        InvalidDefinitionError,
        match=r"Derived 'double': there is no column 'mils' in 'mils \* 2'. Did you mean 'miles'\?",
    ):
        reads(feature, service)


def test_a_scheduled_row_is_the_entity_s_that_is_true_and_known(bench: Bench) -> None:
    source = EntitySource("accounts", "a.csv", entities=["id"], valid_from="f", valid_to="u")
    left = EventSource("left", "l.csv", event_time="f", available_at=Delay("0m"), entities=["id"])
    table = pa.table({
        "id": ["x", "x"],
        "f": pa.array([day("2025-03-01"), day("2025-03-12")], TIME),
        "u": pa.array([day("2025-03-12"), None], TIME),
        "plan": ["basic", "pro"],
    })  # fmt: skip
    spine = ScheduledSpine(source, every="MON 06:00")
    end = int(day("2025-03-20").timestamp() * 1e6)
    clean = {
        "clean:accounts": bench.clean(source, table, end),
        "clean:left": bench.clean(left, table.select(["id", "f"]), end),
    }
    inputs = clean | {"spine": bench.spine(spine, Occurs(left, "1d"), clean, end).outputs["spine"]}
    assert rows(bench.feature(source["plan"], spine, inputs), "plan") == ["basic", "basic", "pro"]
    with pytest.raises(
        NotKnownAtPredictionError,
        match=r"Feature 'u' reads 'u' of accounts, which becomes known at u; the prediction is made at MON 06:00 in UTC",
    ):
        bench.feature(source["u"], spine, inputs)
    view = FeatureView("leaving", left, entities=["id"], features=[Count(windows=["7d"])])
    assert rows(bench.feature(view, spine, inputs), "leaving_count_7d") == [1, 0, 1]


@given(events, moments, st.integers(1, 24))
@settings(max_examples=12, deadline=None)
def test_features_as_of_a_time_are_what_they_will_ever_be(
    bench: Bench, log: list[Any], at_moments: list[Any], as_of: int
) -> None:
    """What becomes known after as_of changes no feature of a moment before it."""

    def made(moment: int) -> list[Any]:
        clean = {
            "clean:log": bench.clean(LOG, log_table(log), moment),
            "clean:base": bench.clean(BASE, base_table(at_moments), moment),
        }
        spine = bench.spine(LOG_SPINE, LOG_LABEL, clean, us(as_of)).outputs["spine"]
        tables = [
            bench.feature(feature, LOG_SPINE, clean | {"spine": spine}) for feature in (VIEW, Last(LOG["v", "w"]))
        ]
        return [table.to_pylist() for table in tables]

    assert made(us(as_of)) == made(us(1000))


def test_one_thread_or_two_and_twice_in_a_row_give_the_same_bytes(tmp_path: Path) -> None:
    log = [
        ("ab"[n % 2], n % 3 % 2, float(n % 29), float((n * 7) % 31), float((n * 5) % 31), None, n / 7, n % 11 - 5)
        for n in range(3000)
    ]
    at_moments = [("ab"[n % 2], n % 2, float(n % 30)) for n in range(500)]
    found = set()
    for name, threads in (("one", 1), ("two", 2), ("again", 2)):
        bench = Bench(tmp_path / name, threads)
        clean = {"clean:log": bench.clean(LOG, log_table(log)), "clean:base": bench.clean(BASE, base_table(at_moments))}
        inputs = clean | {"spine": bench.spine(LOG_SPINE, LOG_LABEL, clean).outputs["spine"]}
        found.add((inputs["spine"], bench.run(feature_stage(VIEW, LOG_SPINE), inputs).outputs["features"]))
    assert len(found) == 1


def test_an_edit_of_a_check_or_an_owner_is_the_same_feature() -> None:
    view = FeatureView("view", PLAN, entities=["carrier"], features=[Count(windows=["1h"])])
    checked = EventSource("plan", "other.csv", checks=[NotNull("miles")], owner="ops", **FIELDS)
    edited = FeatureView("view", checked, entities=["carrier"], features=[Count(windows=["1h"])], owner="ops")
    assert (
        ViewFeatures(view, SPINE).parameters()
        == ViewFeatures(edited, EventSpine(checked, SPINE.predict_at)).parameters()
    )
