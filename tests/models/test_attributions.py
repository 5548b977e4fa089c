"""Attributions sum to what the model says, and are the Shapley values that they are said to be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from sterling.core.errors import DataError
from sterling.models import CategoryTerm, Column, Constant, Linear, Model, NumberTerm, Trees
from sterling.models.attributions import attributions


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    data = load_breast_cancer()
    x = data.data[:, :5].copy()
    x[::7, 2] = np.nan
    parameters = {
        "objective": "binary",
        "verbosity": -1,
        "num_leaves": 8,
        "num_threads": 1,
        "min_data_in_leaf": 10,
        "seed": 1,
    }
    return lgb.train(parameters, lgb.Dataset(x, data.target), 6)


@pytest.fixture(scope="module")
def model(booster: lgb.Booster) -> Model:
    return Model(tuple(Column(f"x{k}", "number") for k in range(5)), Trees(booster.model_to_string()))


@pytest.fixture(scope="module")
def rows() -> Any:
    x = load_breast_cancer().data[:40, :5].copy()
    x[::7, 2] = np.nan
    return x


def test_attributions_of_trees_sum_to_the_log_odds(model: Model, rows: Any) -> None:
    found, p = attributions(model, rows), model.predict(rows)
    np.testing.assert_allclose(found.total, np.log(p / (1 - p)), atol=1e-10)


def test_attributions_of_trees_are_those_of_lightgbm(model: Model, booster: lgb.Booster, rows: Any) -> None:
    found, theirs = attributions(model, rows), np.asarray(booster.predict(rows, pred_contrib=True))
    np.testing.assert_array_equal(found.values, theirs[:, :-1])
    assert found.base == theirs[0, -1]


def test_attributions_of_trees_are_shapley_values_of_the_path_dependent_game(
    model: Model, booster: lgb.Booster, rows: Any
) -> None:
    """By hand over all 2^5 sets of features: a feature that is left out is averaged over by the rows of each node."""
    trees = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
    found = attributions(model, rows[:6]).values
    for row, values in zip(rows[:6], found, strict=True):
        game = {known: sum(_expected(tree, row, known) for tree in trees) for known in _subsets(5)}
        np.testing.assert_allclose(values, [_shapley(game, feature, 5) for feature in range(5)], atol=1e-8)


def _subsets(count: int) -> list[frozenset[int]]:
    return [frozenset(some) for size in range(count + 1) for some in itertools.combinations(range(count), size)]


def _shapley(game: Mapping[frozenset[int], float], feature: int, count: int) -> float:
    total = 0.0
    for known in game:
        if feature not in known:
            weight = math.factorial(len(known)) * math.factorial(count - len(known) - 1) / math.factorial(count)
            total += weight * (game[known | {feature}] - game[known])
    return total


def _expected(node: Mapping[str, Any], row: Any, known: frozenset[int]) -> float:
    if "leaf_value" in node:
        return float(node["leaf_value"])
    left, right = node["left_child"], node["right_child"]
    if node["split_feature"] in known:
        value = row[node["split_feature"]]
        goes_left = node["default_left"] if np.isnan(value) else value <= node["threshold"]
        if np.isnan(value) and node["missing_type"] == "None":
            goes_left = node["threshold"] >= 0
        return _expected(left if goes_left else right, row, known)
    sizes = [child.get("leaf_count", child.get("internal_count")) for child in (left, right)]
    parts = [_expected(child, row, known) * size for child, size in zip((left, right), sizes, strict=True)]
    return float(sum(parts) / sum(sizes))


def test_attributions_of_a_linear_model_are_its_terms_less_their_means() -> None:
    columns = (Column("wind", "number"), Column("carrier", "category", ("AA", "UA")))
    model = Model(columns, Linear(-1.0, (NumberTerm(10, 5, 2.0, 0.3), CategoryTerm((0.5, -0.5), 0.1))))
    matrix = np.array([[15.0, 0.0], [10.0, 1.0], [np.nan, np.nan]])
    p = model.predict(matrix)
    plain, centred = attributions(model, matrix), attributions(model, matrix, reference=matrix)
    assert plain.values.tolist() == [[2.0, 0.5], [0.0, -0.5], [0.3, 0.1]]
    for found in (plain, centred):
        np.testing.assert_allclose(found.total, np.log(p / (1 - p)))
    np.testing.assert_allclose(centred.values.mean(axis=0), 0, atol=1e-15)


def test_a_constant_attributes_nothing() -> None:
    found = attributions(Model((), Constant(0.25)), np.empty((2, 0)))
    assert found.values.shape == (2, 0)
    assert found.base == pytest.approx(math.log(1 / 3))


def test_rows_of_another_width_are_refused(model: Model) -> None:
    with pytest.raises(DataError, match="reads 5 features; the rows have 4"):
        attributions(model, np.zeros((2, 4)))


def test_no_rows_have_no_attributions(model: Model) -> None:
    assert attributions(model, np.empty((0, 5))).values.shape == (0, 5)
