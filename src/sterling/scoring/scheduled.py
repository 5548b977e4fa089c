"""The population of a project at given moments, with the features that a training would have there: by the same stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.clock import from_micros, iso, to_micros, utcnow
from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.refs import Ref
from sterling.core.scratch import Scratch
from sterling.core.store import LocalStore
from sterling.engine.tables import StoredTable, put_table, read_table
from sterling.project.project import Project
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.project.times import micros, moment_micros
from sterling.scoring.given import LENGTHS, NONE, Lot, as_names, named_by_time
from sterling.scoring.scorer import OWN, Layout
from sterling.scoring.spool import AT, BATCH_ROWS, PERIOD, ROW, Spool
from sterling.serving.released import ServedModel
from sterling.stages.contract import Context, Output
from sterling.stages.frame import SLICE
from sterling.stages.graph import feature_steps
from sterling.stages.spine import find_moments, local_moments

_LOT_ROWS = 262_144
"""Rows whose features are computed at a time."""


class Span(NamedTuple):
    """Moments that are asked for, both ends included.

    Attributes:
        start: In microseconds.
        end: In microseconds.
    """

    start: int
    end: int


def span_of(text: str, spine: EventSpine | ScheduledSpine) -> Span:
    """Read ``2024-05-01``, a day in the zone of the spine's calendar, a time, or two of them as ``FROM..TO``.

    Raises:
        InvalidDefinitionError: if it is neither, or ends before it starts.
    """
    first, _, last = text.partition("..")
    tz = spine.tz if isinstance(spine, ScheduledSpine) else "UTC"
    found = Span(moment_micros(first, tz, field="--at"), _end_of(last or first, tz))
    if found.end < found.start:
        raise InvalidDefinitionError(f"--at {text} ends before it starts.")
    return found


def known_until(span: Span, spine: EventSpine | ScheduledSpine) -> int:
    """The last moment of a span that anything is predicted at, as of which data count: the calendar's, or now.

    Raises:
        InvalidDefinitionError: if the calendar has none there, or it has not come yet.
    """
    now = to_micros(utcnow())
    if isinstance(spine, EventSpine):
        return min(span.end, now)
    times = local_moments(spine.every, spine.tz, span.start, span.end)
    if not len(times):
        raise InvalidDefinitionError(
            f"The calendar {spine.every!r} in {spine.tz} has no moment from {iso(from_micros(span.start))} to "
            f"{iso(from_micros(span.end))}."
        )
    if times[-1] > now:
        raise InvalidDefinitionError(
            f"{iso(from_micros(int(times[-1])))} has not come yet, and what will be known then is not known now."
        )
    return int(times[-1])


def _end_of(text: str, tz: str) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return moment_micros(text, tz, field="--at")
    return moment_micros((day + timedelta(days=1)).isoformat(), tz, field="--at") - 1


@dataclass(frozen=True)
class Scheduled:
    """The population of a project's spine.

    What is computed on the way is in the folder of the job alone, and goes with it.

    Attributes:
        project: The project.
        folder: Its folder.
        span: The moments.
        served: The version that is to score them.
        by: ``day``, ``hour``, ``none``, or a column of the output's keys: what partitions them.
        context: What stages work with.
        outputs: Outputs of the steps that have been done, by their titles.
    """

    project: Project
    folder: Path
    span: Span
    served: ServedModel
    by: str
    context: Context
    outputs: Mapping[str, Mapping[str, Ref]]

    @property
    def said(self) -> Mapping[str, Any]:
        """Which moments, and the rows that they were computed from, for the ledger."""
        snapshots = {name: self.outputs[f"snapshot {name}"]["snapshot"] for name in self.project.sources()}
        return {
            "kind": "spine", "from": iso(from_micros(self.span.start)), "to": iso(from_micros(self.span.end)),
            "as_of": self.outputs["as of"]["as_of"], "snapshots": snapshots,
        }  # fmt: skip

    @property
    def layout(self) -> Layout:
        """What the columns of the rows are."""
        return Layout(self._keys, "features", self.served.model.names)

    def lots(self, folder: Path) -> Iterator[tuple[Layout, Lot]]:
        """The partitions in order of time, as many at a time as there is room for.

        Args:
            folder: Where rows lie meanwhile.
        """
        self._check_whole_periods()
        moments = self._moments
        names = self._named(moments)
        for number, (rows, later) in enumerate(_lots(names, ordered=self.by in LENGTHS)):
            place = folder / f"lot-{number}"
            place.mkdir()
            spool = Spool(place)
            for start in range(rows.start, rows.stop, _LOT_ROWS):
                part = moments.slice(start, min(_LOT_ROWS, rows.stop - start))
                for table, at in self._vectors(part, start, folder / "stages"):
                    spool.add(table, names.slice(at, table.num_rows))
            yield self.layout, Lot(spool.parts(), later)

    @cached_property
    def _own(self) -> StoredTable:
        return StoredTable(self.context.store, self.outputs[f"validate {self.project.spine.source.name}"]["clean"])

    @cached_property
    def _moments(self) -> pa.Table:
        own = read_table(self.context.store, self.outputs[f"validate {self.project.spine.source.name}"]["clean"])
        found, _ = find_moments(
            self.project.spine, own, known_until(self.span, self.project.spine), self.context, since=self.span.start
        )
        if not found.num_rows:
            first, last = iso(from_micros(self.span.start)), iso(from_micros(self.span.end))
            raise DataError(f"No moment of prediction lies from {first} to {last}: there is nobody to score.")
        return found

    @property
    def _keys(self) -> tuple[str, ...]:
        spine = self.project.spine
        entities = () if isinstance(spine, EventSpine) else tuple(spine.source.entities)
        return ("unit", *(name for name in entities if name not in OWN))

    def _named(self, moments: pa.Table) -> pa.Array:
        """The partition of each moment."""
        if self.by == NONE:
            return pa.repeat("all", moments.num_rows)
        if self.by in LENGTHS:
            return named_by_time(moments.column("predict_at"), self.by)
        if self.by not in self._keys:
            raise InvalidDefinitionError(
                f"--partition {self.by}: a population is partitioned by day, hour, none, or {self._keys}."
            )
        column = moments.column("unit") if self.by == "unit" else self._own.column(self.by).take(moments.column("row"))
        return as_names(column)

    def _check_whole_periods(self) -> None:
        """A capacity of a period is about all of it."""
        decider = self.served.decider
        if decider is None or decider.k is None or not decider.per or not decider.per[:1].isdigit():
            return
        length = micros(decider.per)
        if self.span.start % length or (self.span.end + 1) % length:
            raise InvalidDefinitionError(
                f"The policy acts on the {decider.k:,} highest of each {decider.per}, counted in UTC, and --at names a part of "
                "such a period. Name whole ones."
            )

    def _vectors(self, moments: pa.Table, first: int, place: Path) -> Iterator[tuple[pa.Table, int]]:
        """The features of some moments, some at a time, each with the place of its first row among all."""
        place.mkdir(exist_ok=True)
        store = Scratch(LocalStore(place), self.context.store)
        context = replace(self.context, store=store)
        outputs = dict(self.outputs) | {"spine": {"spine": put_table(store, _as_spine(moments))}}
        for step in feature_steps(self.project, self.folder):
            inputs = {
                name: outputs[source.step][source.name] if isinstance(source, Output) else source
                for name, source in step.inputs.items()
            }
            outputs[step.stage.title] = step.stage(inputs, context).outputs
        frame, start = StoredTable(store, outputs["frame"]["frame"]), 0
        for segment in frame.segments():
            for at in range(0, segment.num_rows, BATCH_ROWS):
                table = segment.slice(at, BATCH_ROWS)
                rows = moments.slice(start, table.num_rows)
                yield self._ready(table, rows, first + start), first + start
                start += table.num_rows
        for ref in list(store.list()):
            store.delete(ref)

    def _ready(self, frame: pa.Table, moments: pa.Table, first: int) -> pa.Table:
        columns: dict[str, Any] = {name: self._key(name, moments) for name in self._keys}
        columns |= {name: frame.column(name) for name in self.served.model.names}
        columns[AT] = moments.column("predict_at")
        decider = self.served.decider
        if decider is not None and decider.k is not None and decider.per and not decider.per[:1].isdigit():
            name = decider.per if decider.per in frame.column_names else f"{SLICE}{decider.per}"
            columns[PERIOD] = frame.column(name).cast(pa.string())
        columns[ROW] = pa.array(np.arange(first, first + frame.num_rows))
        return pa.table(columns)

    def _key(self, name: str, moments: pa.Table) -> pa.ChunkedArray:
        return moments.column("unit") if name == "unit" else self._own.column(name).take(moments.column("row"))


def _as_spine(moments: pa.Table) -> pa.Table:
    """Moments as stages read them, without what is not known yet."""
    rows = moments.num_rows
    return pa.table(
        {
            "unit": moments.column("unit"),
            "predict_at": moments.column("predict_at"),
            "label": pa.nulls(rows, pa.int8()),
            "matured_at": pa.nulls(rows, pa.int64()),
            "status": pa.repeat("pending", rows),
            "cluster": pa.nulls(rows, pa.string()),
            "row": moments.column("row"),
        }
    )


def _lots(names: pa.Array, *, ordered: bool) -> Iterator[tuple[range, tuple[str, ...]]]:
    """Rows of whole partitions, as many as there is room for, with the names of the partitions behind them.

    Args:
        names: Partition of each row.
        ordered: Whether the rows of a partition are neighbours.
    """
    if not ordered:
        yield range(len(names)), ()
        return
    runs = pc.run_end_encode(names)
    ends, values = runs.run_ends.to_pylist(), runs.values.to_pylist()
    start = 0
    for place, end in enumerate(ends):
        following = ends[place + 1] if place + 1 < len(ends) else None
        if following is None or following - start > _LOT_ROWS:
            yield range(start, end), tuple(values[place + 1 :])
            start = end
