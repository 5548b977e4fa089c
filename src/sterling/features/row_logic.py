"""Conditions, comparisons and choices of row expressions, in SQL's logic of true, false and null."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sterling.core.errors import DataError
from sterling.features.row_numbers import converter
from sterling.features.row_texts import text_of
from sterling.features.row_times import DAY
from sterling.features.row_types import BOOL, DOUBLE, NULL, TEXT, Kind, Run, Term, common

_Row = Mapping[str, Any]
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "EQ": operator.eq, "NEQ": operator.ne, "LT": operator.lt, "LTE": operator.le, "GT": operator.gt, "GTE": operator.ge,
}  # fmt: skip


def nothing(_: _Row) -> None:
    """Null, whatever the row: what DuckDB makes of a function one of whose arguments is always null."""


def strict(compute: Callable[..., Any], runs: tuple[Run, ...]) -> Run:
    """A function that is null where one of its arguments is; the others are not computed where one always is."""
    if nothing in runs:
        return nothing
    if len(runs) == 1:
        return _strict_1(compute, runs[0])
    if len(runs) == 2:
        return _strict_2(compute, *runs)

    def run(row: _Row) -> Any:
        values = []
        for one in runs:
            value = one(row)
            if value is None:
                return None
            values.append(value)
        return compute(*values)

    return run


def _strict_1(compute: Callable[..., Any], only: Run) -> Run:
    def run(row: _Row) -> Any:
        value = only(row)
        return None if value is None else compute(value)

    return run


def _strict_2(compute: Callable[..., Any], left: Run, right: Run) -> Run:
    def run(row: _Row) -> Any:
        first = left(row)
        if first is None:
            return None
        second = right(row)
        return None if second is None else compute(first, second)

    return run


def converted(term: Term, kind: Kind) -> Run:
    """A term's value as another type; of a type that `common` has found, or a double."""
    if term.kind in (kind, NULL) or {term.kind.name, kind.name} == {"timestamp", "timestamptz"}:
        return term.run
    if term.kind.name == "date":
        return strict(lambda days: days * DAY, (term.run,))
    convert = converter(term.kind, kind)
    if convert is None:
        return term.run
    run = strict(convert, (term.run,))
    return folded(run) if term.constant else run


def folded(run: Run) -> Run:
    """What reads no column, computed once; if it fails, it does so where it is reached."""
    try:
        value = run({})
    except DataError:
        return run
    return nothing if value is None else lambda _: value


def arguments(takes: Sequence[str], terms: Sequence[Term]) -> tuple[Run, ...] | None:
    """The arguments of a function as it takes them; None where it does not."""
    if len(takes) != len(terms):
        return None
    runs = []
    for wanted, term in zip(takes, terms, strict=True):
        if wanted == "double" and term.kind.name in ("int", "decimal"):
            runs.append(converted(term, DOUBLE))
        elif term.kind.name == wanted or term.kind == NULL:
            runs.append(term.run)
        else:
            return None
    return tuple(runs)


def is_null(run: Run) -> Run:
    """Whether a value is null."""
    return lambda row: run(row) is None


def opposite(run: Run) -> Run:
    """NOT: null of null."""

    def found(row: _Row) -> bool | None:
        value = run(row)
        return None if value is None else not value

    return found


def both(left: Run, right: Run) -> Run:
    """AND: false if one is false, else null if one is null."""

    def run(row: _Row) -> bool | None:
        first = left(row)
        if first is False:
            return False
        second = right(row)
        return False if second is False else None if first is None or second is None else True

    return run


def either(left: Run, right: Run) -> Run:
    """OR: true if one is true, else null if one is null."""

    def run(row: _Row) -> bool | None:
        first = left(row)
        if first is True:
            return True
        second = right(row)
        return True if second is True else None if first is None or second is None else False

    return run


def compared(name: str, left: Term, right: Term) -> Term | None:
    """A comparison; NaN equals itself and is larger than all other numbers."""
    kind = common([left, right])
    if kind is None or kind.name == "interval":
        return None
    runs, constant = (converted(left, kind), converted(right, kind)), left.constant and right.constant
    if name in ("NullSafeEQ", "NullSafeNEQ"):
        return Term(BOOL, _distinct(*runs, equal=name == "NullSafeEQ"), constant)
    return Term(BOOL, strict(_comparison(name, kind), runs), constant)


