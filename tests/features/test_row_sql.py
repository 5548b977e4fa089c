"""Row expressions computed in Python are DuckDB's, bit by bit, or refused before anything runs."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.engine.duckdb import DuckDBEngine
from sterling.features.cells import fitting
from sterling.features.row_functions import FUNCTIONS, PARTS
from sterling.features.row_sql import RowSql, compiled, row_sql
from tests.features.row_expressions import TYPES, answers, expressions, rows

ENGINE = DuckDBEngine(1)
ROW: dict[str, Any] = {
    "i": 7, "j": -3, "k": 2, "x": 2.5, "y": -0.75, "m": Decimal("12.35"), "w": Decimal("-0.0050"), "s": " Ab,c ", "u": "b",
    "b": True, "c": False, "t": 1_362_898_800_000_000, "v": 1_362_899_000_500_000, "n": 1_383_442_200_000_000, "d": 15_399,
    "e": 11_016, "z": "America/New_York",
}  # fmt: skip
NULLS = dict.fromkeys(ROW)
CALLS = """
i + j | i - 1 | i * 2 | i // j | i % j | -i | k + 100 | j + 2147483647 | i / j | i / 0 | x / 0 | x + y | x % y | x // 1.0::DOUBLE | m + 1 | m - w
m * w | m * 1.5 | x * m | m / 2 | -m | i = x | m < x | x >= y | i <> j | s = u | b = c | t > v | d < t | n < d | i IS NULL | s IS NOT NULL
i IS DISTINCT FROM NULL | x IS NOT DISTINCT FROM y | b AND c | b OR c | NOT b | i BETWEEN 1 AND x | i IN (7, NULL) | s IN ('a', u)
s NOT IN ('a', NULL) | CASE WHEN b THEN 1 ELSE 2.5 END | CASE i WHEN 7 THEN 'a' END | if(c, x, i) | coalesce(NULL, i, 1) | ifnull(x, 0)
nullif(i, 7.0) | greatest(i, x, NULL) | least(m, 3) | abs(i) | abs(m) | abs(x) | ceil(x) | ceil(m) | ceil(i) | floor(y) | floor(w) | trunc(y)
trunc(m) | trunc(i) | round(x) | round(m) | round(m, 1) | round(i) | sign(w) | sign(y) | sign(i) | sqrt(i) | exp(x) | ln(m) | log(x) | sin(x) | cos(x)
tan(x) | power(x, 2) | x ** y | i ^ 2 | mod(i, 4) | pi() | isnan(x) | isfinite(x) | lower(s) | upper(s) | trim(s) | ltrim(s) | rtrim(s) | trim(s, ' c')
ltrim(s, u) | rtrim(s, u) | length(s) | substring(s, 2, 3) | substring(s, -2) | left(s, 2) | right(s, -1) | replace(s, u, '') | concat(s, i, m, b, NULL)
s || i | contains(s, u) | starts_with(s, u) | ends_with(s, ' ') | strpos(s, u) | split_part(s, ',', -1) | lpad(s, 9, u) | rpad(s, 2, u) | s LIKE '%b_'
s LIKE '_Ab%' | s ILIKE '%B%' | s NOT ILIKE u | year(t) | month(n) | day(d) | hour(t) | hour(d) | minute(n) | second(v) | quarter(t) | week(d)
weekofyear(t) | yearweek(n) | dayofweek(d) | isodow(t) | dayofyear(n) | date_part('doy', t) | extract(dow FROM n) | extract(millisecond FROM v)
extract(microseconds FROM v) | extract(isoyear FROM d) | date_part('weekday', d) | extract(hour FROM d) | date_part('seconds', t)
date_part('minutes', n) | date_part('hours', n) | date_part('milliseconds', v) | extract(microsecond FROM t)
dayname(d) | dayname(t) | dayname(n) | monthname(d) | monthname(n) | monthname(t) | last_day(d) | last_day(t) | last_day(n) | make_date(k, k, k)
epoch(d) | epoch(t) | epoch(n) | epoch(v - t) | epoch_us(d) | epoch_us(t) | epoch_us(n) | epoch_ms(d) | epoch_ms(v) | epoch_ms(n)
date_trunc('day', t) | date_trunc('week', d) | date_trunc('month', n) | date_trunc('quarter', t) | date_trunc('year', d) | date_trunc('second', v)
date_diff('day', d, e) | datediff('month', t, v) | date_diff('minute', n, n) | date_diff('quarter', e, d) | date_diff('year', d, t)
t AT TIME ZONE z | n AT TIME ZONE z | t AT TIME ZONE 'Asia/Kathmandu' | timezone('Europe/Berlin', n) | t + INTERVAL 1 MONTH | n - INTERVAL 2 WEEK
d + INTERVAL 1 DAY | INTERVAL 3 SECOND + t | d + 1 | d - j | d - e | t + to_microseconds(i) | t + to_milliseconds(i) | t - to_seconds(i)
t + to_minutes(j) | t + to_hours(k) | t + to_days(j) | d - to_weeks(k) | i::DOUBLE | x::BIGINT | TRY_CAST(x AS TINYINT) | m::INT | m::DOUBLE
i::DECIMAL(9,2) | m::DECIMAL(9,1) | b::INT | i::BOOLEAN | x::BOOLEAN | b::DOUBLE | i::VARCHAR | m::VARCHAR | b::VARCHAR | t::DATE | n::DATE | d::TIMESTAMP
d::TIMESTAMPTZ | t::TIMESTAMP | n::TIMESTAMPTZ | k::SMALLINT | TRY_CAST(i AS TINYINT) | w::BOOLEAN | DATE '2012-02-29' | TIMESTAMP '2012-02-29 01:02:03.5'
"""


def equal(mine: Any, theirs: Any) -> bool:
    """Whether two values are the same, the sign of a zero and the type included."""
    if isinstance(mine, float) and isinstance(theirs, float):
        return repr(mine) == repr(theirs) or (math.isnan(mine) and math.isnan(theirs))
    return type(mine) is type(theirs) and mine == theirs


def value_of(made: RowSql, row: Mapping[str, Any]) -> Any:
    try:
        return made.value(row)
    except DataError as error:
        return error


def differences(sqls: Sequence[str], cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """What of the expressions that are taken is not as DuckDB has it; where DuckDB fails on a row, nothing is asked."""
    taken = [(sql, made) for sql in sqls if (made := _made(sql)) is not None]
    found = []
    for (sql, made), answer in zip(
        taken, answers(ENGINE, [sql for sql, _ in taken], cells) if taken else [], strict=True
    ):
        if isinstance(answer, str):
            continue
        kind, theirs = answer
        if made.kind not in (kind, '"NULL"') and any(value is not None for value in theirs):
            found.append(f"{sql} is {kind}, not {made.kind}")
        for row, value in zip(cells, theirs, strict=True):
            mine = value_of(made, row)
            if not isinstance(value, DataError) and not equal(mine, value):
                found.append(f"{sql} of { {name: row[name] for name in made.columns} } is {value!r}, not {mine!r}")
    return found


def _made(sql: str) -> RowSql | None:
    try:
        return row_sql(sql, TYPES)
    except InvalidDefinitionError:
        return None


@settings(max_examples=60, deadline=None)
@given(st.lists(expressions(), min_size=8, max_size=8), st.lists(rows, min_size=6, max_size=6))
def test_random_expressions_over_random_rows_are_those_of_duckdb(sqls: list[str], cells: list[dict[str, Any]]) -> None:
    assert differences(sqls, cells) == []


@pytest.mark.slow
@settings(max_examples=400, deadline=None, phases=[Phase.generate])
@given(st.lists(expressions(depth=2), min_size=8, max_size=8), st.lists(rows, min_size=6, max_size=6))
def test_many_random_expressions_are_those_of_duckdb(sqls: list[str], cells: list[dict[str, Any]]) -> None:
    assert differences(sqls, cells) == []


@pytest.mark.parametrize(
    "sql",
    [
        *(f"{{}} {sign} NULL::INT" for sign in ("+", "-", "*", "//", "/", "%", "=", "<")), "NULL::INT + {}", "NULL::INT < {}",
        "abs({} + NULL::INT) + i", "mod({}, NULL::INT)", "{} + (NULL::BOOLEAN::INT + i)", "({} + NULL::INT)::DOUBLE * x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("failing", ["(j // j)", "(i + i)"])
def test_what_is_always_null_is_not_computed_where_it_would_fail(sql: str, failing: str) -> None:
    row = NULLS | {"i": 2**63 - 1, "j": 0, "x": 1.0, "z": "UTC"}
    assert differences([sql.format(failing)], [row]) == []
    assert value_of(row_sql(sql.format(failing), TYPES), row) is None


def test_what_lies_between_two_times_is_duckdbs_around_1970_too() -> None:
    edges = [
        day + edge
        for day in (-86_400_000_000, 0)
        for edge in (-1_500, -1_001, -1_000, -999, -1, 0, 1, 2, 500, 999, 1_000)
    ]
    cells = [NULLS | {"t": end, "v": start, "n": end} for end in edges for start in edges]
    assert differences(["epoch(t - v)", "epoch(v - t)", "epoch(n - TIMESTAMP '1970-01-01 00:00:00.0005')"], cells) == []


def test_every_call_on_every_type_is_duckdbs_and_fails_where_duckdb_fails() -> None:
    sqls = re.split(r" \| |\n", CALLS.strip())
    cells = [
        ROW,
        NULLS | {"z": "UTC"},
        ROW | {"x": -2.5, "i": 0, "b": None, "s": "", "m": Decimal("-12.35"), "t": -1, "v": -500, "d": -1},
    ]
    for sql, answer in zip(sqls, answers(ENGINE, sqls, cells), strict=True):
        if (made := _made(sql)) is None:
            assert sql == "x // 1.0::DOUBLE"
            continue
        assert not isinstance(answer, str), answer
        assert made.kind == answer[0], sql
        for row, theirs in zip(cells, answer[1], strict=True):
            mine = value_of(made, row)
            assert isinstance(mine, DataError) if isinstance(theirs, DataError) else equal(mine, theirs), (
                sql,
                row,
                theirs,
                mine,
            )


def test_every_function_that_is_taken_is_among_the_calls() -> None:
    operators = {"pow": "power(", "like": " LIKE ", "ilike": " ILIKE ", "dow": "(dow FROM"}
    forms = {name: (operators.get(name, f"{name}("), f"'{name}'", f"({name} FROM") for name in (*FUNCTIONS, *PARTS)}
    assert [name for name, said in forms.items() if not any(form in CALLS for form in said)] == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "round(x, 2)",
            "on DOUBLE, INTEGER is not computed outside of DuckDB, so it cannot be served. Write round",
        ),
        ("log(2, x)", "Write ln"),
        ("log2(x)", "Write ln"),
        ("regexp_matches(s, 'a+')", "Write LIKE"),
        ("strftime(t, '%Y')", "on TIMESTAMP WITH TIME ZONE, VARCHAR"),
        ("s::INT", "on VARCHAR"),
        ("x::VARCHAR", "on DOUBLE"),
        ("x::DECIMAL(9,2)", "on DOUBLE"),
        ("x // 2", r"on DOUBLE, INTEGER is not .* Write floor\(a / b\)"),
        ("m % 2", "on DECIMAL\\(9,2\\), INTEGER"),
        ("s = 1", "Cast both sides to one type"),
        ("time_bucket(INTERVAL 1 HOUR, t)", "on INTERVAL"),
        ("date_diff('week', d, e)", "What is computed: second"),
        ("99999999999999999999 + i", "Write it as a DOUBLE"),
        ("DATE '2012-02-29'::TIMESTAMP", "Put the inner one in parentheses"),
        ("t AT TIME ZONE 'Nowhere'", "There is no time zone 'Nowhere'"),
        ("speed + 1", "there is no column 'speed'"),
    ],
)
def test_what_is_not_computed_here_is_refused_by_name(sql: str, said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said):
        compiled(sql, TYPES)


def test_a_column_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(
        InvalidDefinitionError, match="The column 'a' is uint64, which is not computed outside of DuckDB"
    ):
        compiled("a + 1", {"a": "uint64"})


@pytest.mark.parametrize(
    "sql", ["i + 1", "i * 3", "-i", "abs(i)", "i // -1", "i % 0", "x::INT", "CAST(i AS TINYINT)", "t AT TIME ZONE z"]
)
def test_where_duckdb_would_refuse_the_query_the_row_is_refused(sql: str) -> None:
    edge = ROW | {"i": 2**63 - 1 if sql in ("i + 1", "i * 3") else -(2**63), "x": 1e10, "z": "Mars/Olympus"}
    answer = answers(ENGINE, [sql], [edge])[0]
    assert isinstance(answer, str)
    with pytest.raises(DataError):
        compiled(sql, TYPES)(edge)


FEATURES = [
    "i",
    "b",
    "m",
    "w",
    "x",
    "s",
    "m * w",
    "m * 1.5",
    "i > 3",
    "sqrt(y)",
    "k + j",
    "w * 100000000::BIGINT",
    "hour(t AT TIME ZONE z)",
]


@settings(max_examples=25, deadline=None)
@given(st.lists(rows, min_size=6, max_size=6))
def test_a_feature_is_what_a_model_was_trained_on(cells: list[dict[str, Any]]) -> None:
    for sql in FEATURES:
        made, answer = row_sql(sql, TYPES), answers(ENGINE, [sql], cells)[0]
        if isinstance(answer, str) or any(isinstance(value, DataError) for value in answer[1]):
            continue
        kind = {"DOUBLE": pa.float64(), "BOOLEAN": pa.bool_(), "VARCHAR": pa.string()}.get(answer[0], pa.int64())
        if match := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", answer[0]):
            kind = pa.decimal128(int(match[1]), int(match[2]))
        trained = fitting(pa.chunked_array([pa.array(answer[1], kind)]), sql).to_pylist()
        for row, theirs in zip(cells, trained, strict=True):
            expected = None if isinstance(theirs, float) and math.isnan(theirs) else theirs
            assert equal(made.feature(row), expected), (sql, row)


def test_a_float_of_32_bits_is_read_as_it_is_and_computed_with_beside_doubles() -> None:
    cells = pa.table({"f": pa.array([0.1, None, 16777217.0], pa.float32()), "x": [0.1, 1.0, 1.0]})
    found = ENGINE.query("SELECT f::DOUBLE AS a, f + x AS b, f > x AS c FROM own", {"own": cells}).to_pylist()
    for column, sql in (("a", "f"), ("b", "f + x"), ("c", "f > x")):
        mine = row_sql(sql, {"f": "float", "x": "double"}).value
        assert [mine(row) for row in cells.to_pylist()] == [row[column] for row in found]
    assert row_sql("f", {"f": "float"}).feature({"f": 0.5}) == 0.5


def test_an_infinite_feature_is_refused_and_nan_is_null() -> None:
    ratio = row_sql("x / y", TYPES).feature
    assert ratio(ROW | {"x": 0.0, "y": 0.0}) is None
    with pytest.raises(
        DataError, match=r"'x / y' is infinite. Make such values null, for example with nullif on a divisor."
    ):
        ratio(ROW | {"y": 0.0})


def test_a_time_is_no_feature() -> None:
    with pytest.raises(
        DataError, match=r"'t' is TIMESTAMP WITH TIME ZONE. A model reads numbers, texts and conditions."
    ):
        row_sql("t", TYPES).feature(ROW)


def test_zones_follow_the_same_rules_in_both() -> None:
    """All zones of the IANA from 1900 to 2100, in both directions; a mismatch means that `tzdata` and DuckDB are years apart."""
    dice, wrong = random.Random(4), []
    zones = sorted(available_timezones() - {"localtime"})
    times = [dice.randint(-2_208_988_800, 4_102_444_800) * 1_000_000 for _ in range(40)]
    there, back = compiled("t AT TIME ZONE z", TYPES), compiled("n AT TIME ZONE z", TYPES)
    cells = pa.table({"t": pa.array(times, pa.timestamp("us", "UTC")), "n": pa.array(times, pa.timestamp("us"))})
    for name in zones:
        sql = f"SELECT epoch_us(t AT TIME ZONE '{name}') AS a, epoch_us(n AT TIME ZONE '{name}') AS b FROM own"
        for at, found in zip(times, ENGINE.query(sql, {"own": cells}).to_pylist(), strict=True):
            row = {"t": at, "n": at, "z": name}
            if (there(row), back(row)) != (found["a"], found["b"]):
                wrong.append((name, at))
    assert wrong == []


def test_every_letter_has_the_case_that_duckdb_gives_it() -> None:
    letters = [chr(code) for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000]
    found = ENGINE.query(
        "SELECT upper(s) AS a, lower(s) AS b, trim(s) AS c FROM own", {"own": pa.table({"s": letters})}
    )
    for column, sql in (("a", "upper(s)"), ("b", "lower(s)"), ("c", "trim(s)")):
        mine = compiled(sql, TYPES)
        wrong = [
            (letter, theirs)
            for letter, theirs in zip(letters, found.column(column).to_pylist(), strict=True)
            if mine({"s": letter}) != theirs
        ]
        assert wrong == []


FUNCTIONS_OF_LIBM = ["exp(x)", "ln(x)", "log(x)", "sin(x)", "cos(x)", "tan(x)", "sqrt(x)", "power(x, y)", "x % y"]


@pytest.mark.parametrize("sql", FUNCTIONS_OF_LIBM)
def test_functions_of_the_c_library_agree_in_the_last_bit(sql: str) -> None:
    dice = random.Random(sql)
    cells = pa.table({name: [_double(dice) for _ in range(20_000)] for name in ("x", "y")})
    theirs = ENGINE.query(f"SELECT {sql} AS a FROM own", {"own": cells}).column("a").to_pylist()
    mine = compiled(sql, TYPES)
    assert [row for row, value in zip(cells.to_pylist(), theirs, strict=True) if not equal(mine(row), value)] == []


def _double(dice: random.Random) -> float:
    choice = dice.random()
    if choice < 0.5:
        return dice.uniform(-100, 100)
    return (
        math.ldexp(dice.uniform(-1, 1), dice.randint(-1070, 1020)) if choice < 0.9 else dice.randint(-1_000, 1_000) / 8
    )
