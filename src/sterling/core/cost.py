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
        before_bytes: Memory that the process held when it began; None where the system does not say it.
    """

    seconds: float = 0.0
    seconds_cpu: float = 0.0
    peak_bytes: int | None = None
    before_bytes: int | None = None


_RUNNING: list[Cost] = []
"""What is measured at the moment, the outermost first: to look for an inner peak, the system forgets the outer one."""


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what is done inside; one measurement may lie within another.

    Example:
        >>> with measured() as cost:
        ...     _ = sum(range(1000))
        >>> cost.seconds >= 0
        True
    """
    cost = Cost(before_bytes=_memory("VmRSS"))
    _keep_peak()
    forgot = _forget_peak()
    _RUNNING.append(cost)
    began, began_cpu = time.perf_counter(), time.process_time()
    try:
        yield cost
    finally:
        cost.seconds, cost.seconds_cpu = time.perf_counter() - began, time.process_time() - began_cpu
        _keep_peak()
        _RUNNING[:] = [other for other in _RUNNING if other is not cost]
        cost.peak_bytes = cost.peak_bytes if forgot else None


def _keep_peak() -> None:
    """Note the peak so far in all that is measured."""
    if _RUNNING and (peak := _memory("VmHWM")):
        for cost in _RUNNING:
            cost.peak_bytes = max(cost.peak_bytes or 0, peak)


def _forget_peak() -> bool:
    """Whether the system, which is Linux, has begun anew to look for the peak."""
    try:
        _CLEAR.write_text(_CLEAR_PEAK)
    except OSError:
        return False
    return True


def _memory(field: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) * 1024 if found else None
