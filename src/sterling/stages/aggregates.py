"""Features of events: the last and first value known, and aggregates over windows, by one exact plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.features.aggregates import OPERATIONS
from sterling.features.inside import Inside, Values
from sterling.features.leaks import Censoring, censoring
from sterling.features.windows import NEVER, Log, Moments, Reach
from sterling.project.aggregates import (
    Aggregate,
    Count,
    CountDistinct,
    Pending,
    Window,
    aggregate_name,
    windows_of,
)  # fmt: skip
from sterling.project.features import FeatureView, First, Last, names_of
from sterling.project.sources import EventSource
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.events import Events
from sterling.stages.features import LIBRARIES, built, censored, leaked, view_name
from sterling.stages.row import Row


class PickedFeatures(Stage, frozen=True):
    """The last value of each column that was known at the moment, of the events that had happened; or the first.

    Args:
        feature: The definition.
        spine: The moments.
    """

    feature: Last | First
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
        """The event of the greatest (event_time, available_at, event_id) that is known, or the least, for each column."""
        feature, facts, place = self.feature, list[Evidence](), view_name(self.feature)
        source = feature.columns.source
        assert isinstance(source, EventSource)
        events = Events(source, source.entities, feature.on, place, inputs, context)
        log, moments = events.log(Row(self.spine, inputs, context), facts)
        window = Window(feature.max_age, "past") if feature.max_age else None
        made, naive = {}, {}
        for name, read in zip(names_of(feature), feature.columns.names, strict=True):
            chosen = events.chosen(read, feature.where, place)
            flags, cells = chosen.flags[log.order], events.table.column(read)
            reach = log.reach(window, chosen.clocks).only(flags)
            made[name] = self._picked(Inside(moments.size, reach, log.order), moments, cells)
            happened = log.reach(window, None).only(flags)
            naive[name] = self._picked(Inside(moments.size, happened, log.order), moments, cells)
            measured = censoring(
                moments, Inside(moments.size, reach, log.order).count, reach, happened, log.order, None
            )
            facts.append(censored(name, place, measured._replace(known=None)))
        return built(feature, pa.table(made), context, facts, leaks=leaked(made, naive))

    def _picked(self, inside: Inside, moments: Moments, cells: pa.ChunkedArray) -> pa.ChunkedArray:
        """The values of the events that are the last, or the first."""
        found = moments.spread(inside.newest(first=isinstance(self.feature, First)), -1)
        return cells.take(pa.array(found, mask=(found < 0) | (found == NEVER)))


class ViewFeatures(Stage, frozen=True):
    """Aggregates over the windows of each moment.

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
        events = Events(view.source, view.entities, view.on, view.name, inputs, context)
        log, moments = events.log(Row(self.spine, inputs, context), facts)
        made: dict[str, pa.Array] = {}
        naive: dict[str, pa.Array] = {}
        shares: dict[str, float | None] = {}
        for way, cells in _ways(view, events, log).items():
            known, ended = events.ends(way.until, view.name) if way.until else (None, None)
            ends = None if known is None else known[log.order]
            read, every = log.reach(way.window, way.clocks, ends), log.reach(way.window, None, ends)
            blind = every if ended is None else log.reach(way.window, None, ended[log.order])
            for cell in cells:
                inside = cell.inside(read, log, moments)
                made[cell.name] = cell.answer(inside, moments)
                one_clock = cell.inside(blind, log, moments)
                same = read.only(cell.chosen).same(blind.only(cell.chosen))
                naive[cell.name] = made[cell.name] if same else cell.answer(one_clock, moments)
                measured = cell.censoring(inside, read, every, log, moments)
                shares[cell.name] = measured.known
                facts.append(censored(cell.name, view.name, measured))
        made = {name: made[name] for name in names_of(view)}
        return built(view, pa.table(made), context, facts, shares, leaked(made, naive))


class _Way(NamedTuple):
    """What decides where events are inside; features that have it in common are computed together.

    Attributes:
        window: The window.
        clocks: The clocks that have passed when an event can be read.
        until: Column with the end of the events, or None.
    """

    window: Window
    clocks: tuple[str, ...]
    until: str | None


class _Cell(NamedTuple):
    """One feature of a view.

    Attributes:
        name: Its name.
        aggregate: What is computed.
        window: Over which window.
        chosen: Whether it reads each event of the log.
        values: The column that it reads, or None.
    """

    name: str
    aggregate: Aggregate
    window: Window
    chosen: NDArray[np.bool_]
    values: Values | None

    def inside(self, reach: Reach, log: Log, moments: Moments) -> Inside:
        """The events that it reads."""
        return Inside(moments.size, reach.only(self.chosen), log.order, self.values)

    def censoring(self, inside: Inside, read: Reach, every: Reach, log: Log, moments: Moments) -> Censoring:
        """What of the window's events is known; of a window of what became known, all is."""
        numeric = self.values if self.values and OPERATIONS[type(self.aggregate)].result != "whole" else None
        known, there = read.only(self.chosen), every.only(self.chosen)
        found = censoring(moments, inside.count, known, there, log.order, numeric)
        return found if self.window.kind != "known" else Censoring(found.empty, None, None, None, None)

    def answer(self, inside: Inside, moments: Moments) -> pa.Array:
        """The feature at each moment."""
        operation = OPERATIONS[type(self.aggregate)]
        absent = inside.count < operation.least
        try:
            found = operation.answer(inside)
        except OverflowError as error:
            raise DataError(f"{self.name}: {error}. Cast the column to DOUBLE, or to larger units.") from error
        if isinstance(self.aggregate, CountDistinct) and (most := int(found.max(initial=0))) > self.aggregate.budget:
            raise InvalidDefinitionError(
                f"{self.name}: one window of {self.window.length} holds {most:,} different values of {self.aggregate.column!r}, over the budget of "
                f"{self.aggregate.budget:,}. Shorten the window, narrow it with where=, or raise budget=."
            )
        return pa.array(moments.spread(found, 0), mask=moments.spread(absent, operation.least > 0))


def _ways(view: FeatureView, events: Events, log: Log) -> dict[_Way, list[_Cell]]:
    """The features of a view, by where their events are inside."""
    found: dict[_Way, list[_Cell]] = {}
    for aggregate in view.features:
        place = f"FeatureView {view.name!r}: {type(aggregate).__name__}"
        column = aggregate.reads
        chosen = events.chosen(column, aggregate.where, place)
        values = None
        if column is not None and not isinstance(aggregate, Count):
            values = events.values(column, place)
            aggregate.check_type(column, str(values.type), place)
        until = aggregate.until if isinstance(aggregate, Pending) else None
        for window in windows_of(aggregate):
            cell = _Cell(
                aggregate_name(view.name, aggregate, window), aggregate, window, chosen.flags[log.order], values
            )
            found.setdefault(_Way(window, chosen.clocks, until), []).append(cell)
    return found
