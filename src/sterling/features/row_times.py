"""Functions of times as DuckDB computes them in a UTC session: microseconds and days since 1970, zones of the IANA.

The rules of zones are those of the distribution `tzdata`, since a machine's own may be of another year than DuckDB's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from sterling.core.errors import DataError
from sterling.features.row_types import Kind

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  local times have no zone
_MICROSECOND = timedelta(microseconds=1)
_QUARTER, _ALIGNED, _FAR = 15 * MINUTE, 3 * 366 * DAY, 8_000 * 365 * DAY
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?")
_NAME = re.compile(r"[A-Za-z0-9_+\-/]+")
_DISCRETE = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY, "millisecond": 1_000, "microsecond": 1}
_MONTHS_OF = {"month": 1, "quarter": 3, "year": 12}
UNITS = frozenset({*_DISCRETE, *_MONTHS_OF, "week"})
"""Units of intervals."""


class Interval(tuple[int, int, int]):
    """Months, days and microseconds, in this order."""

    __slots__ = ()


def day_of(days: int) -> date:
    """A day by its number since 1970.

    Raises:
        DataError: outside of the years 1 to 9999.
    """
    try:
        return date.fromordinal(days + _EPOCH_DAY)
    except (ValueError, OverflowError):
        raise DataError(f"Day {days} since 1970 lies outside of the years 1 to 9999.") from None


def days_of(day: date) -> int:
    """The number of a day since 1970."""
    return day.toordinal() - _EPOCH_DAY


def zone(name: str) -> ZoneInfo:
    """A time zone of the IANA by its name.

    Raises:
        DataError: for a name that there is not.

    Example:
        >>> zone("Europe/Berlin").key
        'Europe/Berlin'
    """
    try:
        return _zone(name)
    except (OSError, ValueError) as error:
        raise DataError(
            f"There is no time zone {name!r}. Name it as the IANA does, such as 'Europe/Berlin'."
        ) from error


def local(at: int, name: str) -> int:
    """The local time, in microseconds since 1970 of the same calendar, of a moment in a zone."""
    if _ALIGNED <= at < _FAR:
        return at + _offset_at(at // _QUARTER, name)
    try:
        there = (_EPOCH + timedelta(microseconds=at)).astimezone(zone(name))
    except OverflowError:
        raise DataError(f"{at} µs since 1970 lies outside of the years 1 to 9999.") from None
    return at + _offset(there)


def moment(at: int, name: str) -> int:
    """The moment of a local time in a zone: the later one where there are two, the offset before where there is none."""
    try:
        there = (_LOCAL_EPOCH + timedelta(microseconds=at)).replace(tzinfo=zone(name))
    except OverflowError:
        raise DataError(f"{at} µs since 1970 lies outside of the years 1 to 9999.") from None
    return at - min(_offset(there), _offset(there.replace(fold=1)))


def read_date(text: str) -> int | None:
    """The day that a text names in ISO 8601."""
    match = _ISO.fullmatch(text)
    return None if match is None or match[2] else _day_in(match[1])


def read_time(text: str) -> int | None:
    """The time that a text names in ISO 8601, without a zone."""
    match = _ISO.fullmatch(text)
    day = _day_in(match[1]) if match else None
    if match is None or day is None:
        return None
    hour, minute, second = (int(match[place] or 0) for place in (2, 3, 4))
    if hour > 23 or minute > 59 or second > 59:
        return None
    return day * DAY + hour * HOUR + minute * MINUTE + second * SECOND + int((match[5] or "").ljust(6, "0"))


def part(unit: str, kind: Kind) -> Callable[[int], int] | None:
    """A part of a date or time, such as its hour; None for one that is not computed here."""
    if unit in _OF_DAY:
        read = _OF_DAY[unit]
        return (lambda days: read(day_of(days))) if kind.name == "date" else lambda at: read(day_of(at // DAY))
    found = _OF_TIME.get(unit)
    return (lambda days: found(days * DAY)) if found and kind.name == "date" else found


def truncated(unit: str) -> Callable[[int], int] | None:
    """The beginning of the unit that a time lies in."""
    if size := _DISCRETE.get(unit):
        return lambda at: at - at % size
    if unit == "week":
        return lambda at: (at // DAY - (at // DAY + 3) % 7) * DAY
    if months := _MONTHS_OF.get(unit):
        return lambda at: _first_of(day_of(at // DAY), months) * DAY
    return None


def between(unit: str) -> Callable[[int, int], int] | None:
    """How many beginnings of a unit lie between two times."""
    if size := _DISCRETE.get(unit):
        return lambda start, end: end // size - start // size
    if months := _MONTHS_OF.get(unit):
        return lambda start, end: _month(end) // months - _month(start) // months
    return None


def added(at: int, interval: Interval) -> int:
    """A time with months, days and microseconds added, in this order; a day that a month has not is its last one."""
    months, days, micros = interval
    return (_with_months(at, months) if months else at) + days * DAY + micros


def subtracted(at: int, interval: Interval) -> int:
    """A time with an interval subtracted."""
    months, days, micros = interval
    return added(at, Interval((-months, -days, -micros)))


def span(end: int, start: int) -> Interval:
    """The interval between two times, in days and what is left."""
    days, left = divmod(abs(end - start), DAY)
    return Interval((0, days, left) if end >= start else (0, -days, -left))


def zoned_span(end: int, start: int) -> Interval:
    """The interval between two times with a zone, in days and what is left.

    DuckDB counts a millisecond too many from before 1970 into its first millisecond, where the start has more microseconds.
    """
    first, last = sorted((start, end))
    extra = 1000 if first < 0 < last < first % 1000 else 0
    return span(end + extra, start) if end > start else span(end, start + extra)


def interval_of(unit: str) -> Callable[[int], Interval]:
    """How a number of units, one of `UNITS`, is an interval.

    Example:
        >>> interval_of("week")(2)
        (0, 14, 0)
    """
    if unit in _MONTHS_OF:
        return lambda count: Interval((count * _MONTHS_OF[unit], 0, 0))
    if unit in ("day", "week"):
        return lambda count: Interval((0, count * (7 if unit == "week" else 1), 0))
    size = _DISCRETE[unit]
    return lambda count: Interval((0, 0, count * size))


def interval_seconds(interval: Interval) -> float:
    """An interval of days and microseconds in seconds."""
    months, days, micros = interval
    if months:
        raise DataError("Months have no number of seconds.")
    return days * 86_400 + micros / SECOND


def epoch(at: int) -> float:
    """A moment in seconds since 1970, added up from milliseconds and what is left, as DuckDB does."""
    return at // 1_000 / 1_000 + at % 1_000 / SECOND


def epoch_ms(at: int) -> int:
    """A time in milliseconds since 1970, a half away from zero."""
    found = (abs(at) + 500) // 1_000
    return found if at >= 0 else -found


def last_day(days: int) -> int:
    """The last day of a day's month."""
    first = day_of(days).replace(day=1)
    return days_of((first + timedelta(days=32)).replace(day=1)) - 1


