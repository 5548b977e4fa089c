"""Durations, dates and calendars as project files write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sterling.core.clock import to_micros
from sterling.core.errors import InvalidDefinitionError

_UNITS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
_DURATION = re.compile(r"(\d+)([a-z]+)")
_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_EVERY = re.compile(
    r"(DAY|(?:MON|TUE|WED|THU|FRI|SAT|SUN)(?:,(?:MON|TUE|WED|THU|FRI|SAT|SUN))*) ([01]\d|2[0-3]):([0-5]\d)"
)


def micros(duration: str, *, field: str = "duration") -> int:
    """A duration in microseconds.

    Args:
        duration: A whole number and a unit: ``s``, ``m``, ``h``, ``d`` or ``w``.
        field: What the duration is for; an error names it.

    Raises:
        InvalidDefinitionError: if it is no duration.

    Example:
        >>> micros("6h")
        21600000000
    """
    match = _DURATION.fullmatch(duration)
    if not match or match[2] not in _UNITS:
        raise InvalidDefinitionError(
            f"{field} is {duration!r}. Write a whole number and a unit: s (seconds), m (minutes), h (hours), "
            "d (days of 24 hours) or w (weeks), such as '6h'."
        )
    return int(match[1]) * _UNITS[match[2]]


def window_micros(duration: str, *, field: str) -> int:
    """A duration in microseconds that is longer than nothing.

    Raises:
        InvalidDefinitionError: if it is no duration, or none at all.
    """
    size = micros(duration, field=field)
    if size == 0:
        raise InvalidDefinitionError(f"{field} is {duration!r}: it must be longer than nothing.")
    return size


def zone(name: str, *, field: str = "tz") -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        InvalidDefinitionError: if there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidDefinitionError(
            f"{field} is {name!r}, which is no IANA zone. Example: 'Europe/Berlin'."
        ) from error


def moment_micros(text: str, tz: str = "UTC", *, field: str = "time") -> int:
    """A date or time as microseconds since 1970 in UTC.

    Args:
        text: ISO 8601, such as ``2013-09-01`` or ``2013-09-01T06:00:00Z``; without an offset it is local in ``tz``.
        tz: IANA zone.
        field: What the time is for; an error names it.

    Raises:
        InvalidDefinitionError: if it is no time.

    Example:
        >>> moment_micros("1970-01-02")
        86400000000
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidDefinitionError(f"{field} is {text!r}. Write a date such as '2013-09-01', or ISO 8601.") from error
    return to_micros(moment if moment.tzinfo else moment.replace(tzinfo=zone(tz)).astimezone(UTC))


class Calendar(NamedTuple):
    """A weekly calendar: at one local time, on some days of the week.

    Attributes:
        weekdays: 0 for Monday to 6 for Sunday.
        at: Local time of day.
    """

    weekdays: tuple[int, ...]
    at: time


def calendar(every: str) -> Calendar:
    """A calendar such as ``MON 06:00``, ``MON,THU 18:30`` or ``DAY 06:00``.

    Raises:
        InvalidDefinitionError: if it is no calendar.

    Example:
        >>> calendar("MON,THU 18:30").weekdays
        (0, 3)
    """
    match = _EVERY.fullmatch(every)
    if not match:
        raise InvalidDefinitionError(
            f"every is {every!r}. Write days and a time: 'MON 06:00', 'MON,THU 18:30' or 'DAY 06:00'."
        )
    days = range(7) if match[1] == "DAY" else [_DAYS.index(day) for day in match[1].split(",")]
    return Calendar(tuple(sorted(set(days))), time(int(match[2]), int(match[3])))
