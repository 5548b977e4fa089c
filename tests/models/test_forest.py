"""Trees of other libraries as data answer as the libraries do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.models import Column, Forest, Model, TrainingRows, Tree
from sterling.models.frame import Frame
from sterling.models.training import fit
from sterling.project.definition import to_json
from sterling.project.recipe import Sklearn, XGBoost
from sterling.project.tasks import Regression
from tests.models.frames import DAY, frame


@pytest.fixture(scope="module")
def rows() -> TrainingRows:
    whole = Frame(frame(3_000))
    return whole.take(whole.known_before(45 * DAY)).training_rows(seed=7)


@pytest.fixture(scope="module")
def cancer() -> TrainingRows:
    data = load_breast_cancer()
    columns = tuple(Column(name, "number") for name in data.feature_names)
    return TrainingRows(columns, data.data.astype(float), data.target.astype(float), 0)


TREES = [
    DecisionTreeClassifier(max_depth=5),
    RandomForestClassifier(20, max_depth=6),
    ExtraTreesClassifier(20, max_depth=6),
    HistGradientBoostingClassifier(max_iter=20),
]


@pytest.mark.parametrize("estimator", TREES, ids=lambda e: type(e).__name__)
def test_trees_of_scikit_learn_answer_as_it_does_on_missing_values_too(rows: TrainingRows, estimator: Any) -> None:
    from sklearn.base import clone

    model = fit(Sklearn(estimator, "theirs"), rows)
    theirs = clone(estimator).set_params(random_state=7).fit(rows.matrix, rows.label)
    matrix = np.vstack([rows.matrix, np.full((1, 5), np.nan), np.full((1, 5), -1e30), np.full((1, 5), 1e30)])
    np.testing.assert_allclose(model.predict(matrix), theirs.predict_proba(matrix)[:, 1], atol=1e-12)
    data = model.to_bytes()
    again = Model.from_bytes(data)
    assert again.to_bytes() == data
    assert [again.predict(row[np.newaxis])[0] for row in matrix[-40:]] == model.predict(matrix)[-40:].tolist()


PIPELINES = [
    LogisticRegression(max_iter=1_000),
    GradientBoostingClassifier(n_estimators=20),
    make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=1_000)),
    make_pipeline(
        ColumnTransformer([
            ("numbers", make_pipeline(SimpleImputer(), MinMaxScaler()), ["distance", "wind", "seats"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["carrier", "dest"]),
        ]),
        GradientBoostingClassifier(n_estimators=10),
    ),
]  # fmt: skip


@pytest.mark.parametrize("estimator", PIPELINES, ids=lambda e: type(e).__name__)
def test_pipelines_become_data(rows: TrainingRows, estimator: Any) -> None:
    model = fit(Sklearn(estimator, "theirs"), rows)
    assert Model.from_bytes(model.to_bytes()) == model
    assert fit(Sklearn(estimator, "theirs"), rows).to_bytes() == model.to_bytes()
    assert 0.6 < _area(rows.label, model.predict(rows.matrix)) < 1
    assert model.predict_rows([{"distance": 900, "wind": None, "seats": 100, "carrier": "ZZ", "dest": None}])[0] > 0


def test_a_pipeline_answers_as_scikit_learn_does(cancer: TrainingRows) -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    ours = fit(Sklearn(pipeline, "theirs"), cancer).predict(cancer.matrix)
    np.testing.assert_allclose(
        ours, pipeline.fit(cancer.matrix, cancer.label).predict_proba(cancer.matrix)[:, 1], atol=1e-10
    )


@pytest.fixture(scope="module")
def diabetes() -> TrainingRows:
    data = load_diabetes()
    columns = tuple(Column(name, "number") for name in data.feature_names)
    return TrainingRows(columns, data.data.astype(float), data.target.astype(float), 0, Regression())


NUMBERS = [
    DecisionTreeRegressor(max_depth=4),
    RandomForestRegressor(10, max_depth=6),
    ExtraTreesRegressor(10, max_depth=6),
    GradientBoostingRegressor(n_estimators=20),
    GradientBoostingRegressor(n_estimators=20, loss="huber", init="zero"),
    HistGradientBoostingRegressor(max_iter=20, loss="absolute_error"),
]


@pytest.mark.parametrize("estimator", NUMBERS, ids=lambda e: type(e).__name__)
def test_trees_of_numbers_answer_as_scikit_learn_does_to_the_last_bit(diabetes: TrainingRows, estimator: Any) -> None:
    from sklearn.base import clone

    model = fit(Sklearn(estimator, "theirs"), diabetes)
    theirs = clone(estimator).set_params(random_state=0).fit(diabetes.matrix, diabetes.label)
    matrix = np.vstack([diabetes.matrix, np.full((1, 10), -1e30), np.full((1, 10), 1e30)])
    np.testing.assert_array_equal(model.predict(matrix), theirs.predict(matrix))
    assert model.predictor.answers == "number"
    assert Model.from_bytes(model.to_bytes()) == model


@pytest.mark.parametrize(
    "estimator",
    [LinearRegression(), Ridge(), Lasso(), ElasticNet(), make_pipeline(StandardScaler(), Ridge())],
    ids=lambda e: type(e).__name__,
)
def test_linear_regressions_are_sums_of_terms(diabetes: TrainingRows, estimator: Any) -> None:
    model = fit(Sklearn(estimator, "theirs"), diabetes)
    assert Model.from_bytes(model.to_bytes()) == model
    if type(estimator).__name__ == "Pipeline":
        theirs = estimator.fit(diabetes.matrix, diabetes.label).predict(diabetes.matrix)
        np.testing.assert_allclose(model.predict(diabetes.matrix), theirs, rtol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (
            DecisionTreeClassifier(),
            "DecisionTreeClassifier has no .* for this task. It answers another kind of question.",
        ),
        (HistGradientBoostingRegressor(loss="poisson"), "with the loss squared_error, absolute_error or quantile"),
        (GradientBoostingRegressor(init=LinearRegression()), "with init=None or init='zero'"),
    ],
)
def test_what_does_not_answer_with_a_number_is_refused(diabetes: TrainingRows, estimator: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit(Sklearn(estimator, "theirs"), diabetes)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (GaussianNB(), r"GaussianNB has no form that is data alone\. Known: DecisionTree.*What would work: .*ONNX"),
        (make_pipeline(PolynomialFeatures(), LogisticRegression()), "PolynomialFeatures is prepared by code"),
        (HistGradientBoostingClassifier(categorical_features=[3]), "without categorical_features"),
        (make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=-3)), "scikit-learn refuses the rows"),
        (ColumnTransformer([]), "ColumnTransformer has no form"),
    ],
)
def test_what_has_no_data_form_is_refused_with_what_would_work(rows: TrainingRows, estimator: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit(Sklearn(estimator, "theirs"), rows)


def test_an_estimator_is_part_of_the_definition_and_is_never_fitted_itself(rows: TrainingRows) -> None:
    estimator = make_pipeline(SimpleImputer(), DecisionTreeClassifier(max_depth=2))
    trainer = Sklearn(estimator, "tree")
    document = json.dumps(to_json(trainer), allow_nan=False)
    assert '"max_depth": 2' in document
    assert '"missing_values": "nan"' in document
    fit(trainer, rows)
    assert not hasattr(estimator.steps[1][1], "tree_")


def test_weights_reach_the_estimator(rows: TrainingRows) -> None:
    tree = DecisionTreeClassifier(max_depth=1)
    plain = fit(Sklearn(tree, "a"), rows).predict(rows.matrix)
    weighted = fit(Sklearn(tree, "a", weight="CASE WHEN carrier = 'UA' THEN 9 ELSE 1 END"), rows).predict(rows.matrix)
    assert not np.array_equal(plain, weighted)


def test_what_is_no_estimator_is_refused() -> None:
    with pytest.raises(InvalidDefinitionError, match="is no estimator of scikit-learn"):
        Sklearn(object(), "nothing")


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [((0, -1, -1), (2, -1, -1), "do not follow it"), ((1, -1), (2, -1, -1), "not of one length")],
)
def test_a_tree_that_leads_nowhere_is_refused(left: tuple[int, ...], right: tuple[int, ...], said: str) -> None:
    tree = Tree((0, 0, 0), (1.0, 0, 0), left, right, (True,) * 3, (0, 0.1, 0.9), (None,) * 3)
    with pytest.raises(InvalidDefinitionError, match=said):
        Forest((tree,), single=False, strict=True, base=0.0, link="mean")


XGBOOST = XGBoost(trees=30, learning_rate=0.2, min_child_weight=1)


@pytest.mark.slow
def test_xgboosts_log_odds_are_kept_bit_for_bit(rows: TrainingRows) -> None:
    model = fit(XGBOOST, rows)  # compares by itself, and refuses otherwise
    data = model.to_bytes()
    again = Model.from_bytes(data)
    assert again.to_bytes() == data == fit(XGBOOST, rows, threads=2).to_bytes()
    assert [again.predict(row[np.newaxis])[0] for row in rows.matrix[:40]] == model.predict(rows.matrix)[:40].tolist()
    assert 0.65 < _area(rows.label, model.predict(rows.matrix)) < 1
    assert isinstance(again.predictor, Forest)
    assert any(found for tree in again.predictor.trees for found in tree.sets)  # it splits by category


@pytest.mark.slow
def test_xgboosts_numbers_are_kept_bit_for_bit(diabetes: TrainingRows) -> None:
    model = fit(XGBOOST, diabetes)  # compares by itself, and refuses otherwise
    again = Model.from_bytes(model.to_bytes())
    assert again.to_bytes() == model.to_bytes()
    assert model.predictor.answers == "number"
    assert np.corrcoef(model.predict(diabetes.matrix), diabetes.label)[0, 1] > 0.8


@pytest.mark.slow
def test_xgboost_keeps_directions_and_weights(rows: TrainingRows) -> None:
    model = fit(XGBoost(trees=20, monotone={"wind": 1}, positive_weight="balanced"), rows)
    matrix = np.repeat(rows.matrix[:30], 11, axis=0)
    matrix[:, 1] = np.tile(np.linspace(-10, 30, 11), 30)
    assert (np.diff(model.predict(matrix).reshape(30, 11), axis=1) >= 0).all()
    assert model.predict(rows.matrix).mean() == pytest.approx(rows.label.mean(), abs=0.03)


def test_what_was_trained_by_others_is_answered_without_them(rows: TrainingRows, tmp_path: Any) -> None:
    path = tmp_path / "model.json"
    model = fit(Sklearn(RandomForestClassifier(5), "forest"), rows)
    path.write_bytes(model.to_bytes())
    program = (
        "import sys, pathlib, numpy as np; from sterling.models import Model;"
        f"model = Model.from_bytes(pathlib.Path({str(path)!r}).read_bytes());"
        "print(model.predict(np.full((1, 5), 3.0))[0].hex(), 'sklearn' in sys.modules, 'xgboost' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert said == [model.predict(np.full((1, 5), 3.0))[0].hex(), "False", "False"]


def _area(label: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, predicted))
