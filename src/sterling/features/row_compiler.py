"""The tree of a row expression, turned into Python from the leaves up; what is not known here is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.features import row_arithmetic as arithmetic
from sterling.features import row_logic as logic
from sterling.features.row_casts import cast
from sterling.features.row_functions import FUNCTIONS, generic, truncated
from sterling.features.row_times import UNITS, between, interval_of, local, moment, zone
from sterling.features.row_types import (
    BIGINT,
    BOOL,
    DOUBLE,
    INTEGER,
    INTERVAL,
    NULL,
    TEXT,
    TIMES,
    TIMESTAMP,
    TIMESTAMPTZ,
    Kind,
    Run,
    Term,
    fits,
    kind_of_column,
)

if TYPE_CHECKING:
    from sqlglot import exp


class Compiler:
    """Compiles the parts of one expression, from the leaves up.

    Args:
        sql: The expression, for what is said of it.
        types: Types of the columns by name.
    """

    def __init__(self, sql: str, types: Mapping[str, str]) -> None:
        self._sql, self._types = sql, types

    def term(self, node: exp.Expr) -> Term:
        """A part of the expression.

        Raises:
            InvalidDefinitionError: for what is not computed here.
        """
        handler = getattr(self, f"_{type(node).__name__.lower()}", None)
        found: Term = handler(node) if handler else self._call(node)
        return found._replace(run=logic.folded(found.run)) if found.constant else found

    def _refused(self, node: exp.Expr, terms: Sequence[Term], hint: str = "") -> InvalidDefinitionError:
        said, kinds = " ".join(node.sql("duckdb").split()), ", ".join(str(term.kind) for term in terms)
        return InvalidDefinitionError(
            f"{self._sql!r}: {said!r} on {kinds or 'nothing'} is not computed outside of DuckDB, so it cannot be served. "
            f"{hint or 'Compute it in a Query, as a column of the source'}."
        )

    def _both(self, node: exp.Expr) -> tuple[Term, Term]:
        return self.term(node.this), self.term(node.expression)

    def _column(self, node: exp.Column) -> Term:
        name = node.name
        if name not in self._types:
            raise InvalidDefinitionError(f"{self._sql!r}: there is no column {name!r}. {nearest(name, self._types)}")
        kind, read = kind_of_column(name, self._types[name]), itemgetter(name)
        if kind.name == "decimal":
            return Term(kind, _scaled(read, kind.scale))
        return Term(kind, read)

    def _paren(self, node: exp.Paren) -> Term:
        return self.term(node.this)

    def _literal(self, node: exp.Literal) -> Term:
        text = node.name
        if node.is_string:
            return _constant(TEXT, text)
        if "e" in text.lower():
            return _constant(DOUBLE, float(text))
        if "." in text:
            whole, _, places = text.partition(".")
            kind = Kind("decimal", len(whole) + len(places), len(places))
            if kind.width > 38:
                raise self._refused(node, ())
            return _constant(kind, int(whole + places))
        number = int(text)
        if not fits(number, 64):
            raise self._refused(node, (), "Write it as a DOUBLE, such as 1e19")
        return _constant(INTEGER if fits(number, 32) else BIGINT, number)._replace(literal=number)

    def _boolean(self, node: exp.Boolean) -> Term:
        return _constant(BOOL, bool(node.this))

    def _null(self, _: exp.Null) -> Term:
        return _constant(NULL, None)

    def _interval(self, node: exp.Interval) -> Term:
        unit = node.unit.name.lower().removesuffix("s") if node.unit else ""
        count = node.this.name if node.this is not None else ""
        if unit not in UNITS or not count.isdigit():
            raise self._refused(node, (), "Write a whole number and a unit, such as INTERVAL 2 HOUR")
        return _constant(INTERVAL, interval_of(unit)(int(count)))

    def _neg(self, node: exp.Neg) -> Term:
        term = self.term(node.this)
        if found := arithmetic.negated(term):
            return found
        raise self._refused(node, (term,))

    def _binary(self, node: exp.Expr) -> Term:
        terms = self._both(node)
        if found := arithmetic.binary(type(node).__name__, *terms):
            return found
        raise self._refused(
            node, terms, _HINTS.get(type(node).__name__, "Cast both sides to one type, such as a::DOUBLE")
        )

    _add = _sub = _mul = _div = _intdiv = _mod = _binary

    def _pow(self, node: exp.Pow) -> Term:
        return self._call(node)

    def _compare(self, node: exp.Expr) -> Term:
        terms = self._both(node)
        if found := logic.compared(type(node).__name__, *terms):
            return found
        raise self._refused(node, terms, "Cast both sides to one type")

    _eq = _neq = _lt = _lte = _gt = _gte = _nullsafeeq = _nullsafeneq = _compare

    def _is(self, node: exp.Is) -> Term:
        terms = self._both(node)
        if terms[1].kind != NULL:
            raise self._refused(node, terms, "Write = or IS NOT DISTINCT FROM")
        return Term(BOOL, logic.is_null(terms[0].run), terms[0].constant)

    def _connected(self, node: exp.Expr) -> Term:
        terms = self._both(node)
        if {term.kind for term in terms} - {BOOL, NULL}:
            raise self._refused(node, terms, "AND and OR take conditions")
        run = (logic.both if type(node).__name__ == "And" else logic.either)(*(term.run for term in terms))
        return Term(BOOL, run, all(term.constant for term in terms))

    _and = _or = _connected

    def _not(self, node: exp.Not) -> Term:
        term = self.term(node.this)
        if term.kind not in (BOOL, NULL):
            raise self._refused(node, (term,), "NOT takes a condition")
        return Term(BOOL, logic.opposite(term.run), term.constant)

    def _between(self, node: exp.Between) -> Term:
        terms = [self.term(node.this), self.term(node.args["low"]), self.term(node.args["high"])]
        if node.args.get("symmetric") or not (found := logic.between(terms)):
            raise self._refused(node, terms, "Write a >= low AND a <= high on one type")
        return found

    def _in(self, node: exp.In) -> Term:
        terms = [self.term(part) for part in (node.this, *node.expressions)]
        if found := logic.among(terms):
            return found
        raise self._refused(node, terms, "Write values of the column's own type")

    def _case(self, node: exp.Case) -> Term:
        subject = self.term(node.this) if node.this is not None else None
        conditions = []
        for branch in node.args["ifs"]:
            condition: Term | None = self.term(branch.this)
            if subject is not None and condition is not None:
                condition = logic.compared("EQ", subject, condition)
            conditions.append(condition)
        default = node.args.get("default")
        results = [self.term(branch.args["true"]) for branch in node.args["ifs"]]
        return self._chosen(node, conditions, [*results, self.term(default) if default else _constant(NULL, None)])

    def _if(self, node: exp.If) -> Term:
        other = node.args.get("false")
        results = [self.term(node.args["true"]), self.term(other) if other else _constant(NULL, None)]
        return self._chosen(node, [self.term(node.this)], results)

    def _chosen(self, node: exp.Expr, conditions: Sequence[Term | None], results: Sequence[Term]) -> Term:
        sound = [condition for condition in conditions if condition is not None and condition.kind in (BOOL, NULL)]
        found = logic.chosen(sound, results) if len(sound) == len(conditions) else None
        if found is None:
            raise self._refused(node, results, "Let every condition be one, and every result of one type")
        return found

    def _coalesce(self, node: exp.Coalesce) -> Term:
        return self._of_one_type(node, logic.first)

    def _greatest(self, node: exp.Greatest) -> Term:
        return self._of_one_type(node, logic.largest)

    def _least(self, node: exp.Least) -> Term:
        return self._of_one_type(node, logic.smallest)

    def _of_one_type(self, node: exp.Expr, combine: Callable[[Sequence[Term]], Term | None]) -> Term:
        terms = [self.term(part) for part in (node.this, *node.expressions)]
        if found := combine(terms):
            return found
        raise self._refused(node, terms, "Cast the arguments to one type")

    def _nullif(self, node: exp.Nullif) -> Term:
        terms = self._both(node)
        if found := logic.nulled(*terms):
            return found
        raise self._refused(node, terms, "Cast both to one type")

    def _cast(self, node: exp.Cast) -> Term:
        from sqlglot import exp

        if isinstance(node.this, exp.Cast) and isinstance(node.this.this, exp.Literal) and node.this.this.is_string:
            raise self._refused(node, (), "Put the inner one in parentheses: (DATE '2013-01-01')::TIMESTAMP")
        term = self.term(node.this)
        if found := cast(term, node.to.sql("duckdb"), or_null=type(node).__name__ == "TryCast"):
            return found
        raise self._refused(node, (term,))

    _trycast = _cast

    def _attimezone(self, node: exp.AtTimeZone) -> Term:
        return self._moved(node, self.term(node.this), self.term(node.args["zone"]))

    def _moved(self, node: exp.Expr, at: Term, name: Term) -> Term:
        if at.kind not in (TIMESTAMP, TIMESTAMPTZ) or name.kind != TEXT:
            raise self._refused(node, (at, name))
        if name.constant:
            _known_zone(name)
        move, kind = (local, TIMESTAMP) if at.kind == TIMESTAMPTZ else (moment, TIMESTAMPTZ)
        return Term(kind, logic.strict(move, (at.run, name.run)), at.constant and name.constant)

    def _extract(self, node: exp.Extract) -> Term:
        return self._function(node, node.this.name.lower(), [self.term(node.expression)])

    def _timestamptrunc(self, node: exp.Expr) -> Term:
        term, unit = self.term(node.this), node.args["unit"].name.lower()
        return self._applied(node, truncated(unit, term.kind), [term])

    _datetrunc = _timestamptrunc

    def _datediff(self, node: exp.DateDiff) -> Term:
        terms = [self.term(node.expression), self.term(node.this)]
        unit = node.args["unit"].name.lower() if node.args.get("unit") else ""
        count = between(unit)
        if count is None or any(term.kind.name not in TIMES for term in terms):
            raise self._refused(
                node, terms, "What is computed: second, minute, hour, day, month, quarter, year of times"
            )
        runs = tuple(logic.converted(term, TIMESTAMP) for term in terms)
        return Term(BIGINT, logic.strict(count, runs), all(term.constant for term in terms))

    def _concat(self, node: exp.Concat) -> Term:
        terms = [self.term(part) for part in node.expressions]
        if found := logic.joined(terms, skip_null=True):
            return found
        raise self._refused(node, terms, "What is joined: texts, whole numbers, decimals and conditions")

    def _dpipe(self, node: exp.DPipe) -> Term:
        terms = self._both(node)
        if found := logic.joined(terms, skip_null=False):
            return found
        raise self._refused(node, terms, "What is joined: texts, whole numbers, decimals and conditions")

    def _call(self, node: exp.Expr) -> Term:
        """A function by its name, with whatever it is given."""
        from sqlglot import exp

        if not isinstance(node, exp.Func | exp.Like | exp.ILike | exp.Pow):
            raise self._refused(node, ())
        name, parts = _named(node)
        if name == "date_part" and parts and parts[0].is_string:
            name, parts = parts[0].name.lower(), parts[1:]
        if name == "pi":
            return _constant(DOUBLE, math.pi)
        terms = [self.term(part) for part in parts]
        if name == "timezone" and len(terms) == 2:
            return self._moved(node, terms[1], terms[0])
        found = self._function(node, name, terms)
        if node.args.get("negate"):
            return Term(BOOL, logic.opposite(found.run), found.constant)
        return found

    def _function(self, node: exp.Expr, name: str, terms: Sequence[Term]) -> Term:
        if terms and (found := generic(name, terms)):
            return self._applied(node, found, terms[:1])
        for signature in FUNCTIONS.get(name, ()):
            if runs := logic.arguments(signature.takes, terms):
                return Term(
                    signature.gives, logic.strict(signature.compute, runs), all(term.constant for term in terms)
                )
        raise self._refused(node, terms, _HINTS.get(name, ""))

    def _applied(self, node: exp.Expr, found: tuple[Kind, Callable[..., Any]] | None, terms: Sequence[Term]) -> Term:
        if found is None:
            raise self._refused(node, terms)
        return Term(found[0], logic.strict(found[1], tuple(term.run for term in terms)), all(t.constant for t in terms))


_HINTS = {
    "IntDiv": "Write floor(a / b), or trunc(a / b)",
    "round": "Write round(a * 100) / 100 for a double, or cast it to a DECIMAL in a Query",
    "log": "Write ln(a) / ln(base)",
    "regexp_matches": "Write LIKE, contains or starts_with",
}
_CALLED = {
    "lengthex": "length", "strposition": "strpos", "startswith": "starts_with", "endswith": "ends_with", "splitpart": "split_part",
    "timetounix": "epoch", "unixtotime": "epoch_ms", "datefromparts": "make_date", "dayofweekiso": "isodow",
    "lastday": "last_day", "todays": "to_days", "regexplike": "regexp_matches",
}  # fmt: skip


def _named(node: exp.Expr) -> tuple[str, list[exp.Expr]]:
    """The name of a call and its arguments, whatever sqlglot makes of it."""
    from sqlglot import exp

    if isinstance(node, exp.Anonymous):
        return node.name.lower(), list(node.expressions)
    name = type(node).__name__.lower()
    if isinstance(node, exp.Trim):
        name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(node.args.get("position") or "", "trim")
    if isinstance(node, exp.Pad):
        name = "lpad" if node.args["is_left"] else "rpad"
    if isinstance(node, exp.UnixToTime) and (not node.args.get("scale") or node.args["scale"].name != "3"):
        name = "to_timestamp"
    if isinstance(node, exp.UnixToTime):
        return _CALLED.get(name, name), [node.this]
    parts: list[exp.Expr] = []
    for key in node.arg_types:
        value = node.args.get(key)
        parts += [value] if isinstance(value, exp.Expr) else value if isinstance(value, list) else []
    return _CALLED.get(name, name), parts


def _constant(kind: Kind, value: Any) -> Term:
    return Term(kind, lambda _: value, constant=True)


def _known_zone(name: Term) -> None:
    try:
        zone(name.run({}) or "UTC")
    except DataError as error:
        raise InvalidDefinitionError(str(error)) from error


def _scaled(read: Run, scale: int) -> Run:
    def run(row: Mapping[str, Any]) -> int | None:
        value = read(row)
        return None if value is None else int(value.scaleb(scale))

    return run
