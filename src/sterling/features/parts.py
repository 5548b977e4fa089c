"""Keys dealt out to parts: the answers of one key do not depend on another, so each part is the same exact plan.

Parts are small enough to lie in the processor's own memory while they are computed, and several are computed at a time.
What they say does not depend on how many there are: every sum is exact.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sterling.features.exact import Ints

ROWS = 1 << 18
"""How many events and moments a part has, where its keys allow it."""
_MOST_PARTS = 60_000
_MOST_THREADS = 8
Made = TypeVar("Made")


class Part(NamedTuple):
    """The events and moments of some keys.

    Attributes:
        events: Which events, in their order.
        moments: Which moments, in their order.
        first: The least of the keys.
    """

    events: Ints
    moments: Ints
    first: int


def deal(codes: Ints, asked: Ints, rows: int = ROWS) -> list[Part]:
    """Parts of about as many rows, in the order of the keys.

    Args:
        codes: Key of each event; -1 for none.
        asked: Key of each moment; -1 for none. Keys without a moment are in no part.
        rows: How many events and moments a part should have; a key is never divided.

    Example:
        >>> [part.events.tolist() for part in deal(np.array([1, 0, -1, 1]), np.array([0, 1]), rows=2)]
        [[1], [0, 3]]
    """
    keys = int(max(codes.max(initial=-1), asked.max(initial=-1))) + 1
    here = np.bincount(asked + 1, minlength=keys + 1)[1:]
    load = np.where(here > 0, here + np.bincount(codes + 1, minlength=keys + 1)[1:], 0)
    before = np.cumsum(load) - load
    numbers = before // max(rows, int(load.sum()) // _MOST_PARTS + 1)
    wanted, numbers = np.unique(np.where(here > 0, numbers, -1), return_inverse=True)
    nowhere = len(wanted)
    numbers[here == 0] = nowhere
    kind = np.uint8 if nowhere < 256 else np.uint16
    part: NDArray[np.integer[Any]] = np.append(numbers, nowhere).astype(kind)  # the last is for the key -1
    first = np.zeros(nowhere + 1, np.int64)
    first[part[keys - 1 :: -1]] = np.arange(keys)[::-1] if keys else 0
    events, moments = _divided(part[codes], nowhere), _divided(part[asked], nowhere)
    return [
        Part(rows, times, int(least))
        for rows, times, least in zip(events, moments, first[:-1], strict=True)
        if len(times)
    ]


def each(parts: Sequence[Part], work: Callable[[Part], Made]) -> list[Made]:
    """What is made of each part, in their order; by as many threads as there are processors."""
    threads = min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST_THREADS
    )
    if min(threads, len(parts)) < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def _divided(part: NDArray[np.integer[Any]], size: int) -> list[Ints]:
    """The rows of each part, in their order."""
    order = np.argsort(part, kind="stable")
    return np.split(order, np.cumsum(np.bincount(part, minlength=size + 1))[:size])[:size]
