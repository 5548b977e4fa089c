"""Row expressions in DuckDB's SQL, compiled once into Python: the same value as DuckDB's, or refused by name.

A cell of a row is None where it is null, an `int` of microseconds since 1970 for a time, of days for a date, a `Decimal`
for a decimal. What would make DuckDB refuse a query, such as an overflow, is a `DataError` of the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from sterling.core.errors import DataError
from sterling.features import row_logic as logic
from sterling.features.row_compiler import Compiler
from sterling.features.row_types import (
    Run,
    Term,
)
from sterling.project.sql import columns_of, parsed

if TYPE_CHECKING:
    import pyarrow as pa


class RowSql(NamedTuple):
    """A compiled expression.

    Attributes:
        kind: Its type, as DuckDB says it.
        columns: What it reads.
        value: Its value for a row, as a cell: DuckDB's own.
        feature: Its value for a row as a model reads it: whole numbers and conditions as `int`, decimals as `float`, null
            for NaN. An infinity is a `DataError`.
    """

    kind: str
    columns: frozenset[str]
    value: Callable[[Mapping[str, Any]], Any]
    feature: Callable[[Mapping[str, Any]], int | float | str | None]


def compiled(sql: str, types: Mapping[str, str]) -> Callable[[Mapping[str, Any]], Any]:
    """The value of an expression for a row, as DuckDB gives it.

    Args:
        sql: Row expression in DuckDB's dialect.
        types: Types of the columns by name, as Arrow or DuckDB say them.

    Raises:
        InvalidDefinitionError: for what is not computed outside of DuckDB, naming it.

    Example:
        >>> per_hour = compiled("distance / nullif(air_time, 0)", {"distance": "int64", "air_time": "double"})
        >>> per_hour({"distance": 500, "air_time": 2.0}), per_hour({"distance": 500, "air_time": 0.0})
        (250.0, None)
    """
    return row_sql(sql, types).value


def row_sql(sql: str, types: Mapping[str, str]) -> RowSql:
    """An expression with its type, compiled; see `compiled`.

    Example:
        >>> made = row_sql("hour(departure AT TIME ZONE zone)", {"departure": "timestamp[us, tz=UTC]", "zone": "string"})
        >>> made.kind, made.feature({"departure": 1_357_034_400_000_000, "zone": "America/New_York"})
        ('BIGINT', 5)
    """
    columns = columns_of(sql)
    term = Compiler(sql, types).term(parsed(sql))
    return RowSql(str(term.kind), columns, _cell(term), _feature(term, sql))


def cells_of(column: pa.ChunkedArray) -> list[Any]:
    """The cells of an Arrow column as a row's cells: times as microseconds, dates as days."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    elif pa.types.is_date(column.type):
        column = column.cast(pa.date32()).cast(pa.int32())
    cells: list[Any] = column.to_pylist()
    return cells


def _cell(term: Term) -> Run:
    if term.kind.name != "decimal":
        return term.run
    run, scale = term.run, term.kind.scale

    def cell(row: Mapping[str, Any]) -> Decimal | None:
        value = run(row)
        return None if value is None else Decimal((value < 0, tuple(map(int, str(abs(value)))), -scale))

    return cell


def _feature(term: Term, sql: str) -> Run:
    """As a model reads it; what is no number, text or condition has no such reading."""
    run, name = term.run, term.kind.name
    if name in ("int", "text"):
        return run
    if name == "bool":
        return logic.strict(int, (run,))
    if name in ("double", "float"):
        return lambda row: _finite(run(row), sql)
    if name == "decimal":
        return logic.strict(_as_arrow(term.kind.scale), (run,))

    def refuse(_: Mapping[str, Any]) -> None:
        raise DataError(f"{sql!r} is {term.kind}. A model reads numbers, texts and conditions.")

    return refuse


def _finite(value: float | None, sql: str) -> float | None:
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        raise DataError(f"{sql!r} is infinite. Make such values null, for example with nullif on a divisor.")
    return value


def _as_arrow(scale: int) -> Callable[[int], float]:
    """A decimal as a double in the way that Arrow casts it, which is how features are kept."""
    unit, factor = 10**scale, float(f"1e-{scale}")

    def run(value: int) -> float:
        if abs(value) < 1 << 53:
            return value * factor
        whole, left = divmod(abs(value), unit)
        return math.copysign(whole + left * factor, value)

    return run
