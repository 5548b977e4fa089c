"""The one exact plan of windowed aggregates: an event counts for the moments t in (lo, hi] of its key.

Each event enters at the first moment of its key after ``lo`` and leaves at the first one after ``hi``; running sums over
the moments give every window's answer. Nothing is compared pair by pair, and lateness costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.features.exact import Digits, Floats, Ints, digits, rounded

NEVER = np.iinfo(np.int64).max
_EXACT_IN_FLOAT = 2.0**53
_CHUNK = 1 << 25  # so many digits of 27 bits add up exactly in a double


def key_codes(events: Sequence[pa.ChunkedArray], moments: Sequence[pa.ChunkedArray]) -> tuple[Ints, Ints]:
    """Composite keys as whole numbers, the same for events and moments.

    Args:
        events: Key columns of the events.
        moments: The same columns of the moments.

    Returns:
        A number for each event and each moment; -1 where a part of the key is null.
    """
    codes = np.zeros(len(events[0]) + len(moments[0]), np.int64)
    absent = np.zeros(len(codes), bool)
    for event_column, moment_column in zip(events, moments, strict=True):
        both = pa.chunked_array([*_alike(event_column, moment_column)])
        encoded = both.combine_chunks().dictionary_encode()
        index = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        absent |= index < 0
        codes = codes * (len(encoded.dictionary) + 1) + index
        if len(events) > 1:
            codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    codes[absent] = -1
    return codes[: len(events[0])], codes[len(events[0]) :]


class Moments:
    """Moments of prediction, by key and time.

    Args:
        codes: Key of each moment; -1 for none.
        times: Each moment in microseconds.
    """

    def __init__(self, codes: Ints, times: Ints) -> None:
        self._valid = codes >= 0
        known = times[self._valid]
        self._first = int(known.min(initial=0)) if len(known) else 0
        self._span = (int(known.max()) - self._first + 3) if len(known) else 1
        self._ranks: Ints | None = None
        if (int(codes.max(initial=0)) + 2) * self._span >= 2**62:
            self._ranks = np.unique(known)
            self._span = len(self._ranks) + 2
        places, inverse = np.unique(self._place(codes[self._valid], known), return_inverse=True)
        self._places, self._inverse = places, inverse
        self._codes = places // self._span
        starts = np.flatnonzero(np.diff(self._codes, prepend=-1))
        self._start = np.repeat(starts, np.diff(starts, append=len(places)))

    def after(self, codes: Ints, times: Ints) -> Ints:
        """For each event the first moment of its key that is later than its time; the number of moments where none is."""
        found = np.searchsorted(self._places, self._place(codes, times), side="right").astype(np.int64)
        inside = np.minimum(found, max(len(self._places) - 1, 0))
        same = (self._codes[inside] == codes) if len(self._places) else np.zeros(len(codes), bool)
        return np.where(same & (found < len(self._places)) & (codes >= 0) & (times < NEVER), found, len(self._places))

    def count(self, enter: Ints, leave: Ints) -> Ints:
        """How many events are inside at each moment.

        Args:
            enter: First moment of each event, as `after` gives it.
            leave: First moment at which it is gone.
        """
        size = len(self._places)
        inside = enter < leave
        steps = np.bincount(enter[inside], minlength=size + 1) - np.bincount(leave[inside], minlength=size + 1)
        return self._spread(self._running(steps[:size].astype(np.int64)), 0)

    def total(self, enter: Ints, leave: Ints, values: Floats | Ints) -> Floats:
        """The sum of the values inside at each moment, rounded once."""
        inside = enter < leave
        enter, leave, values = enter[inside], leave[inside], values[inside]
        largest = float(np.abs(values.astype(np.float64)).max(initial=0.0))
        whole = values.dtype.kind == "i" or bool((values == np.rint(values)).all())
        if whole and largest * max(len(values), 1) < _EXACT_IN_FLOAT:
            return self._spread(self._sums(enter, leave, values.astype(np.int64)), 0).astype(np.float64)
        places, exponent = digits(values)
        sums = Digits(tuple(self._sums(enter, leave, place) for place in places), exponent)
        return self._spread(rounded(sums), 0)

    def newest(self, enter: Ints, ranks: Ints) -> Ints:
        """The greatest rank of the events that have entered by each moment; -1 for none.

        Args:
            enter: First moment of each event, as `after` gives it.
            ranks: A rank of each event, at least 0.
        """
        size = len(self._places)
        best = np.full(size + 1, -1, np.int64)
        np.maximum.at(best, enter, ranks)
        lift = self._codes * (int(ranks.max(initial=0)) + 2)
        return self._spread(np.maximum.accumulate(best[:size] + lift) - lift, -1)

    def _place(self, codes: Ints, times: Ints) -> Ints:
        """Key and time as one number, in an order that agrees with strict comparison to the moments."""
        if self._ranks is None:
            last = self._first + self._span - 3
            rank = np.clip(times, self._first - 1, last) - self._first + 1
        else:
            rank = np.searchsorted(self._ranks, times, side="right").astype(np.int64)
        return codes * self._span + rank

    def _sums(self, enter: Ints, leave: Ints, values: Ints) -> Ints:
        size = len(self._places)
        steps = np.zeros(size + 1, np.int64)
        for start in range(0, len(values), _CHUNK):
            part = slice(start, start + _CHUNK)
            weights = values[part].astype(np.float64)
            steps += np.bincount(enter[part], weights, size + 1).astype(np.int64)
            steps -= np.bincount(leave[part], weights, size + 1).astype(np.int64)
        return self._running(steps[:size])

    def _running(self, steps: Ints) -> Ints:
        """Running sums that begin anew with each key."""
        sums = np.cumsum(steps)
        return sums - (sums - steps)[self._start]

    def _spread(self, answers: NDArray, absent: int) -> NDArray:  # type: ignore[type-arg]
        """The answers for the moments as they were given."""
        spread = np.full(len(self._valid), absent, answers.dtype)
        spread[self._valid] = answers[self._inverse]
        return spread


def _alike(a: pa.ChunkedArray, b: pa.ChunkedArray) -> list[pa.Array]:
    if a.type != b.type:
        a, b = a.cast(pa.string()), b.cast(pa.string())
    return [*a.chunks, *b.chunks] or [pa.array([], a.type)]


def latest(clocks: Sequence[pa.ChunkedArray]) -> Ints:
    """The last of several times of each row; `NEVER` where one of them is null."""
    times = [pc.fill_null(clock, NEVER).to_numpy() for clock in clocks]
    return np.asarray(np.maximum.reduce(times), np.int64)
