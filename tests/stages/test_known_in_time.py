"""What the stages record of what was known in time: censoring, leaks, lateness."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sterling.project.aggregates import Count, Mean
from sterling.project.features import Derived, FeatureService, FeatureView, Last
from sterling.project.sources import Delay, EventSource
from sterling.project.spine import EventSpine, Label
from sterling.stages.frame import assemble
from sterling.stages.graph import feature_stage
from tests.stages.bench import TIME, Bench, at, fact, us

TRIPS = EventSource("trips", "t.csv", event_id="id", event_time="began", available_at="landed", entities=["k"])
ASKED = EventSource("asked", "a.csv", event_id="id", event_time="t", available_at="t - INTERVAL 1 DAY")
SPINE = EventSpine(ASKED, "t")


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


def trips(bench: Bench) -> dict[str, Any]:
    """A trip leaves every hour and takes 1 to 5 hours, which is its value; asked half past every hour."""
    size = 200
    table = pa.table({
        "id": [str(n) for n in range(size)], "k": ["a"] * size, "began": pa.array([at(n) for n in range(size)], TIME),
        "landed": pa.array([at(n + 1 + n % 5) for n in range(size)], TIME), "took": [float(1 + n % 5) for n in range(size)],
    })  # fmt: skip
    asked = pa.table(
        {"id": [str(n) for n in range(100)], "k": ["a"] * 100, "t": pa.array([at(50.5 + n) for n in range(100)], TIME)}
    )
    clean = {"clean:trips": bench.clean(TRIPS, table), "clean:asked": bench.clean(ASKED, asked)}
    return clean | {"spine": bench.spine(SPINE, Label("took > 3", TRIPS, "1d"), clean).outputs["spine"]}


def test_a_mean_of_what_is_known_only_once_it_is_over_is_warned_of(bench: Bench) -> None:
    view = FeatureView("x", TRIPS, ["k"], [Mean("took", windows=["5h"]), Count(windows=["5h"], on="available_at")])
    made = bench.run(feature_stage(view, SPINE), trips(bench))
    found = {f.body["feature"]: f.body for f in made.facts if f.kind == "censoring.measured"}
    mean = found["x_mean_took_5h"]
    assert (mean["empty"], mean["known_events"], mean["every_mean"]) == (0.0, pytest.approx(0.4), pytest.approx(3.0))
    assert mean["known_mean"] == pytest.approx(2.0)
    assert mean["warning"] == "40% of the window's events are known at the moment; their mean is 2, that of all 3."
    known = found["x_count_known_5h"]
    assert (known["known_events"], known["warning"]) == (None, None)


def test_the_share_of_rows_and_cells_that_ignoring_availability_changes_is_recorded(bench: Bench) -> None:
    inputs = trips(bench)
    service = FeatureService(
        [ASKED["k"], Last(TRIPS["took"]), FeatureView("x", TRIPS, ["k"], [Mean("took", windows=["5h", "400d"])])]
    )
    outputs = dict(inputs)
    for feature, name in zip(service.features, ("asked[k]", "last trips[took]", "x"), strict=True):
        made = bench.run(feature_stage(feature, SPINE), inputs)  # type: ignore[arg-type]
        outputs |= {f"{output}:{name}": ref for output, ref in made.outputs.items()}
    body = fact(bench.run(assemble(service, SPINE, []), outputs), "leaks.measured").body
    assert body["rows"] == 100
    assert body["changed"] == 1.0
    shares = {feature["name"]: feature["changed"] for feature in body["features"]}
    assert shares["x_mean_took_5h"] == 1.0
    assert shares["trips_took"] == 1.0
    assert list(shares) == ["trips_took", "x_mean_took_5h", "x_mean_took_400d"]


def test_a_feature_of_other_features_leaks_where_these_do(bench: Bench) -> None:
    inputs = trips(bench)
    view = FeatureView("x", TRIPS, ["k"], [Mean("took", windows=["5h"]), Count(windows=["5h"], on="available_at")])
    below = bench.run(feature_stage(view, SPINE), inputs).outputs
    given = {"features:x": below["features"], "leaks:x": below["leaks"]}
    twice = bench.run(feature_stage(Derived("twice", "x_mean_took_5h * 2"), SPINE), given)
    leaks, mean = bench.table(twice.outputs["leaks"]), bench.table(below["leaks"])
    assert leaks.column("twice") == mean.column("x_mean_took_5h")
    assert leaks.column("naive:twice").to_pylist() == [
        2 * value for value in mean.column("naive:x_mean_took_5h").to_pylist()
    ]
    steady = bench.run(feature_stage(Derived("steady", "x_count_known_5h + 1"), SPINE), given)
    assert bench.table(steady.outputs["leaks"]).column("steady").to_pylist() == [False] * 100
    fails = Derived("fails", "CASE WHEN x_mean_took_5h > 2.5 THEN ln(-1.0 * x_mean_took_5h) ELSE 1.0 END")
    failing = bench.run(feature_stage(fails, SPINE), given)  # it answers for what was known, and not for what was not
    assert set(bench.table(failing.outputs["leaks"]).column("naive:fails").to_pylist()) == {None}
    assert "leaks" not in bench.run(feature_stage(Derived("alone", "k || 'x'"), SPINE), _of_row(bench, inputs)).outputs


def _of_row(bench: Bench, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"features:asked[k]": bench.run(feature_stage(ASKED["k"], SPINE), inputs).outputs["features"]}


def test_lateness_is_measured_where_a_column_says_it(bench: Bench) -> None:
    size = 200
    table = pa.table({
        "id": [str(n) for n in range(size)], "k": ["a"] * size, "began": pa.array([at(n) for n in range(size)], TIME),
        "landed": pa.array([at(n + 2) for n in range(size)], TIME),
    })  # fmt: skip
    body = fact(bench.snapshot(TRIPS, table), "lateness.measured").body
    assert (body["clock"], body["proposed"], body["later_than_declared"]) == ("landed", "120m", None)
    assert body["quantiles"][0] == [0.5, us(2)]
    declared = EventSource(
        "trips", "t.csv", event_id="id", event_time="began", available_at=Delay("1h"), arrived="landed", columns=["k"]
    )
    made = bench.snapshot(declared, table)
    body = fact(made, "lateness.measured").body
    assert (body["later_than_declared"], body["instants"]) == (1.0, 200)
    assert body["warning"].startswith(
        "In 100.0% of the rows the time at which a row is declared to be known lies before"
    )
    assert bench.table(made.outputs["snapshot"]).schema.names == [
        "id",
        "k",
        "began",
        "_event_time",
        "_available_at",
        "_event_id",
    ]
    ahead = EventSource("trips", "t.csv", event_time="began", available_at="began - INTERVAL 90 DAY")
    assert not [f for f in bench.snapshot(ahead, table).facts if f.kind == "lateness.measured"]
