"""What is inside at each place: counts, exact sums, extremes and different values of events that enter and leave.

| plan | for | how |
|---|---|---|
| sums | what can be taken back: counts, sums, sums of squares | what has entered minus what has left, running over the places of a key |
| extremes | what cannot: the least, the greatest, the newest | each stay is covered by two blocks of 2**k places, which then settle on their halves |
| distinct | different values | the stays of one value are joined where they overlap, and counted |

All are exact, whatever the order in which events enter and leave, and need memory for the events and the places alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.features.exact import (
    BITS,
    Digits,
    Floats,
    Ints,
    decimal_digits,
    difference,
    digits,
    rounded,
    scaled,
    squares,
)  # fmt: skip
from sterling.features.windows import Reach

_EXACT_IN_FLOAT = 2.0**53
_CELLS = 1 << 22  # digits that are held at a time
_BLOCK = 1 << 16  # places that are finished at a time
_TEN = 10**10


class Values:
    """The cells of a column as aggregates read them.

    Args:
        cells: The column, a cell for each event; what is null is never asked for.
    """

    def __init__(self, cells: pa.ChunkedArray) -> None:
        self.cells = cells
        self.type = cells.type

    @cached_property
    def numbers(self) -> Floats | Ints:
        """Numbers and conditions, as int64 or float64."""
        if pa.types.is_boolean(self.type) or pa.types.is_integer(self.type):
            return np.asarray(pc.fill_null(self.cells.cast(pa.int64()), 0).to_numpy(), np.int64)
        return np.asarray(pc.fill_null(self.cells.cast(pa.float64()), 0.0).to_numpy(), np.float64)

    @property
    def whole(self) -> bool:
        """Whether the column holds whole numbers or conditions."""
        return bool(pa.types.is_boolean(self.type) or pa.types.is_integer(self.type))

    @property
    def scale(self) -> int | None:
        """Digits behind the point of a decimal; None for another type."""
        return int(self.type.scale) if pa.types.is_decimal(self.type) else None

    @cached_property
    def words(self) -> tuple[NDArray[np.uint64], Ints]:
        """Decimals without their point, as the lower and upper 64 bits of whole numbers."""
        one = pc.fill_null(self.cells, 0).cast(pa.decimal128(38, self.scale)).combine_chunks()
        one = one.chunk(0) if isinstance(one, pa.ChunkedArray) else one
        both = np.frombuffer(one.buffers()[1], np.uint64)[2 * one.offset : 2 * (one.offset + len(one))].reshape(-1, 2)
        return both[:, 0], both[:, 1].view(np.int64)

    @cached_property
    def ranks(self) -> Ints:
        """The order of decimals as whole numbers."""
        low, high = self.words
        order = np.lexsort((low, high))
        ranks = np.empty(len(order), np.int64)
        new = (np.diff(low[order], prepend=low[order[:1]]) != 0) | (np.diff(high[order], prepend=high[order[:1]]) != 0)
        ranks[order] = np.cumsum(new)
        return ranks

    @cached_property
    def codes(self) -> Ints:
        """A number for each different value."""
        cells = self.cells
        if pa.types.is_floating(self.type):
            cells = pc.add(cells, pa.scalar(0.0, self.type))  # the two zeros are one value
        elif pa.types.is_dictionary(self.type):
            cells = cells.cast(self.type.value_type)
        encoded = cells.combine_chunks().dictionary_encode()
        return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


class Inside:
    """The events that are inside at each place of some moments.

    Args:
        size: How many places there are.
        reach: Where each event is inside.
        order: The event of each position that ``reach`` names.
        values: The column that is aggregated, or None.
    """

    def __init__(self, size: int, reach: Reach, order: Ints, values: Values | None = None) -> None:
        self.size, self._enter, self._leave = size, reach.enter, reach.leave
        self._events, self._values = order[reach.rows], values

    @property
    def values(self) -> Values:
        """The column that is aggregated."""
        assert self._values is not None
        return self._values

    @cached_property
    def _numbers(self) -> Floats | Ints:
        """The values that are inside."""
        return self.values.numbers[self._events]

    @cached_property
    def count(self) -> Ints:
        """How many events are inside."""
        return self._running(lambda at: np.bincount(at, minlength=self.size + 1))

    @cached_property
    def total(self) -> Floats | Ints:
        """The exact sum of the values: whole where they are, else the float nearest to it."""
        if self.values.scale is None and (small := self._small) is not None:
            total = self._weighted(small)
            return total if self.values.whole else total.astype(np.float64)
        sums = self._digits(lambda numbers: numbers)
        return self._whole(sums) if self.values.whole else self._rounded(sums, self._tens(1))

    @cached_property
    def variance(self) -> Floats:
        """The float nearest to the sample variance; of fewer than two values, anything."""
        count = np.maximum(self.count, 2)
        if self.values.scale is None and (small := self._small) is not None:
            largest = float(np.abs(small).max(initial=0)) * float(count.max(initial=0))
            if largest * largest < _EXACT_IN_FLOAT:
                total = self._weighted(small)
                top = count * self._weighted(small * small) - total * total
                return np.asarray(top / (count * (count - 1)), np.float64)
        sums, both = self._digits(lambda numbers: numbers), self._digits(squares)
        found = np.empty(self.size)
        for part in _parts(self.size, _BLOCK):
            n = count[part]
            above = difference(scaled(_part(both, part), n), squares(_part(sums, part)))
            found[part] = rounded(above, [n, n - 1, *self._tens(2)])
        return found

    def newest(self, *, first: bool = False) -> Ints:
        """The event of the greatest rank, which is its own number; of the least with ``first``."""
        if first:
            return self._extreme(self._events, np.minimum, np.iinfo(np.int64).max)
        return self._extreme(self._events, np.maximum, -1)

    def extreme(self, *, least: bool) -> Floats | Ints:
        """The greatest value, or the least."""
        choose, bound = (np.minimum, 1) if least else (np.maximum, -1)
        if self.values.scale is not None:
            return self._extreme_decimal(choose, bound)
        values = self._numbers
        if values.dtype.kind == "f":
            return self._extreme(values + 0.0, choose, bound * np.inf)  # of the two zeros the positive one
        return self._extreme(values, choose, np.iinfo(np.int64).max if least else np.iinfo(np.int64).min)

    @cached_property
    def distinct(self) -> Ints:
        """How many different values are inside."""
        if not len(self._events):
            return np.zeros(self.size, np.int64)
        lift = self.values.codes[self._events] * (self.size + 1)
        order = np.argsort(lift + self._enter)
        begin, end = (lift + self._enter)[order], np.maximum.accumulate((lift + self._leave)[order])
        first = np.flatnonzero(np.append(True, begin[1:] > end[:-1]))
        last = np.append(first[1:], len(begin)) - 1
        joined = Reach(first, begin[first] % (self.size + 1), end[last] % (self.size + 1))
        return Inside(self.size, joined, np.arange(len(begin))).count

    @cached_property
    def _small(self) -> Ints | None:
        """The values as whole numbers whose sums a double holds, where they are."""
        values = self._numbers
        largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
        if largest * max(len(values), 1) >= _EXACT_IN_FLOAT:
            return None
        whole = values.astype(np.int64, copy=False)
        return whole if values.dtype.kind != "f" or (whole == values).all() else None

    def _weighted(self, values: Ints) -> Ints:
        """Sums of whole numbers that a double holds."""
        weights = values.astype(np.float64)
        return self._running(lambda at: np.bincount(at, weights, self.size + 1))

    def _running(self, steps: Callable[[Ints], NDArray[np.number]]) -> Ints:
        """What has entered minus what has left; at the end of a key all has left."""
        change = steps(self._enter) - steps(self._leave)
        return np.cumsum(change[: self.size].astype(np.int64))

    def _digits(self, of: Callable[[Digits], Digits]) -> Digits:
        """Sums of the numbers, or of what is made of each, as digits."""
        steps: list[Ints] = []
        exponent, width = self._exponent()
        for part in _parts(len(self._events), max(_CELLS // width, 1)):
            made = of(self._as_digits(part, exponent))
            enter, leave = self._enter[part], self._leave[part]
            steps += [np.zeros(self.size + 1, np.int64) for _ in range(len(made.places) - len(steps))]
            for index, place in enumerate(made.places):
                weights = place.astype(np.float64)
                steps[index] += np.bincount(enter, weights, self.size + 1).astype(np.int64)
                steps[index] -= np.bincount(leave, weights, self.size + 1).astype(np.int64)
        steps = steps or [np.zeros(self.size + 1, np.int64)]
        worth = of(Digits((np.zeros(1, np.int64),), exponent)).exponent
        return Digits(tuple(np.cumsum(step[: self.size]) for step in steps), worth)

    def _exponent(self) -> tuple[int, int]:
        """What a digit of the lowest place is worth, and how many places there may be at most."""
        values = self._numbers
        if values.dtype.kind != "f" or self.values.scale is not None:
            return 0, 12
        power = np.frexp(values[values != 0])[1]
        if not len(power):
            return 0, 1
        lowest, highest = int(power.min()) - 53, int(power.max())
        return lowest, 2 * ((highest - lowest) // BITS + 3)

    def _as_digits(self, part: slice, exponent: int) -> Digits:
        if self.values.scale is not None:
            (low, high), events = self.values.words, self._events[part]
            return decimal_digits(low[events], high[events])
        return digits(self._numbers[part], exponent)

    def _tens(self, power: int) -> list[int]:
        """What decimals are divided by to put their point back, in factors."""
        digits_behind = power * (self.values.scale or 0)
        return [_TEN] * (digits_behind // 10) + ([10 ** (digits_behind % 10)] if digits_behind % 10 else [])

    def _rounded(self, numbers: Digits, divisors: list[int]) -> Floats:
        found = np.empty(self.size)
        for part in _parts(self.size, _BLOCK):
            found[part] = rounded(_part(numbers, part), divisors)
        return found

    def _whole(self, numbers: Digits) -> Ints:
        """Whole sums, which have to fit into 64 bits."""
        if (np.abs(self._rounded(numbers, [])) >= 2.0**63).any():
            raise OverflowError("a sum of whole numbers does not fit into 64 bits")
        return sum(
            (place << (BITS * i) for i, place in enumerate(numbers.places) if i < 3), np.zeros(self.size, np.int64)
        )

    def _extreme_decimal(self, choose: np.ufunc, bound: int) -> Floats:
        if not len(self._events):
            return np.zeros(self.size)
        ranks, (low, high) = self.values.ranks, self.values.words
        best = self._extreme(ranks[self._events], choose, len(ranks) if bound > 0 else -1)
        event = np.zeros(len(ranks), np.int64)
        event[ranks] = np.arange(len(ranks))
        chosen = event[np.clip(best, 0, len(ranks) - 1)]
        return rounded(decimal_digits(low[chosen], high[chosen]), self._tens(1))

    def _extreme(self, values: NDArray, choose: np.ufunc, none: float) -> NDArray:  # type: ignore[type-arg]
        """The extreme at each place, by blocks: each stay is two blocks of the longest power of two that fits."""
        best = np.full(self.size + 1, none, values.dtype)
        level = np.frexp((self._leave - self._enter).astype(np.float64))[1] - 1
        for power in range(int(level.max(initial=0)), -1, -1):
            block, of = 1 << power, np.flatnonzero(level == power)
            choose.at(best, self._enter[of], values[of])
            choose.at(best, self._leave[of] - block, values[of])
            if power:
                half = block // 2
                settled = best.copy()
                choose(settled[half:], best[: len(best) - half], out=settled[half:])
                best = settled
        return best[: self.size]


def _parts(size: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def _part(numbers: Digits, part: slice) -> Digits:
    return Digits(tuple(place[part] for place in numbers.places), numbers.exponent)
