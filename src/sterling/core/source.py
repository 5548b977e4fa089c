"""What a Python file says, in pieces: which statement binds which name, what a statement reads, and what it imports."""

from __future__ import annotations

import ast
import io
import symtable
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_LAYOUT = {tokenize.INDENT: "\x01", tokenize.DEDENT: "\x02", tokenize.NEWLINE: "\x03"}
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER}


class Import(NamedTuple):
    """One imported thing.

    Attributes:
        module: Absolute name of the module that is named.
        name: What is taken from it, ``*`` for all; None where the module itself is imported.
    """

    module: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Statement:
    """One top-level statement, or several that share a line.

    Attributes:
        text: Its lines, without those around it.
        nodes: Its syntax.
        binds: Names that it makes, or changes by an item, an attribute or a method.
    """

    text: str
    nodes: tuple[ast.stmt, ...]
    binds: frozenset[str]


def statements_of(path: Path) -> tuple[Statement, ...]:
    """The top-level statements of a file, in order."""
    with tokenize.open(path) as file:
        return _statements(file.read())


def normalised(text: str) -> str:
    r"""Code without what does not act: comments, blank lines, the width of indents and the spaces between tokens.

    Example:
        >>> normalised("def f(x):  # double\n\n    return x*2") == normalised("def f( x ):\n  return x * 2\n")
        True
    """
    tokens = _tokens(_lines(text))
    return "\x00".join(_LAYOUT.get(kind, string) for kind, string in tokens if kind not in _NO_CODE)


def global_names(text: str) -> set[str]:
    r"""Names that a piece of code reads from its module or from the builtins.

    Example:
        >>> sorted(global_names("def f(x, y=LIMIT):\n    z = min(x, y)\n    return z"))
        ['LIMIT', 'min']
    """
    module = symtable.symtable(text, "<code>", "exec")
    names = {symbol.get_name() for symbol in module.get_symbols() if symbol.is_referenced()}
    tables = module.get_children()
    for table in tables:
        names.update(symbol.get_name() for symbol in table.get_symbols() if symbol.is_global())
        tables.extend(table.get_children())
    return names


def imports_in(nodes: Iterable[ast.AST], package: str) -> Iterator[Import]:
    """Everything that statements import, inside functions too, but for type checkers alone.

    Args:
        nodes: The statements.
        package: The package that relative imports start from, empty where there is none.
    """
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(_absolute(node, package), alias.name) for alias in node.names)
        elif isinstance(node, ast.If) and _is_for_type_checkers(node.test):
            yield from imports_in(node.orelse, package)
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            for block in ("body", "handlers", "cases", "orelse", "finalbody"):
                yield from imports_in(getattr(node, block, ()), package)


def lambdas_at(path: Path, line: int) -> list[str]:
    """The text of each lambda that starts on a line of a file, counted from 1."""
    with tokenize.open(path) as file:
        text = file.read()
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda) and node.lineno == line]
    return [f"({ast.get_source_segment(text, node)})" for node in found]


@lru_cache(maxsize=64)
def _statements(text: str) -> tuple[Statement, ...]:
    lines = _lines(text)
    return tuple(
        Statement("".join(lines[start - 1 : end]), tuple(nodes), frozenset().union(*map(_bound, nodes)))
        for start, end, nodes in _units(ast.parse(text).body)
    )


def _units(nodes: Iterable[ast.stmt]) -> Iterator[tuple[int, int, list[ast.stmt]]]:
    """Statements with their first and last lines; those that share a line (``a = 1; b = 2``) stay together."""
    unit: tuple[int, int, list[ast.stmt]] | None = None
    for node in nodes:
        start = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        end = node.end_lineno or node.lineno
        if unit and start <= unit[1]:
            unit = unit[0], end, [*unit[2], node]
            continue
        if unit:
            yield unit
        unit = start, end, [node]
    if unit:
        yield unit


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Expr):
        return {_root(node.value.func)} - {""} if isinstance(node.value, ast.Call) else set()
    return {name for inner in ast.walk(node) for name in _bound_by(inner)}


def _bound_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.alias():
            yield (node.asname or node.name).partition(".")[0]
        case ast.Name(ctx=ast.Store() | ast.Del()):
            yield node.id
        case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
            yield _root(node)


def _root(node: ast.AST) -> str:
    """The name that a chain such as ``LIMITS["a"].update`` starts from, empty for a plain name or none."""
    inner = node
    while isinstance(inner, ast.Attribute | ast.Subscript | ast.Call):
        inner = inner.func if isinstance(inner, ast.Call) else inner.value
    return inner.id if isinstance(inner, ast.Name) and inner is not node else ""


def _absolute(node: ast.ImportFrom, package: str) -> str:
    parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*filter(None, parents), *([node.module] if node.module else [])])


def _is_for_type_checkers(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in {getattr(test, "id", None), getattr(test, "attr", None)}


def _tokens(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Tokens with each f-string in one, as Python 3.11 gives it and later ones do not."""
    depth, start = 0, (1, 0)
    for token in tokenize.generate_tokens(iter(lines).__next__):
        name = tokenize.tok_name[token.type]
        if name.endswith("STRING_START"):
            start = start if depth else token.start
            depth += 1
        elif name.endswith("STRING_END"):
            depth -= 1
            if not depth:
                yield tokenize.STRING, _between(lines, start, token.end)
        elif not depth:
            yield token.type, token.string


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    whole = lines[start[0] - 1 : end[0]]
    whole[-1] = whole[-1][: end[1]]
    return "".join(whole)[start[1] :]


def _lines(text: str) -> list[str]:
    """Lines as Python counts them, which other line separators, such as a form feed, do not end."""
    return io.StringIO(text).readlines()
