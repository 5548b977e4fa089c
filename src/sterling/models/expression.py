"""Small SQL expressions over a model's features, as data: compiled once into a tree of lists, computed on encoded rows.

A tree is ``[operation, operand, …]``. Null is NaN, and a condition is 1, 0 or NaN, with SQL's logic of three values. As
everywhere in models, a category is its place among its column's categories. A division by zero is null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.models.columns import Column, Matrix
from sterling.project.sql import columns_of, parsed

if TYPE_CHECKING:
    from sqlglot import exp

Tree = list[Any]
_COMPARED = {"EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_TWO_SIDED = _COMPARED | {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "And": "and", "Or": "or"}
_KNOWN = "+ - * /, comparisons, AND, OR, NOT, IN, BETWEEN, IS NULL, CASE, COALESCE and ABS"


def compiled(sql: str, columns: Sequence[Column], *, place: str) -> Tree:
    """A row expression over features as a tree.

    Args:
        sql: Expression in DuckDB's dialect; texts may only be compared with one another.
        columns: The features that it may read.
        place: Where it stands; an error begins with it.

    Raises:
        InvalidDefinitionError: for a feature that there is not, and for what is not computed here, naming it.

    Example:
        >>> columns = [Column("wind", "number"), Column("carrier", "category", ("AA", "UA"))]
        >>> compiled("wind > 30 OR carrier = 'UA'", columns, place="Rule")
        ['or', ['>', ['column', 0], ['number', 30.0]], ['is', 1, [1.0]]]
    """
    names = [column.name for column in columns]
    if unknown := sorted(columns_of(sql) - set(names)):
        raise InvalidDefinitionError(f"{place}: {unknown[0]!r} is no feature. {nearest(unknown[0], names)}")
    return _Compiler(sql, columns, place).tree(parsed(sql))


def computed(tree: Tree, matrix: Matrix) -> Matrix:
    """The value of a tree for each row, shape (rows,); NaN where it is null.

    Example:
        >>> computed(["<", ["column", 0], ["number", 2.0]], np.array([[1.0], [3.0], [np.nan]])).tolist()
        [1.0, 0.0, nan]
    """
    operation, *operands = tree
    match operation:
        case "column":
            return np.ascontiguousarray(matrix[:, operands[0]])
        case "number":
            return np.full(len(matrix), operands[0])
        case "null":
            return np.full(len(matrix), np.nan)
        case "is":
            codes = matrix[:, operands[0]]
            return _where_known(np.isin(codes, operands[1]), codes)
        case "case":
            return _case(operands, matrix)
    with np.errstate(all="ignore"):
        return _OPERATIONS[operation](*(computed(operand, matrix) for operand in operands))


class _Compiler:
    """Compiles one expression."""

    def __init__(self, sql: str, columns: Sequence[Column], place: str) -> None:
        self._sql, self._place = sql, place
        self._columns = {column.name: (number, column) for number, column in enumerate(columns)}

    def tree(self, node: exp.Expr) -> Tree:
        """The tree of a node of the parsed expression."""
        kind = type(node).__name__
        if kind in _COMPARED and (texts := self._texts(node.this, [node.expression])):
            return self._compared(kind, *texts)
        if kind in _TWO_SIDED:
            return [_TWO_SIDED[kind], self.tree(node.this), self.tree(node.expression)]
        form = getattr(self, f"_{kind.lower()}", None)
        if form is None:
            raise self._refused(f"{node.sql(dialect='duckdb')!r}")
        found: Tree = form(node)
        return found

    def _paren(self, node: exp.Expr) -> Tree:
        return self.tree(node.this)

    def _column(self, node: exp.Expr) -> Tree:
        number, column = self._columns[node.name]
        if column.kind == "category":
            raise self._refused(f"the text {node.name!r} outside of a comparison with texts")
        return ["column", number]

    def _literal(self, node: exp.Expr) -> Tree:
        if node.is_string:
            raise self._refused(f"the text {node.this!r} outside of a comparison with a category")
        return ["number", float(node.this)]

    def _boolean(self, node: exp.Expr) -> Tree:
        return ["number", float(node.this)]

    def _null(self, _: exp.Expr) -> Tree:
        return ["null"]

    def _neg(self, node: exp.Expr) -> Tree:
        return ["-", ["number", 0.0], self.tree(node.this)]

    def _not(self, node: exp.Expr) -> Tree:
        return ["not", self.tree(node.this)]

    def _abs(self, node: exp.Expr) -> Tree:
        return ["abs", self.tree(node.this)]

    def _is(self, node: exp.Expr) -> Tree:
        if type(node.expression).__name__ != "Null":
            raise self._refused(f"{node.sql(dialect='duckdb')!r}")
        inside = node.this
        column = self._columns[inside.name][0] if type(inside).__name__ == "Column" else None
        return ["null?", self.tree(inside) if column is None else ["column", column]]

    def _between(self, node: exp.Expr) -> Tree:
        value, low, high = self.tree(node.this), self.tree(node.args["low"]), self.tree(node.args["high"])
        return ["and", [">=", value, low], ["<=", value, high]]

    def _in(self, node: exp.Expr) -> Tree:
        if texts := self._texts(node.this, node.expressions):
            return ["is", *texts]
        value, *others = [["=", self.tree(node.this), self.tree(one)] for one in node.expressions]
        for other in others:
            value = ["or", value, other]
        return value

    def _coalesce(self, node: exp.Expr) -> Tree:
        return ["coalesce", *map(self.tree, (node.this, *node.expressions))]

    def _case(self, node: exp.Expr) -> Tree:
        if node.this is not None:
            raise self._refused("CASE with a value to compare")
        branches = [[self.tree(one.this), self.tree(one.args["true"])] for one in node.args["ifs"]]
        rest = node.args.get("default")
        return ["case", branches, self.tree(rest) if rest else ["null"]]

    def _compared(self, kind: str, number: int, codes: list[float]) -> Tree:
        if kind not in {"EQ", "NEQ"}:
            raise self._refused("the order of texts")
        return ["is", number, codes] if kind == "EQ" else ["not", ["is", number, codes]]

    def _texts(self, column: exp.Expr, texts: Sequence[exp.Expr]) -> tuple[int, list[float]] | None:
        """The place of a category and the codes of what it is compared with; a text never seen has none."""
        number, found = self._columns.get(column.name, (0, None)) if type(column).__name__ == "Column" else (0, None)
        if found is None or found.kind != "category":
            return None
        if not all(type(text).__name__ == "Literal" and text.is_string for text in texts):
            raise self._refused(f"a comparison of {found.name!r} with something else than a text")
        return number, sorted({found.codes[text.this] for text in texts if text.this in found.codes})

    def _refused(self, what: str) -> InvalidDefinitionError:
        return InvalidDefinitionError(
            f"{self._place}: {what} in {self._sql!r} is not computed on features. Known: {_KNOWN}. Anything else can be "
            "an sl.Derived feature, which this reads."
        )


def _where_known(condition: Any, *operands: Matrix) -> Matrix:
    """A condition, null where any operand is."""
    unknown = np.isnan(operands[0])
    for operand in operands[1:]:
        unknown = unknown | np.isnan(operand)
    return np.where(unknown, np.nan, condition)


def _and(a: Matrix, b: Matrix) -> Matrix:
    return np.where((a == 0) | (b == 0), 0.0, np.where(np.isnan(a) | np.isnan(b), np.nan, 1.0))


def _not(a: Matrix) -> Matrix:
    return _where_known(a == 0, a)


def _coalesce(*values: Matrix) -> Matrix:
    found = values[0]
    for value in values[1:]:
        found = np.where(np.isnan(found), value, found)
    return found


def _case(operands: Sequence[Any], matrix: Matrix) -> Matrix:
    branches, rest = operands
    value = computed(rest, matrix)
    for condition, result in reversed(branches):
        holds = computed(condition, matrix)
        value = np.where(np.isnan(holds) | (holds == 0), value, computed(result, matrix))
    return value


_OPERATIONS: dict[str, Callable[..., Matrix]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": lambda a, b: np.divide(a, np.where(b == 0, np.nan, b)),
    "=": lambda a, b: _where_known(a == b, a, b),
    "<>": lambda a, b: _where_known(a != b, a, b),
    "<": lambda a, b: _where_known(a < b, a, b),
    "<=": lambda a, b: _where_known(a <= b, a, b),
    ">": lambda a, b: _where_known(a > b, a, b),
    ">=": lambda a, b: _where_known(a >= b, a, b),
    "and": _and,
    "or": lambda a, b: _not(_and(_not(a), _not(b))),
    "not": _not,
    "abs": np.abs,
    "coalesce": _coalesce,
    "null?": lambda a: np.isnan(a).astype(np.float64),
}
