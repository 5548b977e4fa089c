"""A clock that tests set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FixedClock:
    """A clock that moves only when it is told to.

    Args:
        moment: The time that it shows, with a zone.
        step: How far it moves by itself after each look.

    Example:
        >>> clock = FixedClock(step=timedelta(seconds=1))
        >>> [clock().second, clock().second, clock.advance(timedelta(minutes=1)).minute]
        [0, 1, 1]
    """

    def __init__(self, moment: datetime = datetime(2026, 1, 1, tzinfo=UTC), *, step: timedelta = timedelta(0)) -> None:
        if moment.tzinfo is None:
            raise ValueError(f"{moment.isoformat()} has no time zone. Write datetime(2026, 1, 1, tzinfo=UTC).")
        self._moment, self._step = moment, step

    def __call__(self) -> datetime:
        """The time that the clock shows."""
        shown = self._moment
        self._moment += self._step
        return shown

    def advance(self, by: timedelta) -> datetime:
        """Move the clock, and look at it."""
        self._moment += by
        return self._moment
