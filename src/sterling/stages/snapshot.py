"""Snapshots: raw files become tables with clocks, in one order, under one ref.

| stage | inputs | outputs |
|---|---|---|
| `Prepare` | ``raw:<locator>`` for each file (`raw_input`) | ``table`` |
| `Snapshot` | ``table``, or ``raw:<locator>`` for each file of the source | ``snapshot`` |
| `AsOf` | ``snapshot:<source>`` for each source | ``as_of``: JSON ``{"as_of_us": n}`` |

A snapshot has the source's own columns and the clocks that `sterling.features.availability` names, and is ordered by
(event_time, available_at, event_id), so that a row's position is its rank.
"""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.clock import from_micros, iso
from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable, finite, put_table, read_table, size_of
from sterling.features.availability import (
    AVAILABLE_AT,
    EVENT_ID,
    EVENT_TIME,
    VALID_TO,
    Source,
    clock_of,
    happened,
    own_rules,
)  # fmt: skip
from sterling.project.sources import Delay, EntitySource, EventSource
from sterling.project.sql import check_columns, check_query, columns_of, normalized, quoted
from sterling.project.times import micros, moment_micros
from sterling.stages.contract import Context, Outcome, Stage, put_json

RAW = "raw:"
_CLOCK = pa.timestamp("us", "UTC")
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
        columns = _listed(source, raw.schema.names)
        table = _with_clocks(source, columns, raw, context)
        _refuse_duplicates(source, table)
        ref = put_table(context.store, table)
        body = _summary(source, table, columns) | {
            "ref": ref, "no_event": raw.num_rows - table.num_rows, "inputs": _described(inputs, context),
        }  # fmt: skip
        return Outcome({"snapshot": ref}, (Evidence("data.snapshotted", (f"source:{source.name}",), body),))


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


def _times(source: Source) -> dict[str, str]:
    """The clocks' names and expressions; a delay is the caller's to add."""
    clocks = {EVENT_TIME: happened(source)}
    if not isinstance(source.available_at, Delay):
        clocks[AVAILABLE_AT] = source.available_at
    if isinstance(source, EntitySource):
        clocks |= {VALID_TO: source.valid_to} if source.valid_to else {}
    return clocks | {clock_of(column): rule for column, rule in own_rules(source).items()}


def _listed(source: Source, found: list[str]) -> list[str]:
    """Columns that the snapshot keeps: those that the source lists and those that its own expressions read."""
    if taken := sorted(
        name for name in found if name in {EVENT_TIME, AVAILABLE_AT, VALID_TO, EVENT_ID} or name.startswith("_known_")
    ):
        raise DataError(f"{source.name}: the table has a column {taken[0]!r}, which is the name of a clock. Rename it.")
    named = [*(source.columns or ()), *own_rules(source), *source.entities]
    named += [source.event_id] if isinstance(source, EventSource) and source.event_id else []
    for name in named:
        if name not in found:
            raise InvalidDefinitionError(f"{source.name}: its table has no column {name!r}. {nearest(name, found)}")
    for clock, rule in _times(source).items():
        check_columns(rule, found, f"{source.name}: {_said(clock)}")
    if source.columns is None:
        return found
    read = set(named).union(*(columns_of(rule) for rule in _times(source).values()))
    return [name for name in found if name in read]


def _said(clock: str) -> str:
    """The field that a clock comes from."""
    column = clock.removeprefix("_known_")
    return clock.removeprefix("_") if column == clock else f"known[{column!r}]"


def _with_clocks(source: Source, columns: list[str], raw: pa.Table, context: Context) -> pa.Table:
    times = _times(source)
    select = ", ".join(f"({rule}) AS {quoted(clock)}" for clock, rule in times.items())
    for field in context.engine.query(f"SELECT {select} FROM raw LIMIT 0", {"raw": raw}).schema:
        _check_time(field, times[field.name], source)
    if isinstance(source.available_at, Delay):
        wait = micros(source.available_at.duration)
        select += f", ({happened(source)}) + to_microseconds({wait}) AS {quoted(AVAILABLE_AT)}"
    kept = ", ".join(quoted(column) for column in columns)
    made = context.engine.query(
        f"SELECT {kept}, {select}, {_identity(source, columns)} AS {quoted(EVENT_ID)} FROM raw "
        f"WHERE ({happened(source)}) IS NOT NULL "
        f"ORDER BY {quoted(EVENT_TIME)}, {quoted(AVAILABLE_AT)} NULLS LAST, {quoted(EVENT_ID)}",
        {"raw": raw},
    )
    for clock in [*times, AVAILABLE_AT]:
        made = made.set_column(
            made.schema.get_field_index(clock), clock, made.column(clock).cast(_CLOCK).cast(pa.int64())
        )
    return made


def _check_time(field: pa.Field, rule: str, source: Source) -> None:
    place = f"{source.name}: {_said(field.name)} is {rule!r}"
    if not pa.types.is_timestamp(field.type) and not pa.types.is_date(field.type):
        raise InvalidDefinitionError(
            f"{place}, which is {field.type}, no time. Name a column with times, or compute one."
        )
    if not pa.types.is_timestamp(field.type) or field.type.tz is None:
        what = "a time without a zone" if pa.types.is_timestamp(field.type) else "a date"
        raise InvalidDefinitionError(
            f"{place}, {what}. Say where it is local: \"CAST({rule} AS TIMESTAMP) AT TIME ZONE 'UTC'\"."
        )


def _identity(source: Source, columns: list[str]) -> str:
    """What names a row: its id, else a hash of its content."""
    if isinstance(source, EventSource) and source.event_id:
        return f"CAST({quoted(source.event_id)} AS VARCHAR)"
    content = ", ".join(f"{quoted(column)} := {quoted(column)}" for column in columns)
    return f"substr(sha256(CAST(to_json(struct_pack({content})) AS VARCHAR)), 1, 32)"


def _refuse_duplicates(source: Source, table: pa.Table) -> None:
    if not isinstance(source, EventSource) or source.event_id is None:
        return
    ids = table.column(EVENT_ID)
    if ids.null_count:
        raise DataError(
            f"{source.name}: the event_id {source.event_id!r} is null in {ids.null_count:,} of {len(ids):,} rows."
        )
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        rows = pc.max(twice.field("counts")).as_py()
        raise DataError(
            f"{source.name}: the event_id {source.event_id!r} names {len(twice):,} events more than once, one of them in "
            f"{rows:,} rows. An id names one event: add what tells them apart, or remove the copies in the query that "
            "prepares the table."
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
        clocks = [clock for clock in stored.names if clock == AVAILABLE_AT or clock.startswith("_known_")]
        table = stored.select([EVENT_TIME, *clocks])
        found += [
            (newest, f"{name.removeprefix('snapshot:')}: {_said(clock)}")
            for clock in clocks
            if not _ahead(table, clock) and (newest := pc.max(table.column(clock)).as_py()) is not None
        ]
    if not found:
        raise DataError("No source shows up to when it is known: all are known ahead. Give the time, with --as-of.")
    newest, where = max(found)
    return newest, f"newest availability in the data, {where}"
