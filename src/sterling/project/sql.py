"""Row expressions and queries in DuckDB's SQL: parsed, held against an allow-list, and never run here.

A row expression sees one row and gives one value, always the same one: no subqueries, no aggregates, no files, no
clocks, no dice. What is allowed is what stands in the samples below; anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.project.times import micros

if TYPE_CHECKING:
    from sqlglot import exp

_REMEMBERED = 1024  # rows that arrive ask the same of the same expressions, batch after batch
_FORMS = """
a + b - c * d / e // f % g ** 2 | -a | (a) | a AND b OR NOT c | a = b | a <> b | a < b | a <= b | a > b | a >= b
a IS NULL | a IS NOT NULL | a IS DISTINCT FROM b | a IS NOT DISTINCT FROM b | a BETWEEN b AND c | a IN (1, 'x')
CASE WHEN a THEN 1 ELSE 2 END | CASE a WHEN 1 THEN 2 END | if(a, b, c) | a::DOUBLE | TRY_CAST(a AS BIGINT)
CAST(a AS DECIMAL(9, 2)) | a LIKE 'x' | a ILIKE 'x' | a || b | TRUE | FALSE | NULL | 1.5 | 'x' | INTERVAL 2 HOUR
INTERVAL '2 hours' | DATE '2013-01-01' | a AT TIME ZONE b | extract(hour FROM a)
"""
_FUNCTIONS = """
abs ceil floor round trunc sign sqrt exp ln log log2 log10 power mod sin cos tan pi greatest least coalesce ifnull nullif
isnan isfinite lower upper trim ltrim rtrim length substring left right replace concat concat_ws contains starts_with
ends_with regexp_matches lpad rpad strpos split_part year month day hour minute second quarter week dayofweek isodow
dayofyear weekofyear yearweek date_part date_trunc date_diff datediff epoch epoch_us epoch_ms make_date make_timestamp
strftime strptime try_strptime last_day monthname dayname timezone to_microseconds to_milliseconds to_seconds to_minutes
to_hours to_days to_weeks to_timestamp time_bucket
"""
_EXACT_UNITS = {"WEEK": "w", "DAY": "d", "HOUR": "h", "MINUTE": "m", "SECOND": "s"}
_CHANGING = "CurrentDate CurrentTime CurrentTimestamp CurrentTimestampLTZ CurrentDatetime Localtime Localtimestamp Rand Randn Uuid TableSample"
_CHANGING_NAMES = """
now today get_current_timestamp get_current_time transaction_timestamp random setseed uuid gen_random_uuid uuidv4 uuidv7
nextval currval getvariable current_setting txid_current version
"""


@lru_cache(_REMEMBERED)
def columns_of(expression: str) -> frozenset[str]:
    """The columns that a row expression reads.

    Args:
        expression: SQL expression in DuckDB's dialect.

    Raises:
        InvalidDefinitionError: if it is no expression over one row, naming what is refused.

    Example:
        >>> sorted(columns_of("hour(departure AT TIME ZONE zone)"))
        ['departure', 'zone']
    """
    from sqlglot import exp

    tree = parsed(expression)
    for node in tree.walk():
        _check_allowed(node, expression)
    return frozenset(column.name for column in tree.find_all(exp.Column))


def check_columns(expression: str, known: Iterable[str], place: str) -> frozenset[str]:
    """The columns that a row expression reads, each of which must be known.

    Args:
        expression: SQL expression in DuckDB's dialect.
        known: Names that it may read.
        place: Where it stands; an error begins with it.

    Raises:
        InvalidDefinitionError: for a misspelt column, with the nearest names.
    """
    names, reads = set(known), columns_of(expression)
    for column in sorted(reads - names):
        raise InvalidDefinitionError(
            f"{place}: there is no column {column!r} in {expression!r}. {nearest(column, names)}"
        )
    return reads


@lru_cache(_REMEMBERED)
def column_plus_constant(expression: str) -> tuple[str, int] | None:
    """An expression as one column plus a constant time, where it is one.

    Args:
        expression: SQL expression in DuckDB's dialect.

    Returns:
        The column and the microseconds added to it; None for anything else. Months and years are no constant.

    Example:
        >>> column_plus_constant("departure - INTERVAL 2 HOUR")
        ('departure', -7200000000)
        >>> column_plus_constant("departure - INTERVAL 2 MONTH") is None
        True
    """
    return _constant(parsed(expression))


def parsed(expression: str) -> exp.Expr:
    """An expression as a tree, whatever stands in it; `columns_of` holds it against what is allowed.

    Raises:
        InvalidDefinitionError: if it is no single expression.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        trees = sqlglot.parse(expression, read="duckdb")
    except SqlglotError as error:
        raise InvalidDefinitionError(f"{expression!r} is no SQL expression: {_first_line(error)}") from error
    if len(trees) != 1 or trees[0] is None:
        raise InvalidDefinitionError(f"{expression!r} is no single SQL expression.")
    return trees[0]


