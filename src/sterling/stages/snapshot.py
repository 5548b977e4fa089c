"""Snapshots: raw files become tables with clocks, in one order, under one ref.

| stage | inputs | outputs |
|---|---|---|
| `Prepare` | ``raw:<locator>`` for each file (`raw_input`) | ``table`` |
| `Snapshot` | ``table``, or ``raw:<locator>`` for each file of the source | ``snapshot`` |
| `AsOf` | ``snapshot:<source>`` for each source | ``as_of``: JSON ``{"as_of_us": n}`` |

A snapshot has the source's own columns and the clocks that `sterling.features.availability` names, and is ordered by
(event_time, available_at, event_id, version), so that a row's position is its rank. Where rows are versions, one that
says that its event is no more ends the one before it, and is left out itself.
"""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.clock import from_micros, iso
from sterling.core.errors import DataError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable, finite, put_table, read_table, size_of
from sterling.features.availability import (
    AVAILABLE_AT,
    EVENT_ID,
    EVENT_TIME,
    REPLACED_AT,
    VERSION,
    Source,
)  # fmt: skip
from sterling.features.clocks import ARRIVED, TIED, events_of, kept_columns, said_of, with_clocks
from sterling.features.lateness import QUANTILES, lateness
from sterling.features.windows import NEVER, latest
from sterling.project.sources import Delay, EntitySource, EventSource
from sterling.project.sql import check_query, column_plus_constant, normalized
from sterling.project.times import moment_micros
from sterling.stages.contract import Context, Outcome, Stage, put_json

RAW = "raw:"
_LIBRARIES = ("duckdb", "pyarrow")


def raw_input(locator: str) -> str:
    """The name that a stage knows a raw file by; a file of a folder carries the folder's locator before its own name.

    Example:
        >>> raw_input("data/weather/2013.parquet")
        'raw:data/weather/2013.parquet'
    """
    return f"{RAW}{locator}"


class Prepare(Stage, frozen=True):
    """Make one table from raw files by one SELECT.

    Args:
        query_file: Name of the SQL file, for people.
        sql: The query; only its comments and layout may change without running again.
        tables: For each table of the query its name and the locators of its files.
    """

    query_file: str
    sql: str
    tables: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return _LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"prepare {self.query_file}"

    def check(self) -> None:
        """Refuse what is no single, repeatable SELECT."""
        check_query(self.sql, self.query_file)

    def parameters(self) -> Any:
        """The parameters as JSON, with the query as its tokens."""
        return super().parameters() | {"sql": normalized(self.sql)}

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Run the query; the rows are put in the order of their values, so that the same data have the same ref."""
        tables = {name: _read_all(locators, inputs, context) for name, locators in self.tables}
        try:
            made = context.engine.query(f"SELECT * FROM (\n{self.sql.strip().rstrip(';')}\n) ORDER BY ALL", tables)
        except DataError as error:
            raise DataError(f"{self.query_file}: {error}") from error
        table = finite(made, self.query_file)
        ref = put_table(context.store, table)
        body = {
            "query": self.query_file, "ref": ref, "rows": table.num_rows, "columns": _types(table),
            "inputs": _described(inputs, context),
        }  # fmt: skip
        return Outcome({"table": ref}, (Evidence("data.prepared", (f"query:{self.query_file}",), body),))


class Snapshot(Stage, frozen=True):
    """Fix a source's rows with their clocks, in one order.

    Args:
        source: The source; its file, checks and documentation are left out.
    """

    source: EventSource | EntitySource

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return _LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"snapshot {self.source.name}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Read the table, compute the clocks, drop what is no event, and order the rest."""
        source = self.source
        raw = _raw_table(inputs, context)
        columns = kept_columns(source, raw.schema.names)
        table = with_clocks(source, columns, raw, context.engine)
        facts = []
        late = _lateness(source, table)
        if ARRIVED in table.schema.names:
            table = table.drop_columns([ARRIVED])
        if isinstance(source, EventSource) and source.updates == "replace":
            table, versions = _versions(source, table)
            facts.append(Evidence("versions.counted", (f"source:{source.name}",), versions))
        _refuse_duplicates(source, table)
        no_event = raw.num_rows - table.num_rows - (facts[0].body["deleted"] if facts else 0)
        ref = put_table(context.store, table)
        body = _summary(source, table, columns) | {
            "ref": ref, "no_event": no_event, "inputs": _described(inputs, context),
        }  # fmt: skip
        return Outcome(
            {"snapshot": ref}, (Evidence("data.snapshotted", (f"source:{source.name}",), body), *facts, *late)
        )


