"""Features of events: the last value known, and aggregates over the windows before each moment, by one exact plan."""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import InvalidDefinitionError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable
from sterling.features.availability import EVENT_TIME, clocks_of, rule_of
from sterling.features.exact import Floats, Ints
from sterling.features.windows import Moments, key_codes, latest
from sterling.project.features import (
    Aggregate,
    FeatureView,
    Last,
    Mean,
    Pending,
    aggregate_name,
    names_of,
)  # fmt: skip
from sterling.project.sources import EventSource
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.project.sql import check_columns, columns_of
from sterling.project.times import micros
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.features import LIBRARIES, built, column_of, listed, view_name
from sterling.stages.row import Row


class LastFeatures(Stage, frozen=True):
    """The last value of each column that was known at the moment, of the events that had happened.

    Args:
        feature: The definition.
        spine: The moments.
    """

    feature: Last
    spine: EventSpine | ScheduledSpine

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {view_name(self.feature)}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """The event of the greatest (event_time, available_at, event_id) that is known, for each column."""
        source, facts = self.feature.columns.source, list[Evidence]()
        assert isinstance(source, EventSource)
        place = view_name(self.feature)
        row = Row(self.spine, inputs, context)
        events = _events(source, inputs, context)
        codes, moments = _moments(row, events, source.entities, self.feature.on, place, facts)
        happened = events.column(EVENT_TIME).to_numpy()
        oldest = row.times - micros(self.feature.max_age) if self.feature.max_age else None
        made = {}
        for name, column in zip(names_of(self.feature), self.feature.columns.names, strict=True):
            known = _known(events, frozenset({column, *source.entities}), source, place)
            given = np.flatnonzero(pc.is_valid(column_of(events, column, place)).to_numpy())
            enter = moments.after(codes[given], np.maximum(known, happened)[given])
            newest = moments.newest(enter, given)
            if oldest is not None:
                found = np.flatnonzero(newest >= 0)
                newest[found[happened[newest[found]] < oldest[found]]] = -1
            made[name] = events.column(column).take(pa.array(newest, mask=newest < 0))
        return built(self.feature, pa.table(made), context, facts)


class ViewFeatures(Stage, frozen=True):
    """Aggregates over the windows before each moment.

    Args:
        view: The definition.
        spine: The moments.
    """

    view: FeatureView
    spine: EventSpine | ScheduledSpine

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {self.view.name}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Every aggregate over every window, by the one exact plan."""
        view, facts = self.view, list[Evidence]()
        row = Row(self.spine, inputs, context)
        events = _events(view.source, inputs, context)
        codes, moments = _moments(row, events, view.entities, view.on, view.name, facts)
        made: dict[str, pa.Array] = {}
        shares: dict[str, float | None] = {}
        for aggregate in view.features:
            log = _log(aggregate, view, events, codes, moments, context)
            for window in aggregate.windows:
                name = aggregate_name(view.name, aggregate, window)
                made[name], shares[name] = _aggregate(log, moments, micros(window))
        return built(view, pa.table(made), context, facts, shares)


class _Log(NamedTuple):
    """The events of one aggregate.

    Attributes:
        codes: The key of each.
        happened: When it happened.
        due: First moment after it happened.
        enter: First moment at which it had happened and is known.
        values: What is averaged, or None.
        ended: When it is known to have ended, or None.
    """

    codes: Ints
    happened: Ints
    due: Ints
    enter: Ints
    values: Floats | Ints | None
    ended: Ints | None


def _events(source: EventSource, inputs: Mapping[str, Ref], context: Context) -> StoredTable:
    return StoredTable(context.store, inputs[f"clean:{source.name}"])


def _moments(
    row: Row, events: StoredTable, entities: Sequence[str], on: Mapping[str, str], place: str, facts: list[Evidence]
) -> tuple[Ints, Moments]:
    """Events and moments by the entity that they belong to."""
    own = [row.column(on.get(name, name), place, facts) for name in entities]
    codes, at = key_codes([column_of(events, name, place) for name in entities], own)
    return codes, Moments(at, row.times)


def _known(events: StoredTable, columns: frozenset[str], source: EventSource, place: str) -> Ints:
    """When a row and these of its columns are known."""
    return latest([events.column(clock) for clock in clocks_of(columns, source, place)])


def _log(
    aggregate: Aggregate, view: FeatureView, events: StoredTable, codes: Ints, moments: Moments, context: Context
) -> _Log:
    """The events that an aggregate reads."""
    place = f"FeatureView {view.name!r}: {type(aggregate).__name__}"
    columns = frozenset(view.entities)
    chosen = np.ones(events.num_rows, bool)
    if aggregate.where:
        columns |= check_columns(aggregate.where, listed(events), place)
        chosen &= _meets(aggregate.where, events, context)
    values = ended = None
    if isinstance(aggregate, Pending):
        ended = _ends(aggregate, view, events, place)
    elif aggregate.column is not None:
        cells = column_of(events, aggregate.column, place)
        columns |= {aggregate.column}
        chosen &= pc.is_valid(cells).to_numpy()
        if isinstance(aggregate, Mean):
            values = _numbers(cells, place)
    kept = np.flatnonzero(chosen & (codes >= 0))
    known = _known(events, columns, view.source, place)[kept]
    codes, happened = codes[kept], events.column(EVENT_TIME).to_numpy()[kept]
    return _Log(
        codes,
        happened,
        due=moments.after(codes, happened),
        enter=moments.after(codes, np.maximum(known, happened)),
        values=None if values is None else values[kept],
        ended=None if ended is None else ended[kept],
    )


def _ends(aggregate: Pending, view: FeatureView, events: StoredTable, place: str) -> Ints:
    """When each event is known to have ended."""
    until = column_of(events, aggregate.until, place)
    if not pa.types.is_timestamp(until.type) or until.type.tz is None:
        raise InvalidDefinitionError(
            f"{place}.until is {aggregate.until!r}, which is {until.type}: no time with a zone."
        )
    rule = rule_of(aggregate.until, view.source, place)
    return latest([until.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), events.column(rule.clock)])


def _meets(where: str, events: StoredTable, context: Context) -> NDArray[np.bool_]:
    used = events.select(sorted(columns_of(where))).append_column("_row", pa.array(np.arange(events.num_rows)))
    found = context.engine.query(
        f"SELECT coalesce(({where}), FALSE) AS met FROM events ORDER BY _row", {"events": used}
    )
    return np.asarray(found.column("met").to_numpy(), bool)


def _numbers(cells: pa.ChunkedArray, place: str) -> Any:
    if pa.types.is_boolean(cells.type) or pa.types.is_integer(cells.type):
        return pc.fill_null(cells.cast(pa.int64()), 0).to_numpy()
    if pa.types.is_floating(cells.type) or pa.types.is_decimal(cells.type):
        return pc.fill_null(cells.cast(pa.float64()), 0.0).to_numpy()
    raise InvalidDefinitionError(f"{place} reads a column of {cells.type}, which has no mean. Name a number.")


def _aggregate(log: _Log, moments: Moments, window: int) -> tuple[pa.Array, float | None]:
    """One aggregate over one window, and the share of the window's events that are known at their moments."""
    over = log.happened + window
    leave_at = over if log.ended is None else np.minimum(over, log.ended)
    leave = moments.after(log.codes, leave_at)
    count, every = moments.count(log.enter, leave), moments.count(log.due, leave)
    share = float(count.sum() / every.sum()) if every.any() else None
    if log.values is None:
        return pa.array(count), share
    total = moments.total(log.enter, leave, log.values)
    return pa.array(total / np.maximum(count, 1), mask=count == 0), share