def made_date(year: int, month: int, day: int) -> int:
    """A day by its year, month and day."""
    try:
        return days_of(date(year, month, day))
    except (ValueError, OverflowError):
        raise DataError(f"There is no day {year}-{month}-{day}.") from None


def month_name(day: date) -> str:
    """The name of a day's month."""
    return _MONTHS[day.month - 1]


def day_name(day: date) -> str:
    """The name of a weekday."""
    return _WEEKDAYS[day.weekday()]


def _offset(there: datetime) -> int:
    offset = there.utcoffset()
    assert offset is not None
    return offset // _MICROSECOND


@lru_cache(4_096)
def _offset_at(quarter: int, name: str) -> int:
    """The offset in a quarter of an hour: since 1973 every zone has changed its own at the beginning of one."""
    return _offset((_EPOCH + timedelta(microseconds=quarter * _QUARTER)).astimezone(zone(name)))


@lru_cache(1_024)
def _zone(name: str) -> ZoneInfo:
    if not _NAME.fullmatch(name) or name.startswith("/"):
        raise ValueError(name)
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    if not file.is_file():
        raise FileNotFoundError(name)
    with file.open("rb") as stream:
        return ZoneInfo.from_file(stream, key=name)


def _day_in(text: str) -> int | None:
    try:
        return days_of(date.fromisoformat(text))
    except ValueError:
        return None


def _first_of(day: date, months: int) -> int:
    return days_of(day.replace(month=day.month - (day.month - 1) % months, day=1))


def _month(at: int) -> int:
    day = day_of(at // DAY)
    return day.year * 12 + day.month - 1


def _with_months(at: int, months: int) -> int:
    day = day_of(at // DAY)
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not 1 <= year <= 9998:
        raise DataError(f"{day} and {months} months lie outside of the years 1 to 9998.")
    first = date(year, month + 1, 1)
    longest = last_day(days_of(first)) - days_of(first) + 1
    return (days_of(first) + min(day.day, longest) - 1) * DAY + at % DAY


_OF_DAY: dict[str, Callable[[date], int]] = {
    "year": lambda day: day.year,
    "month": lambda day: day.month,
    "day": lambda day: day.day,
    "quarter": lambda day: (day.month + 2) // 3,
    "week": lambda day: day.isocalendar().week,
    "isoyear": lambda day: day.isocalendar().year,
    "yearweek": lambda day: day.isocalendar().year * 100 + day.isocalendar().week,
    "dayofweek": lambda day: day.isoweekday() % 7,
    "isodow": lambda day: day.isoweekday(),
    "dayofyear": lambda day: day.timetuple().tm_yday,
}
_OF_TIME: dict[str, Callable[[int], int]] = {
    "hour": lambda at: at // HOUR % 24,
    "minute": lambda at: at // MINUTE % 60,
    "second": lambda at: at // SECOND % 60,
    "millisecond": lambda at: at // 1_000 % 60_000,
    "microsecond": lambda at: at % MINUTE,
}
