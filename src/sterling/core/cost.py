"""What a piece of work costs: time, processor time, and the most memory that the process held meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"


@dataclass(slots=True)
class Cost:
    """What a piece of work cost, once it is done.

    Attributes:
        seconds: By the clock on the wall.
        seconds_cpu: Of the processors, in all threads of the process.
        peak_bytes: Most memory that the process held meanwhile, with what it held before; None where the system does not
            say it of a part of a process's life.
    """

    seconds: float = 0.0
    seconds_cpu: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what is done inside.

    Example:
        >>> with measured() as cost:
        ...     _ = sum(range(1000))
        >>> cost.seconds >= 0
        True
    """
    cost, forgot = Cost(), _forget_peak()
    began, began_cpu = time.perf_counter(), time.process_time()
    try:
        yield cost
    finally:
        cost.seconds, cost.seconds_cpu = time.perf_counter() - began, time.process_time() - began_cpu
        cost.peak_bytes = _peak() if forgot else None


def _forget_peak() -> bool:
    """Whether the system, which is Linux, has begun anew to look for the peak."""
    try:
        _CLEAR.write_text(_CLEAR_PEAK)
    except OSError:
        return False
    return True


def _peak() -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None
