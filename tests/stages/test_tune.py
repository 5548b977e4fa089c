"""Tuned settings are taken only where they help on the newest block, which took no part in the search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import optuna
import pyarrow as pa
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sterling.core.errors import DataError
from sterling.models import Model
from sterling.project.recipe import LightGBM, Tune
from sterling.project.tasks import Regression
from sterling.stages.contract import Context
from sterling.stages.train import Train
from sterling.stages.tune import Tuning
from tests.models.frames import DAY, context, frame, put_table

START = 55 * DAY
POOR = LightGBM(trees=4, min_rows_per_leaf=20, leaves=4)
TUNE = Tune(trials=6, patience=6, block="10d", rows=2_000, space={"learning_rate": (0.05, 0.8), "leaves": (2, 16)})


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return replace(context(tmp_path), work=tmp_path / "work")


def test_a_poor_preset_gives_way_and_the_candidate_is_trained_by_what_was_found(here: Context) -> None:
    ref = put_table(here.store, frame(4_000))
    outcome = Tuning(POOR, TUNE, START, clustered=True)({"frame": ref}, here)
    body = outcome.facts[0].body
    assert (body["accepted"], body["upper"] < 0) == (True, True)
    assert body["best"] < body["preset"]
    chosen = msgspec.convert(msgspec.json.decode(here.store.open(outcome.outputs["trainer"]).read_bytes()), LightGBM)
    assert chosen.learning_rate == body["settings"]["learning_rate"] > 0.05
    trained = Train(POOR, "candidate", START)({"frame": ref, "trainer": outcome.outputs["trainer"]}, here)
    again = Train(chosen, "candidate", START)({"frame": ref}, here)
    assert trained.outputs == again.outputs
    assert Model.from_bytes(here.store.open(trained.outputs["model"]).read_bytes()).names


def test_settings_for_a_number_are_judged_by_their_rmse(here: Context) -> None:
    table = frame(4_000)
    known = np.array([value is not None for value in table["label"].to_pylist()])
    hours = np.asarray(table["distance"]) / 100 + np.random.default_rng(3).normal(0, 1, len(table))
    place = table.column_names.index("label")
    ref = put_table(here.store, table.set_column(place, "label", pa.array(hours, mask=~known)))
    outcome = Tuning(POOR, TUNE, START, clustered=True, task=Regression())({"frame": ref}, here)
    body = outcome.facts[0].body
    assert (body["metric"], body["accepted"]) == ("rmse", True)
    assert body["difference"] < body["upper"] < 0
    assert body["best"] < body["preset"]
    assert "lower the RMSE beyond chance" in body["reason"]


def test_settings_that_are_not_proven_better_are_not_taken(here: Context) -> None:
    ref = put_table(here.store, frame(2_000))
    tune = Tune(trials=3, block="10d", rows=1_000, space={"category_smoothing": (10, 11)})
    outcome = Tuning(POOR, tune, START, clustered=True)({"frame": ref}, here)
    assert not outcome.facts[0].body["accepted"]
    kept = msgspec.json.decode(here.store.open(outcome.outputs["trainer"]).read_bytes())
    assert msgspec.convert(kept, LightGBM) == POOR


def test_the_same_search_in_another_process_finds_its_trials_in_the_journal(here: Context) -> None:
    ref = put_table(here.store, frame(2_000))
    stage = Tuning(POOR, Tune(trials=3, block="10d", rows=1_000), START)
    first = stage({"frame": ref}, here)
    assert here.work is not None
    (journal,) = (here.work / "tuning").iterdir()
    assert stage({"frame": ref}, here) == first
    study = optuna.load_study(study_name="tuning", storage=JournalStorage(JournalFileBackend(str(journal))))
    assert len(study.trials) == 3
    other = Tuning(POOR, Tune(trials=4, block="10d", rows=1_000), START)
    other({"frame": ref}, here)
    assert len(list((here.work / "tuning").iterdir())) == 2


def test_a_block_without_labels_is_refused_with_what_would_work(here: Context) -> None:
    ref = put_table(here.store, frame(2_000))
    with pytest.raises(DataError, match="where a block of tuning trains"):
        Tuning(POOR, Tune(block="28d"), START)({"frame": ref}, here)
