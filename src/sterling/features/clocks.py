"""Clocks: rows of a source with the times that say when each happened, and when it and its cells could be known.

Snapshots and rows that arrive get them here, by the same SQL. The names of the clocks are those of
`sterling.features.availability`.
"""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.engine.contract import Engine
from sterling.features.availability import (
    AVAILABLE_AT,
    EVENT_ID,
    EVENT_TIME,
    REPLACED_AT,
    VALID_TO,
    VERSION,
    Source,
    clock_of,
    happened,
    own_rules,
)  # fmt: skip
from sterling.project.sources import Delay, EntitySource, EventSource
from sterling.project.sql import check_columns, columns_of, quoted
from sterling.project.times import micros

ARRIVED = "_arrived"
DELETED = "_deleted"
TIED = "_tied"
_CLOCK = pa.timestamp("us", "UTC")
_CLOCKS = {ARRIVED, EVENT_TIME, AVAILABLE_AT, VALID_TO, EVENT_ID, VERSION, REPLACED_AT, DELETED, TIED}


def kept_columns(source: Source, found: Sequence[str]) -> list[str]:
    """Columns that the snapshot keeps: those that the source lists and those that its own expressions read."""
    if taken := sorted(name for name in found if name in _CLOCKS or name.startswith("_known_")):
        raise DataError(f"{source.name}: the table has a column {taken[0]!r}, which is the name of a clock. Rename it.")
    named = [*(source.columns or ()), *own_rules(source), *source.entities]
    named += [source.event_id] if isinstance(source, EventSource) and source.event_id else []
    for name in named:
        if name not in found:
            raise InvalidDefinitionError(f"{source.name}: its table has no column {name!r}. {nearest(name, found)}")
    for clock, rule in _times(source).items():
        check_columns(rule, found, f"{source.name}: {said_of(clock)}")
    for field in ("version", "deleted"):
        if said := getattr(source, field, None):
            check_columns(said, found, f"{source.name}: {field}")
    if source.columns is None:
        return list(found)
    times = [rule for clock, rule in _times(source).items() if clock != ARRIVED]
    read = set(named).union(*(columns_of(rule) for rule in times))
    return [name for name in found if name in read]


def with_clocks(
    source: Source, columns: Sequence[str], raw: pa.Table, engine: Engine, *, tie: str = "", checked: bool = False
) -> pa.Table:
    """Rows with their clocks, in the order of snapshots.

    Args:
        source: The source.
        columns: Columns of its own that are kept.
        raw: Its rows.
        engine: Where expressions are computed.
        tie: Column that orders versions which nothing else does, the later ones marked as tied all the same.
        checked: Whether other rows of the source have shown already that its expressions give times.

    Returns:
        The rows that are events. Where they are versions, the deleted and the tied ones among them are marked, and
        rows that are no event are there still: `events_of` leaves them out.

    Raises:
        InvalidDefinitionError: if an expression gives no time.
        DataError: if an expression fails on the data.
    """
    times = _times(source)
    select = ", ".join(f"({rule}) AS {quoted(clock)}" for clock, rule in times.items())
    if not checked:
        for field in engine.query(f"SELECT {select} FROM raw LIMIT 0", {"raw": raw}).schema:
            _check_time(field, times[field.name], source)
    if isinstance(source.available_at, Delay):
        wait = micros(source.available_at.duration)
        select += f", ({happened(source)}) + to_microseconds({wait}) AS {quoted(AVAILABLE_AT)}"
    kept = ", ".join(quoted(column) for column in columns)
    select = f"{kept}, {select}, {_identity(source, columns)} AS {quoted(EVENT_ID)}"
    order = f"{EVENT_TIME}, {AVAILABLE_AT} NULLS LAST, {EVENT_ID}"
    if isinstance(source, EventSource) and source.updates == "replace":
        made = engine.query(_numbered(source, select, order, tie), {"raw": raw})
    else:
        made = engine.query(
            f"SELECT {select} FROM raw WHERE ({happened(source)}) IS NOT NULL ORDER BY {order}", {"raw": raw}
        )
    for clock in {*times, AVAILABLE_AT, *({REPLACED_AT} & set(made.schema.names))}:
        made = made.set_column(
            made.schema.get_field_index(clock), clock, made.column(clock).cast(_CLOCK).cast(pa.int64())
        )
    return made


def events_of(table: pa.Table) -> pa.Table:
    """The versions that say that there is an event, without the marks of the others."""
    there = pc.and_(pc.invert(table.column(DELETED)), pc.is_valid(table.column(EVENT_TIME)))
    return table.filter(there).drop_columns([DELETED, TIED])


def said_of(clock: str) -> str:
    """The field that a clock comes from."""
    column = clock.removeprefix("_known_")
    return clock.removeprefix("_") if column == clock else f"known[{column!r}]"


def _times(source: Source) -> dict[str, str]:
    """The clocks' names and expressions; a delay is the caller's to add."""
    clocks = {EVENT_TIME: happened(source)}
    if not isinstance(source.available_at, Delay):
        clocks[AVAILABLE_AT] = source.available_at
    if isinstance(source, EntitySource):
        clocks |= {VALID_TO: source.valid_to} if source.valid_to else {}
    elif source.arrived:
        clocks[ARRIVED] = source.arrived
    return clocks | {clock_of(column): rule for column, rule in own_rules(source).items()}


def _numbered(source: EventSource, select: str, order: str, tie: str) -> str:
    """The query for a source whose rows are versions: each with its number, and when the next one became available."""
    newest = f"{AVAILABLE_AT} NULLS LAST, ({source.version or 'NULL'}){f', {quoted(tie)}' if tie else ''}"
    return (
        f"SELECT * FROM (SELECT {select}, coalesce(({source.deleted or 'FALSE'}), FALSE) AS {DELETED}, "
        f"row_number() OVER versions AS {VERSION}, lead({AVAILABLE_AT}) OVER versions AS {REPLACED_AT}, "
        f"coalesce({AVAILABLE_AT} = lag({AVAILABLE_AT}) OVER versions "
        f"AND ({source.version or 'NULL'}) IS NOT DISTINCT FROM lag({source.version or 'NULL'}) OVER versions, FALSE) AS {TIED} "
        f"FROM raw WINDOW versions AS (PARTITION BY {EVENT_ID} ORDER BY {newest})) "
        f"ORDER BY {order}, {VERSION}"
    )


def _check_time(field: pa.Field, rule: str, source: Source) -> None:
    place = f"{source.name}: {said_of(field.name)} is {rule!r}"
    if not pa.types.is_timestamp(field.type) and not pa.types.is_date(field.type):
        raise InvalidDefinitionError(
            f"{place}, which is {field.type}, no time. Name a column with times, or compute one."
        )
    if not pa.types.is_timestamp(field.type) or field.type.tz is None:
        what = "a time without a zone" if pa.types.is_timestamp(field.type) else "a date"
        raise InvalidDefinitionError(
            f"{place}, {what}. Say where it is local: \"CAST({rule} AS TIMESTAMP) AT TIME ZONE 'UTC'\"."
        )


def _identity(source: Source, columns: Sequence[str]) -> str:
    """What names a row: its id, else a hash of its content."""
    if isinstance(source, EventSource) and source.event_id:
        return f"CAST({quoted(source.event_id)} AS VARCHAR)"
    content = ", ".join(f"{quoted(column)} := {quoted(column)}" for column in columns)
    return f"substr(sha256(CAST(to_json(struct_pack({content})) AS VARCHAR)), 1, 32)"
