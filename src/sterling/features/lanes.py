"""A lane: the events of one entity that one selection of a view reads, on both sides of a moment.

What has happened stands in one run, the newest last; what is soon to happen in another one, the nearest last. So every
window is the end of a run, and what comes or goes lies near there. Counts, sums and squares of the end of
a run are differences of running sums, which are whole numbers however the values look, so nothing is rounded before the
answer; extremes come from the values that none behind them beats.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

Tie = tuple[int, str]
Number = int | float
_SHORT = 32


class Lane:
    """Events of one entity.

    Args:
        scale: Digits behind the point of decimals, whose values are whole numbers without it; None for other values.

    Attributes:
        past: Events before the moment, by position.
        ahead: Events at the moment and after it, by their negated positions.
    """

    __slots__ = ("ahead", "past")

    def __init__(self, scale: int | None = None) -> None:
        self.past, self.ahead = Run(scale), Run(scale)

    def enter(self, position: int, tie: Tie, value: Any, moment: int) -> None:
        """Let an event in, at the moment that the lane stands at; one that is there already stays as it is."""
        if position < moment:
            self.past.enter(position, tie, value)
        else:
            self.ahead.enter(-position, tie, value)

    def leave(self, position: int, tie: Tie, moment: int) -> bool:
        """Let an event out, at the moment that the lane stands at, and say whether it was there."""
        return self.past.leave(position, tie) if position < moment else self.ahead.leave(-position, tie)

    def turn(self, moment: int) -> None:
        """Stand at a moment."""
        past, ahead = self.past, self.ahead
        while ahead.positions and -ahead.positions[-1] < moment:
            position, tie, value = ahead.pop()
            past.enter(-position, tie, value)
        while past.positions and past.positions[-1] >= moment:
            position, tie, value = past.pop()
            ahead.enter(-position, tie, value)


class Run:
    """Events in order of position and tie, and what holds of those from an index on.

    Args:
        scale: Digits behind the point of decimals, whose values are whole numbers without it; None for other values.
    """

    __slots__ = ("_base", "_bits", "_squares", "_stacks", "_sums", "positions", "scale", "ties", "values")

    def __init__(self, scale: int | None = None) -> None:
        self.scale = scale
        self.positions: list[int] = []
        self.ties: list[Tie] = []
        self.values: list[Any] = []
        self._forget()

    def __len__(self) -> int:
        return len(self.positions)

    def enter(self, position: int, tie: Tie, value: Any) -> None:
        """Let an event in; one that is there already stays as it is."""
        index = self._place(position, tie)
        if self._holds(index, position, tie):
            return
        self.positions.insert(index, position)
        self.ties.insert(index, tie)
        self.values.insert(index, value)
        if index == len(self.positions) - 1:
            for least, stack in self._stacks.items():
                self._push(stack, index, least=least)
        else:
            self._changed(index)

    def leave(self, position: int, tie: Tie) -> bool:
        """Let an event out, and say whether it was there."""
        index = self._place(position, tie)
        if not self._holds(index, position, tie):
            return False
        self._cut(index, index + 1)
        self._changed(index)
        return True

    def fill(self, positions: list[int], ties: list[Tie], values: list[Any]) -> None:
        """Take events that are in order, instead of those that are here."""
        self.positions, self.ties, self.values = positions, ties, values
        self._forget()

    def pop(self) -> tuple[int, Tie, Any]:
        """Let the last event out."""
        event = self.positions.pop(), self.ties.pop(), self.values.pop()
        self._changed(len(self.positions))
        return event

    def drop_before(self, index: int) -> None:
        """Forget the events before an index, for good."""
        self._cut(0, index)
        self._forget()

    def drop_from(self, index: int) -> None:
        """Forget the events from an index on, for good."""
        self._cut(index, len(self.positions))
        self._changed(index)

    def total(self, first: int) -> Number:
        """The exact sum from an index on: a whole number for whole ones, else the float nearest to it."""
        total = self._sum(first)
        if self._bits is None and self.scale is None:
            return total
        return total / self._unit(1)

    def variance(self, first: int) -> float:
        """The float nearest to the sample variance of two events or more."""
        total = self._sum(first)
        squares = self._squares
        for number in self._scaled(self._base + len(squares) - 1):
            squares.append(squares[-1] + number * number)
        both = squares[-1] - squares[first - self._base]
        count = len(self.values) - first
        return (count * both - total * total) / (count * (count - 1) * self._unit(2))

    def extreme(self, first: int, *, least: bool) -> Number:
        """The greatest value from an index on, or the least."""
        if len(self.values) - first <= _SHORT:
            found: Number = (min if least else max)(self.values[first:])
        else:
            stack = self._stack(least=least)
            found = self.values[stack[bisect_left(stack, first)]]
        return found if self.scale is None else found / 10**self.scale

    def distinct(self, first: int) -> int:
        """How many different values there are from an index on."""
        return len(set(self.values[first:]))

    def _place(self, position: int, tie: Tie) -> int:
        first = bisect_left(self.positions, position)
        if first == len(self.positions) or self.positions[first] != position:
            return first
        return bisect_left(self.ties, tie, first, bisect_right(self.positions, position, first))

    def _holds(self, index: int, position: int, tie: Tie) -> bool:
        return index < len(self.positions) and self.positions[index] == position and self.ties[index] == tie

    def _cut(self, first: int, last: int) -> None:
        del self.positions[first:last], self.ties[first:last], self.values[first:last]

    def _forget(self) -> None:
        """Nothing is known of any slice."""
        self._base, self._sums, self._squares = 0, [0], [0]
        self._bits: int | None = None
        self._stacks: dict[bool, list[int]] = {}

    def _changed(self, index: int) -> None:
        """What is known of the slices that end at an index or before stays."""
        kept = max(index - self._base, 0) + 1
        del self._sums[kept:], self._squares[kept:]
        self._stacks.clear()

    def _sum(self, first: int) -> int:
        """The sum from an index on, in units."""
        if first < self._base or len(self._sums) == 1:
            self._base, self._sums, self._squares = first, [0], [0]
        sums = self._sums
        if len(sums) <= len(self.values) - self._base:
            added = self._scaled(self._base + len(sums) - 1)
            sums = self._sums
            for number in added:
                sums.append(sums[-1] + number)
        return sums[-1] - sums[first - self._base]

    def _scaled(self, first: int) -> list[int]:
        """Values from an index on as whole numbers of one unit, which becomes finer where a value needs it."""
        values = self.values[first:]
        if not values or type(values[0]) is not float:
            return values
        ratios = [value.as_integer_ratio() for value in values]
        finest = max(below for _, below in ratios).bit_length() - 1
        if self._bits is None or finest > self._bits:
            more = finest - (self._bits or 0)
            self._sums = [number << more for number in self._sums]
            self._squares = [number << 2 * more for number in self._squares]
            self._bits = finest
        unit = 1 << self._bits
        return [above * (unit // below) for above, below in ratios]

    def _unit(self, power: int) -> int:
        """What one is in the units of sums, or of squares."""
        return int(10 ** ((self.scale or 0) * power)) << ((self._bits or 0) * power)

    def _stack(self, *, least: bool) -> list[int]:
        """Indices of the values that no later one beats, which are in order both ways."""
        if least not in self._stacks:
            stack: list[int] = []
            for index in range(len(self.values)):
                self._push(stack, index, least=least)
            self._stacks[least] = stack
        return self._stacks[least]

    def _push(self, stack: list[int], index: int, *, least: bool) -> None:
        values, new = self.values, self.values[index]
        while stack and (values[stack[-1]] >= new if least else values[stack[-1]] <= new):
            stack.pop()
        stack.append(index)
