from __future__ import annotations

import pytest

from sterling.core.errors import InvalidDefinitionError
from sterling.project.sql import check_columns, check_query, column_plus_constant, columns_of, normalized


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("hour(t AT TIME ZONE zone)", {"t", "zone"}),
        ("CASE WHEN a > 1 THEN b ELSE NULL END", {"a", "b"}),
        ("date_diff('minute', a, b)::DOUBLE / 60", {"a", "b"}),
        ('"a b" || c', {"a b", "c"}),
        ("coalesce(a, 0) NOT IN (1, 2) AND b BETWEEN 0 AND 5 OR c ILIKE 'x%'", {"a", "b", "c"}),
        ("1 + 1", set()),
    ],
)
def test_an_expression_reads_its_columns(expression: str, columns: set[str]) -> None:
    assert columns_of(expression) == columns


@pytest.mark.parametrize(
    ("expression", "refused"),
    [
        ("now()", r"NOW\(\) is refused"),
        ("current_date", "CURRENT_DATE is refused"),
        ("random() < 0.5", r"RANDOM\(\) is refused"),
        ("(SELECT 1)", "is a subquery"),
        ("a IN (SELECT 1)", "is a subquery"),
        ("sum(a)", r"SUM\(a\) is an aggregate"),
        ("row_number() OVER ()", "is refused"),
        ("read_csv('x')", "is refused"),
        ("getenv('HOME')", r"GETENV\('HOME'\) is refused"),
        ("t.a", "write 'a' instead of 't.a'"),
        ("a; DROP TABLE x", "no single SQL expression"),
        ("a +", "is no SQL expression"),
        ("a AS b", "a AS b is refused"),
    ],
)
def test_what_is_no_expression_of_one_row_is_refused_by_name(expression: str, refused: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=refused):
        columns_of(expression)


def test_a_misspelt_column_names_the_nearest() -> None:
    with pytest.raises(
        InvalidDefinitionError, match=r"Label: there is no column 'dlay' in 'dlay > 1'. Did you mean 'delay'\?"
    ):
        check_columns("dlay > 1", ["delay", "origin"], "Label")


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("t", ("t", 0)),
        ("t - INTERVAL 2 HOUR", ("t", -7_200_000_000)),
        ("(t + INTERVAL '3' DAY) - INTERVAL '2 hours'", ("t", 252_000_000_000)),
        ("INTERVAL 1 WEEK + t", ("t", 604_800_000_000)),
        ("t + INTERVAL 90 SECONDS", ("t", 90_000_000)),
        ("t - INTERVAL 1 MONTH", None),
        ("t + u", None),
        ("INTERVAL 1 DAY - t", None),
        ("hour(t)", None),
    ],
)
def test_a_column_plus_a_constant_is_recognized(expression: str, found: tuple[str, int] | None) -> None:
    assert column_plus_constant(expression) == found


def test_comments_and_layout_change_no_normal_form() -> None:
    assert normalized("SELECT a, 'it''s'\n  FROM t -- why") == normalized("/* how */ SELECT a ,'it''s' FROM t")
    assert normalized("SELECT 'a  b'") != normalized("SELECT 'a b'")


@pytest.mark.parametrize(
    "sql", ["SELECT 1; SELECT 2", "DROP TABLE x", "SELECT now()", "SELECT uuid()", "FROM t USING SAMPLE 10%"]
)
def test_a_query_is_one_select_that_can_be_repeated(sql: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=r"q\.sql"):
        check_query(sql, "q.sql")
    check_query("WITH a AS (SELECT 1 AS x) SELECT * FROM a;", "q.sql")
