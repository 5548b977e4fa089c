"""Ensembles of trees: one model of LightGBM, whose answer is the mean of its members' log odds or numbers."""

from __future__ import annotations

from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pytest
from numpy.typing import NDArray

from sterling.core.errors import InvalidDefinitionError
from sterling.models import Model, TrainingRows, Trees
from sterling.models.attributions import attributions
from sterling.models.ensemble import joined
from sterling.models.frame import Frame
from sterling.models.training import fit, train
from sterling.project.recipe import Ensemble, LightGBM, Recipe, fits_task, model_name
from sterling.project.tasks import Multiclass, Quantiles, Regression
from tests.models.frames import DAY, frame

SMALL = LightGBM(trees=12, min_rows_per_leaf=20)
TWO = Ensemble([SMALL, LightGBM(trees=20, leaves=8, min_rows_per_leaf=30)])


@pytest.fixture(scope="module")
def rows() -> TrainingRows:
    whole = Frame(frame(4_000))
    return whole.take(whole.known_before(45 * DAY)).training_rows(seed=7)


@pytest.fixture(scope="module")
def model(rows: TrainingRows) -> Model:
    return fit(TWO, rows)


@pytest.fixture(scope="module")
def members(rows: TrainingRows) -> list[Model]:
    return [fit(member, replace(rows, seed=7 + place)) for place, member in enumerate(TWO.members)]


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = np.log(probabilities / (1 - probabilities))
    return odds


def test_the_log_odds_are_the_mean_of_those_of_the_members(
    rows: TrainingRows, model: Model, members: list[Model]
) -> None:
    mean = np.mean([log_odds(member.predict(rows.matrix)) for member in members], axis=0)
    np.testing.assert_allclose(log_odds(model.predict(rows.matrix)), mean, rtol=0, atol=1e-12)


def test_a_number_is_the_mean_of_the_members_numbers(rows: TrainingRows) -> None:
    numbers = replace(rows, label=rows.matrix[:, 0] * 3 + rows.label, task=Regression())
    found = [fit(member, replace(numbers, seed=7 + place)) for place, member in enumerate(TWO.members)]
    mean = np.mean([one.predict(rows.matrix) for one in found], axis=0)
    np.testing.assert_allclose(fit(TWO, numbers).predict(rows.matrix), mean, rtol=1e-12)


def test_probabilities_of_classes_are_the_means_of_the_members_logarithms(rows: TrainingRows) -> None:
    thirds = np.digitize(rows.matrix[:, 0], np.quantile(rows.matrix[:, 0], [1 / 3, 2 / 3])).astype(np.float64)
    classes = replace(rows, label=thirds, task=Multiclass(("near", "middle", "far")))
    found = [fit(member, replace(classes, seed=7 + place)) for place, member in enumerate(TWO.members)]
    powers = np.exp(np.mean([np.log(one.predict(rows.matrix)) for one in found], axis=0))
    ensemble = fit(TWO, classes)
    assert ensemble.outputs == ("near", "middle", "far")
    np.testing.assert_allclose(ensemble.predict(rows.matrix), powers / powers.sum(axis=1, keepdims=True), atol=1e-12)


def test_attributions_are_the_means_of_those_of_the_members_and_sum_to_the_answer(
    rows: TrainingRows, model: Model, members: list[Model]
) -> None:
    few = rows.matrix[:50]
    found, theirs = attributions(model, few), [attributions(member, few) for member in members]
    np.testing.assert_allclose(found.values, np.mean([one.values for one in theirs], axis=0), atol=1e-10)
    np.testing.assert_allclose(found.base, np.mean([one.base for one in theirs]), atol=1e-10)
    np.testing.assert_allclose(found.total, log_odds(model.predict(few)), atol=1e-10)


def test_it_is_one_model_of_lightgbm_with_the_same_answers_to_the_bit(rows: TrainingRows, model: Model) -> None:
    assert isinstance(model.predictor, Trees)
    theirs = np.asarray(lgb.Booster(model_str=model.predictor.text).predict(rows.matrix, num_threads=1))
    assert Model.from_bytes(model.to_bytes()).predict(rows.matrix).tolist() == theirs.tolist()
    assert [model.predict(row[np.newaxis])[0] for row in rows.matrix[:50]] == theirs[:50].tolist()
    assert lgb.Booster(model_str=model.predictor.text).num_trees() == 32


def test_gains_are_those_of_all_trees(model: Model) -> None:
    assert isinstance(model.predictor, Trees)
    assert sum(model.predictor.gain_shares()) == pytest.approx(1)


def test_the_same_rows_give_the_same_bytes_on_any_number_of_threads(rows: TrainingRows, model: Model) -> None:
    assert fit(TWO, rows, threads=2).to_bytes() == model.to_bytes()


def test_members_with_the_same_settings_differ_by_their_seeds(rows: TrainingRows) -> None:
    assert (
        fit(Ensemble([SMALL, SMALL]), rows).predict(rows.matrix).tolist()
        != fit(SMALL, rows).predict(rows.matrix).tolist()
    )


def test_joining_a_model_with_itself_changes_no_answer(rows: TrainingRows, members: list[Model]) -> None:
    one = members[0].predictor
    assert isinstance(one, Trees)
    np.testing.assert_allclose(joined([one, one]).predict(rows.matrix), one.predict(rows.matrix), rtol=0, atol=1e-15)


def test_every_member_finds_its_own_number_of_trees_on_the_last_rows(rows: TrainingRows) -> None:
    finding = LightGBM(min_rows_per_leaf=20, most_trees=60, patience=5)
    trained = train(Ensemble([finding, LightGBM(leaves=8, most_trees=60, patience=5)]), rows)
    found = trained.found
    assert [set(one) >= {"trees", "loss", "rows"} for one in found["members"]] == [True, True]
    assert found["trees"] == sum(one["trees"] for one in found["members"])
    assert found["loss"] <= max(one["loss"] for one in found["members"])
    assert trained.earlier is not None
    assert trained.earlier.chosen.sum() == found["rows"] == len(trained.earlier.predicted)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([SMALL], "has 1. Name two at least"),
        ([SMALL, LightGBM(validation=0.2)], "differ in validation: 0.15, 0.2"),
        ([SMALL, LightGBM(positive_weight=2.0)], "differ in positive_weight: 2.0, None"),
    ],
)
def test_members_that_cannot_be_averaged_are_refused(members: list[LightGBM], message: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=message):
        Ensemble(members)


def test_quantiles_are_refused() -> None:
    with pytest.raises(InvalidDefinitionError, match="Ensemble has no quantiles"):
        fits_task(Ensemble(), Quantiles((0.1, 0.9)))


def test_weights_of_positives_are_taken_off_the_ensemble(rows: TrainingRows) -> None:
    weighted = LightGBM(trees=20, min_rows_per_leaf=20, positive_weight="balanced")
    mean = fit(Ensemble([weighted, weighted]), rows).predict(rows.matrix).mean()
    assert mean == pytest.approx(rows.label.mean(), abs=0.03)


def test_it_is_a_recipe_in_one_line() -> None:
    assert model_name(Recipe(Ensemble()).model) == "ensemble"
