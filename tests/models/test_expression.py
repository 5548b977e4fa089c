"""Expressions over features say what DuckDB says."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.models import Column, Constant, Model, Shares, TrainingRows
from sterling.models.columns import encode_rows
from sterling.models.expression import compiled, computed
from sterling.models.training import fit
from sterling.project.recipe import Prior, Rule

COLUMNS = (Column("a", "number"), Column("b", "number"), Column("c", "category", ("x", "y")))
EXPRESSIONS = [
    "a > 1 AND b < 2", "a > 1 OR b < 2", "NOT (a = b)", "a <> b", "a + b * 2 - 1", "a / nullif_b", "-a", "abs(a - b)",
    "c = 'x'", "c <> 'x'", "c IN ('x', 'z')", "c IS NULL OR a IS NOT NULL", "c = 'z'", "a IN (1, 2)", "a NOT IN (1, 2)",
    "a BETWEEN 0 AND 2", "CASE WHEN a > 1 THEN 2 WHEN b > 1 THEN 1 ELSE 0 END", "CASE WHEN c = 'x' THEN a END",
    "coalesce(a, b, 0)", "TRUE", "NULL", "a >= 1 AND (b <= 1 OR c = 'y')",
]  # fmt: skip
numbers = st.none() | st.sampled_from([-1.0, 0.0, 1.0, 1.5, 2.0]) | st.floats(-1e6, 1e6)
rows = st.lists(st.fixed_dictionaries({"a": numbers, "b": numbers, "c": st.sampled_from([None, "x", "y"])}), min_size=1)


@settings(max_examples=40, deadline=None)
@given(rows, st.sampled_from(EXPRESSIONS))
def test_an_expression_says_of_rows_what_duckdb_says(rows: list[dict[str, object]], sql: str) -> None:
    sql = sql.replace("nullif_b", "b")
    ours = computed(compiled(sql, COLUMNS, place="Rule"), encode_rows(COLUMNS, rows))
    values = ", ".join(f"({_sql(row['a'])}, {_sql(row['b'])}, {_sql(row['c'])})" for row in rows)
    divided = sql.replace("a / b", "CASE WHEN b <> 0 THEN a / b END")
    query = f"SELECT CAST(({divided}) AS DOUBLE) FROM (SELECT a::DOUBLE a, b::DOUBLE b, c::TEXT c FROM (VALUES {values}) t(a, b, c))"
    found = duckdb.sql(query)
    assert found is not None
    theirs = [np.nan if value is None else value for (value,) in found.fetchall()]
    np.testing.assert_array_equal(ours, theirs)


def _sql(value: object) -> str:
    return "NULL" if value is None else repr(value)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("d > 1", "'d' is no feature"),
        ("c > 'x'", "the order of texts"),
        ("c = a", "something else than a text"),
        ("sqrt(a) > 1", "'SQRT\\(a\\)' in 'sqrt\\(a\\) > 1' is not computed on features"),
        ("CASE WHEN a > 1 THEN c END", "the text 'c' outside of a comparison"),
        ("a = 'x'", "the text 'x' outside"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(sql: str, said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said):
        compiled(sql, COLUMNS, place="Rule.sql")


def training(count: int = 400) -> TrainingRows:
    rng = np.random.default_rng(0)
    a = np.where(rng.random(count) < 0.1, np.nan, rng.normal(size=count))
    matrix = np.column_stack([a, rng.normal(size=count), rng.integers(0, 2, count)])
    return TrainingRows(COLUMNS, matrix, (rng.random(count) < np.where(a > 0, 0.8, 0.1)).astype(float), 0)


def test_a_rule_gives_each_answer_the_share_that_training_saw() -> None:
    rows = training()
    model = fit(Rule("a > 0"), rows)
    a, y = rows.matrix[:, 0], rows.label
    wanted = [y[a > 0].mean(), y[a <= 0].mean(), y[np.isnan(a)].mean()]
    assert model.predict_rows([{"a": value, "b": 0, "c": None} for value in (1, -1, None)]).tolist() == wanted
    assert Model.from_bytes(model.to_bytes()).to_bytes() == model.to_bytes()


def test_an_answer_that_training_never_saw_gets_the_share_of_all_rows() -> None:
    rule = fit(Rule("CASE WHEN a > 0 THEN 1 WHEN a <= 0 THEN 0 ELSE 2 END"), training())
    assert isinstance(rule.predictor, Shares)
    assert rule.predictor.cases == (0.0, 1.0, 2.0)
    assert rule.predictor.otherwise == pytest.approx(training().label.mean())


def test_a_rule_of_too_many_answers_is_refused_with_what_would_work() -> None:
    with pytest.raises(DataError, match=r"358 different answers in training.*CASE WHEN"):
        fit(Rule("a"), training(400))


def test_a_rule_that_is_always_null_is_refused() -> None:
    with pytest.raises(DataError, match="null in every training row"):
        fit(Rule("NULL"), training())


def test_a_rule_is_no_constant_in_disguise() -> None:
    assert isinstance(fit(Prior(), training()).predictor, Constant)
