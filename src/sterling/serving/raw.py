"""Raw columns of a request's row: what JSON brings, as cells that row expressions read, checked one by one."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sterling.core.clock import to_micros
from sterling.core.errors import FieldError, nearest
from sterling.features.row_times import days_of, read_time
from sterling.features.row_types import Kind, bounds, kind_of_column
from sterling.project.checks import Check, InRange

_Read = Callable[[Any], Any]


class RawRow:
    """Reads the columns of the spine's source that features are computed from.

    A number that an `InRange` of the source does not let pass is null, as it was in training.

    Args:
        needed: Names of the columns.
        types: Type of every column of the source, as Arrow says it.
        checks: The source's checks.

    Raises:
        InvalidDefinitionError: if a column is of a type that is not computed outside of DuckDB.

    Example:
        >>> raw = RawRow(["departure", "distance"], {"departure": "timestamp[us, tz=UTC]", "distance": "int64"})
        >>> raw.cells({"departure": "1970-01-01T01:00:00+01:00", "distance": 95.0})
        {'departure': 0, 'distance': 95}
        >>> raw.cells({"departure": "1970-01-01T01:00", "distance": 95})
        Traceback (most recent call last):
            ...
        sterling.core.errors.FieldError: 'departure' is '1970-01-01T01:00'. It is a time with its zone, such as 2013-09-01T06:00:00Z, or null.
    """

    def __init__(self, needed: Iterable[str], types: Mapping[str, str], checks: Iterable[Check] = ()) -> None:
        self.needed, self.types = tuple(sorted(needed)), dict(types)
        self._known = frozenset(types)
        ranges = {check.column: check for check in checks if isinstance(check, InRange)}
        self._columns = [
            (name, *_reader(kind_of_column(name, types[name]), types[name]), ranges.get(name)) for name in self.needed
        ]

    def cells(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The cells of a row.

        Raises:
            FieldError: if a column is left out or unknown, or a value is of another kind.
        """
        if unknown := row.keys() - self._known:
            name = min(unknown)
            said = f"{name[:80]!r} is no column of the row. {nearest(name[:80], self._known)}"
            raise FieldError(said, name[:80], problem="unknown-field")
        if absent := [name for name in self.needed if name not in row]:
            said = f"{', '.join(map(repr, absent))} left out. Send null if unknown."
            raise FieldError(said, absent[0], problem="missing-field")
        found = {}
        for name, read, said, within in self._columns:
            value = row[name]
            try:
                cell = None if value is None else read(value)
            except (ValueError, TypeError, OverflowError, InvalidOperation):
                raise FieldError(f"{name!r} is {_shown(value)}. It is {said}, or null.", name) from None
            if within is not None and cell is not None and not within.low <= cell <= within.high:
                cell = None
            found[name] = cell
        return found


def _reader(kind: Kind, said: str) -> tuple[_Read, str]:  # noqa: PLR0911  one answer for each type
    """How a cell of a type is read, and what it is, for people."""
    match kind.name:
        case "int":
            return _whole(*bounds(kind.width)), "a whole number"
        case "double":
            return _number, "a finite number"
        case "float":
            return _single, "a finite number"
        case "bool":
            return _of_type(bool), "true or false"
        case "text":
            return _of_type(str), "text"
        case "date":
            return lambda value: days_of(date.fromisoformat(value)), "a date, such as 2013-09-01"
        case "timestamptz":
            return _moment, "a time with its zone, such as 2013-09-01T06:00:00Z"
        case "timestamp":
            return _local, "a time without a zone, such as 2013-09-01T06:00:00"
        case _:
            return _decimal(kind), f"a number that fits {said}"


def _of_type(wanted: type) -> _Read:
    def read(value: Any) -> Any:
        if not isinstance(value, wanted):
            raise TypeError
        return value

    return read


def _whole(low: int, high: int) -> _Read:
    def read(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return read


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(found := float(value)):
        raise ValueError
    return found


def _single(value: Any) -> float:
    found: float = struct.unpack("f", struct.pack("f", _number(value)))[0]
    return found


def _decimal(kind: Kind) -> _Read:
    def read(value: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        found = Decimal(str(value))
        scaled = found.scaleb(kind.scale)
        if not found.is_finite() or scaled != int(scaled) or abs(scaled) >= 10**kind.width:
            raise ValueError
        return found

    return read


def _moment(value: str) -> int:
    return to_micros(datetime.fromisoformat(value))


def _local(value: str) -> int:
    found = read_time(value)
    if found is None:
        raise ValueError
    return found


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
