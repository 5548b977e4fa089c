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
from sterling.features.windows import NEVER, Log, Moments
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
from sterling.stages.features import LIBRARIES, built, view_name
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
        made = {}
        for name, read in zip(names_of(feature), feature.columns.names, strict=True):
            chosen = events.chosen(read, feature.where, place)
            reach = log.reach(window, chosen.clocks).only(chosen.flags[log.order])
            found = moments.spread(Inside(moments.size, reach, log.order).newest(first=isinstance(feature, First)), -1)
            made[name] = events.table.column(read).take(pa.array(found, mask=(found < 0) | (found == NEVER)))
        return built(feature, pa.table(made), context, facts)


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
        shares: dict[str, float | None] = {}
        for way, cells in _ways(view, events, log).items():
            ended = events.ends(way.until, view.name)[log.order] if way.until else None
            known, every = log.reach(way.window, way.clocks, ended), log.reach(way.window, None, ended)
            for cell in cells:
                inside = Inside(moments.size, known.only(cell.chosen), log.order, cell.values)
                made[cell.name] = cell.answer(inside, moments)
                happened = Inside(moments.size, every.only(cell.chosen), log.order)
                shares[cell.name] = _share(inside, happened, moments)
        return built(view, pa.table({name: made[name] for name in names_of(view)}), context, facts, shares)


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


def _share(known: Inside, every: Inside, moments: Moments) -> float | None:
    """The share of the windows' events that are known at their moments."""
    all_of_them = moments.spread(every.count, 0).sum()
    return float(moments.spread(known.count, 0).sum() / all_of_them) if all_of_them else None
