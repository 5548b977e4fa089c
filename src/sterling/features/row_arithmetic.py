"""Which arithmetic row expressions do on which types: numbers with numbers, times with intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sterling.features import row_numbers as numbers
from sterling.features.row_logic import converted, strict
from sterling.features.row_times import added, span, subtracted, zoned_span
from sterling.features.row_types import (
    BIGINT,
    DATE,
    DOUBLE,
    INTERVAL,
    NULL,
    NUMBERS,
    TIMES,
    TIMESTAMP,
    Kind,
    Term,
    common,
)

_SYMBOLS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "IntDiv": "//", "Mod": "%"}


def negated(term: Term) -> Term | None:
    """A number with the other sign; a literal stays one."""
    found = numbers.amount("-", term.kind)
    if found is None:
        return None
    literal = None if term.literal is None else -term.literal
    return Term(found[0], strict(found[1], (term.run,)), term.constant, literal)


def binary(name: str, left: Term, right: Term) -> Term | None:
    """A sum, difference, product, quotient or remainder; None on types that are not computed here."""
    symbol, names = _SYMBOLS[name], {left.kind.name, right.kind.name}
    if names <= set(NUMBERS):
        return _numbers(symbol, left, right)
    if names & set(TIMES):
        return _times(symbol, left, right)
    return None


def _numbers(symbol: str, left: Term, right: Term) -> Term | None:  # noqa: PLR0911  a line for each type
    kind = common([left, right])
    if symbol == "/" and kind is not None and kind.name != "float":
        return _made(DOUBLE, numbers.divided, left, right, DOUBLE)
    if kind is None or kind.name == "float":
        return None
    if kind.name == "decimal":
        return _decimals(symbol, left, right)
    if kind == DOUBLE:
        if symbol == "//":
            return None
        return _made(DOUBLE, numbers.float_remainder if symbol == "%" else numbers.plain(symbol), left, right, DOUBLE)
    if kind.name != "int":
        return None
    compute: Callable[..., Any] = (
        numbers.remainder
        if symbol == "%"
        else numbers.bounded_quotient(kind.width)
        if symbol == "//"
        else numbers.checked(symbol, kind.width)
    )
    return _made(kind, compute, left, right)


def _decimals(symbol: str, left: Term, right: Term) -> Term | None:
    if symbol not in ("+", "-", "*") or not (found := numbers.decimal_result(symbol, left.kind, right.kind)):
        return None
    kind, may_overflow = found
    compute = numbers.decimal(symbol, may_overflow=may_overflow)
    if symbol == "*":
        return _made(kind, compute, left, right)
    sides = [strict(_shift(kind.scale - term.kind.scale), (term.run,)) for term in (left, right)]
    return Term(kind, strict(compute, (sides[0], sides[1])), left.constant and right.constant)


def _shift(places: int) -> Callable[[int], int]:
    return lambda value: numbers.rescaled(value, places)


def _times(symbol: str, left: Term, right: Term) -> Term | None:  # noqa: PLR0911  a line for each pair of types
    match symbol, left.kind.name, right.kind.name:
        case "+", _, "interval":
            return _moved(left, right, added)
        case "+", "interval", _:
            return _moved(right, left, added)
        case "-", _, "interval":
            return _moved(left, right, subtracted)
        case "-", "date", "date":
            return _made(BIGINT, lambda end, start: end - start, left, right)
        case (("+" | "-"), "date", "int") if right.kind.width <= 32:
            return _made(DATE, (lambda a, b: a + b) if symbol == "+" else (lambda a, b: a - b), left, right)
        case "-", ("timestamp" | "timestamptz"), ("timestamp" | "timestamptz") if left.kind == right.kind:
            return _made(INTERVAL, zoned_span if left.kind.name == "timestamptz" else span, left, right)
    return None


def _moved(at: Term, interval: Term, move: Callable[..., int]) -> Term | None:
    if at.kind == NULL or at.kind.name not in TIMES:
        return None
    kind = TIMESTAMP if at.kind == DATE else at.kind
    return _made(kind, move, at, interval, TIMESTAMP if at.kind == DATE else None)


def _made(kind: Kind, compute: Callable[..., Any], left: Term, right: Term, cast: Kind | None = None) -> Term:
    """The term of a computation whose sides are cast first, where they must be."""
    sides = [term.run if cast is None or term.kind == INTERVAL else converted(term, cast) for term in (left, right)]
    return Term(kind, strict(compute, (sides[0], sides[1])), left.constant and right.constant)
