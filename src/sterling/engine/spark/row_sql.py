"""Row expressions for Spark: DuckDB's dialect, translated where both mean the same, and refused by name elsewhere.

What is translated is what the conformance test compares on both engines. Numbers are compared with numbers, texts with
texts, times with times; Spark is in ANSI mode, so that what overflows is an error, as it is in DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.project.sql import columns_of
from sterling.project.times import micros

if TYPE_CHECKING:
    from sqlglot import exp

NUMBERS = ("whole", "float", "decimal")
_COMPARED = {"EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">=", "NullSafeEQ": "<=>"}
_COUNTED = {"Add": "+", "Sub": "-", "Mul": "*"}
_UNITS = {"DAY": "d", "HOUR": "h", "MINUTE": "m", "SECOND": "s", "WEEK": "w"}
_KNOWN = (
    "columns, numbers, texts, TRUE, FALSE, NULL, AND, OR, NOT, = <> < <= > >=, IS NULL, IS DISTINCT FROM, BETWEEN, IN, "
    "CASE, if, coalesce, abs, + - * of whole numbers and doubles, and times with an INTERVAL"
)


def name(column: str) -> str:
    """A name as Spark quotes it.

    Example:
        >>> name("a b")
        '`a b`'
    """
    return "`" + column.replace("`", "``") + "`"


def text_literal(said: str) -> str:
    """A text as Spark quotes it.

    Example:
        >>> text_literal("a")
        "'a'"
    """
    return "'" + said.replace("\\", "\\\\").replace("'", "\\'") + "'"


def translated(expression: str, kinds: Mapping[str, str], place: str) -> tuple[str, str]:
    """A row expression in Spark's dialect, and of what kind its values are.

    Args:
        expression: SQL expression in DuckDB's dialect.
        kinds: For each column ``whole``, ``float``, ``decimal``, ``bool``, ``text``, ``time`` or another word.
        place: Where it stands; an error begins with it.

    Raises:
        InvalidDefinitionError: naming what is not translated.

    Example:
        >>> translated("late AND minutes > 15", {"late": "bool", "minutes": "float"}, "here")
        ('(`late` AND (`minutes` > 15))', 'bool')
    """
    import sqlglot

    for column in sorted(columns_of(expression) - set(kinds)):
        raise InvalidDefinitionError(
            f"{place}: there is no column {column!r} in {expression!r}. {nearest(column, kinds)}"
        )
    tree = sqlglot.parse_one(expression, read="duckdb")
    return _Translation(expression, kinds, place).of(tree)


class _Translation:
    def __init__(self, expression: str, kinds: Mapping[str, str], place: str) -> None:
        self._expression, self._kinds, self._place = expression, kinds, place

    def of(self, node: exp.Expr) -> tuple[str, str]:
        """A part of the expression, and its kind."""
        kind = type(node).__name__
        if kind in _COMPARED or kind == "NullSafeNEQ":
            return self._comparison(node, kind)
        if kind in _COUNTED:
            return self._counted(node, kind)
        translate: Callable[[exp.Expr], tuple[str, str]] | None = getattr(self, f"_{kind.lower()}", None)
        if translate is None:
            raise self._refused(node)
        return translate(node)

    def _refused(self, node: exp.Expr, why: str = "") -> InvalidDefinitionError:
        said = node.sql("duckdb")
        return InvalidDefinitionError(
            f"{self._place}: {said!r} in {self._expression!r} is not computed on Spark{why}. What is: {_KNOWN}. Compute it "
            "in the query that prepares the table, or build the feature with the embedded engine."
        )

    def _column(self, node: exp.Expr) -> tuple[str, str]:
        kind = self._kinds[node.name]
        if kind not in (*NUMBERS, "bool", "text", "time"):
            raise self._refused(node, f": it is {kind}")
        return name(node.name), kind

    def _literal(self, node: exp.Expr) -> tuple[str, str]:
        if node.args["is_string"]:
            if "\\" in node.name or not node.name.isprintable():
                raise self._refused(node)
            return text_literal(node.name), "text"
        if node.name.isdigit() and int(node.name) < 1 << 63:
            return (node.name if int(node.name) < 1 << 31 else f"{node.name}L"), "whole"
        whole, _, behind = node.name.partition(".")
        if whole.isdigit() and behind.isdigit() and len(whole + behind) <= 18:
            return f"{node.name}BD", "decimal"
        raise self._refused(node)

    def _boolean(self, node: exp.Expr) -> tuple[str, str]:
        return ("TRUE" if node.this else "FALSE"), "bool"

    def _null(self, _node: exp.Expr) -> tuple[str, str]:
        return "NULL", "null"

    def _paren(self, node: exp.Expr) -> tuple[str, str]:
        return self.of(node.this)

    def _condition(self, node: exp.Expr) -> str:
        found, kind = self.of(node)
        if kind not in ("bool", "null"):
            raise self._refused(node, ": it is no condition")
        return found

    def _and(self, node: exp.Expr) -> tuple[str, str]:
        return f"({self._condition(node.this)} AND {self._condition(node.expression)})", "bool"

    def _or(self, node: exp.Expr) -> tuple[str, str]:
        return f"({self._condition(node.this)} OR {self._condition(node.expression)})", "bool"

    def _not(self, node: exp.Expr) -> tuple[str, str]:
        return f"(NOT {self._condition(node.this)})", "bool"

    def _is(self, node: exp.Expr) -> tuple[str, str]:
        if type(node.expression).__name__ != "Null":
            raise self._refused(node)
        return f"({self.of(node.this)[0]} IS NULL)", "bool"

    def _alike(self, node: exp.Expr, parts: list[exp.Expr]) -> tuple[list[str], str]:
        """Values of which any two can be compared, and their kind."""
        found = [self.of(part) for part in parts]
        kinds = {kind for _, kind in found} - {"null"}
        if len(kinds) > 1 and not kinds <= set(NUMBERS):
            raise self._refused(node, f": it mixes {' and '.join(sorted(kinds))}")
        return [sql for sql, _ in found], max(kinds, key=[*NUMBERS, *kinds].index) if kinds else "null"

    def _comparison(self, node: exp.Expr, kind: str) -> tuple[str, str]:
        (left, right), _ = self._alike(node, [node.this, node.expression])
        if kind == "NullSafeNEQ":
            return f"(NOT ({left} <=> {right}))", "bool"
        return f"({left} {_COMPARED[kind]} {right})", "bool"

    def _between(self, node: exp.Expr) -> tuple[str, str]:
        (value, low, high), _ = self._alike(node, [node.this, node.args["low"], node.args["high"]])
        return f"({value} BETWEEN {low} AND {high})", "bool"

    def _in(self, node: exp.Expr) -> tuple[str, str]:
        if not node.expressions:
            raise self._refused(node)
        (value, *among), _ = self._alike(node, [node.this, *node.expressions])
        return f"({value} IN ({', '.join(among)}))", "bool"

    def _counted(self, node: exp.Expr, kind: str) -> tuple[str, str]:
        left, right = node.this, node.expression
        if type(right).__name__ == "Interval" and kind != "Mul":
            moved, what = self.of(left)
            if what != "time":
                raise self._refused(node)
            return f"({moved} {_COUNTED[kind]} {self._interval(right)})", "time"
        (a, of_a), (b, of_b) = self.of(left), self.of(right)
        if not {of_a, of_b} <= set(NUMBERS) or ("decimal" in (of_a, of_b) and "float" not in (of_a, of_b)):
            raise self._refused(node)
        return f"({a} {_COUNTED[kind]} {b})", "float" if "float" in (of_a, of_b) else "whole"

    def _interval(self, node: exp.Expr) -> str:
        size = node.this.name if type(node.this).__name__ == "Literal" else ""
        unit = _UNITS.get(node.args["unit"].name.upper().removesuffix("S")) if node.args.get("unit") else None
        if not size.isdigit() or unit is None:
            raise self._refused(node)
        seconds = micros(f"{size}{unit}") // 1_000_000
        return f"INTERVAL '{seconds}' SECOND"

    def _neg(self, node: exp.Expr) -> tuple[str, str]:
        found, kind = self.of(node.this)
        if kind not in NUMBERS:
            raise self._refused(node)
        return f"(-{found})", kind

    def _abs(self, node: exp.Expr) -> tuple[str, str]:
        found, kind = self.of(node.this)
        if kind not in NUMBERS:
            raise self._refused(node)
        return f"abs({found})", kind

    def _coalesce(self, node: exp.Expr) -> tuple[str, str]:
        found, kind = self._alike(node, [node.this, *node.expressions])
        return f"coalesce({', '.join(found)})", kind

    def _case(self, node: exp.Expr) -> tuple[str, str]:
        if node.this is not None:
            raise self._refused(node)
        return self._cases(node, node.args["ifs"], node.args.get("default"))

    def _if(self, node: exp.Expr) -> tuple[str, str]:
        return self._cases(node, [node], node.args.get("false"))

    def _cases(self, node: exp.Expr, ifs: list[exp.Expr], default: exp.Expr | None) -> tuple[str, str]:
        answers = [case.args["true"] for case in ifs] + ([default] if default is not None else [])
        found, kind = self._alike(node, answers)
        said = " ".join(
            f"WHEN {self._condition(case.this)} THEN {answer}" for case, answer in zip(ifs, found, strict=False)
        )
        last = f" ELSE {found[-1]}" if default is not None else ""
        return f"(CASE {said}{last} END)", kind
