"""How many processors there are to use."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

_LOAD = Path("/proc/loadavg")
_LOOKS, _BETWEEN_LOOKS = 9, 0.005


def available_threads() -> int:
    """Processors that this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_threads() -> int:
    """Processors that this process may use and that nothing else keeps busy at the moment, 1 at least.

    Threads of a training wait for one another, so that one that gets no processor holds up all: a training that took 20
    seconds alone took 193 with as many threads as processors that others used.
    """
    others = sorted(_running() - 1 for _ in _spaced(_LOOKS))[_LOOKS // 2]
    return max(1, min(available_threads(), (os.cpu_count() or 1) - others))


def _running() -> int:
    """Threads of the whole system that run or wait for a processor, this one among them; 1 where the system is silent."""
    try:
        return int(_LOAD.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1


def _spaced(count: int) -> Iterator[int]:
    for number in range(count):
        yield number
        time.sleep(_BETWEEN_LOOKS)
