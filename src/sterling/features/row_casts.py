"""Casts of row expressions, and TRY_CAST, which is null where a cast would fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sterling.core.errors import DataError
from sterling.features.row_logic import strict
from sterling.features.row_numbers import converter
from sterling.features.row_texts import text_of
from sterling.features.row_times import DAY, read_date, read_time
from sterling.features.row_types import (
    BIGINT,
    BOOL,
    DATE,
    DOUBLE,
    INTEGER,
    NULL,
    TEXT,
    TIMESTAMP,
    TIMESTAMPTZ,
    TINYINT,
    Kind,
    Run,
    Term,
)

_TARGETS = {
    "BOOLEAN": BOOL, "TINYINT": TINYINT, "SMALLINT": Kind("int", 16), "INT": INTEGER, "BIGINT": BIGINT, "DOUBLE": DOUBLE,
    "TEXT": TEXT, "DATE": DATE, "TIMESTAMP": TIMESTAMP, "TIMESTAMPTZ": TIMESTAMPTZ,
}  # fmt: skip
_DECIMAL = re.compile(r"DECIMAL\((\d+), ?(\d+)\)")


def cast(term: Term, target: str, *, or_null: bool) -> Term | None:
    """A term as another type; None for a cast that is not computed here.

    Args:
        term: What is cast.
        target: The type, as SQL writes it.
        or_null: Whether a value that the type does not hold is null instead of refused.
    """
    kind = _kind(target)
    if kind is None:
        return None
    if term.kind in (kind, NULL):
        return Term(kind, term.run, term.constant)
    convert = _written(term, kind) if term.kind == TEXT else _between(term.kind, kind)
    if convert is None:
        return None
    run = strict(convert, (term.run,))
    return Term(kind, _or_null(run) if or_null else run, term.constant)


def _kind(target: str) -> Kind | None:
    if match := _DECIMAL.fullmatch(target):
        width, scale = int(match[1]), int(match[2])
        return Kind("decimal", width, scale) if 1 <= width <= 38 and scale <= width else None
    return _TARGETS.get(target)


def _between(source: Kind, target: Kind) -> Callable[[Any], Any] | None:
    if target == TEXT:
        return text_of(source)
    match source.name, target.name:
        case "date", ("timestamp" | "timestamptz"):
            return lambda days: days * DAY
        case (("timestamp" | "timestamptz"), "date"):
            return lambda at: at // DAY
        case ("timestamp", "timestamptz") | ("timestamptz", "timestamp"):
            return int
    return converter(source, target)


def _written(term: Term, target: Kind) -> Callable[[str], Any] | None:
    """Dates and times written out in the expression; texts of columns hold more than can be followed here."""
    read = {"date": read_date, "timestamp": read_time, "timestamptz": read_time}.get(target.name)
    if not term.constant or read is None or read(term.run({})) is None:
        return None
    return read


def _or_null(run: Run) -> Run:
    def found(row: Mapping[str, Any]) -> Any:
        try:
            return run(row)
        except DataError:
            return None

    return found
