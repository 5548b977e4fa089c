"""Intervals are moved to what they cover where that helps on later rows, and hardly ever where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import norm

from sterling.models import Column, Model
from sterling.models.boosting import Earlier
from sterling.models.frame import Frame
from sterling.models.predictors import Number
from sterling.models.rows import TrainingRows
from sterling.models.several import Joined
from sterling.models.training import Trained
from sterling.project.recipe import Calibration
from sterling.project.tasks import Quantiles
from sterling.stages.conformal import conformed, shifts_of

LEVELS = (0.1, 0.5, 0.9)


def found_of(rng: np.random.Generator, factor: float, rows: int = 2_000) -> tuple[Model, dict[str, Any]]:
    """What is made of intervals that are too narrow by a factor, on rows of 40 days with a common effect."""
    day = np.arange(rows) * 40 // rows
    mean = rng.normal(10, 3, rows)
    y = mean + rng.normal(0, 0.5, 40)[day] + rng.normal(0, 2, rows)
    predicted = mean[:, None] + factor * norm.ppf(LEVELS) * np.sqrt(4.25)
    at = np.arange(rows)
    table = pa.table({
        "unit": [f"u{place:05}" for place in at], "predict_at": at, "label": y, "matured_at": at,
        "status": ["matured"] * rows, "cluster": [f"d{one:02}" for one in day], "x": mean,
    })  # fmt: skip
    columns = (Column("x", "number"),)
    encoded = TrainingRows(columns, mean[:, None], y, 0, Quantiles(LEVELS), at, at)
    model = Model(columns, Joined((Number(0.0), Number(1.0), Number(2.0)), "sorted"), ("0.1", "0.5", "0.9"))
    trained = Trained(model, {}, Earlier(np.ones(rows, dtype=np.bool_), predicted))
    moved, body = conformed(Calibration(), trained, Frame(table), encoded, clustered=True)
    assert body is not None
    return moved, body


def test_intervals_that_are_too_narrow_are_widened() -> None:
    model, body = found_of(np.random.default_rng(1), 0.5)
    (curve,) = body["curves"]
    assert body["accepted"] == "conformal"
    assert curve["upper"] < 0
    assert curve["coverage_before"] < 0.55
    assert curve["coverage_after"] == pytest.approx(0.8, abs=0.05)
    assert model.predictor.shifts == tuple(curve["shifts"])  # type: ignore[attr-defined]
    low, middle, high = curve["shifts"]
    assert (low, middle) == (-high, 0.0)
    assert high == pytest.approx(0.5 * norm.ppf(0.9) * np.sqrt(4.25), rel=0.2)


def test_intervals_that_are_right_stay_as_they_are() -> None:
    accepted = sum(found_of(np.random.default_rng(seed), 1.0, 1_000)[1]["accepted"] is not None for seed in range(30))
    assert accepted <= 4  # more have a chance of 1.6 % at a rate of 5 %


def test_too_few_rows_say_nothing() -> None:
    model, body = found_of(np.random.default_rng(2), 0.5, 700)
    assert body["accepted"] is None
    assert "and 400 are needed" in str(body["reason"])
    assert model.predictor.shifts == ()  # type: ignore[attr-defined]


def test_shifts_cover_what_they_should_on_the_rows_that_they_are_made_of() -> None:
    rng = np.random.default_rng(4)
    y, q = rng.normal(size=999), np.tile([-0.5, -0.1, 0.1, 0.5], (999, 1))
    levels = (0.05, 0.3, 0.7, 0.95)
    moved = q + np.array(shifts_of(y, q, levels))
    for low, high, nominal in ((0, 3, 0.9), (1, 2, 0.4)):
        assert np.mean((moved[:, low] <= y) & (y <= moved[:, high])) == pytest.approx(nominal, abs=0.002)
