"""Random row expressions and rows, and what DuckDB makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from sterling.core.errors import DataError
from sterling.engine.duckdb import DuckDBEngine
from sterling.features.row_times import days_of

SCHEMA = pa.schema(
    [
        ("i", pa.int64()), ("j", pa.int32()), ("k", pa.int8()), ("x", pa.float64()), ("y", pa.float64()),
        ("m", pa.decimal128(9, 2)), ("w", pa.decimal128(18, 4)), ("s", pa.string()), ("u", pa.string()), ("b", pa.bool_()),
        ("c", pa.bool_()), ("t", pa.timestamp("us", "UTC")), ("v", pa.timestamp("us", "UTC")), ("n", pa.timestamp("us")),
        ("d", pa.date32()), ("e", pa.date32()), ("z", pa.string()),
    ]
)  # fmt: skip
TYPES = {field.name: str(field.type) for field in SCHEMA}
ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Sao_Paulo",
]
_MOMENTS = [
    datetime(2013, 3, 10, 6, 59, 59, 999_999, UTC), datetime(2013, 3, 10, 7, 30, tzinfo=UTC), datetime(2013, 3, 10, 2, 30, tzinfo=UTC),
    datetime(2013, 11, 3, 5, 30, tzinfo=UTC), datetime(2013, 11, 3, 1, 30, tzinfo=UTC), datetime(2013, 11, 3, 6, 30, tzinfo=UTC),
    datetime(2013, 3, 31, 1, tzinfo=UTC), datetime(2013, 3, 31, 2, 30, tzinfo=UTC), datetime(2013, 10, 27, 2, 30, tzinfo=UTC),
    datetime(2012, 2, 29, 12, tzinfo=UTC), datetime(2000, 2, 29, tzinfo=UTC), datetime(2011, 12, 30, 12, tzinfo=UTC),
    datetime(2020, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1900, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC),
]  # fmt: skip


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    found = at.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (found.days * 86_400 + found.seconds) * 1_000_000 + found.microseconds


def _ints(bits: int) -> st.SearchStrategy[int]:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return st.sampled_from([0, 1, -1, 2, 3, 10, high, low, high - 1]) | st.integers(-100, 100) | st.integers(low, high)


_times = st.sampled_from([micros(at) for at in _MOMENTS]) | st.integers(-2_208_988_800_000_000, 4_102_444_800_000_000)
_days = st.sampled_from([days_of(at.date()) for at in _MOMENTS]) | st.integers(-25_567, 47_482)
_doubles = (
    st.sampled_from([0.0, -0.0, 0.5, 1.5, 2.5, -0.5, 1e300, -1e300, 5e-324, 2.0**53, 0.1, float(2**63), 2147483647.5])
    | st.floats(-1e6, 1e6, allow_nan=False)
    | st.floats(allow_nan=False, allow_infinity=False)
)
_texts = st.sampled_from(
    ["", "a", "abc", "ABC", " a ", "a%c", "a_c", "ß", "İ", "ΑΣ", "é", "a,b,c", ",", "\ta\n", "👩‍👧"]
) | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
_CELLS: dict[str, st.SearchStrategy[Any]] = {
    "i": _ints(64), "j": _ints(32), "k": _ints(8), "x": _doubles, "y": _doubles,
    "m": st.integers(-(10**9) + 1, 10**9 - 1).map(lambda n: Decimal(n).scaleb(-2)) | st.integers(-5, 5).map(Decimal),
    "w": st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n: Decimal(n).scaleb(-4)) | st.sampled_from([Decimal("0.0050"), Decimal("-1.5")]),
    "s": _texts, "u": _texts, "b": st.booleans(), "c": st.booleans(), "t": _times, "v": _times, "n": _times, "d": _days, "e": _days,
    "z": st.sampled_from(ZONES),
}  # fmt: skip
rows = st.fixed_dictionaries({name: st.none() | cells if name != "z" else cells for name, cells in _CELLS.items()})


@st.composite
def expressions(draw: st.DrawFn, kind: str = "any", depth: int = 3) -> str:
    """A random expression; one of any kind that leaves the engine."""
    if kind == "any":
        kind = draw(st.sampled_from(["int", "double", "decimal", "number", "text", "bool", "time", "local", "date"]))
    if kind == "number":
        kind = draw(st.sampled_from(["int", "double", "decimal"]))
    form = draw(st.sampled_from(_LEAVES[kind] if depth == 0 else _FORMS[kind] + _LEAVES[kind][:2]))
    return _filled(draw, form, depth)


def _filled(draw: st.DrawFn, form: str, depth: int) -> str:
    """A form with an expression in place of each {kind}."""
    said, rest = "", form
    while "{" in rest:
        before, _, rest = rest.partition("{")
        hole, _, rest = rest.partition("}")
        said += before + draw(expressions(hole, max(depth - 1, 0)))
    return said + rest


_SHARED = [
    "CASE WHEN {bool} THEN {K} ELSE {K} END", "CASE WHEN {bool} THEN {K} WHEN {bool} THEN {K} END", "coalesce({K}, {K})", "if({bool}, {K}, {K})",
    "nullif({K}, {K})", "greatest({K}, {K})", "least({K}, {K}, {K})", "ifnull({K}, {K})",
]  # fmt: skip
_LEAVES = {
    "int": ["i", "j", "k", "0", "1", "-1", "7", "1000", "10000000000"],
    "double": ["x", "y", "0.5::DOUBLE", "1e3", "0::DOUBLE"],
    "decimal": ["m", "w", "1.5", "0.25", "100.0"],
    "text": ["s", "u", "'a'", "''", "'ab,c'", "z"],
    "bool": ["b", "c", "TRUE", "NULL::BOOLEAN"],
    "time": ["t", "v", "(TIMESTAMPTZ '2013-03-10 07:00:00')"],
    "local": ["n", "(TIMESTAMP '2013-11-03 01:30:00')"],
    "date": ["d", "e", "(DATE '2012-02-29')"],
}
_FORMS = {
    "int": [
        "({int} + {int})", "({int} - {int})", "({int} * {int})", "({int} // {int})", "({int} % {int})", "mod({int}, {int})", "abs({int})", "sign({number})",
        "(- {int})", "trunc({int})", "round({int})", "length({text})", "strpos({text}, {text})", "{bool}::INT", "CAST({double} AS BIGINT)",
        "TRY_CAST({double} AS INTEGER)", "CAST({decimal} AS BIGINT)", "TRY_CAST({int} AS TINYINT)", "TRY_CAST({decimal} AS SMALLINT)",
        "hour({time} AT TIME ZONE z)", "hour({time} AT TIME ZONE 'Europe/Berlin')", "minute({time})", "second({local})", "year({date})", "month({time})",
        "day({local})", "quarter({date})", "week({date})", "yearweek({time})", "dayofweek({date})", "isodow({local})", "dayofyear({time})",
        "extract(hour FROM {local})", "date_part('dow', {time})", "extract(millisecond FROM {local})",
        "extract(microsecond FROM {time})", "date_diff('day', {time}, {time})", "datediff('month', {date}, {date})", "date_diff('hour', {local}, {local})",
        "date_diff('quarter', {time}, {time})", "date_diff('year', {time}, {time})", "date_diff('second', {local}, {local})", "epoch_us({time})",
        "epoch_ms({local})", "({date} - {date})", "date_diff('minute', {date}, {date})", *[form.replace("K", "int") for form in _SHARED],
    ],
    "double": [
        "({double} + {double})", "({double} - {number})", "({double} * {number})", "({number} / {number})", "({double} % {double})", "abs({double})",
        "ceil({double})", "floor({double})", "trunc({double})", "round({double})", "sqrt({number})", "exp({double})", "ln({number})", "log({double})",
        "power({double}, {number})", "({number} ** {number})", "sin({double})", "cos({double})", "tan({double})", "(- {double})", "{int}::DOUBLE",
        "CAST({decimal} AS DOUBLE)", "epoch({time})", "epoch({local})", "epoch({date})", "epoch({time} - {time})", "floor({int})", "{bool}::DOUBLE",
        "greatest({double}, {number})", "least({number}, {double})", "coalesce({double}, {int})", *[form.replace("K", "double") for form in _SHARED],
    ],
    "decimal": [
        "({decimal} + {decimal})", "({decimal} - {int})", "({decimal} * {decimal})", "({int} * {decimal})", "abs({decimal})", "(- {decimal})", "ceil({decimal})",
        "floor({decimal})", "trunc({decimal})", "round({decimal})", "round({decimal}, 1)", "CAST({decimal} AS DECIMAL(12,1))", "TRY_CAST({int} AS DECIMAL(9,3))",
        "coalesce({decimal}, {int})", *[form.replace("K", "decimal") for form in _SHARED],
    ],
    "text": [
        "lower({text})", "upper({text})", "trim({text})", "ltrim({text})", "rtrim({text}, {text})", "trim({text}, 'a')", "left({text}, {int})", "right({text}, {int})",
        "substring({text}, {int}, {int})", "substring({text}, {int})", "replace({text}, {text}, {text})", "({text} || {text})", "concat({text}, {int}, {bool})",
        "concat({text}, {decimal})", "split_part({text}, {text}, {int})", "lpad({text}, 5, {text})", "rpad({text}, 3, {text})", "{int}::VARCHAR", "{bool}::VARCHAR",
        "CAST({decimal} AS VARCHAR)", "dayname({date})", "monthname({time})", *[form.replace("K", "text") for form in _SHARED],
    ],
    "bool": [
        *(f"({{{kind}}} {sign} {{{kind}}})" for kind in ("number", "number", "text", "bool", "time", "local", "date") for sign in ("=", "<>", "<", "<=", ">", ">=")),
        "({bool} AND {bool})", "({bool} OR {bool})", "(NOT {bool})", "({double} IS NULL)", "({text} IS NOT NULL)", "({number} IS DISTINCT FROM {number})",
        "({text} IS NOT DISTINCT FROM {text})", "({double} IS NOT DISTINCT FROM {double})", "({number} BETWEEN {number} AND {number})",
        "({date} NOT BETWEEN {date} AND {date})", "({int} IN (1, {int}, 3))", "({text} IN ('a', 'b', NULL))", "({text} NOT IN ({text}, 'a'))",
        "({double} IN ({double}, {int}))", "({text} LIKE {text})", "({text} LIKE 'a%')", "({text} NOT LIKE '_b%')", "({text} ILIKE {text})", "({text} ILIKE '%A_')",
        "contains({text}, {text})", "starts_with({text}, {text})", "ends_with({text}, {text})", "isnan({double})", "isfinite({double})", "{int}::BOOLEAN",
        "{double}::BOOLEAN", "({time} > {date})", "({local} < {date})", *[form.replace("K", "bool") for form in _SHARED],
    ],
    "time": [
        "({time} + INTERVAL 2 HOUR)", "({time} - INTERVAL 1 MONTH)", "({time} + to_minutes(k))", "date_trunc('day', {time})", "date_trunc('week', {time})",
        "date_trunc('quarter', {time})", "({local} AT TIME ZONE z)", "({local} AT TIME ZONE 'America/New_York')", *[form.replace("K", "time") for form in _SHARED],
    ],
    "local": [
        "({time} AT TIME ZONE z)", "({time} AT TIME ZONE 'Australia/Lord_Howe')", "({local} + INTERVAL 3 DAY)", "({date} + INTERVAL 1 YEAR)", "date_trunc('hour', {local})",
        "date_trunc('month', {date})", "{date}::TIMESTAMP", "timezone('Europe/Berlin', {time})", *[form.replace("K", "local") for form in _SHARED],
    ],
    "date": ["CAST({time} AS DATE)", "{local}::DATE", "last_day({date})", "({date} + 3)", "({date} - 40)", "make_date(2012, 2, 28)", *[form.replace("K", "date") for form in _SHARED]],
}  # fmt: skip


def table(cells: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as DuckDB reads them."""
    return pa.table(
        {field.name: pa.array([row[field.name] for row in cells], field.type) for field in SCHEMA}
        | {"_row": range(len(cells))}
    )


