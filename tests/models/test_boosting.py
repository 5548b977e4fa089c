"""LightGBM that finds its size, and weights, directions and groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from sterling.core.errors import DataError
from sterling.models import Calibrated, Column, Model, TrainingRows, Trees
from sterling.models.boosting import validation_parts
from sterling.models.calibrated import innermost
from sterling.models.frame import Frame
from sterling.models.training import fit, train
from sterling.project.recipe import LightGBM, Logistic, ShallowTree, Trainer
from sterling.project.tasks import Regression
from tests.models.frames import DAY, HOUR, frame

FINDS = LightGBM(min_rows_per_leaf=20, leaves=8, most_trees=80, patience=10)


@pytest.fixture(scope="module")
def rows() -> TrainingRows:
    whole = Frame(frame(4_000))
    return whole.take(whole.known_before(45 * DAY)).training_rows(seed=7)


def test_the_number_of_trees_is_found_and_as_many_are_trained_on_all_rows(rows: TrainingRows) -> None:
    found = train(FINDS, rows)
    trees = innermost(found.model.predictor)
    assert isinstance(trees, Trees)
    assert lgb.Booster(model_str=trees.text).num_trees() == found.found["trees"] < 80
    fixed = LightGBM(trees=found.found["trees"], min_rows_per_leaf=20, leaves=8)
    assert fit(fixed, rows).to_bytes() == found.model.to_bytes()


def test_finding_the_number_gives_the_same_bytes_for_any_number_of_threads(rows: TrainingRows) -> None:
    one, two = (train(FINDS, rows, threads=threads) for threads in (1, 2))
    assert one.model.to_bytes() == two.model.to_bytes()
    assert one.found == two.found


def test_who_judges_the_number_comes_later_than_every_label_that_was_known(rows: TrainingRows) -> None:
    parts = validation_parts(rows, 0.15)
    assert not isinstance(parts, str)
    assert rows.predict_at is not None
    assert rows.matured_at is not None
    start = rows.predict_at[parts.judged].min()
    assert rows.matured_at[parts.train].max() < start
    assert parts.judged.sum() == pytest.approx(0.15 * len(rows.label), abs=2)
    left_out = ~parts.train & ~parts.judged
    assert left_out.any()
    assert (rows.matured_at[left_out] >= start).all()


def test_a_label_that_matures_late_never_helps_to_find_the_number() -> None:
    at = np.arange(4_000) * HOUR
    noise = np.random.default_rng(0).normal(size=(4_000, 1))
    label = (noise[:, 0] > 0).astype(float)
    known = TrainingRows((Column("x", "number"),), noise, label, 0, predict_at=at, matured_at=at + HOUR)
    late = TrainingRows(
        (Column("x", "number"),), noise, label, 0, predict_at=at, matured_at=np.full(4_000, 5_000 * HOUR)
    )
    assert train(FINDS, known).found["train_rows"] > 3_000
    assert train(FINDS, late).found["reason"] == "only 0 earlier rows with a label that was known in time"


def test_groups_that_are_judged_take_no_part_in_finding_the_number(rows: TrainingRows) -> None:
    grouped = validation_parts(rows, 0.15, "CASE WHEN distance > 1000 THEN 1 ELSE seats END")
    free = validation_parts(rows, 0.15)
    assert not isinstance(free, str)
    assert not isinstance(grouped, str)
    assert grouped.train.sum() < free.train.sum()
    all_of_one = validation_parts(rows, 0.15, "carrier")
    assert all_of_one == "only 113 earlier rows with a label that was known in time"  # those without a carrier


def test_few_rows_are_trained_without_finding(rows: TrainingRows) -> None:
    few = rows.take(np.arange(len(rows.label)) < 300)
    found = train(LightGBM(min_rows_per_leaf=20), few).found
    assert found == {"trees": 200, "reason": "only 45 validation rows with a label that was known in time"}


def test_a_direction_holds_for_every_row(rows: TrainingRows) -> None:
    model = fit(LightGBM(trees=30, min_rows_per_leaf=20, monotone={"wind": -1, "distance": 1}), rows)
    matrix = np.repeat(rows.matrix[:50], 21, axis=0)
    for place, sign in ((1, -1), (0, 1)):
        moved = matrix.copy()
        moved[:, place] = np.tile(np.linspace(-50, 3_000, 21), 50)
        answers = model.predict(moved).reshape(50, 21)
        assert (sign * np.diff(answers, axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("monotone", "said"), [({"carrier": 1}, "'carrier', a category, which has no order"), ({"windy": 1}, "'windy', which is no feature")]
)  # fmt: skip
def test_a_direction_that_means_nothing_is_refused(rows: TrainingRows, monotone: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit(LightGBM(trees=2, monotone=monotone), rows)


@pytest.mark.parametrize("weight", [None, "CASE WHEN carrier = 'UA' THEN 3 ELSE 1 END"])
@pytest.mark.parametrize("kind", [LightGBM, Logistic])
def test_positives_that_count_more_leave_the_probabilities_where_they_were(
    rows: TrainingRows, kind: type[LightGBM | Logistic], weight: str | None
) -> None:
    given: dict[str, Any] = {"trees": 40, "min_rows_per_leaf": 20, "leaves": 4} if kind is LightGBM else {}
    plain = fit(kind(**given, weight=weight), rows).predict(rows.matrix)
    balanced = fit(kind(**given, weight=weight, positive_weight="balanced"), rows)
    assert isinstance(balanced.predictor, Calibrated)
    answers = Model.from_bytes(balanced.to_bytes()).predict(rows.matrix)
    assert answers.mean() == pytest.approx(plain.mean(), abs=0.02)
    assert balanced.predictor.predictor.predict(rows.matrix).mean() > plain.mean() + 0.05


@pytest.mark.parametrize(
    "trainer", [LightGBM(trees=5, min_rows_per_leaf=20, weight="seats_or_1"), Logistic(weight="seats_or_1")]
)
def test_a_row_that_counts_twice_is_as_two_rows(rows: TrainingRows, trainer: Trainer) -> None:
    import msgspec

    twice = rows.matrix[:, 0] > 1_000
    doubled = TrainingRows(
        rows.columns, np.vstack([rows.matrix, rows.matrix[twice]]), np.concatenate([rows.label, rows.label[twice]]), 7
    )
    weighted = msgspec.structs.replace(trainer, weight="CASE WHEN distance > 1000 THEN 2 ELSE 1 END")
    if isinstance(weighted, LightGBM):
        weighted = msgspec.structs.replace(
            weighted, bagging_fraction=1.0, feature_fraction=1.0, min_rows_per_leaf=1, leaves=2, trees=1
        )
        doubled_trainer: Trainer = msgspec.structs.replace(weighted, weight=None)
    else:
        doubled_trainer = Logistic(c=trainer.c)  # type: ignore[union-attr]
    ours, theirs = fit(weighted, rows).predict(rows.matrix), fit(doubled_trainer, doubled).predict(rows.matrix)
    np.testing.assert_allclose(ours, theirs, atol=0.02)


@pytest.mark.parametrize(
    ("weight", "said"), [("wind", "is null in"), ("0 - distance", "is -"), ("0", "is 0 in every training row")]
)
def test_a_weight_that_is_none_is_refused_with_what_would_work(rows: TrainingRows, weight: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit(LightGBM(trees=2, weight=weight), rows)


def test_a_shallow_tree_is_one_tree_of_few_leaves(rows: TrainingRows) -> None:
    model = fit(ShallowTree(leaves=5), rows)
    assert isinstance(model.predictor, Trees)
    booster = lgb.Booster(model_str=model.predictor.text)
    assert (booster.num_trees(), booster.dump_model()["tree_info"][0]["num_leaves"]) == (1, 5)
    assert len(np.unique(model.predict(rows.matrix))) == 5
    assert model.predict(rows.matrix).mean() == pytest.approx(rows.label.mean(), abs=0.001)


def test_trees_find_their_number_for_numbers_too(rows: TrainingRows) -> None:
    numbers = replace(rows, label=np.nan_to_num(rows.matrix[:, 1]) * 2 + rows.label, task=Regression())
    found = train(FINDS, numbers)
    assert found.found["loss"] < np.var(numbers.label)
    assert found.model.predictor.answers == "number"
    shallow = fit(ShallowTree(leaves=5), numbers).predict(numbers.matrix)
    assert shallow.mean() == pytest.approx(numbers.label.mean(), abs=1e-6)


@pytest.mark.parametrize(("rows", "leaves", "least"), [(500, 31, 20), (99_999, 31, 20), (100_000, 63, 100)])
def test_settings_that_are_left_open_follow_from_the_number_of_rows(rows: int, leaves: int, least: int) -> None:
    settled = LightGBM(l2=2.0).settled(rows)
    assert (settled.leaves, settled.min_rows_per_leaf, settled.l2) == (leaves, least, 2.0)
    assert None not in (settled.feature_fraction, settled.category_smoothing)
