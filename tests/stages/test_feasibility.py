"""What the holdout can show is said before anything is trained, and a gate that no model passes is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sterling.project.gates import AtLeast, AtMost, EverySlice, Gate, Golden, Improves, NonInferior
from sterling.project.policy import Value
from sterling.stages.contract import Context
from sterling.stages.feasibility import Feasibility
from sterling.stats.detectable import Scatter, scatter_of
from sterling.stats.intervals import metric_interval
from tests.models.frames import DAY, context, frame, put_table

START, END = 45 * DAY, 60 * DAY


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return context(tmp_path)


def assessed(here: Context, *gates: Gate, table: pa.Table | None = None, **more: Any) -> dict[str, Any]:
    stage = Feasibility(gates, START, END, **({"clustered": True} | more))
    (fact,) = stage({"frame": put_table(here.store, frame(4_000) if table is None else table)}, here).facts
    assert fact.kind == "feasibility.assessed"
    return dict(fact.body)


def only(body: dict[str, Any]) -> dict[str, Any]:
    (gate,) = body["gates"]
    return dict(gate)


def replaced(name: str, values: Any, rows: int = 4_000) -> pa.Table:
    table = frame(rows)
    column = values(table) if callable(values) else values
    return table.set_column(table.column_names.index(name), name, column)


def test_labels_and_clusters_of_both_sides_are_counted(here: Context) -> None:
    body = assessed(here)
    assert body["training"]["clusters"] == 45
    assert body["holdout"]["clusters"] == 15
    assert 0 < body["holdout"]["positives"] < body["holdout"]["rows"] < body["holdout"]["moments"]
    assert body["impossible"] == []


def test_decisions_are_worth_between_the_better_of_knowing_nothing_and_knowing_all(here: Context) -> None:
    body = assessed(here, value=Value("USD", 40, -5, -10, 1))["value"]
    ways = {way["name"]: way for way in body["ways"]}
    rate = body["rate"]
    assert body["break_even"] == pytest.approx(6 / 56)
    assert ways["everybody"]["value"] == pytest.approx(1_000 * (rate * 40 - (1 - rate) * 5))
    assert ways["nobody"]["value"] == pytest.approx(1_000 * (rate * -10 + (1 - rate) * 1))
    assert ways["perfect"]["value"] == pytest.approx(1_000 * (rate * 40 + (1 - rate) * 1))
    assert ways["random"]["value"] <= ways["quick"]["value"] < ways["perfect"]["value"]
    assert ways["quick"]["low"] < ways["quick"]["value"] < ways["quick"]["high"]
    assert "value" not in assessed(here)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (AtLeast("roc_auc", 1.0), "No bound reaches 1, even of a perfect model."),
        (AtMost("log_loss", 0.0), "No bound stays under 0"),
        (AtMost("ece", 0.001), "perfectly calibrated model would show an upper bound of"),
        (EverySlice("roc_auc", ["carrier"], 0.5, min_rows=5_000), "No slice of the holdout has 5,000 rows."),
        (EverySlice("roc_auc", ["seats"], 0.5, min_rows=2), "has no bound here"),
        (Improves("roc_auc", by=0.9), "A perfect model gains"),
    ],
)
def test_a_gate_that_no_model_passes_is_named(here: Context, gate: Gate, said: str) -> None:
    found = only(assessed(here, gate))
    assert found["state"] == "impossible"
    assert said in found["reason"]


@pytest.mark.parametrize(
    "gate",
    [
        AtLeast("roc_auc", 0.6), AtMost("ece", 0.3), AtMost("brier", 0.3), Improves("log_loss"),
        NonInferior("roc_auc", margin=0.2), EverySlice("roc_auc", ["carrier"], 0.5, min_rows=50),
    ],
)  # fmt: skip
def test_a_gate_that_can_be_passed_is_fine(here: Context, gate: Gate) -> None:
    assert only(assessed(here, gate))["state"] == "fine"


def test_a_margin_that_an_equally_good_model_fails_is_doubtful_and_the_margin_that_works_is_named(
    here: Context,
) -> None:
    found = only(assessed(here, NonInferior("roc_auc", margin=0.001)))
    assert found["state"] == "doubtful"
    assert found["chance"] < 0.8
    assert f"a margin of {found['detectable']:.4f} would give 80%" in found["reason"]
    assert only(assessed(here, NonInferior("roc_auc", margin=found["detectable"] + 1e-9)))["state"] == "fine"


def test_more_days_show_smaller_gains(here: Context) -> None:
    short, long = (
        only(assessed(here, Improves("roc_auc"), table=frame(rows)))["detectable"] for rows in (2_000, 20_000)
    )
    assert long < short


def test_gates_that_do_not_depend_on_the_holdout_are_left_out(here: Context) -> None:
    assert assessed(here, Golden("golden.jsonl"))["gates"] == []


def test_too_few_clusters_for_any_bound_make_a_gate_impossible(here: Context) -> None:
    table = replaced("cluster", lambda t: pa.array([f"c{n % 3}" for n in range(len(t))]))
    found = only(assessed(here, AtLeast("roc_auc", 0.5), table=table))
    assert found["state"] == "impossible"
    assert "clusters" in found["reason"]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("wind", lambda t: pa.nulls(len(t), pa.float64()), "wind: null in every training row"),
        ("wind", lambda t: pa.array(np.ones(len(t))), "wind: the same in every training row"),
        ("dest", lambda t: pa.array([f"d{n}" for n in range(len(t))]), r"dest \([\d,]+\): more than 1,000 categories"),
        (
            "label",
            lambda t: pa.array(np.arange(len(t)) % 100 == 0).cast(pa.int8()),
            "labels of the rarer class for 5 features",
        ),
        (
            "cluster",
            lambda t: pa.array([f"c{n % 9}" for n in range(len(t))]),
            "The holdout has 9 clusters, fewer than 20",
        ),
    ],
)
def test_what_makes_a_good_model_unlikely_is_said(here: Context, name: str, values: Any, said: str) -> None:
    import re

    assert any(re.search(said, warning) for warning in assessed(here, table=replaced(name, values))["warnings"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (lambda t: pa.array(np.zeros(len(t), np.int8)), "are 0: there is nothing to learn from"),
        (lambda t: pa.nulls(len(t), pa.int8()), "No label is known before the holdout"),
        (lambda t: pa.array((t["predict_at"].to_numpy() < START).astype(np.int8) * (np.arange(len(t)) % 2).astype(np.int8)),
         "labels known in the holdout are 0: there is nothing to judge by"),
    ],
)  # fmt: skip
def test_labels_that_nothing_can_be_learnt_from_are_named(here: Context, values: Any, said: str) -> None:
    body = assessed(here, AtLeast("roc_auc", 0.5), table=replaced("label", values))
    assert any(said in sentence for sentence in body["impossible"])
    assert body["gates"] == []


def scattered(random: np.random.Generator, days: int, shift: float) -> tuple[Any, Any, Any]:
    """Days with an effect that the score does not know; the larger the shift, the better the score."""
    day = np.repeat(np.arange(days), 60)
    odds = random.normal(-1, 0.4, days)[day] + random.normal(0, 1, len(day))
    label = (random.random(len(day)) < 1 / (1 + np.exp(-odds))).astype(float)
    score = 1 / (1 + np.exp(-(shift * label + random.normal(0, 1, len(day)))))
    return label, score, day


@pytest.mark.slow
def test_the_detectable_effect_is_detected_in_four_of_five_holdouts() -> None:
    random = np.random.default_rng(5)
    truth = float(np.mean([metric_interval("roc_auc", *scattered(random, 300, 1.0)).estimate for _ in range(8)]))
    found = [metric_interval("roc_auc", *scattered(random, 30, 1.0)) for _ in range(300)]
    reach = float(np.mean([one.estimate - one.lower for one in found[:100]]))
    limit = truth - scatter_of(reach, 30, error_rate=0.05).detectable()
    assert np.mean([one.lower >= limit for one in found[100:]]) == pytest.approx(0.8, abs=0.08)


def test_a_bound_that_cannot_scatter_is_passed_or_not() -> None:
    assert (Scatter(0.0, 0.0).chance(0.1), Scatter(0.0, 0.0).chance(-0.1)) == (1.0, 0.0)
