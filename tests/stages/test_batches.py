"""Events that do not fit into memory give the very same features and facts as those that do."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sterling.core.refs import Ref
from sterling.core.store import LocalStore
from sterling.engine import memory
from sterling.engine.duckdb import DuckDBEngine
from sterling.engine.tables import put_table
from sterling.project.aggregates import Count, CountDistinct, Max, Mean, Sum, Variance
from sterling.project.features import FeatureView, First, Last
from sterling.project.sources import Columns, Delay, EntitySource, EventSource
from sterling.project.spine import ScheduledSpine
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.graph import feature_stage

SALES = EventSource(
    "sales",
    "sales.parquet",
    entities=["shop"],
    event_time="at",
    available_at=Delay("1h"),
    columns=["shop", "kind", "v"],
)
SHOPS = EntitySource("shops", "shops.parquet", entities=["shop"], valid_from="since", available_at=Delay("0m"))
SPINE = ScheduledSpine(SHOPS, every="MON 06:00", tz="UTC")
VIEW = FeatureView("sold", SALES, entities=["shop"], features=[
    Count(windows=["1d", "30d"]), Mean("v", windows=["1d", "30d"]), Variance("v", windows=["30d"]),
    Max("v", windows=["1d"], where="kind <> 'b'"), Sum("v", windows=["7d"]), CountDistinct("kind", windows=["7d"]),
])  # fmt: skip
HOUR = 3_600_000_000


def inputs(store: LocalStore, events: int, moments: int, shops: int) -> Mapping[str, Ref]:
    """A spine of shops, and their sales, some of them late and some of no shop that is asked for."""
    rng = np.random.default_rng(3)
    happened = np.sort(rng.integers(0, 2000 * HOUR, events))
    known = happened + np.where(rng.random(events) < 0.2, rng.integers(0, 40 * HOUR, events), HOUR)
    names = pa.array([f"shop {number}" for number in range(shops + 3)])
    sales = pa.table({
        "shop": names.take(pa.array(rng.integers(0, shops + 3, events))),
        "kind": pa.array(["a", "b", "c"]).take(pa.array(rng.integers(0, 3, events))),
        "v": pa.array(rng.normal(0, 1e5, events), mask=rng.random(events) < 0.1),
        "_event_time": happened, "_available_at": known,
    })  # fmt: skip
    asked = rng.integers(0, 2000 * HOUR, moments)
    people = pa.table({"shop": names.slice(0, shops), "_event_time": np.zeros(shops, np.int64)})
    people = people.append_column("_available_at", pa.array(np.full(shops, -1)))
    spine = pa.table({"predict_at": asked, "row": rng.integers(0, shops, moments)})
    return {
        "clean:sales": put_table(store, sales),
        "clean:shops": put_table(store, people),
        "spine": put_table(store, spine),
    }


def stages() -> list[Stage]:
    columns = Columns(SALES, ("v", "kind"))
    return [feature_stage(VIEW, SPINE), feature_stage(Last(columns), SPINE), feature_stage(First(columns), SPINE)]


@pytest.mark.parametrize("stage", stages(), ids=lambda stage: stage.title)
def test_events_in_batches_give_the_same_bytes_and_the_same_facts(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(store := LocalStore(tmp_path), DuckDBEngine(1))
    given = inputs(store, events=3_000, moments=400, shops=40)
    whole = stage(given, context)
    monkeypatch.setattr(memory, "available", lambda: 0)
    assert stage(given, context) == whole


def limited(stage: Stage, store: LocalStore, given: Mapping[str, Ref], room: int) -> Outcome:
    """The outcome of a stage that may take so many bytes more than the process has already."""
    context = Context(store, DuckDBEngine(1))
    stage(inputs(store, events=1_000, moments=100, shops=10), context)  # what is loaded once does not count
    resource.setrlimit(resource.RLIMIT_AS, (memory.taken() + room, resource.RLIM_INFINITY))
    return stage(given, context)


LIMITED = """
import sys
from pathlib import Path
from sterling.core.refs import Ref
from sterling.core.store import LocalStore
from sterling.engine import memory
from tests.stages.test_batches import limited, stages
folder, way, room, *refs = sys.argv[1:]
if way == "whole":
    memory.available = lambda: 1 << 50
given = dict(zip(("clean:sales", "clean:shops", "spine"), map(Ref, refs)))
print(limited(stages()[0], LocalStore(Path(folder)), given, int(room)).outputs["features"])
"""


@pytest.mark.slow
def test_events_beyond_a_limit_of_memory_are_computed_in_batches(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    given = inputs(store, events=4_000_000, moments=20_000, shops=5_000)

    whole = stages()[0](given, Context(store, DuckDBEngine(1))).outputs["features"]

    def run(way: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LIMITED, str(tmp_path), way, str(350 << 20), *given.values()]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    refused, parted = run("whole"), run("batches")
    assert refused.returncode
    assert "Unable to allocate" in refused.stderr or "malloc" in refused.stderr, refused.stderr
    assert not parted.returncode, parted.stderr
    assert parted.stdout.strip() == whole
