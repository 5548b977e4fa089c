"""Trainers: the same bytes from the same rows, and predictions that are the library's own."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.models import Column, Constant, Linear, Model, NumberTerm, Predictor, TrainingRows, Trees
from sterling.models.frame import Frame
from sterling.models.lightgbm_library import Booster
from sterling.models.training import fit, kernel
from sterling.project.recipe import Custom, LightGBM, Logistic, Prior, Trainer
from tests.models.frames import DAY, frame

LIGHTGBM = LightGBM(trees=30, min_rows_per_leaf=20)


@pytest.fixture(scope="module")
def rows() -> TrainingRows:
    whole = Frame(frame(4_000))
    return whole.take(whole.known_before(45 * DAY)).training_rows(seed=7)


@pytest.mark.parametrize("trainer", [Prior(), Logistic(), LIGHTGBM])
def test_training_twice_gives_the_same_bytes(rows: TrainingRows, trainer: Trainer) -> None:
    assert fit(trainer, rows).to_bytes() == fit(trainer, rows).to_bytes()


def test_the_number_of_threads_changes_no_byte(rows: TrainingRows) -> None:
    assert fit(LIGHTGBM, rows, threads=1).to_bytes() == fit(LIGHTGBM, rows, threads=2).to_bytes()


def test_another_seed_gives_other_trees(rows: TrainingRows) -> None:
    other = TrainingRows(rows.columns, rows.matrix, rows.label, seed=8)
    assert fit(LIGHTGBM, rows).ref != fit(LIGHTGBM, other).ref


def test_the_prior_is_the_share_of_positives(rows: TrainingRows) -> None:
    assert fit(Prior(), rows).predictor == Constant(float(np.mean(rows.label)))


def test_trees_are_predicted_as_lightgbm_predicts_them_bit_for_bit(rows: TrainingRows) -> None:
    model = fit(LIGHTGBM, rows)
    assert isinstance(model.predictor, Trees)
    matrix = np.vstack([rows.matrix, np.full((1, 5), np.nan), np.full((1, 5), -1e300), np.full((1, 5), 1e300)])
    theirs = lgb.Booster(model_str=model.predictor.text).predict(matrix, num_threads=1)
    assert Model.from_bytes(model.to_bytes()).predict(matrix).tolist() == np.asarray(theirs).tolist()
    assert [model.predict(row[np.newaxis])[0] for row in matrix] == np.asarray(theirs).tolist()


def test_columns_of_any_memory_order_are_predicted_alike(rows: TrainingRows) -> None:
    model = fit(LIGHTGBM, rows)
    assert model.predict(np.asfortranarray(rows.matrix)).tolist() == model.predict(rows.matrix).tolist()


def test_the_block_that_says_how_trees_were_made_is_cut_off(rows: TrainingRows) -> None:
    model = fit(LIGHTGBM, rows)
    assert isinstance(model.predictor, Trees)
    assert "parameters" not in model.predictor.text
    assert "num_threads" not in model.predictor.text


def test_shares_of_gain_are_lightgbms_own(rows: TrainingRows) -> None:
    model = fit(LIGHTGBM, rows)
    assert isinstance(model.predictor, Trees)
    gains = lgb.Booster(model_str=model.predictor.text).feature_importance("gain")
    np.testing.assert_allclose(model.predictor.gain_shares(), gains / gains.sum(), rtol=1e-5)


def test_rows_without_a_split_have_no_gain() -> None:
    few = TrainingRows((Column("x", "number"),), np.zeros((10, 1)), np.array([0.0, 1.0] * 5), 0)
    model = fit(LightGBM(trees=1), few)
    assert isinstance(model.predictor, Trees)
    assert model.predictor.gain_shares() == (0.0,)


def test_logistic_answers_as_scikit_learn_does_on_the_same_design() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(3, 2, (500, 3))
    label = (rng.random(500) < 1 / (1 + np.exp(3 - matrix[:, 0]))).astype(float)
    columns = tuple(Column(name, "number") for name in "abc")
    ours = fit(Logistic(c=0.5), TrainingRows(columns, matrix, label, 0)).predict(matrix)
    design = StandardScaler().fit_transform(matrix)
    theirs = LogisticRegression(C=0.5, max_iter=1000).fit(design, label).predict_proba(design)[:, 1]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_logistic_learns_from_categories_and_from_what_is_missing() -> None:
    rng = np.random.default_rng(0)
    kind, number = rng.integers(0, 2, 2_000).astype(float), rng.normal(size=2_000)
    number[rng.random(2_000) < 0.3] = np.nan
    label = (rng.random(2_000) < 0.2 + 0.4 * kind + 0.3 * np.isnan(number)).astype(float)
    columns = (Column("kind", "category", ("a", "b")), Column("number", "number"), Column("empty", "number"))
    matrix = np.column_stack([kind, number, np.full(2_000, np.nan)])
    model = fit(Logistic(), TrainingRows(columns, matrix, label, 0))
    rows = [{"kind": k, "number": n, "empty": None} for k, n in (("a", 0.0), ("b", 0.0), ("a", None), ("b", None))]
    np.testing.assert_allclose(model.predict_rows(rows), [0.2, 0.6, 0.5, 0.9], atol=0.06)


def test_only_logistic_goes_through_blas() -> None:
    assert kernel(LIGHTGBM) is None
    assert "blas" in str(kernel(Logistic()))


def test_a_model_of_no_features_is_refused_unless_it_needs_none() -> None:
    rows = TrainingRows((), np.empty((4, 0)), np.array([0.0, 1.0, 0.0, 1.0]), 0)
    assert fit(Prior(), rows).predictor == Constant(0.5)
    for trainer in (Logistic(), LIGHTGBM):
        with pytest.raises(DataError, match="at least one feature"):
            fit(trainer, rows)


class ByDistance:
    """A project's own trainer: a linear model of one feature that it works out by hand."""

    def fit(self, rows: TrainingRows) -> Predictor:
        terms = [NumberTerm(1000, 300, float(name == "distance"), 0) for name in rows.names[:3]]
        return Linear(float(rows.label.mean()), tuple(terms))


