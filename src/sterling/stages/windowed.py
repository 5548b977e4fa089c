"""The aggregates of one view, part by part: what decides where events are inside is computed once for all that share it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.features.aggregates import OPERATIONS
from sterling.features.exact import Ints
from sterling.features.inside import Inside, Values
from sterling.features.leaks import Tally, tallied
from sterling.features.parts import Part, each
from sterling.features.windows import Log, Moments, Reach
from sterling.project.aggregates import (
    Aggregate,
    CountDistinct,
    Pending,
    Window,
    aggregate_name,
    windows_of,
)  # fmt: skip
from sterling.project.features import FeatureView
from sterling.stages.batches import Batch
from sterling.stages.events import Asked, Events


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
        chosen: Whether they read each event.
        values: The column that they read, or None.
        cells: Name and definition of each.
    """

    chosen: NDArray[np.bool_]
    values: Values | None
    cells: dict[str, Aggregate]


class Answer:
    """One feature at the moments of a spine, which its parts fill.

    Args:
        aggregate: Its definition.
        window: Its window.
        values: The column that it reads, or None.
        size: How many moments there are.

    Attributes:
        tallies: What of its events was known, part by part.
    """

    def __init__(self, aggregate: Aggregate, window: Window, values: Values | None, size: int) -> None:
        operation = OPERATIONS[type(aggregate)]
        self.window = window
        self.numeric = operation.result != "whole"
        whole = not self.numeric or (operation.result == "column" and values is not None and values.whole)
        self._found = np.zeros(size, np.int64 if whole else np.float64)
        self._absent = np.full(size, operation.least > 0)
        self._other, self._other_absent = np.zeros_like(self._found), self._absent.copy()
        self._leaks = np.zeros(size, bool)
        self.tallies: list[Tally] = []

    def put(self, rows: Ints, read: _Cells, naive: _Cells) -> None:
        """Put in the cells of some moments; ``naive`` are those without regard to availability."""
        self._found[rows], self._absent[rows] = read
        if naive is not read:
            self._leaks[rows] = (read.absent != naive.absent) | (~read.absent & (read.found != naive.found))
            self._other[rows], self._other_absent[rows] = naive

    def cells(self) -> pa.Array:
        """The feature as a column."""
        return pa.array(self._found, mask=self._absent)

    def naive(self) -> pa.Array:
        """What it would be if availability were ignored."""
        found = np.where(self._leaks, self._other, self._found)
        return pa.array(found, mask=np.where(self._leaks, self._other_absent, self._absent))


class _Cells(NamedTuple):
    """One feature at the moments of a part.

    Attributes:
        found: The answers.
        absent: Where there is none.
    """

    found: NDArray[np.int64] | NDArray[np.float64]
    absent: NDArray[np.bool_]