class AsOf(Stage, frozen=True):
    """Resolve up to when the data are known.

    Args:
        at: ISO 8601 time; None for the newest time at which the data show that something became known.
    """

    at: str | None = None

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return _LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "as of"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """The explicit time, or the newest of all clocks but those that run ahead of the events by construction."""
        if self.at is not None:
            found, why = moment_micros(self.at, field="as_of"), "asked for"
        else:
            found, why = _newest(inputs, context)
        fact = Evidence("as_of.resolved", (), {"as_of": iso(from_micros(found)), "as_of_us": found, "why": why})
        return Outcome({"as_of": put_json(context.store, {"as_of_us": found})}, (fact,))


def read_as_of(ref: Ref, context: Context) -> int:
    """The microseconds that `AsOf` resolved."""
    return int(json.loads(context.store.open(ref).read_bytes())["as_of_us"])


def span(times: pa.ChunkedArray) -> list[str] | None:
    """The first and the last of some times as ISO 8601, or None where there is none."""
    ends = pc.min_max(times).as_py()
    return None if ends["min"] is None else [iso(from_micros(ends["min"])), iso(from_micros(ends["max"]))]


def _read_all(locators: Collection[str], inputs: Mapping[str, Ref], context: Context) -> pa.Table:
    """Files of one table, one after the other."""
    parts: list[pa.Table] = []
    for locator in sorted(locators):
        path = context.store.open(ref := inputs[raw_input(locator)])
        part = context.engine.read(path, locator.rpartition("/")[2])
        context.store.open(ref)  # a file outside of the store is looked at again: it may have changed while it was read
        if parts and set(part.schema.names) != set(parts[0].schema.names):
            odd = sorted(set(part.schema.names) ^ set(parts[0].schema.names))
            raise DataError(f"{locator} has other columns than the files beside it: {', '.join(odd)}.")
        parts.append(part)
    try:
        return pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise DataError(f"The files of {min(locators).rpartition('/')[0]!r} do not fit together: {error}") from error


def _raw_table(inputs: Mapping[str, Ref], context: Context) -> pa.Table:
    if "table" in inputs:
        return read_table(context.store, inputs["table"])
    return _read_all([name.removeprefix(RAW) for name in inputs if name.startswith(RAW)], inputs, context)


def _described(inputs: Mapping[str, Ref], context: Context) -> list[dict[str, Any]]:
    return [
        {"locator": name.removeprefix(RAW), "ref": ref, "bytes": size_of(context.store, ref)}
        for name, ref in sorted(inputs.items())
    ]


