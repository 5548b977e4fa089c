"""Types of row expressions as DuckDB has them, and which type two of them share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sterling.core.errors import InvalidDefinitionError

Run = Callable[[Mapping[str, Any]], Any]
"""A part of an expression: its value for one row."""


class Kind(NamedTuple):
    """A type.

    Attributes:
        name: ``bool``, ``int``, ``float``, ``double``, ``decimal``, ``text``, ``date``, ``timestamp``, ``timestamptz``,
            ``interval`` or ``null``.
        width: Bits of an int, digits of a decimal.
        scale: Digits of a decimal after the point.
    """

    name: str
    width: int = 0
    scale: int = 0

    def __str__(self) -> str:
        if self.name == "int":
            return _INTS[self.width]
        return f"DECIMAL({self.width},{self.scale})" if self.name == "decimal" else _NAMES[self.name]


class Term(NamedTuple):
    """A compiled part of an expression.

    Attributes:
        kind: Its type.
        run: Its value for one row.
        constant: Whether it reads no column.
        literal: The whole number that it is written as, which takes the type of what stands beside it.
    """

    kind: Kind
    run: Run
    constant: bool = False
    literal: int | None = None


_INTS = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}
_NAMES = {
    "bool": "BOOLEAN", "float": "FLOAT", "double": "DOUBLE", "text": "VARCHAR", "date": "DATE", "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE", "interval": "INTERVAL", "null": '"NULL"',
}  # fmt: skip
BOOL, FLOAT, DOUBLE, TEXT = Kind("bool"), Kind("float"), Kind("double"), Kind("text")
DATE, TIMESTAMP, TIMESTAMPTZ, INTERVAL = Kind("date"), Kind("timestamp"), Kind("timestamptz"), Kind("interval")
NULL, TINYINT, INTEGER, BIGINT = Kind("null"), Kind("int", 8), Kind("int", 32), Kind("int", 64)
TIMES = ("date", "timestamp", "timestamptz")
NUMBERS = ("int", "decimal", "float", "double")
_KINDS = {
    "bool": BOOL, "boolean": BOOL, "int8": TINYINT, "tinyint": TINYINT, "int16": Kind("int", 16), "smallint": Kind("int", 16),
    "int32": INTEGER, "integer": INTEGER, "int64": BIGINT, "bigint": BIGINT, "float": FLOAT, "double": DOUBLE,
    "string": TEXT, "large_string": TEXT, "varchar": TEXT, "date32": DATE, "date32[day]": DATE, "date": DATE,
    "timestamp[us]": TIMESTAMP, "timestamp": TIMESTAMP, "timestamp[us, tz=utc]": TIMESTAMPTZ,
    "timestamp with time zone": TIMESTAMPTZ,
}  # fmt: skip
_DECIMAL = re.compile(r"decimal(?:128)?\((\d+), ?(\d+)\)")
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}


def kind_of_column(name: str, kind: str) -> Kind:
    """A column's type by the name that Arrow or DuckDB gives it.

    Raises:
        InvalidDefinitionError: for a type that is not computed here.

    Example:
        >>> str(kind_of_column("price", "decimal128(9, 2)"))
        'DECIMAL(9,2)'
    """
    said = kind.lower()
    if said.startswith("dictionary<values=string"):
        return TEXT
    if match := _DECIMAL.fullmatch(said):
        return Kind("decimal", int(match[1]), int(match[2]))
    if found := _KINDS.get(said):
        return found
    raise InvalidDefinitionError(
        f"The column {name!r} is {kind}, which is not computed outside of DuckDB. What is: whole numbers with a sign, "
        "double, decimal, text, bool, date, and times in microseconds. Cast it in a Query."
    )


def bounds(width: int) -> tuple[int, int]:
    """Smallest and largest whole number of so many bits."""
    return -(1 << (width - 1)), (1 << (width - 1)) - 1


def fits(number: int, width: int) -> bool:
    """Whether a whole number has no more than so many bits."""
    low, high = bounds(width)
    return low <= number <= high


def common(terms: Sequence[Term]) -> Kind | None:  # noqa: PLR0911  a line for each family of types
    """The type that terms share without a cast that loses more than DuckDB's own; None where there is none.

    Example:
        >>> str(common([Term(BIGINT, len), Term(Kind("decimal", 3, 1), len)]))
        'DECIMAL(20,1)'
    """
    kinds = {term.kind for term in terms} - {NULL}
    names = {kind.name for kind in kinds}
    if not kinds:
        return NULL
    if names == {"int"}:
        return Kind("int", _shared_width(terms))
    if len(kinds) == 1:
        return next(iter(kinds))
    if "float" in names:
        return DOUBLE if names == {"float", "double"} else None
    if names <= {"int", "decimal"}:
        return decimal_of(kinds)
    if names <= set(NUMBERS):
        return DOUBLE
    if names <= set(TIMES):
        return TIMESTAMPTZ if "timestamptz" in names else TIMESTAMP
    return None


def decimal_of(kinds: set[Kind]) -> Kind | None:
    """The decimal that holds all of them; None where it would have more than 38 digits."""
    decimals = [as_decimal(kind) for kind in kinds]
    scale = max(kind.scale for kind in decimals)
    width = max(kind.width - kind.scale for kind in decimals) + scale
    return Kind("decimal", width, scale) if width <= 38 else None


def as_decimal(kind: Kind) -> Kind:
    """A decimal as it is, and a whole number as one without places."""
    return Kind("decimal", _DIGITS[kind.width], 0) if kind.name == "int" else kind


def _shared_width(terms: Sequence[Term]) -> int:
    """Literals take the type of the others, where they fit."""
    numbers = [term for term in terms if term.kind.name == "int"]
    typed = [term.kind.width for term in numbers if term.literal is None]
    if not typed:
        return max(term.kind.width for term in numbers)
    width = max(typed)
    return max(
        width, *(term.kind.width for term in numbers if term.literal is None or not fits(term.literal, width)), 0
    )
