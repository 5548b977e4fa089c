"""The functions that row expressions may call outside of DuckDB: what each takes, what it gives, and how."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NamedTuple

from sterling.features import row_numbers as numbers
from sterling.features import row_texts as texts
from sterling.features import row_times as times
from sterling.features.row_types import BIGINT, BOOL, DATE, DOUBLE, INTERVAL, TEXT, TIMES, TIMESTAMP, Kind, Term


class Signature(NamedTuple):
    """One way to call a function; where an argument is null, so is the answer.

    Attributes:
        takes: Names of the kinds of its arguments; whole numbers and decimals are cast where ``double`` stands.
        gives: The type of its answer.
        compute: Computes it from values that are not null.
    """

    takes: tuple[str, ...]
    gives: Kind
    compute: Callable[..., Any]


def _numeric(compute: Callable[[float], float]) -> list[Signature]:
    return [Signature(("double",), DOUBLE, compute)]


def _trim(name: str) -> list[Signature]:
    spaces, letters = texts.trimmed(name)
    return [Signature(("text",), TEXT, spaces), Signature(("text", "text"), TEXT, letters)]


def _text(*takes: str, gives: Kind = TEXT) -> Callable[[Callable[..., Any]], list[Signature]]:
    return lambda compute: [Signature(takes, gives, compute)]


def _named(name: Callable[[date], str]) -> list[Signature]:
    of_time = Signature(("timestamp",), TEXT, lambda at: name(times.day_of(at // times.DAY)))
    of_date = Signature(("date",), TEXT, lambda days: name(times.day_of(days)))
    return [of_date, of_time, of_time._replace(takes=("timestamptz",))]


FUNCTIONS: dict[str, list[Signature]] = {
    "sqrt": _numeric(numbers.square_root), "exp": _numeric(numbers.exponential), "ln": _numeric(numbers.logarithm),
    "log": _numeric(numbers.logarithm_10), "sin": _numeric(numbers.sine), "cos": _numeric(numbers.cosine),
    "tan": _numeric(numbers.tangent), "pow": [Signature(("double", "double"), DOUBLE, numbers.power)],
    "isnan": [Signature(("double",), BOOL, math.isnan)], "isfinite": [Signature(("double",), BOOL, math.isfinite)],
    "lower": _text("text")(texts.lower), "upper": _text("text")(texts.upper),
    "trim": _trim("trim"), "ltrim": _trim("ltrim"), "rtrim": _trim("rtrim"),
    "length": _text("text", gives=BIGINT)(len),
    "left": _text("text", "int")(texts.left), "right": _text("text", "int")(texts.right),
    "substring": [*_text("text", "int", "int")(texts.substring), *_text("text", "int")(texts.rest)],
    "replace": _text("text", "text", "text")(texts.replaced),
    "contains": _text("text", "text", gives=BOOL)(texts.contains),
    "starts_with": _text("text", "text", gives=BOOL)(str.startswith),
    "ends_with": _text("text", "text", gives=BOOL)(str.endswith),
    "strpos": _text("text", "text", gives=BIGINT)(texts.position),
    "split_part": _text("text", "text", "int")(texts.split_part),
    "lpad": _text("text", "int", "text")(texts.padded("lpad")), "rpad": _text("text", "int", "text")(texts.padded("rpad")),
    "like": _text("text", "text", gives=BOOL)(texts.like), "ilike": _text("text", "text", gives=BOOL)(texts.ilike),
    "dayname": _named(times.day_name), "monthname": _named(times.month_name),
    "last_day": [
        Signature(("date",), DATE, times.last_day),
        Signature(("timestamp",), DATE, lambda at: times.last_day(at // times.DAY)),
        Signature(("timestamptz",), DATE, lambda at: times.last_day(at // times.DAY)),
    ],
    "make_date": [Signature(("int", "int", "int"), DATE, times.made_date)],
    "epoch": [
        Signature(("timestamp",), DOUBLE, lambda at: at / times.SECOND),
        Signature(("timestamptz",), DOUBLE, times.epoch),
        Signature(("date",), DOUBLE, lambda days: days * 86_400.0),
        Signature(("interval",), DOUBLE, times.interval_seconds),
    ],
    "epoch_us": [
        Signature(("timestamp",), BIGINT, int), Signature(("timestamptz",), BIGINT, int),
        Signature(("date",), BIGINT, lambda days: days * times.DAY),
    ],
    "epoch_ms": [
        Signature(("timestamp",), BIGINT, times.epoch_ms), Signature(("timestamptz",), BIGINT, times.epoch_ms),
        Signature(("date",), BIGINT, lambda days: days * 86_400_000),
    ],
    **{
        f"to_{unit}s": [Signature(("int",), INTERVAL, times.interval_of(unit))]
        for unit in ("microsecond", "millisecond", "second", "minute", "hour", "day", "week")
    },
}  # fmt: skip
"""What each function takes, by its name."""

PARTS = {
    "year": "year", "month": "month", "day": "day", "quarter": "quarter", "week": "week", "weekofyear": "week",
    "isoyear": "isoyear", "yearweek": "yearweek", "dayofweek": "dayofweek", "dow": "dayofweek", "weekday": "dayofweek",
    "isodow": "isodow", "dayofyear": "dayofyear", "doy": "dayofyear", "hour": "hour", "minute": "minute",
    "second": "second", "millisecond": "millisecond", "milliseconds": "millisecond", "microsecond": "microsecond",
    "microseconds": "microsecond", "hours": "hour", "minutes": "minute", "seconds": "second",
}  # fmt: skip
"""Parts of a time, as `extract` and functions of their own name them."""


def generic(name: str, arguments: Sequence[Term]) -> tuple[Kind, Callable[..., Any]] | None:
    """A function whose answer depends on its argument's type; None where it is none, or does not take it."""
    kind = arguments[0].kind
    if name in ("ceil", "floor", "trunc") and len(arguments) == 1:
        return numbers.stepped(name, kind)
    if name == "round":
        places = 0 if len(arguments) == 1 else arguments[1].literal
        return None if places is None else numbers.rounded(kind, places)
    if name in ("abs", "sign"):
        return numbers.amount(name, kind)
    if name in PARTS and kind.name in TIMES and (read := times.part(PARTS[name], kind)):
        return BIGINT, read
    return None


def truncated(unit: str, kind: Kind) -> tuple[Kind, Callable[..., Any]] | None:
    """`date_trunc` of a time."""
    found = times.truncated(unit)
    if found is None or kind.name not in TIMES:
        return None
    return (TIMESTAMP, lambda days: found(days * times.DAY)) if kind.name == "date" else (kind, found)