def normalized(sql: str) -> str:
    """A query without its comments and layout, so that editing them changes no hash.

    Example:
        >>> normalized("SELECT a,  b -- as we like it")
        'SELECT a , b'
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(sql, read="duckdb")
    except SqlglotError as error:
        raise InvalidDefinitionError(f"The query {_short(sql)!r} cannot be read: {_first_line(error)}") from error
    return " ".join(sql[token.start : token.end + 1] for token in tokens)


def check_query(sql: str, place: str) -> None:
    """Refuse a query that is more than one SELECT, or whose result changes by itself.

    Args:
        sql: The query, in DuckDB's dialect.
        place: Where it stands, such as its file; an error begins with it.

    Raises:
        InvalidDefinitionError: naming what is refused.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        trees = [tree for tree in sqlglot.parse(sql, read="duckdb") if tree is not None]
    except SqlglotError as error:
        raise InvalidDefinitionError(f"{place}: {_first_line(error)}") from error
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise InvalidDefinitionError(f"{place} holds something else than one SELECT. Write one SELECT, WITH included.")
    changing, named = _CHANGING.split(), _CHANGING_NAMES.split()
    for node in trees[0].walk():
        if type(node).__name__ in changing or (_function_name(node) or "") in named:
            raise InvalidDefinitionError(
                f"{place}: {_said(node)} gives another result each time, so nothing made from it could be made again."
            )


def quoted(name: str) -> str:
    """A name as SQL quotes it.

    Example:
        >>> quoted("a b")
        '"a b"'
    """
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """A text as SQL quotes it.

    Example:
        >>> quoted_text("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def _check_allowed(node: exp.Expr, expression: str) -> None:
    from sqlglot import exp

    name = _function_name(node)
    if isinstance(node, exp.Column) and node.table:
        raise InvalidDefinitionError(f"{expression!r}: write {node.name!r} instead of {node.sql('duckdb')!r}.")
    if (name in _FUNCTIONS.split()) if name else _allowed(type(node).__name__):
        return
    what = (
        "an aggregate" if isinstance(node, exp.AggFunc) else "a subquery" if isinstance(node, exp.Query) else "refused"
    )
    raise InvalidDefinitionError(
        f"{expression!r}: {_said(node)} is {what}. A row expression reads the columns of one row, and gives the same value each time."
    )


def _said(node: exp.Expr) -> str:
    return _short(node.sql("duckdb"))


def _function_name(node: exp.Expr) -> str | None:
    """The name of a function that sqlglot has no class for."""
    from sqlglot import exp

    return node.name.lower() if isinstance(node, exp.Anonymous) else None


@cache
def _allowed(kind: str) -> bool:
    """Whether a kind of syntax is one that the samples consist of; functions are sampled only until it is found."""
    return kind in _forms() or any(kind in _calls(function) for function in _FUNCTIONS.split())


@cache
def _forms() -> frozenset[str]:
    return _kinds(parsed(form) for form in [*_FORMS.replace("\n", "|").split("|"), "a || b"] if form.strip())


@cache
def _calls(function: str) -> frozenset[str]:
    samples = (_try_parse(f"{function}({arguments})") for arguments in ("", "a", "'day', a", "a, b", "'day', a, b"))
    return _kinds(tree for tree in samples if tree is not None)


def _kinds(trees: Iterable[exp.Expr]) -> frozenset[str]:
    return frozenset(type(node).__name__ for tree in trees for node in tree.walk()) - {"Anonymous"}


def _try_parse(expression: str) -> exp.Expr | None:
    try:
        return parsed(expression)
    except InvalidDefinitionError:
        return None


def _constant(tree: exp.Expr) -> tuple[str, int] | None:
    from sqlglot import exp

    match tree:
        case exp.Paren():
            return _constant(tree.this)
        case exp.Column():
            return tree.name, 0
        case exp.Add() | exp.Sub():
            return _sum(tree)
        case _:
            return None


def _sum(tree: exp.Add | exp.Sub) -> tuple[str, int] | None:
    from sqlglot import exp

    base, added = tree.this, tree.expression
    if isinstance(base, exp.Interval) and isinstance(tree, exp.Add):
        base, added = added, base
    found, size = _constant(base), _interval(added)
    if found is None or size is None:
        return None
    return found[0], found[1] + (size if isinstance(tree, exp.Add) else -size)


def _interval(tree: exp.Expr) -> int | None:
    from sqlglot import exp

    if not isinstance(tree, exp.Interval) or not isinstance(tree.this, exp.Literal) or tree.unit is None:
        return None
    unit = _EXACT_UNITS.get(tree.unit.name.upper().removesuffix("S"))
    return micros(f"{tree.this.name}{unit}") if unit and tree.this.name.isdigit() else None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].replace("\x1b[4m", "").replace("\x1b[0m", "")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 80 else f"{flat[:77]}..."
