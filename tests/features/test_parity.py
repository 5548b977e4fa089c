"""The log replayed through the online state gives the offline cells."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from sterling.features.changes import Log
from sterling.features.online import ViewPlan, entity_key
from sterling.features.parity import compare, replay
from sterling.project.aggregates import AnyAggregate
from sterling.project.features import FeatureView, First, Last
from tests.stages.bench import Bench
from tests.stages.logs import SOURCES, SPINE, Case, logs, moments
from tests.stages.test_aggregates import every_aggregate


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


def features(updates: str) -> Iterator[FeatureView | Last | First]:
    source = SOURCES[updates]
    aggregates: list[AnyAggregate] = [aggregate for aggregate, _ in every_aggregate()]  # type: ignore[misc]
    yield FeatureView("x", source, entities=["k", "n"], features=aggregates)
    for kind in (First, Last):
        yield kind(source["v", "w", "d", "f", "tag"])
        yield kind(source["v", "w", "d", "f", "tag"], max_age="3h", where="f OR w > 1", name="recent")


def check(bench: Bench, log: list[Any], at_moments: list[Any], updates: str) -> None:
    case = Case(bench, log, at_moments, updates)
    events, base, spine = (bench.table(case.inputs[name]) for name in ("clean:log", "clean:base", "spine"))
    own = base.take(spine.column("row"))
    times = spine.column("predict_at").to_numpy()
    keys = [entity_key(pair) for pair in zip(own["k"].to_pylist(), own["n"].to_pylist(), strict=True)]
    types = {field.name: str(field.type) for field in events.schema}
    for feature in features(updates):
        made = bench.feature(feature, SPINE, case.inputs)
        plan = ViewPlan(feature, types)
        online = replay(plan, Log(plan, events, bench.context.engine), keys, times)
        for index, name in enumerate(plan.names):
            found = compare(name, made.column(name).to_pylist(), [cells[index] for cells in online])
            assert (found.unequal, found.different) == (0, 0), (name, found)


@pytest.mark.parametrize("updates", SOURCES)
@given(logs, moments)
@settings(max_examples=6, deadline=None)
def test_replaying_the_log_online_gives_the_offline_cells(
    bench: Bench, updates: str, log: list[Any], at_moments: list[Any]
) -> None:
    check(bench, log, at_moments, updates)


@pytest.mark.slow
@pytest.mark.parametrize("updates", SOURCES)
@given(logs, moments)
@settings(max_examples=26, deadline=None)
def test_replaying_many_more_logs_online_gives_the_offline_cells(
    bench: Bench, updates: str, log: list[Any], at_moments: list[Any]
) -> None:
    check(bench, log, at_moments, updates)
