"""Models of quantiles: data, deterministic, never falling, and moved to what they cover only where that helps later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from sterling.core.errors import InvalidDefinitionError
from sterling.models import Column, Model, TrainingRows
from sterling.models.predictors import Number
from sterling.models.quantiles import crossed
from sterling.models.several import Joined
from sterling.models.training import fit, train
from sterling.project.recipe import LightGBM, Prior, Ridge, ShallowTree, Trainer
from sterling.project.tasks import Quantiles
from sterling.stats.pinball import mean_pinball
from sterling.tasks.of import task_of

LEVELS = (0.1, 0.5, 0.9)
TRAINERS = [Prior(), Ridge(), ShallowTree(), LightGBM(most_trees=40)]


@pytest.fixture(scope="module")
def rows() -> TrainingRows:
    """Labels that vary more where the second column is larger."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2_500, 3))
    y = 10 + 3 * x[:, 0] + np.exp(0.7 * x[:, 1]) * rng.normal(size=len(x))
    columns = tuple(Column(name, "number") for name in "abc")
    return TrainingRows(columns, x, y, 7, Quantiles(LEVELS), np.arange(len(x)), np.arange(len(x)))


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda t: type(t).__name__)
def test_a_model_of_quantiles_is_data_and_never_falls(rows: TrainingRows, trainer: Trainer) -> None:
    model = fit(trainer, rows, threads=1)
    data = model.to_bytes()
    assert model.outputs == ("0.1", "0.5", "0.9")
    assert Model.from_bytes(data).to_bytes() == data == fit(trainer, rows, threads=2).to_bytes()
    matrix = np.vstack([rows.matrix, np.full((1, 3), np.nan)])
    found = model.predict(matrix)
    assert found.shape == (2_501, 3)
    assert (np.diff(found, axis=1) >= 0).all()
    assert Model.from_bytes(data).predict(matrix[-1:]).tolist() == found[-1:].tolist()
    below = (rows.label[:, None] <= found[:-1]).mean(axis=0)
    assert below == pytest.approx(LEVELS, abs=0.06)


def test_boosted_quantiles_are_wider_where_labels_vary_more(rows: TrainingRows) -> None:
    trained = train(LightGBM(most_trees=60), rows, threads=1)
    found = trained.model.predict(rows.matrix)
    wide, narrow = rows.matrix[:, 1] > 1, rows.matrix[:, 1] < -1
    width = found[:, 2] - found[:, 0]
    assert width[wide].mean() > 1.5 * width[narrow].mean()
    assert trained.found["trees"] == sum(trained.found["by_level"].values())
    assert trained.earlier is not None
    assert trained.earlier.predicted.shape == (trained.found["rows"], 3)
    assert 0 <= trained.found["crossed"] < 0.2


def test_of_real_data_quantiles_that_read_features_beat_those_that_do_not() -> None:
    data = load_diabetes()
    columns = tuple(Column(name, "number") for name in data.feature_names)
    every = np.arange(len(data.target))
    rows = TrainingRows(columns, data.data, data.target.astype(float), 0, Quantiles(LEVELS), every, every)
    train_, later = rows.take(every % 3 > 0), rows.take(every % 3 == 0)
    loss = {
        type(one).__name__: mean_pinball(later.label, fit(one, train_, threads=1).predict(later.matrix), LEVELS)
        for one in (Prior(), Ridge(), LightGBM(trees=60))
    }
    assert loss["Ridge"] < loss["Prior"]
    assert loss["LightGBM"] < loss["Prior"]


def test_sorting_is_never_worse_and_the_share_that_crossed_is_said() -> None:
    rng = np.random.default_rng(1)
    raw, y = rng.normal(size=(5_000, 3)), rng.normal(size=5_000)
    losses = [
        np.mean(np.maximum(np.array(LEVELS) * (y[:, None] - q), (np.array(LEVELS) - 1) * (y[:, None] - q)))
        for q in (raw, np.sort(raw, axis=1))
    ]
    assert losses[1] < losses[0]
    assert crossed(raw) == pytest.approx(5 / 6, abs=0.02)


def test_shifts_are_part_of_the_document_and_of_sorted_numbers_alone() -> None:
    joined = Joined((Number(1.0), Number(2.0)), "sorted", (-1.0, 0.5))
    model = Model((), joined, ("0.1", "0.9"))
    assert model.predict_rows([{}]).tolist() == [[0.0, 2.5]]
    assert Model.from_bytes(model.to_bytes()) == model
    assert "shifts" not in Joined((Number(1.0), Number(2.0)), "sorted").document()
    for shifts, link in (((1.0,), "sorted"), ((1.0, np.inf), "sorted"), ((1.0, 1.0), "softmax")):
        with pytest.raises(InvalidDefinitionError, match=r"Joined\.shifts are finite"):
            Joined((Number(1.0), Number(2.0)), link, shifts)  # type: ignore[arg-type]


def test_one_level_is_one_number(rows: TrainingRows) -> None:
    alone = fit(LightGBM(trees=20), replace(rows, task=Quantiles((0.9,))), threads=1)
    assert alone.predict(rows.matrix).shape == (2_500,)
    both = fit(LightGBM(trees=20), replace(rows, task=Quantiles((0.5, 0.9))), threads=1)
    middle = fit(LightGBM(trees=20), replace(rows, task=Quantiles((0.5,))), threads=1)
    together = np.sort(np.column_stack([middle.predict(rows.matrix), alone.predict(rows.matrix)]), axis=1)
    np.testing.assert_array_equal(both.predict(rows.matrix), together)


def test_calibration_without_enough_clusters_has_shares_and_says_why_no_interval(rows: TrainingRows) -> None:
    found = task_of(rows.task).calibration(rows.label, fit(Prior(), rows).predict(rows.matrix), np.arange(2_500) % 3)
    assert found["levels"][0]["low"] is None
    assert "needs at least 8" in found["reason"]
