"""What has to be done in time: a block of this thread is interrupted when its time is over, where it can be."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

from sterling.core.errors import SterlingError


class TimedOutError(SterlingError):
    """Something took longer than it may."""


class _TimeIsUp(BaseException):
    """Raised inside a block at its limit; no `except Exception` of what it calls holds it.

    Args:
        place: Which of the blocks around it, from outside.
    """

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place


_deadlines: list[float] = []
"""When the blocks of the main thread must have ended, the outermost first."""


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Interrupt the block after a while; blocks may stand in each other.

    In a process's main thread, where `sterling serve` answers, it is interrupted between two steps of Python; one that
    runs elsewhere, or catches even that, is refused when it has ended.

    Raises:
        TimedOutError: if the block took longer.

    Example:
        >>> with in_time(0.01):
        ...     time.sleep(0.02)
        Traceback (most recent call last):
            ...
        sterling.serving.in_time.TimedOutError: It took longer than 10 ms.
    """
    deadline = time.monotonic() + seconds
    said = f"It took longer than {1000 * seconds:g} ms."
    if current_thread() is not main_thread() or not hasattr(signal, "setitimer"):
        yield
    else:
        place = len(_deadlines)
        try:
            with _alarm(place, deadline):
                yield
        except _TimeIsUp as up:
            if up.place != place:
                raise
            raise TimedOutError(said) from None
    if time.monotonic() > deadline:
        raise TimedOutError(said)


@contextmanager
def _alarm(place: int, deadline: float) -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    if not place:
        signal.signal(signal.SIGALRM, _stop)
    try:
        _deadlines.append(deadline)
        _arm()
        yield
    finally:
        late = None
        while len(_deadlines) > place:  # the alarm may go off here as well
            try:
                del _deadlines[place:]
                _arm()
            except _TimeIsUp as up:
                late = up
        if not place:
            signal.signal(signal.SIGALRM, before)
        if late is not None and late.place < place:
            raise late


def _arm() -> None:
    """Set the alarm for the block that must end first; none where there is no block."""
    left = max(1e-6, min(_deadlines) - time.monotonic()) if _deadlines else 0.0
    signal.setitimer(signal.ITIMER_REAL, left)


def _stop(_: int, __: FrameType | None) -> None:
    now = time.monotonic()
    for place, deadline in enumerate(_deadlines):
        if deadline <= now:
            raise _TimeIsUp(place)
    if _deadlines:
        _arm()
