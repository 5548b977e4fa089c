"""A search is the same however often it is killed, and its first trial is the preset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sterling.core.errors import InvalidDefinitionError
from sterling.models.frame import Frame
from sterling.models.tuning import Block, Searched, search
from sterling.project.recipe import LightGBM, Logistic, Recipe, Tune
from tests.models.frames import DAY, frame

PRESET = LightGBM(trees=8, min_rows_per_leaf=20, leaves=8)
TUNE = Tune(trials=7, patience=7, space={"leaves": (4, 16), "learning_rate": (0.05, 0.5)})


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    whole = Frame(frame(3_000))
    found = []
    for start in (30 * DAY, 40 * DAY):
        rows = whole.take(whole.known_before(start)).training_rows(0)
        judged = whole.take(whole.known & (whole.predict_at >= start) & (whole.predict_at < start + 10 * DAY))
        found.append(Block(rows, judged.encode(rows.columns), judged.label))
    return found


def test_a_search_that_was_killed_goes_on_and_finds_the_same(tmp_path: Path, blocks: list[Block]) -> None:
    whole = search(TUNE, PRESET, blocks, seed=3, journal=tmp_path / "whole.log", threads=1)
    some = Tune(trials=4, patience=7, space=TUNE.space)
    begun = search(some, PRESET, blocks, seed=3, journal=tmp_path / "killed.log", threads=1)
    assert begun.tried == whole.tried[:4]
    assert search(TUNE, PRESET, blocks, seed=3, journal=tmp_path / "killed.log", threads=1) == whole
    assert search(TUNE, PRESET, blocks, seed=3, journal=None, threads=1) == whole


def test_a_trial_that_was_under_way_when_it_was_killed_changes_nothing(tmp_path: Path, blocks: list[Block]) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    search(
        Tune(trials=3, patience=7, space=TUNE.space), PRESET, blocks, seed=3, journal=tmp_path / "killed.log", threads=1
    )
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "killed.log")))
    optuna.load_study(study_name="tuning", storage=storage).ask(
        {"leaves": optuna.distributions.IntDistribution(4, 16, log=True)}
    )
    again = search(TUNE, PRESET, blocks, seed=3, journal=tmp_path / "killed.log", threads=1)
    assert again == search(TUNE, PRESET, blocks, seed=3, journal=None, threads=1)


def test_the_first_trial_is_the_preset_and_the_best_is_no_worse(blocks: list[Block]) -> None:
    found: Searched = search(TUNE, PRESET, blocks, seed=1, journal=None, threads=1)
    assert found.tried[0].settings == {"leaves": 8, "learning_rate": 0.05}
    assert len(found.tried) == 7
    losses = [one.loss for one in found.tried if one.loss is not None]
    best = min(losses)
    assert best < losses[0]
    assert found.best.learning_rate == next(one.settings["learning_rate"] for one in found.tried if one.loss == best)
    assert found.best.min_rows_per_leaf == 20


def test_a_search_that_brings_nothing_ends(blocks: list[Block]) -> None:
    tune = Tune(trials=50, patience=2, least_gain=0.9, space=TUNE.space)
    found = search(tune, PRESET, blocks, seed=1, journal=None, threads=1)
    assert len(found.tried) == 3
    assert found.stopped == "2 trials in a row brought less than 0.9 of the loss"


def test_seconds_end_a_search_after_the_preset(blocks: list[Block]) -> None:
    found = search(Tune(trials=50, seconds=1e-9, space=TUNE.space), PRESET, blocks, seed=1, journal=None, threads=1)
    assert (len(found.tried), found.best, found.stopped) == (1, PRESET, "1e-09 seconds")


@pytest.mark.parametrize(
    ("space", "said"),
    [({"leafs": (1, 2)}, "'leafs'. Did you mean 'leaves'"), ({"leaves": (20, 10)}, "20 to 10 of 'leaves'")],
)
def test_a_space_that_is_none_is_refused(space: dict[str, tuple[float, float]], said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said):
        Tune(space=space)


def test_only_lightgbm_is_tuned() -> None:
    with pytest.raises(InvalidDefinitionError, match="the model is a Logistic"):
        Recipe(Logistic(), baselines=[], tune=Tune())


def test_losses_do_not_depend_on_threads(blocks: list[Block]) -> None:
    one, two = (
        search(Tune(trials=2, space=TUNE.space), PRESET, blocks, seed=1, journal=None, threads=n) for n in (1, 2)
    )
    assert one == two
    assert np.isfinite([trial.loss for trial in one.tried if trial.loss is not None]).all()
