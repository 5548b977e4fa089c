"""A curve on the candidate's probabilities is judged on later rows, by a model that saw neither block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sterling.models import Calibrated, Constant, Linear, Model, NumberTerm, TrainingRows, Trees
from sterling.project.recipe import Calibration, Custom, LightGBM, Trainer
from sterling.stages.contract import Context, Outcome
from sterling.stages.train import Train
from tests.models.frames import DAY, context, frame, put_table

START = 55 * DAY
FINDS = LightGBM(min_rows_per_leaf=20, leaves=8, most_trees=80, patience=10)
LATER = LightGBM(min_rows_per_leaf=20, leaves=8, most_trees=80, patience=10, validation=0.4)


class Sure:
    """A trainer that is three times as sure as it should be."""

    def fit(self, rows: TrainingRows) -> Linear:
        return Linear(-3.0, (NumberTerm(1000, 200, 1, 0), *[NumberTerm(10, 1.67, 1, 0)] , *self._rest(rows)))  # fmt: skip

    def _rest(self, rows: TrainingRows) -> list[NumberTerm]:
        return [NumberTerm(0, 1, 0, 0) for _ in rows.columns[2:]]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return frame(12_000).drop_columns(["carrier", "dest"])


def trained(
    folder: Path, table: pa.Table, trainer: Trainer, calibration: Calibration | None
) -> tuple[Context, Outcome]:
    here = context(folder)
    stage = Train(trainer, "candidate", START, calibration=calibration, clustered=True)
    return here, stage({"frame": put_table(here.store, table)}, here)


def judged(outcome: Outcome) -> dict[str, object]:
    (found,) = (fact.body for fact in outcome.facts if fact.kind == "calibration.judged")
    return dict(found)


def test_a_curve_that_helps_later_is_part_of_the_model(tmp_path: Path, table: pa.Table) -> None:
    here, outcome = trained(tmp_path, table, Custom(Sure(), "sure"), Calibration(share=0.4))
    data = here.store.open(outcome.outputs["model"]).read_bytes()
    model = Model.from_bytes(data)
    assert isinstance(model.predictor, Calibrated)
    assert model.to_bytes() == data
    body = judged(outcome)
    assert body["accepted"] in {"platt", "beta", "isotonic"}
    assert all(curve["error_rate"] == 0.05 / 3 for curve in body["curves"])  # type: ignore[attr-defined]
    assert str(body["from"]) < str(body["later_from"]) < str(body["to"])


def test_a_model_that_needs_no_curve_has_none_and_the_ledger_says_why(tmp_path: Path, table: pa.Table) -> None:
    here, outcome = trained(tmp_path, table, LATER, Calibration())
    assert isinstance(Model.from_bytes(here.store.open(outcome.outputs["model"]).read_bytes()).predictor, Trees)
    assert judged(outcome)["reason"] == "on the later block no curve lowers the log loss beyond chance"
    _, plain = trained(tmp_path, table, LATER, None)
    assert plain.outputs == outcome.outputs


def test_what_costs_a_training_more_is_calibrated_only_where_it_is_asked_for(tmp_path: Path, table: pa.Table) -> None:
    _, outcome = trained(tmp_path, table, LightGBM(trees=5, min_rows_per_leaf=20), Calibration())
    assert "calibration.judged" not in {fact.kind for fact in outcome.facts}


def test_too_few_rows_accept_nothing(tmp_path: Path, table: pa.Table) -> None:
    _, outcome = trained(tmp_path, table.slice(0, 3_000), LightGBM(min_rows_per_leaf=20, most_trees=5), Calibration())
    assert judged(outcome)["accepted"] is None
    assert "400 are needed" in str(judged(outcome)["reason"])


def test_the_cost_of_the_training_is_recorded(tmp_path: Path, table: pa.Table) -> None:
    _, outcome = trained(tmp_path, table, FINDS, None)
    body = outcome.facts[0].body
    assert body["table_bytes"] == body["rows"] * 4 * 8
    assert body["peak_bytes"] is None or body["peak_bytes"] >= body["before_bytes"]
    assert body["seconds"] > 0
    assert body["found"]["trees"] > 0


def test_a_calibrated_model_answers_one_row_as_among_others(tmp_path: Path, table: pa.Table) -> None:
    here, outcome = trained(tmp_path, table, Custom(Sure(), "sure"), Calibration(share=0.4, kinds=["isotonic"]))
    model = Model.from_bytes(here.store.open(outcome.outputs["model"]).read_bytes())
    matrix = np.random.default_rng(0).normal([1000, 10, 100], [300, 5, 50], (50, 3))
    assert [model.predict(row[np.newaxis])[0] for row in matrix] == model.predict(matrix).tolist()
    assert not isinstance(model.predictor, Constant)
