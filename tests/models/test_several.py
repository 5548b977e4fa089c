"""Models that answer with several numbers a row."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pytest

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.models import Column, Constant, Linear, Model, NumberTerm, Trees
from sterling.models.answers import outputs_of_table, scores_of, with_scores
from sterling.models.predictors import Number, Predictor
from sterling.models.several import Constants, Joined

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(300, 2))
LABEL = (MATRIX.sum(axis=1) > -0.5).astype(int) + (MATRIX[:, 0] > 0.5)
COLUMNS = (Column("x", "number"), Column("y", "number"))
OUTPUTS = ("a", "b", "c")


def booster(objective: str, **more: object) -> lgb.Booster:
    parameters = {"objective": objective, "verbosity": -1, "num_leaves": 5, "deterministic": True, **more}
    return lgb.train(parameters, lgb.Dataset(MATRIX, LABEL), 5)


def line(weight: float) -> Linear:
    return Linear(0.1, (NumberTerm(0, 1, weight, 0.5), NumberTerm(0, 2, -weight, 0.0)), "number")


def forms() -> list[Predictor]:
    return [
        Constants((0.2, 0.3, 0.5)),
        Constants((1.0, 1.0, 7.0), "numbers"),
        Joined((line(1.0), line(-0.5), line(0.0)), "softmax"),
        Joined((line(1.0), line(-0.5), line(0.0)), "sorted"),
        Joined((Constant(0.5), Constant(0.25), Constant(0.25)), "shares"),
        Trees(booster("multiclass", num_class=3).model_to_string()),
        Joined(tuple(Trees(booster("quantile", alpha=a).model_to_string()) for a in (0.1, 0.5, 0.9)), "sorted"),
    ]


@pytest.mark.parametrize("predictor", forms(), ids=lambda one: type(one).__name__)
def test_a_model_of_several_outputs_is_its_bytes_and_answers_a_row_alone_as_among_others(predictor: Predictor) -> None:
    model = Model(COLUMNS, predictor, OUTPUTS)
    again = Model.from_bytes(model.to_bytes())
    assert again.outputs == OUTPUTS
    together = model.predict(MATRIX)
    assert together.shape == (300, 3)
    assert np.array_equal(together, again.predict(MATRIX))
    assert np.array_equal(together[:40], np.concatenate([again.predict(row[np.newaxis]) for row in MATRIX[:40]]))
    assert (np.diff(together) >= 0).all() or np.allclose(together.sum(axis=1), 1)


def test_trees_of_classes_answer_what_lightgbm_answers_bit_for_bit() -> None:
    trained = booster("multiclass", num_class=3)
    trees = Trees(trained.model_to_string())
    assert trees.answers == "probabilities"
    assert np.array_equal(trees.predict(MATRIX), trained.predict(MATRIX))
    shares = trees.contributions(MATRIX).reshape(300, 3, 3).sum(axis=2)
    assert np.allclose(shares, trained.predict(MATRIX, raw_score=True))


def test_a_model_names_as_many_outputs_as_its_predictor_has() -> None:
    with pytest.raises(InvalidDefinitionError, match="has 3 outputs with names of their own, not 2"):
        Model((), Constants((0.2, 0.3, 0.5)), ("a", "b"))
    with pytest.raises(InvalidDefinitionError, match="have names, each another"):
        Model((), Constants((0.5, 0.5)), ("a", "a"))
    with pytest.raises(InvalidDefinitionError, match="has 0 outputs"):
        Model((), Constant(0.5), ("a",))


def test_what_is_no_answer_of_its_kind_is_refused() -> None:
    with pytest.raises(InvalidDefinitionError, match="no probabilities that sum to 1"):
        Constants((0.2, 0.3))
    with pytest.raises(InvalidDefinitionError, match="which fall"):
        Constants((2.0, 1.0), "numbers")
    with pytest.raises(InvalidDefinitionError, match="'softmax' joins two predictors or more"):
        Joined((Constant(0.5), Number(1.0)), "softmax")
    with pytest.raises(DataError, match=r"The model answers \[0.5, 0.25\]"):
        Model((), Joined((Constant(0.5), Constant(0.25)), "shares"), ("a", "b")).predict(np.zeros((1, 0)))


def test_a_table_of_predictions_has_a_column_for_each_output() -> None:
    table = pa.table({"unit": ["u", "v"]})
    several = with_scores(table, np.array([[0.25, 0.75], [1.0, 0.0]]), ("a:b", "c"))
    assert several.column_names == ["unit", "score:a:b", "score:c"]
    assert outputs_of_table(several) == ("a:b", "c")
    assert scores_of(several).tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert scores_of(with_scores(table, np.array([0.5, 1.0]), ())).tolist() == [0.5, 1.0]
    with pytest.raises(DataError, match="no column 'score'"):
        scores_of(table)