def answers(
    engine: DuckDBEngine, sqls: Sequence[str], cells: Sequence[Mapping[str, Any]]
) -> list[tuple[str, list[Any]] | str]:
    """DuckDB's type and values of each expression, or what it says against it; of values an error where a row has one."""
    try:
        found = engine.query(_select(sqls), {"own": table(cells)})
        return [(_type(found, number), _plain(found.column(f"e{number}"))) for number in range(len(sqls))]
    except DataError as error:
        if len(sqls) > 1:
            return [answer for sql in sqls for answer in answers(engine, [sql], cells)]
        if len(cells) == 1:
            return [str(error)]
    each = [answers(engine, sqls, [row])[0] for row in cells]
    kinds = [answer[0] for answer in each if not isinstance(answer, str)]
    if not kinds:
        return [each[0]]
    return [(kinds[0], [DataError(one) if isinstance(one, str) else one[1][0] for one in each])]


def _select(sqls: Sequence[str]) -> str:
    columns = ", ".join(f"({sql}) AS e{number}, typeof({sql}) AS t{number}" for number, sql in enumerate(sqls))
    return f"SELECT {columns} FROM own ORDER BY _row"


def _type(found: pa.Table, number: int) -> str:
    return str(found.column(f"t{number}")[0].as_py())


def _plain(cells: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(cells.type):
        cells = cells.cast(pa.int64())
    if pa.types.is_date(cells.type):
        cells = cells.cast(pa.int32())
    found: list[Any] = cells.to_pylist()
    return found


__all__ = ["SCHEMA", "TYPES", "ZONES", "answers", "date", "expressions", "rows", "table"]
