"""Features of events: the last and first value known, and aggregates over windows, by one exact plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.features.aggregates import OPERATIONS
from sterling.features.inside import Inside, Values
from sterling.features.leaks import Censoring, censoring
from sterling.features.windows import NEVER, Log, Moments
from sterling.project.aggregates import (
    Aggregate,
    CountDistinct,
    Pending,
    Window,
    aggregate_name,
    windows_of,
)  # fmt: skip
from sterling.project.features import FeatureView, First, Last, names_of, view_name
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.events import Events
from sterling.stages.features import LIBRARIES, built, censored, leaked
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
        events = Events(source, source.entities, feature.on, place, inputs, context)
        log, moments = events.log(Row(self.spine, inputs, context), facts)
        window = Window(feature.max_age, "past") if feature.max_age else None
        ended = events.untrue()
        ends = None if ended is None else ended[log.order]
        made, naive = {}, {}
        for name, read in zip(names_of(feature), feature.columns.names, strict=True):
            chosen = events.chosen(read, feature.where, place)
            flags, cells = chosen.flags[log.order], events.table.column(read)
            reach = log.reach(window, chosen.clocks, ends).only(flags)
            made[name] = self._picked(Inside(moments.size, reach, log.order), moments, cells)
            happened = log.reach(window, None, ends).only(flags)
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
        for way, groups in _ways(view, events, log).items():
            known, ended = events.ends(way.until, view.name) if way.until else (None, None)
            ends = None if known is None else known[log.order]
            read, every = log.reach(way.window, way.clocks, ends), log.reach(way.window, None, ends)
            blind = every if ended is None else log.reach(way.window, None, ended[log.order])
            for group in groups.values():
                seen, there, unseen = (reach.only(group.chosen) for reach in (read, every, blind))
                inside = Inside(moments.size, seen, log.order, group.values)
                one_clock = inside if seen.same(unseen) else Inside(moments.size, unseen, log.order, group.values)
                for name, aggregate in group.cells.items():
                    made[name] = _answer(name, aggregate, inside, moments)
                    _refuse_over_budget(name, aggregate, made[name])
                    naive[name] = made[name] if one_clock is inside else _answer(name, aggregate, one_clock, moments)
                    numbers = group.values if OPERATIONS[type(aggregate)].result != "whole" else None
                    measured = censoring(moments, inside.count, seen, there, log.order, numbers)
                    if way.window.kind == "known":  # all that became known is known
                        measured = Censoring(measured.empty, None, None, None, None)
                    shares[name] = measured.known
                    facts.append(censored(name, view.name, measured))
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


class _Group(NamedTuple):
    """The features of one way that read the same events.

    Attributes:
        chosen: Whether they read each event of the log.
        values: The column that they read, or None.
        cells: Name and definition of each.
    """

    chosen: NDArray[np.bool_]
    values: Values | None
    cells: dict[str, Aggregate]


def _ways(view: FeatureView, events: Events, log: Log) -> dict[_Way, dict[object, _Group]]:
    """The features of a view, by where their events are inside, and by which of these they read."""
    found: dict[_Way, dict[object, _Group]] = {}
    flags: dict[object, NDArray[np.bool_]] = {}
    for aggregate in view.features:
        place = f"FeatureView {view.name!r}: {type(aggregate).__name__}"
        column, values, which = aggregate.reads, None, (aggregate.reads, aggregate.where)
        chosen = events.chosen(column, aggregate.where, place)
        if column is not None:
            values = events.values(column, place)
            aggregate.check_type(column, str(values.type), place)
        if which not in flags:
            flags[which] = chosen.flags[log.order]
        until = aggregate.until if isinstance(aggregate, Pending) else None
        for window in windows_of(aggregate):
            groups = found.setdefault(_Way(window, chosen.clocks, until), {})
            group = groups.setdefault(which, _Group(flags[which], values, {}))
            group.cells[aggregate_name(view.name, aggregate, window)] = aggregate
    return found


def _answer(name: str, aggregate: Aggregate, inside: Inside, moments: Moments) -> pa.Array:
    """A feature at each moment."""
    operation = OPERATIONS[type(aggregate)]
    try:
        found = operation.answer(inside)
    except OverflowError as error:
        raise DataError(f"{name}: {error}. Cast the column to DOUBLE, or to larger units.") from error
    absent = moments.spread(inside.count < operation.least, operation.least > 0)
    return pa.array(moments.spread(found, 0), mask=absent)


def _refuse_over_budget(name: str, aggregate: Aggregate, found: pa.Array) -> None:
    if isinstance(aggregate, CountDistinct) and (most := pc.max(found).as_py() or 0) > aggregate.budget:
        raise InvalidDefinitionError(
            f"{name}: one window holds {most:,} different values of {aggregate.column!r}, over the budget of "
            f"{aggregate.budget:,}. Shorten the window, narrow it with where=, or raise budget=."
        )
