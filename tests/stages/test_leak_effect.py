"""What leaks would claim of a recipe, and what would be left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sterling.core.refs import Ref
from sterling.project.definition import to_json
from sterling.project.recipe import LightGBM, Logistic
from sterling.stages.contract import Outcome, put_json
from sterling.stages.features import leaked
from sterling.stages.leak_effect import LeakEffect
from sterling.stages.train import Train
from sterling.tasks.binary import BINARY
from tests.stages.bench import Bench

START, END = 3_000, 4_000
ROWS = 4_000


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def told(bench: Bench, *, share: float) -> tuple[dict[str, Ref], pa.Table]:
    """A feature of noise that, where availability is ignored, tells the label in a share of the rows."""
    random = np.random.default_rng(3)
    label, noise = random.integers(0, 2, ROWS), random.normal(size=ROWS)
    naive = np.where(random.random(ROWS) < share, 3.0 * label + noise, noise)
    moments = np.arange(ROWS, dtype=np.int64)
    frame = pa.table({
        "unit": [f"{n:04}" for n in range(ROWS)], "predict_at": moments, "label": pa.array(label, pa.int8()),
        "matured_at": moments, "status": ["matured"] * ROWS, "cluster": pa.nulls(ROWS, pa.string()), "noise": noise,
    })  # fmt: skip
    leaks = leaked({"noise": pa.array(noise)}, {"noise": pa.array(naive)})
    inputs = {"frame": bench.put(frame), "leaks:x": bench.put(leaks)}
    trained = bench.run(Train(Logistic(), "candidate", START), {"frame": inputs["frame"]})
    return inputs | {"candidate": trained.outputs["model"]}, frame.set_column(6, "noise", pa.array(naive))


def evaluated(outcome: Outcome) -> dict[str, Any]:
    (fact,) = outcome.facts
    assert fact.kind == "leaks.evaluated"
    return {"body": fact.body} | {one["metric"]: one for one in fact.body["metrics"]}


def test_what_is_claimed_is_the_recipe_on_naive_features_and_what_is_had_is_the_same_model_on_true_ones(
    bench: Bench,
) -> None:
    inputs, naive = told(bench, share=0.5)
    outcome = bench.run(LeakEffect(Logistic(), START, END), inputs)
    found = evaluated(outcome)
    assert found["body"]["changed"] == pytest.approx(0.25, abs=0.03)  # where the label is 1, half of the rows
    auc = found["roc_auc"]
    assert auc["claimed"] > 0.7
    assert auc["had"] == pytest.approx(0.5, abs=0.05)
    assert auc["low"] < auc["difference"] < auc["high"]
    assert auc["low"] > 0.15
    # the same by hand: an ordinary training on the naive frame
    other = bench.run(Train(Logistic(), "candidate", START), {"frame": bench.put(naive)}).outputs["model"]
    again = evaluated(bench.run(LeakEffect(Logistic(), START, END), inputs | {"candidate": other}))["roc_auc"]
    assert again["candidate"] == auc["had"]
    claimed = bench.table(outcome.outputs["claimed"]).column("score").to_numpy()
    label = naive.column("label").to_numpy()[START:END].astype(float)
    assert BINARY.score(label, claimed)["roc_auc"] == auc["claimed"]


def test_the_settings_that_a_search_found_are_trained(bench: Bench) -> None:
    inputs, naive = told(bench, share=0.5)
    tuned = LightGBM(trees=3, leaves=4, min_rows_per_leaf=20)
    preset = LightGBM(trees=1, leaves=2)
    other = bench.run(Train(tuned, "candidate", START), {"frame": bench.put(naive)}).outputs["model"]
    given = inputs | {"candidate": other, "trainer": put_json(bench.context.store, to_json(tuned))}
    auc = evaluated(bench.run(LeakEffect(preset, START, END), given))["roc_auc"]
    assert auc["had"] == auc["candidate"]  # as both are the tuned recipe on the naive frame


def test_where_nothing_leaks_nothing_is_trained_and_the_difference_is_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, _ = told(bench, share=0.0)
    monkeypatch.setattr("sterling.stages.leak_effect.fit", None)
    found = evaluated(bench.run(LeakEffect(Logistic(), START, END), inputs))
    assert (found["body"]["changed"], found["body"]["train_changed"]) == (0.0, 0.0)
    for metric in BINARY.metrics:
        one = found[metric]
        assert (one["difference"], one["low"], one["high"]) == (0.0, 0.0, 0.0)
        assert one["claimed"] == one["had"] == one["candidate"]
