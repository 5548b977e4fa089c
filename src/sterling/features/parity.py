"""Parity: the log replayed through the online state, read at each moment of a history, against the offline cells.

Two cells are equal where they are the same value or both null. Whole numbers, texts and conditions must be equal; floats
that are not equal are counted, and are different where they lie further apart than the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sterling.features.changes import Log
from sterling.features.exact import Ints
from sterling.features.online import State, Value, ViewPlan

TOLERANCE = 1e-12
"""How far apart two floats may lie, as a share of the larger one."""
_PACKED_AT = frozenset(4**power for power in range(32))


class Compared(NamedTuple):
    """What a comparison of one feature found.

    Attributes:
        name: The feature.
        cells: How many cells were compared.
        unequal: How many are not equal, floats within the tolerance among them.
        different: How many of these are different.
        first: Row of the first that is different, or None.
    """

    name: str
    cells: int
    unequal: int
    different: int
    first: int | None


def replay(plan: ViewPlan, log: Log, keys: Sequence[bytes | None], times: Ints) -> list[tuple[Value, ...]]:
    """The features of each moment, read from states to which the log was applied up to then, and no further.

    States are packed and unpacked on the way, ever more seldom.

    Args:
        plan: The view.
        log: What became known.
        keys: The entity of each moment; None for none.
        times: Each moment in microseconds.
    """
    unknown = plan.state().read(0)
    found = [unknown] * len(keys)
    numbers = {key: number for number, key in enumerate(log.keys)}
    whose = np.array([numbers.get(key, -1) if key else -1 for key in keys], np.int64)
    order = np.lexsort((times, whose))
    bounds = np.searchsorted(whose[order], np.arange(len(log.keys) + 1)).tolist()
    for number in range(len(log.keys)):
        moments = order[bounds[number] : bounds[number + 1]]
        if len(moments):
            _replay(plan, log, number, moments.tolist(), times[moments].tolist(), found)
    return found


def _replay(
    plan: ViewPlan, log: Log, number: int, rows: list[int], times: list[int], found: list[tuple[Value, ...]]
) -> None:
    """The features of one entity."""
    state, changes, done = plan.state(), log.of(number), 0
    for count, (row, at) in enumerate(zip(rows, times, strict=True)):
        due = done
        while due < len(changes) and changes[due][0] < at:
            due += 1
        if due > done:
            state.apply(changes[done:due])
            done = due
        if count in _PACKED_AT:
            state = State.unpack(plan, state.pack())
        found[row] = state.read(at)


def compare(name: str, offline: Sequence[Any], online: Sequence[Any]) -> Compared:
    """Hold two columns of one feature against each other.

    Example:
        >>> compare("mean", [0.1, None, 2.0], [0.1 + 1e-17, None, 3.0])
        Compared(name='mean', cells=3, unequal=2, different=1, first=2)
    """
    unequal = [row for row, (a, b) in enumerate(zip(offline, online, strict=True)) if a != b]
    different = [row for row in unequal if not close(offline[row], online[row])]
    return Compared(name, len(offline), len(unequal), len(different), different[0] if different else None)


def close(a: Any, b: Any) -> bool:
    """Whether two cells are floats within the tolerance."""
    floats = isinstance(a, float) and isinstance(b, float)
    return floats and math.isclose(a, b, rel_tol=TOLERANCE)