def between(terms: Sequence[Term]) -> Term | None:
    """Whether the first lies between the others, of one type."""
    kind = common(terms)
    if kind is None or kind.name == "interval":
        return None
    value, low, high = (converted(term, kind) for term in terms)
    above, below = strict(_comparison("GTE", kind), (value, low)), strict(_comparison("LTE", kind), (value, high))
    return Term(BOOL, both(above, below), all(term.constant for term in terms))


def among(terms: Sequence[Term]) -> Term | None:
    """Whether the first is one of the others; null if it could be a null among them."""
    kind = common(terms)
    if kind is None or kind.name == "interval":
        return None
    value, *others = (converted(term, kind) for term in terms)
    equal = _comparison("EQ", kind)
    if kind.name not in ("double", "float") and all(term.constant for term in terms[1:]):
        return Term(BOOL, _among_constants(value, [run({}) for run in others]), terms[0].constant)

    def run(row: _Row) -> bool | None:
        sought = value(row)
        if sought is None:
            return None
        found = [one(row) for one in others]
        if any(one is not None and equal(sought, one) for one in found):
            return True
        return None if None in found else False

    return Term(BOOL, run, all(term.constant for term in terms))


def chosen(conditions: Sequence[Term], results: Sequence[Term]) -> Term | None:
    """CASE: the result of the first condition that is true, else the last result."""
    kind = common(results)
    if kind is None:
        return None
    branches = tuple(
        (condition.run, converted(result, kind)) for condition, result in zip(conditions, results[:-1], strict=True)
    )
    default = converted(results[-1], kind)

    def run(row: _Row) -> Any:
        for condition, result in branches:
            if condition(row):
                return result(row)
        return default(row)

    return Term(kind, run, all(term.constant for term in (*conditions, *results)))


def first(terms: Sequence[Term]) -> Term | None:
    """COALESCE: the first value that is not null."""
    kind = common(terms)
    if kind is None:
        return None
    runs = tuple(converted(term, kind) for term in terms)

    def run(row: _Row) -> Any:
        for one in runs:
            value = one(row)
            if value is not None:
                return value
        return None

    return Term(kind, run, all(term.constant for term in terms))


def largest(terms: Sequence[Term]) -> Term | None:
    """GREATEST of what is not null."""
    return _extreme(terms, "GT")


def smallest(terms: Sequence[Term]) -> Term | None:
    """LEAST of what is not null."""
    return _extreme(terms, "LT")


def nulled(left: Term, right: Term) -> Term | None:
    """NULLIF: null where both are equal, else the first as it is."""
    equal = compared("EQ", left, right)
    if equal is None:
        return None
    value, same = left.run, equal.run
    return Term(left.kind, lambda row: None if same(row) else value(row), left.constant and right.constant)


def joined(terms: Sequence[Term], *, skip_null: bool) -> Term | None:
    """Texts, or what is written as text, one after another."""
    runs = []
    for term in terms:
        write = str if term.kind == NULL else text_of(term.kind)
        if write is None:
            return None
        runs.append(term.run if term.kind == TEXT else strict(write, (term.run,)))
    constant = all(term.constant for term in terms)
    if not skip_null:
        return Term(TEXT, strict(operator.add, tuple(runs)), constant)
    return Term(TEXT, lambda row: "".join(text for text in (one(row) for one in runs) if text is not None), constant)


def _extreme(terms: Sequence[Term], name: str) -> Term | None:
    kind = common(terms)
    if kind is None or kind.name == "interval":
        return None
    runs, before = tuple(converted(term, kind) for term in terms), _comparison(name, kind)

    def run(row: _Row) -> Any:
        best = None
        for one in runs:
            value = one(row)
            if value is not None and (best is None or before(value, best)):
                best = value
        return best

    return Term(kind, run, all(term.constant for term in terms))


def _among_constants(value: Run, others: Sequence[Any]) -> Run:
    known, otherwise = frozenset(others), None if None in others else False

    def run(row: _Row) -> bool | None:
        sought = value(row)
        return None if sought is None else True if sought in known else otherwise

    return run


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _distinct(left: Run, right: Run, *, equal: bool) -> Run:
    def run(row: _Row) -> bool:
        first, second = left(row), right(row)
        return (first == second or (_is_nan(first) and _is_nan(second))) is equal

    return run


def _comparison(name: str, kind: Kind) -> Callable[[Any, Any], bool]:
    compare = _COMPARE[name]
    if kind.name not in ("double", "float"):
        return compare

    def run(left: float, right: float) -> bool:
        if math.isnan(left) or math.isnan(right):
            return bool(compare(math.isnan(left), math.isnan(right)))
        return bool(compare(left, right))

    return run
