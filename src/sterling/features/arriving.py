"""A row that arrives by itself: its cells are checked against the types of the source's columns and kept as plain JSON.

Times are ISO 8601 with microseconds, decimals and dates are texts, and a cell without a value is left out, so that the
same row is the same text. What the source's own checks dismiss is dismissed here too, except for what takes other rows
to be known.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sterling.core.canonical import canonical
from sterling.core.clock import iso
from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.project.checks import InRange, NotNull, OneOf
from sterling.project.sources import EventSource

Row = dict[str, Any]
_WHOLE = re.compile(r"(u?)int(8|16|32|64)")
_FLOATS = {"double", "float", "halffloat"}
_TEXTS = {"string", "large_string"}


class RowReader:
    """Checks the rows of a source.

    Args:
        source: The source.
        types: Arrow type of each of its columns, as its snapshot records them.

    Raises:
        InvalidDefinitionError: if a column has a type that does not arrive in JSON.

    Example:
        >>> from sterling.project.sources import Delay
        >>> landed = EventSource("landed", "landed.parquet", event_time="at", available_at=Delay("0m"), event_id="id")
        >>> reader = RowReader(landed, {"id": "int64", "at": "timestamp[us, tz=UTC]", "delay": "double"})
        >>> reader.read({"id": 7, "at": "2013-01-01T06:00:00+01:00", "delay": None})
        {'at': '2013-01-01T05:00:00.000000Z', 'id': 7}
        >>> reader.read({"id": 7, "dely": 3.0})
        Traceback (most recent call last):
            ...
        sterling.core.errors.DataError: landed has no column 'dely'. Did you mean 'delay'?
    """

    def __init__(self, source: EventSource, types: Mapping[str, str]) -> None:
        self.source = source
        self._readers = {name: _reader(name, kind, source.name) for name, kind in sorted(types.items())}
        self._ranges = [check for check in source.checks if isinstance(check, InRange)]
        self._others = [check for check in source.checks if isinstance(check, NotNull | OneOf)]

    def read(self, row: Any) -> Row:
        """The row as it is kept.

        Raises:
            DataError: if a cell is not what its column holds, a column is unknown, or a check dismisses the row.
        """
        name = self.source.name
        if not isinstance(row, Mapping):
            raise DataError(f"{name}: a row is a JSON object, and this is none: {str(row)[:80]!r}")
        if unknown := row.keys() - self._readers.keys():
            raise DataError(f"{name} has no column {min(unknown)!r}. {nearest(min(unknown), self._readers)}")
        found = {}
        for column, reader in self._readers.items():
            value = row.get(column)
            if value is None:
                continue
            try:
                found[column] = reader(value)
            except (ValueError, TypeError, ArithmeticError) as error:
                raise DataError(f"{name}: {column!r} is {value!r}, and {error}.") from error
        self._hold_against_checks(found)
        return found

    def event(self, row: Row) -> str:
        """What names the event of a row that was read: its id, or where the source has none, its content."""
        if self.source.event_id is None:
            return hashlib.sha256(canonical(row)).hexdigest()[:32]
        return str(row[self.source.event_id])

    def _hold_against_checks(self, row: Row) -> None:
        source = self.source
        if source.event_id is not None and source.event_id not in row:
            raise DataError(f"{source.name}: {source.event_id!r}, which names the event, is missing.")
        for check in self._ranges:
            if check.column in row and not check.low <= float(row[check.column]) <= check.high:
                del row[check.column]  # as a run nulls it
        for rule in self._others:
            value = row.get(rule.column)
            if isinstance(rule, NotNull) and value is None:
                raise DataError(
                    f"{source.name}: {rule.column!r} is null, and NotNull({rule.column!r}) dismisses the row."
                )
            if isinstance(rule, OneOf) and value is not None and value not in rule.values:
                raise DataError(f"{source.name}: {rule.column!r} is {value!r}, none of the values that OneOf allows.")


def merged(row: Row, more: Row) -> Row:
    """A row with more of its cells known.

    Raises:
        DataError: if a cell that was known is to change.

    Example:
        >>> merged({"id": 7, "origin": "JFK"}, {"id": 7, "delay": 3.0})
        {'id': 7, 'origin': 'JFK', 'delay': 3.0}
    """
    for name, value in more.items():
        if name in row and not _same(row[name], value):
            raise DataError(
                f"{name!r} was {row[name]!r} and is to become {value!r}. What was known stays; where rows replace "
                "each other, say updates='replace'."
            )
    return {**row, **{name: value for name, value in more.items() if name not in row}}


def _same(kept: Any, value: Any) -> bool:
    """Whether a cell that is kept is the one that came: a float without a fraction is kept as a whole number's digits."""
    if isinstance(value, float) and isinstance(kept, int):
        return float(kept) == value
    return bool(kept == value)


def _reader(column: str, kind: str, source: str) -> Callable[[Any], Any]:
    """What turns a cell into what is kept of it; its errors say what is wanted."""
    if match := _WHOLE.fullmatch(kind):
        bits, signed = int(match[2]), not match[1]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        return lambda value: _whole(value, low, high)
    simple = {"bool": _flag, "date32[day]": _day}
    if kind in simple:
        return simple[kind]
    if kind in _FLOATS:
        return _number
    if kind in _TEXTS or kind.startswith("dictionary<values=string"):
        return _text
    if kind.startswith("timestamp["):
        return _moment if "tz=" in kind else _local
    if kind.startswith("decimal"):
        scale = int(kind.rstrip(")").rpartition(",")[2])
        return lambda value: _decimal(value, scale)
    raise InvalidDefinitionError(
        f"{source}: rows cannot arrive while {column!r} is {kind}. Leave it out with columns=."
    )


def _whole(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number is wanted")
    if not low <= value <= high:
        raise ValueError(f"it must lie between {low} and {high}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number is wanted")
    if not math.isfinite(value):
        raise ValueError("a finite number is wanted; send null for none")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false is wanted")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is wanted")
    value.encode()  # half of a surrogate pair is no text
    return value


def _moment(value: Any) -> str:
    moment = _parsed(value, "2013-01-01T06:00:00Z")
    if moment.tzinfo is None:
        raise ValueError("a time with its zone is wanted, such as 2013-01-01T06:00:00Z")
    return iso(moment)


def _local(value: Any) -> str:
    moment = _parsed(value, "2013-01-01T06:00:00")
    if moment.tzinfo is not None:
        raise ValueError("a time without a zone is wanted, such as 2013-01-01T06:00:00")
    return moment.isoformat(timespec="microseconds")


def _parsed(value: Any, example: str) -> datetime:
    if not isinstance(value, str) or len(value) < len("2013-01-01T06"):
        raise ValueError(f"a time is wanted, such as {example}")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"a time is wanted, such as {example}") from None


def _day(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a date is wanted, such as 2013-01-01")
    return date.fromisoformat(value).isoformat()


def _decimal(value: Any, scale: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError("a decimal is wanted as a text, such as '12.50'")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError("a decimal is wanted as a text, such as '12.50'") from None
    if not number.is_finite() or number != round(number, scale):
        raise ValueError(f"a decimal of {scale} digits behind the point is wanted")
    return str(round(number, scale))


def moment_of(text: str) -> datetime:
    """A time that was kept, in UTC where it knows its zone."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(UTC)