class Stumps:
    """A project's own trainer on LightGBM, with parameters that the recipe does not have."""

    def fit(self, rows: TrainingRows) -> Predictor:
        data = lgb.Dataset(rows.matrix, rows.label, categorical_feature=list(rows.categorical))
        parameters = {"objective": "binary", "num_leaves": 2, "verbosity": -1, "num_threads": 1, "seed": rows.seed}
        return Trees(lgb.train(parameters, data, 5).model_to_string())


class Pickled:
    """A trainer that returns an object of code."""

    def fit(self, rows: TrainingRows) -> Any:
        return LogisticRegression()


def test_a_project_may_train_by_itself(rows: TrainingRows) -> None:
    numbers = TrainingRows(rows.columns[:3], rows.matrix[:, :3], rows.label, rows.seed)
    model = fit(Custom(ByDistance(), "by distance"), numbers)
    assert Model.from_bytes(model.to_bytes()) == model
    assert isinstance(fit(Custom(Stumps(), "stumps"), rows).predictor, Trees)


def test_what_a_projects_trainer_returns_is_data(rows: TrainingRows) -> None:
    with pytest.raises(
        InvalidDefinitionError, match=r"LogisticRegression is no predictor\. A model is data: return Constant"
    ):
        fit(Custom(Pickled(), "pickled"), rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "LightGBM's text format"),
        ("tree\nversion=v4\nobjective=poisson\n", "objective='binary', 'multiclass'"),
    ],
)
def test_trees_are_lightgbms_and_give_probabilities(text: str, said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said):
        Trees(text)


def test_a_text_that_lightgbm_cannot_read_is_refused() -> None:
    with pytest.raises(DataError, match="LightGBM: "):
        Booster("tree\nversion=v4\nnum_class=1\n")
