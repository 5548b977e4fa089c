"""The leak report of any table of events: what a join that knows nothing of availability would let in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.features.aggregates import OPERATIONS
from sterling.features.exact import Ints
from sterling.features.inside import Inside, Values
from sterling.features.lateness import QUANTILES, Lateness, lateness
from sterling.features.leaks import censoring, changed, tallied
from sterling.features.windows import NEVER, Log, Moments, key_codes
from sterling.project.aggregates import AnyAggregate, Count, Mean, aggregate_name, windows_of
from sterling.project.times import micros, zone

_HAPPENED, _KNOWN = "_event_time", "_available_at"


@dataclass(frozen=True, slots=True)
class Leak:
    """One feature with and without availability.

    Attributes:
        feature: Its name.
        changed: Share of the rows in which ignoring availability gives another value.
        known: Share of its windows' events that are known at the moment; None where there are none, or no windows.
        empty: Share of the rows in which nothing of the window is known.
        warning: Where what is known speaks of other events than the window holds, or None.
    """

    feature: str
    changed: float
    known: float | None
    empty: float
    warning: str | None


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What a join on the time of the event alone would let in.

    Attributes:
        rows: Moments of prediction.
        dropped: Rows of the table without a time of the event, which are no events.
        changed: Share of the moments at which any feature differs.
        features: Each feature, in order.
        quantiles: Microseconds after the event at which these shares of the rows were known.
        proposed: A delay after which 99 % of the rows are known.
        later: Share of rows that were known later than the declared delay says; None without one.
        warning: What is wrong with the clock, or None.
    """

    rows: int
    dropped: int
    changed: float
    features: tuple[Leak, ...]
    quantiles: Mapping[float, int]
    proposed: str | None
    later: float | None
    warning: str | None


def table_leaks(
    table: pa.Table,
    event_time: str,
    available_at: str,
    entities: Sequence[str],
    values: Sequence[str] = (),
    *,
    windows: Sequence[str] = ("1h", "1d", "7d"),
    at: str | None = None,
    delay: str | None = None,
    tz: str = "UTC",
) -> LeakReport:
    """Compare features of a table with what they would be if every event were known when it happens.

    Args:
        table: Events, a row each.
        event_time: Column that says when each happened.
        available_at: Column that says when each was known; null for never.
        entities: Columns that say whose events they are.
        values: Columns whose mean, where they are numbers, and last value are compared too.
        windows: Lengths of the windows before each moment.
        at: Column with the moments of prediction; None to predict whenever an event happens, from those before it.
        delay: The delay that is declared for the table, to be held against what was measured.
        tz: Zone of times that have none.

    Raises:
        InvalidDefinitionError: for a column that the table does not have.
        DataError: if no row is an event.
    """
    for name in (event_time, available_at, *entities, *values, *([at] if at else [])):
        if name not in table.schema.names:
            raise InvalidDefinitionError(f"There is no column {name!r}. {nearest(name, table.schema.names)}")
    kept = table.filter(pc.is_valid(table.column(event_time)))
    if not kept.num_rows:
        raise DataError(f"No row has a time in {event_time!r}: there are no events.")
    clocks = {_HAPPENED: _times(kept, event_time, tz), _KNOWN: _times(kept, available_at, tz)}
    asked = _times(kept, at, tz) if at else clocks[_HAPPENED]
    chosen = np.flatnonzero(asked < NEVER)
    keys = [kept.column(name) for name in entities]
    codes, whose = key_codes(keys, [key.take(pa.array(chosen)) for key in keys])
    moments = Moments(whose, asked[chosen])
    log = Log(moments, codes, lambda names, rows: np.maximum.reduce([clocks[name][rows] for name in names]))
    compared = [*_windowed(kept, values, windows, log, moments), *_last(kept, values, log, moments)]
    late = _lateness(clocks, delay)
    return LeakReport(
        rows=len(chosen),
        dropped=table.num_rows - kept.num_rows,
        changed=float(np.logical_or.reduce([flags for _, flags in compared]).mean()),
        features=tuple(leak for leak, _ in compared),
        quantiles=dict(zip(QUANTILES, late.quantiles, strict=False)),
        proposed=late.proposed,
        later=late.later,
        warning=late.warning,
    )


def _times(table: pa.Table, name: str, tz: str) -> Ints:
    cells = table.column(name)
    if pa.types.is_date(cells.type):
        cells = cells.cast(pa.timestamp("us"))
    if not pa.types.is_timestamp(cells.type):
        raise InvalidDefinitionError(f"{name!r} is {cells.type}, no time. Name a column with times.")
    if cells.type.tz is None:
        cells = pc.assume_timezone(cells, zone(tz).key, ambiguous="earliest", nonexistent="latest")
    in_micros = cells.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
    return np.asarray(pc.fill_null(in_micros, NEVER).to_numpy(), np.int64)


def _windowed(
    table: pa.Table, values: Sequence[str], windows: Sequence[str], log: Log, moments: Moments
) -> list[tuple[Leak, np.ndarray]]:
    aggregates: list[AnyAggregate] = [Count(windows=windows)]
    aggregates += [Mean(name, windows=windows) for name in values if _number(table.column(name).type)]
    found = []
    for aggregate in aggregates:
        given = np.ones(len(log.order), bool)
        numbers = None
        if aggregate.reads is not None:
            numbers = Values(table.column(aggregate.reads))
            given = np.asarray(pc.is_valid(table.column(aggregate.reads)).to_numpy(), bool)[log.order]
        for window in windows_of(aggregate):
            known, every = (log.reach(window, clocks).only(given) for clocks in ((_HAPPENED, _KNOWN), None))
            inside, blind = (Inside(moments.size, reach, log.order, numbers) for reach in (known, every))
            tally = tallied(moments, inside.count, known, every, log.order, numbers)
            measured = censoring([tally], len(moments), numeric=numbers is not None)
            flags = changed(_answer(aggregate, inside, moments), _answer(aggregate, blind, moments))
            name = aggregate_name("", aggregate, window)
            leak = Leak(name, float(flags.mean()), measured.known, measured.empty or 0.0, measured.warning)
            found.append((leak, flags))
    return found


def _last(table: pa.Table, values: Sequence[str], log: Log, moments: Moments) -> list[tuple[Leak, np.ndarray]]:
    found = []
    for name in values:
        cells = table.column(name)
        given = np.asarray(pc.is_valid(cells).to_numpy(), bool)[log.order]
        newest = [
            moments.spread(Inside(moments.size, log.reach(None, clocks).only(given), log.order).newest(), -1)
            for clocks in ((_HAPPENED, _KNOWN), None)
        ]
        known, blind = (cells.take(pa.array(rows, mask=rows < 0)) for rows in newest)
        flags = changed(known, blind)
        found.append((Leak(f"last_{name}", float(flags.mean()), None, float((newest[0] < 0).mean()), None), flags))
    return found


def _answer(aggregate: AnyAggregate, inside: Inside, moments: Moments) -> pa.Array:
    operation = OPERATIONS[type(aggregate)]
    absent = moments.spread(inside.count < operation.least, operation.least > 0)
    return pa.array(moments.spread(operation.answer(inside), 0), mask=absent)


def _number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal128(kind)
        or pa.types.is_boolean(kind)
    )


def _lateness(clocks: Mapping[str, Ints], delay: str | None) -> Lateness:
    declared = None if delay is None else clocks[_HAPPENED] + micros(delay, field="delay")
    return lateness(clocks[_HAPPENED], clocks[_KNOWN], declared)
