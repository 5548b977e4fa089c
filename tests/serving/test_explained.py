"""Explanations on demand, over real sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import lightgbm
import numpy as np
import pytest

from sterling.decisions.release import release
from sterling.models import Column, Constant, Model
from sterling.models.calibrated import Calibrated
from sterling.models.columns import encode_rows
from sterling.models.frame import Frame
from sterling.models.predictors import Linear, NumberTerm
from sterling.models.rule import Shares
from sterling.models.training import fit
from sterling.models.trees import Trees
from sterling.project.recipe import LightGBM
from sterling.serving.explained import explanations
from sterling.serving.server import Server
from sterling.stages.contract import put_bytes
from sterling.stats.calibration_curves import BetaCurve
from tests.decisions.released import World
from tests.models.frames import DAY, frame
from tests.serving.test_released import FEATURES


@pytest.fixture(scope="module")
def training() -> Frame:
    rows = Frame(frame(800))
    return rows.take(rows.known_before(50 * DAY))


@pytest.fixture(scope="module")
def model(training: Frame) -> Model:
    return fit(LightGBM(trees=20), training.training_rows(0))


def rows_of(model: Model, training: Frame, count: int) -> list[dict[str, Any]]:
    columns = {name: training.table[name].to_pylist()[:count] for name in model.names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def served(tmp_path: Path, model: Model) -> Server:
    world = World(tmp_path)
    world.models["a"] = put_bytes(world.store, model.to_bytes())
    world.register("a", features=FEATURES)
    release(world.ledger, world.store, 1)
    return Server(world.ledger, world.store)


def test_base_and_contributions_are_lightgbm_s_own_and_sum_to_the_score(
    tmp_path: Path, training: Frame, model: Model
) -> None:
    rows = rows_of(model, training, 5)
    with served(tmp_path, model).in_background() as url, httpx.Client(base_url=url) as client:
        answer = client.post("/v1/predict", json={"rows": rows, "explain": True}).raise_for_status().json()
        short = client.post("/v1/predict", json={"rows": rows, "explain": 1.0}).json()
        plain = client.post("/v1/predict", json={"rows": rows, "explain": False}).json()
        many = client.post("/v1/predict", json={"rows": rows * 21, "explain": True})
        wrong = [client.post("/v1/predict", json={"rows": rows, "explain": said}) for said in (0, 1.5, 10_001, "all")]
    assert isinstance(model.predictor, Trees)
    theirs = lightgbm.Booster(model_str=model.predictor.text).predict(
        encode_rows(model.columns, rows), pred_contrib=True
    )
    ours = [[*one["contributions"].values(), one["base"]] for one in answer["explanations"]]
    assert np.array_equal(ours, theirs)
    log_odds = [np.log(score / (1 - score)) for score in answer["scores"]]
    assert [one["sum"] for one in answer["explanations"]] == pytest.approx(log_odds, abs=1e-9)
    for whole, cut in zip(answer["explanations"], short["explanations"], strict=True):
        ((name, value),) = cut["contributions"].items()
        assert abs(value) == max(map(abs, whole["contributions"].values()))
        assert cut["base"] + value + cut["rest"] == pytest.approx(whole["sum"], abs=1e-12)
        assert whole["contributions"][name] == value
    assert "explanations" not in plain
    assert (many.status_code, many.json()["field"]) == (422, "explain")
    assert {(one.status_code, one.json()["field"]) for one in wrong} == {(400, "explain")}


def test_a_calibrated_model_explains_what_it_says_before_its_curve(training: Frame, model: Model) -> None:
    rows, behind = (
        rows_of(model, training, 3),
        Model(model.columns, Calibrated(model.predictor, BetaCurve(1.0, 1.0, 1.0))),
    )
    assert [one | {"calibrated": True} for one in explanations(model, rows)] == [
        {**one} for one in explanations(behind, rows)
    ]


def test_a_linear_model_of_a_number_explains_the_number() -> None:
    linear = Model((Column("wind", "number"),), Linear(3.0, (NumberTerm(10, 5, 2.0, 0.5),), "number"))
    assert explanations(linear, [{"wind": 20.0}, {"wind": None}]) == [
        {"of": "number", "base": 3.0, "contributions": {"wind": 4.0}, "sum": 7.0},
        {"of": "number", "base": 3.0, "contributions": {"wind": 0.5}, "sum": 3.5},
    ]


def test_a_model_without_exact_attributions_says_so(tmp_path: Path) -> None:
    rule = Shares([">", ["column", 0], ["number", 30.0]], (0.0, 1.0), (0.1, 0.6), 0.2)
    with served(tmp_path, Model((Column("wind", "number"),), rule)).in_background() as url:
        answer = httpx.post(f"{url}/v1/predict", json={"rows": [{"wind": 1.0}], "explain": True})
    assert (answer.status_code, answer.json()["field"]) == (422, "explain")
    assert "The model is a Shares" in answer.json()["detail"]


def test_a_constant_needs_no_feature() -> None:
    (one,) = explanations(Model((Column("wind", "number"),), Constant(0.5)), [{"wind": 1.0}])
    assert one == {"of": "log odds", "base": 0.0, "contributions": {"wind": 0.0}, "sum": 0.0}
