"""A model is its canonical bytes."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.canonical import canonical
from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.refs import ref_of
from sterling.models import CategoryTerm, Column, Constant, Linear, Model, NumberTerm, Predictor
from sterling.models.model import FORMAT

finite = st.floats(allow_nan=False, allow_infinity=False)
weights = st.floats(-1e6, 1e6)


@st.composite
def models(draw: st.DrawFn) -> Model:
    names = draw(st.lists(st.text(min_size=1, max_size=5).filter(_encodable), unique=True, max_size=4))
    columns, terms = [], list[NumberTerm | CategoryTerm]()
    for name in names:
        if draw(st.booleans()):
            categories = sorted(draw(st.sets(st.text(max_size=3).filter(_encodable), max_size=3)))
            columns.append(Column(name, "category", tuple(categories)))
            terms.append(CategoryTerm(tuple(draw(weights) for _ in categories), draw(weights)))
        else:
            columns.append(Column(name, "number"))
            scale = draw(st.floats(1e-6, 1e6))
            terms.append(NumberTerm(draw(finite), scale, draw(weights), draw(weights)))
    predictor: Predictor = Linear(draw(weights), tuple(terms))
    if draw(st.booleans()):
        predictor = Constant(draw(st.floats(0, 1)))
    return Model(tuple(columns), predictor)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


@given(models())
def test_reading_a_model_and_writing_it_gives_the_same_bytes(model: Model) -> None:
    data = model.to_bytes()
    again = Model.from_bytes(data)
    assert again == model
    assert again.to_bytes() == data
    assert model.ref == ref_of(data)


@given(models(), st.integers(0, 2**32 - 1))
def test_a_row_alone_gets_the_probability_that_it_gets_among_others_bit_for_bit(model: Model, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.column_stack([
        rng.integers(0, max(len(column.categories), 1), 9).astype(float) if column.categories else np.full(9, np.nan)
        if column.kind == "category" else rng.normal(0, 100, 9)
        for column in model.columns
    ]) if model.columns else np.empty((9, 0))  # fmt: skip
    together = Model.from_bytes(model.to_bytes()).predict(matrix)
    assert [model.predict(matrix[row : row + 1])[0] for row in range(9)] == together.tolist()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickle.dumps({"weights": [1.0]}), "looks like a pickle, which is never loaded"),
        (b"", "no model"),
        (b"{", "no model"),
        (canonical({"format": "other/1"}), "This version reads 'sterling.model/1'"),
        (canonical({"format": FORMAT, "columns": [], "predictor": {"type": "script"}}), "Known: calibrated, constant, constants, forest, joined, linear, number, prepared, shares, trees"),
        (canonical({"format": FORMAT, "columns": []}), "Known: calibrated, constant, constants, forest, joined, linear, number, prepared, shares, trees"),
        (canonical({"format": FORMAT, "columns": [], "predictor": {"type": "constant"}}), "not whole"),
        (canonical({"format": FORMAT, "columns": [{}], "predictor": {"type": "constant", "probability": 0}}), "not whole"),
        (
            json.dumps({"format": FORMAT, "predictor": {"type": "constant", "probability": 0}, "columns": []}).encode(),
            "canonical form",
        ),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_before_anything_runs(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Model.from_bytes(data)


def test_an_object_that_predicts_is_no_model() -> None:
    class Lucky:
        def predict(self, matrix: Any) -> Any:
            return matrix

    with pytest.raises(InvalidDefinitionError, match=r"Lucky is no predictor.*Trees\(booster.model_to_string\(\)\)"):
        Model((), Lucky())  # type: ignore[arg-type]


def test_terms_fit_their_columns() -> None:
    number = NumberTerm(0, 1, 1, 0)
    column, category = Column("x", "number"), Column("k", "category", ("a",))
    for columns, terms in (
        ((column,), ()),
        ((category,), (number,)),
        ((category,), (CategoryTerm((1.0, 2.0), 0),)),
        ((column, column), (number, number)),
    ):
        with pytest.raises(InvalidDefinitionError):
            Model(columns, Linear(0, terms))


@pytest.mark.parametrize("term", [NumberTerm(0, 0, 1, 0), NumberTerm(float("nan"), 1, 1, 0)])
def test_a_weight_is_finite_and_a_scale_is_above_zero(term: NumberTerm) -> None:
    with pytest.raises(InvalidDefinitionError):
        Linear(0, (term,))