def _versions(source: EventSource, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
    """The versions that say that there is an event, and counts of all."""
    if tied := pc.count_distinct(table.column(EVENT_ID).filter(table.column(TIED))).as_py():
        same = f"became available at the same time{' with the same version=' if source.version else ''}"
        raise DataError(
            f"{source.name}: {tied:,} events have versions that {same}, so which of them is newer is not said. "
            "Name what orders them, with version=, or remove the copies in the query that prepares the table."
        )
    events = events_of(table)
    counts = {
        "source": source.name,
        "events": pc.count_distinct(table.column(EVENT_ID)).as_py(),
        "versions": table.num_rows,
        "deleted": pc.sum(table.column("_deleted")).as_py() or 0,
        "replaced": events.num_rows - events.column(REPLACED_AT).null_count,
    }
    return events, counts


def _lateness(source: Source, table: pa.Table) -> tuple[Evidence, ...]:
    """How late rows became known, where the data say so and the definition does not."""
    if not isinstance(source, EventSource) or (source.arrived is None and _constant(source)):
        return ()
    if VERSION in table.schema.names:  # a correction is no late event
        table = table.filter(pc.equal(table.column(VERSION), 1))
    known = latest([table.column(AVAILABLE_AT)])
    measured = latest([table.column(ARRIVED)]) if source.arrived else known
    happened = pc.fill_null(table.column(EVENT_TIME), NEVER).to_numpy()
    measured = np.where(happened < NEVER, measured, NEVER)
    found = lateness(happened, measured, known if source.arrived else None)
    body = {
        "source": source.name, "clock": source.arrived or source.available_at, "rows": found.rows,
        "quantiles": [[share, late] for share, late in zip(QUANTILES, found.quantiles, strict=False)],
        "instants": found.instants, "later_than_declared": found.later, "proposed": found.proposed, "warning": found.warning,
    }  # fmt: skip
    return (Evidence("lateness.measured", (f"source:{source.name}",), body),)


def _constant(source: EventSource) -> bool:
    """Whether every row is said to be known the same time after its event."""
    if isinstance(source.available_at, Delay):
        return True
    event, known = column_plus_constant(source.event_time), column_plus_constant(source.available_at)
    return bool(event and known and event[0] == known[0])


def _refuse_duplicates(source: Source, table: pa.Table) -> None:
    if isinstance(source, EntitySource):
        _refuse_fan_out(source, table)
        return
    if source.event_id is None:
        return
    ids = table.column(EVENT_ID)
    if ids.null_count:
        raise DataError(
            f"{source.name}: the event_id {source.event_id!r} is null in {ids.null_count:,} of {len(ids):,} rows."
        )
    if source.updates == "replace":
        return
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        rows = pc.max(twice.field("counts")).as_py()
        raise DataError(
            f"{source.name}: the event_id {source.event_id!r} names {len(twice):,} events more than once, one of them in "
            f"{rows:,} rows. An id names one event: add what tells them apart, or remove the copies in the query that "
            "prepares the table. Are the rows versions of one event? Then say updates='replace'."
        )


def _refuse_fan_out(source: EntitySource, table: pa.Table) -> None:
    """Two rows of an entity that are true and known from the same time on would each claim every moment."""
    keys = [*source.entities, EVENT_TIME, AVAILABLE_AT]
    counts = table.group_by(keys).aggregate([([], "count_all")]).column("count_all")
    if many := pc.sum(pc.greater(counts, 1)).as_py():
        raise DataError(
            f"{source.name}: {', '.join(source.entities)} and valid_from name {many:,} rows more than once, one of them "
            f"{pc.max(counts).as_py():,} times, so a join would multiply the rows that it is joined to. Add what tells such "
            "rows apart to entities=, or remove the copies in the query that prepares the table."
        )


def _types(table: pa.Table) -> dict[str, str]:
    return {field.name: str(field.type) for field in table.schema}


def _summary(source: Source, table: pa.Table, columns: list[str]) -> dict[str, Any]:
    available = span(table.column(AVAILABLE_AT))
    return {
        "source": source.name,
        "rows": table.num_rows,
        "columns": _types(table.select(columns)),
        "event_time": span(table.column(EVENT_TIME)),
        "newest_available": available[1] if available else None,
        "known_ahead": _ahead(table, AVAILABLE_AT),
    }


def _ahead(table: pa.Table, clock: str) -> bool:
    """Whether a clock runs ahead of every event, as that of a timetable does."""
    if table.column(clock).null_count == table.num_rows:
        return False
    return not pc.any(pc.greater_equal(table.column(clock), table.column(EVENT_TIME))).as_py()


def _newest(inputs: Mapping[str, Ref], context: Context) -> tuple[int, str]:
    found: list[tuple[int, str]] = []
    for name, ref in sorted(inputs.items()):
        stored = StoredTable(context.store, ref)
        clocks = [c for c in stored.names if c in {AVAILABLE_AT, REPLACED_AT} or c.startswith("_known_")]
        table = stored.select([EVENT_TIME, *clocks])
        found += [
            (newest, f"{name.removeprefix('snapshot:')}: {said_of(clock)}")
            for clock in clocks
            if not _ahead(table, clock) and (newest := pc.max(table.column(clock)).as_py()) is not None
        ]
    if not found:
        raise DataError("No source shows up to when it is known: all are known ahead. Give the time, with --as-of.")
    newest, where = max(found)
    return newest, f"newest availability in the data, {where}"
