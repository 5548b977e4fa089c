"""Time as Sterling writes it: int64 microseconds since 1970 in UTC for data, ISO 8601 for people and the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utcnow() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC with microseconds.

    Example:
        >>> iso(EPOCH)
        '1970-01-01T00:00:00.000000Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_micros(micros: int) -> datetime:
    """The moment that lies ``micros`` microseconds after 1970 in UTC."""
    return EPOCH + timedelta(microseconds=micros)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of a moment that knows its zone.

    Raises:
        ValueError: if the moment has no zone, since a local time without one names no moment.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone. Write 2013-09-01T00:00:00Z for UTC.")
    return (moment - EPOCH) // timedelta(microseconds=1)
