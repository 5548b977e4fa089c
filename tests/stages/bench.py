"""Small tables taken through the stages, without a runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from sterling.core.clock import EPOCH
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.core.store import LocalStore
from sterling.engine.duckdb import DuckDBEngine
from sterling.engine.tables import put_table, read_table
from sterling.features.availability import Source
from sterling.project.features import Feature, OnDemand
from sterling.project.spine import EventSpine, Label, Occurs, ScheduledSpine
from sterling.stages.contract import Context, Outcome, Stage, put_json
from sterling.stages.graph import feature_stage
from sterling.stages.snapshot import Snapshot
from sterling.stages.spine import Spine
from sterling.stages.validate import Validate

TIME = pa.timestamp("us", "UTC")
FAR = 4_000_000_000_000_000


def at(hours: float) -> datetime:
    """A moment that many hours after 1970."""
    return EPOCH + timedelta(hours=hours)


def us(hours: float) -> int:
    """The same in microseconds."""
    return round(hours * 3_600_000_000)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Bench:
    """A store and an engine, and the stages up to the features."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.store = LocalStore(folder / "store")
        self.context = Context(self.store, DuckDBEngine(threads))

    def put(self, table: pa.Table) -> Ref:
        return put_table(self.store, table)

    def table(self, ref: Ref) -> pa.Table:
        return read_table(self.store, ref)

    def run(self, stage: Stage, inputs: Mapping[str, Ref]) -> Outcome:
        return stage(inputs, self.context)

    def as_of(self, moment: int = FAR) -> Ref:
        return put_json(self.store, {"as_of_us": moment})

    def snapshot(self, source: Source, table: pa.Table) -> Outcome:
        return self.run(Snapshot(source), {"table": self.put(table)})

    def clean(self, source: Source, table: pa.Table, as_of: int = FAR) -> Ref:
        snapshot = self.snapshot(source, table).outputs["snapshot"]
        return self.run(Validate(source), {"snapshot": snapshot, "as_of": self.as_of(as_of)}).outputs["clean"]

    def spine(
        self, spine: EventSpine | ScheduledSpine, label: Label | Occurs, clean: Mapping[str, Ref], as_of: int = FAR
    ) -> Outcome:
        return self.run(Spine(spine, label), {**clean, "as_of": self.as_of(as_of)})

    def feature(self, feature: Feature, spine: EventSpine | ScheduledSpine, inputs: Mapping[str, Ref]) -> pa.Table:
        assert not isinstance(feature, OnDemand)
        return self.table(self.run(feature_stage(feature, spine), inputs).outputs["features"])


def rows(table: pa.Table, *columns: str) -> list[Any]:
    """Rows as tuples, or the values of the only column."""
    lists = [table.column(name).to_pylist() for name in columns]
    return lists[0] if len(lists) == 1 else list(zip(*lists, strict=True))


def fact(outcome: Outcome, kind: str) -> Evidence:
    found: Sequence[Evidence] = [fact for fact in outcome.facts if fact.kind == kind]
    assert found, [fact.kind for fact in outcome.facts]
    return found[0]
