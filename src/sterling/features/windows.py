"""The one exact plan of windowed aggregates: an event counts for the moments t in (lo, hi] of its key.

Each event enters at the first moment of its key after ``lo`` and leaves at the first one after ``hi``; what is inside at
each moment follows from these two places alone (`sterling.features.inside`). Nothing is compared pair by pair, and
lateness costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.features.availability import EVENT_TIME, REPLACED_AT
from sterling.features.exact import Ints
from sterling.project.aggregates import Window

NEVER = np.iinfo(np.int64).max
Clocks = Callable[[tuple[str, ...], Ints], Ints]
"""For names of clocks and some events, the latest of these clocks of each event."""


class Keys:
    """The keys of some moments as whole numbers from 0, by which events are found.

    Args:
        columns: Key columns of the moments.
        kinds: Types of the same columns of the events; where they differ, keys are compared as texts.

    Attributes:
        codes: A number for each moment; -1 where a part of the key is null.
        size: How many different keys there are.
    """

    def __init__(self, columns: Sequence[pa.ChunkedArray], kinds: Sequence[pa.DataType]) -> None:
        self._texts = [column.type != kind for column, kind in zip(columns, kinds, strict=True)]
        self._values: list[pa.Array] = []
        self._pairs: list[Ints] = []
        self.codes = self._coded(columns, self._learned)
        self.size = int(self.codes.max(initial=-1)) + 1

    def find(self, columns: Sequence[pa.ChunkedArray]) -> Ints:
        """The number of the key of each event; -1 where no moment has it."""
        return self._coded(columns, self._known)

    def _coded(self, columns: Sequence[pa.ChunkedArray], step: Callable[[int, pa.ChunkedArray, Ints], Ints]) -> Ints:
        codes = np.zeros(len(columns[0]), np.int64)
        for place, column in enumerate(columns):
            cells = column.cast(pa.string()) if self._texts[place] else column
            cells = cells.cast(cells.type.value_type) if pa.types.is_dictionary(cells.type) else cells
            codes = step(place, cells, codes)
        return codes

    def _learned(self, place: int, cells: pa.ChunkedArray, codes: Ints) -> Ints:
        self._values.append(pc.unique(cells).drop_null())
        index = _index(cells, self._values[place])
        if place == 0:
            return index
        absent = (codes < 0) | (index < 0)
        pairs = codes * len(self._values[place]) + index
        self._pairs.append(np.unique(pairs[~absent]))
        return _placed(pairs, absent, self._pairs[-1])

    def _known(self, place: int, cells: pa.ChunkedArray, codes: Ints) -> Ints:
        index = _index(cells, self._values[place])
        if place == 0:
            return index
        return _placed(codes * len(self._values[place]) + index, (codes < 0) | (index < 0), self._pairs[place - 1])


def key_codes(events: Sequence[pa.ChunkedArray], moments: Sequence[pa.ChunkedArray]) -> tuple[Ints, Ints]:
    """Composite keys as whole numbers, the same for events and moments.

    Args:
        events: Key columns of the events.
        moments: The same columns of the moments.

    Returns:
        A number for each event and each moment; -1 where a part of the key is null, or no moment has the event's key.
    """
    keys = Keys(moments, [column.type for column in events])
    return keys.find(events), keys.codes


class Moments:
    """Moments of prediction: each different pair of key and time is a place, in the order of key and time.

    Args:
        codes: Key of each moment; -1 for none.
        times: Each moment in microseconds.
    """

    def __init__(self, codes: Ints, times: Ints) -> None:
        self._valid = codes >= 0
        known = times[self._valid]
        self._first = int(known.min()) if len(known) else 0
        self._span = int(known.max()) - self._first + 2 if len(known) else 2
        self._ranks: Ints | None = None
        self._beyond = int(codes.max(initial=0)) + 1
        if (self._beyond + 1) * self._span >= 2**62:
            self._ranks = np.unique(known)
            self._span = len(self._ranks) + 1
        self.places, self._inverse = np.unique(self.place(codes[self._valid], known), return_inverse=True)
        self.size: int = len(self.places)
        """How many places there are."""

    def after(self, codes: Ints, times: Ints) -> Ints:
        """The place of the first moment of its key that is later than its time, for each event.

        Where there is none, it is the place after the last one of the key, or where the key would lie. So an event whose
        moments t lie in (lo, hi] is inside from the place after lo up to, and without, the place after hi.
        """
        return self.search(self.place(codes, times))

    def times(self, lift: Ints, places: Ints) -> Ints:
        """The times of some places of keys that are worth ``lift``; `NEVER` where a place is of another key."""
        ranks = np.append(self.places, NEVER)[places]
        ranks -= lift
        other = ranks >= self._span
        if self._ranks is None:
            ranks += self._first - 1
        else:
            ranks = np.append(self._ranks, NEVER)[np.where(other, 0, ranks - 1)]
        ranks[other] = NEVER
        return ranks

    def search(self, points: Ints) -> Ints:
        """The first place after each point."""
        return np.searchsorted(self.places, points, side="right").astype(np.int64, copy=False)

    def place(self, codes: Ints, times: Ints) -> Ints:
        """Keys and times as points, whose order agrees with strict comparison to the places of moments."""
        return self.point(self.lift(codes), times)

    def lift(self, codes: Ints) -> Ints:
        """What keys are worth in a point; a key that no moment has lies behind all others."""
        return np.minimum(codes, self._beyond) * self._span

    def point(self, lift: Ints, times: Ints) -> Ints:
        """Times as points, of keys that are worth ``lift``."""
        if self._ranks is not None:
            return lift + np.searchsorted(self._ranks, times, side="right")
        points = np.clip(times, self._first - 1, self._first + self._span - 2)
        points -= self._first - 1
        points += lift
        return points

    def spread(self, answers: NDArray, absent: float) -> NDArray:  # type: ignore[type-arg]
        """The answers at the places for the moments as they were given; ``absent`` for those without a key."""
        if self._valid.all():
            return answers[self._inverse]
        spread = np.full(len(self._valid), absent, answers.dtype)
        spread[self._valid] = answers[self._inverse]
        return spread

    def __len__(self) -> int:
        return len(self._valid)

    @cached_property
    def _before(self) -> Ints:
        """How many moments lie before each place."""
        return np.concatenate([[0], np.cumsum(np.bincount(self._inverse, minlength=self.size))])

    def within(self, reach: Reach) -> Ints:
        """At how many moments each event is inside."""
        return self._before[reach.leave] - self._before[reach.enter]


class Reach(NamedTuple):
    """The events that are inside at some place, and where.

    Attributes:
        rows: Their positions in the log.
        enter: The first place of each.
        leave: The first place at which it is no more.
    """

    rows: Ints
    enter: Ints
    leave: Ints

    def only(self, chosen: NDArray[np.bool_]) -> Reach:
        """Those of the events that are chosen, a flag for each event of the log."""
        kept = chosen[self.rows]
        return self if kept.all() else Reach(self.rows[kept], self.enter[kept], self.leave[kept])

    def same(self, other: Reach) -> bool:
        """Whether another reach has the same events in the same places."""
        return all(np.array_equal(mine, theirs) for mine, theirs in zip(self, other, strict=True))


class Log:
    """The events of some entities, sorted by key, beside the moments of these.

    Args:
        moments: The moments.
        codes: Key of each event; events of -1 are left out.
        clocks: Gives, for names of clocks and some events, the latest of the clocks of each, or `NEVER`.
        rows: Which events they are; None for all.
        versions: Whether events are replaced by later versions, at the clock ``_replaced_at``.

    Attributes:
        order: Which event stands at each position of the log.
    """

    def __init__(
        self, moments: Moments, codes: Ints, clocks: Clocks, *, rows: Ints | None = None, versions: bool = False
    ) -> None:
        self._moments, self._clocks = moments, clocks
        order = _sorted(codes)
        self.order: Ints = order if rows is None else rows[order]
        self._lift = moments.lift(codes[order])
        self._known: dict[tuple[str, ...], Ints] = {}
        self._happened = self.known((EVENT_TIME,))
        self._replaced = self.known((REPLACED_AT,)) if versions else None
        self._entered: dict[tuple[str, ...], tuple[Ints, Ints]] = {}

    def known(self, clocks: tuple[str, ...]) -> Ints:
        """When all of these clocks have passed."""
        if clocks not in self._known:
            self._known[clocks] = self._clocks(clocks, self.order)
        return self._known[clocks]

    def reach(self, window: Window | None, clocks: tuple[str, ...] | None, ended: Ints | None = None) -> Reach:
        """Where the events of a window are inside.

        Args:
            window: The window; None for one without an end.
            clocks: The clocks that have passed when an event is known; None to ignore availability, as a join on the
                time of the event does: only the newest version of an event counts then, from the beginning.
            ended: When each event of the log is known to have ended, or `NEVER`.
        """
        enter, first = self._enter(window, clocks)
        end = self._end(window, clocks)
        if ended is not None:
            end = np.minimum(end, ended)
        if self._replaced is not None and clocks is not None:
            end = np.minimum(end, self._replaced)
        inside = first <= end
        if window is None or window.kind == "known":
            inside &= first < NEVER
        if self._replaced is not None and clocks is None:
            inside &= self._replaced == NEVER
        rows = np.flatnonzero(inside)
        leave = self._moments.search(self._moments.point(self._lift[rows], end[rows]))
        return Reach(rows, enter[rows], leave)

    def _enter(self, window: Window | None, clocks: tuple[str, ...] | None) -> tuple[Ints, Ints]:
        """The first place of each event, and its time; kept where windows of different lengths have it in common."""
        kind = window.kind if window else "past"
        if window and kind == "ahead":
            return self._found(self._latest(self._happened - window.micros, clocks))
        key = (kind, *(clocks or ()))
        if key not in self._entered:
            begin = self.known(clocks) if clocks and kind == "known" else self._latest(self._happened, clocks)
            self._entered[key] = self._found(begin)
        return self._entered[key]

    def _found(self, begin: Ints) -> tuple[Ints, Ints]:
        enter = self._moments.search(self._moments.point(self._lift, begin))
        return enter, self._moments.times(self._lift, enter)

    def _latest(self, times: Ints, clocks: tuple[str, ...] | None) -> Ints:
        return times if clocks is None else np.maximum(times, self.known(clocks))

    def _end(self, window: Window | None, clocks: tuple[str, ...] | None) -> Ints:
        if window is None:
            return np.full(len(self.order), NEVER)
        if window.kind == "ahead":
            return self._happened
        if clocks and window.kind == "known":
            return np.minimum(self.known(clocks), NEVER - window.micros) + window.micros
        return self._happened + window.micros


def _sorted(codes: Ints) -> Ints:
    """The events of each key one after the other, by a radix sort of 16 bits at a time; without those of no key."""
    order: Ints = np.flatnonzero(codes >= 0)
    for shift in range(0, int(codes.max(initial=0)).bit_length(), 16):
        part = ((codes[order] >> shift) & 0xFFFF).astype(np.uint16)
        order = order[np.argsort(part, kind="stable")]
    return order


def _index(cells: pa.ChunkedArray, values: pa.Array) -> Ints:
    """The place of each cell among some values; -1 where it is none of them."""
    found = pc.index_in(cells, value_set=values)
    return np.asarray(pc.fill_null(found, -1).to_numpy(), np.int64)


def _placed(pairs: Ints, absent: NDArray[np.bool_], among: Ints) -> Ints:
    """The place of each pair among the sorted ones; -1 where it is absent or none of them."""
    if not len(among):
        return np.full(len(pairs), -1, np.int64)
    places = np.minimum(np.searchsorted(among, pairs), len(among) - 1)
    places[absent | (among[places] != pairs)] = -1
    return np.asarray(places, np.int64)


def latest(clocks: Sequence[pa.ChunkedArray]) -> Ints:
    """The last of several times of each row; `NEVER` where one of them is null."""
    times = [pc.fill_null(clock, NEVER).to_numpy() for clock in clocks]
    return np.asarray(times[0] if len(times) == 1 else np.maximum.reduce(times), np.int64)