class Windowed:
    """The aggregates of a view over the events of a batch.

    Args:
        view: The view.
        events: Its events; those of the batch have the same source.
        batch: Which of them, and which moments.
        asked: All the moments.
    """

    def __init__(self, view: FeatureView, events: Events, batch: Batch, asked: Asked) -> None:
        self._view, self._size = view, asked.size
        self._events = events.of(batch.table())
        self._ways = _ways(view, self._events)
        self.parts = self._events.parts(asked, batch.moments)
        self._ends = {way.until: self._events.ends(way.until, view.name) for way in self._ways if way.until is not None}

    def fill(self, answers: dict[str, Answer]) -> None:
        """Compute the features at the moments of the batch."""
        for way, groups in self._ways.items():
            for group in groups.values():
                for name, aggregate in group.cells.items():
                    answers.setdefault(name, Answer(aggregate, way.window, group.values, self._size))
        for tallies in each(self.parts, lambda part: self._filled(part, answers)):
            for name, tally in tallies.items():
                answers[name].tallies.append(tally)

    def most(self, name: str, budget: int) -> int:
        """The most different values that one window of a `CountDistinct` holds, where a key may have more than its budget."""
        ((way, group),) = (
            (way, group) for way, groups in self._ways.items() for group in groups.values() if name in group.cells
        )
        assert group.values is not None
        codes = group.values.codes

        def work(part: Part) -> int:
            own = self._events.codes(part)
            chosen = group.chosen[part.events]
            pairs = np.unique(np.column_stack([own[chosen], codes[part.events][chosen]]), axis=0)
            if np.bincount(pairs[:, 0], minlength=1).max() <= budget:
                return 0
            log, moments = self._events.log(part)
            seen = self._reaches(way, log)[0].only(group.chosen[log.order])
            return int(Inside(moments.size, seen, log.order, group.values).distinct.max(initial=0))

        return max(each(self.parts, work), default=0)

    def _filled(self, part: Part, answers: Mapping[str, Answer]) -> dict[str, Tally]:
        """Compute the features at the moments of a part, and count what of their events is known."""
        log, moments = self._events.log(part)
        tallies = {}
        for way, groups in self._ways.items():
            reaches = self._reaches(way, log)
            for group in groups.values():
                chosen = group.chosen[log.order]
                seen, there, unseen = (reach.only(chosen) for reach in reaches)
                inside = Inside(moments.size, seen, log.order, group.values)
                same = seen.same(unseen)
                one_clock = inside if same else Inside(moments.size, unseen, log.order, group.values)
                counted: dict[bool, Tally] = {}
                for name, aggregate in group.cells.items():
                    read = _cells(name, aggregate, inside, moments)
                    naive = read if same else _cells(name, aggregate, one_clock, moments)
                    answers[name].put(part.moments, read, naive)
                    numeric = answers[name].numeric
                    if numeric not in counted:
                        values = group.values if numeric else None
                        counted[numeric] = tallied(moments, inside.count, seen, there, log.order, values)
                    tallies[name] = counted[numeric]
        return tallies

    def _reaches(self, way: _Way, log: Log) -> tuple[Reach, Reach, Reach]:
        """Where events are inside: those that are known, all that there are, and all that a join on event time reads."""
        known, ended = self._ends[way.until] if way.until is not None else (None, None)
        ends = None if known is None else known[log.order]
        read, every = log.reach(way.window, way.clocks, ends), log.reach(way.window, None, ends)
        return read, every, every if ended is None else log.reach(way.window, None, ended[log.order])


def refuse_over_budget(view: FeatureView, batches: Iterable[Windowed]) -> None:
    """Refuse a `CountDistinct` one of whose windows holds more different values than its budget.

    It is looked at before anything else is computed. A window has no more different values than its key has, so only
    where a key has more are the windows looked into.
    """
    found: dict[str, int] = {}
    wanted = {
        aggregate_name(view.name, item, window): item
        for item in view.features
        if isinstance(item, CountDistinct)
        for window in windows_of(item)
    }
    for batch in batches:
        for name, item in wanted.items():
            found[name] = max(found.get(name, 0), batch.most(name, item.budget))
    for name, item in wanted.items():
        if found[name] > item.budget:
            raise InvalidDefinitionError(
                f"{name}: one window holds {found[name]:,} different values of {item.column!r}, over the budget of "
                f"{item.budget:,}. Shorten the window, narrow it with where=, or raise budget=."
            )


def _ways(view: FeatureView, events: Events) -> dict[_Way, dict[object, _Group]]:
    """The features of a view, by where their events are inside, and by which of these they read."""
    found: dict[_Way, dict[object, _Group]] = {}
    for aggregate in view.features:
        place = f"FeatureView {view.name!r}: {type(aggregate).__name__}"
        column, values, which = aggregate.reads, None, (aggregate.reads, aggregate.where)
        chosen = events.chosen(column, aggregate.where, place)
        if column is not None:
            values = events.values(column, place)
            aggregate.check_type(column, str(values.type), place)
        events.prepare(chosen.clocks)
        until = aggregate.until if isinstance(aggregate, Pending) else None
        for window in windows_of(aggregate):
            groups = found.setdefault(_Way(window, chosen.clocks, until), {})
            group = groups.setdefault(which, _Group(chosen.flags, values, {}))
            group.cells[aggregate_name(view.name, aggregate, window)] = aggregate
    return found


def _cells(name: str, aggregate: Aggregate, inside: Inside, moments: Moments) -> _Cells:
    """A feature at the moments of a part."""
    operation = OPERATIONS[type(aggregate)]
    try:
        found = operation.answer(inside)
    except OverflowError as error:
        raise DataError(f"{name}: {error}. Cast the column to DOUBLE, or to larger units.") from error
    absent = moments.spread(inside.count < operation.least, operation.least > 0)
    return _Cells(moments.spread(found, 0), absent)
