"""Calibration taken apart on the holdout, as a whole and month by month."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterling.models import Constant, Model
from sterling.stages.contract import put_bytes
from sterling.stages.evaluate import Evaluate
from sterling.stages.reliability import Reliability
from sterling.stats.recalibration import recalibration
from tests.models.frames import DAY, context, frame, put_table
from tests.stages.test_evaluate import CANDIDATE, END, START, judged


def reliability(folder: Path, model: Model, tz: str = "UTC", end: int = END) -> dict[str, object]:
    here = context(folder)
    inputs = {"frame": put_table(here.store, frame(4_000)), "candidate": put_bytes(here.store, model.to_bytes())}
    made = Evaluate("linear", START, end, clustered=True)(inputs, here).outputs
    stage = Reliability("linear", START, end, tz, clustered=True)
    (fact,) = stage(inputs | {"predicted:candidate": made["candidate"]}, here).facts
    return dict(fact.body)


def test_intercept_and_slope_are_those_of_the_holdout(tmp_path: Path) -> None:
    body, rows = reliability(tmp_path, CANDIDATE), judged(frame(4_000))
    found = recalibration(rows.label, CANDIDATE.predict(rows.encode(CANDIDATE.columns)), rows.predict_at // DAY)
    assert body["slope"] == {**found.slope._asdict(), "reason": None}
    assert body["intercept"] == {**found.intercept._asdict(), "reason": None}


def test_months_are_those_of_the_place_and_a_short_one_has_no_interval(tmp_path: Path) -> None:
    months = reliability(tmp_path, CANDIDATE, tz="America/New_York")["months"]
    assert isinstance(months, list)
    assert [(month["month"], month["gap"]["low"] is None) for month in months] == [
        ("1970-01", True),
        ("1970-02", False),
        ("1970-03", True),
    ] or [month["month"] for month in months] == ["1970-01", "1970-02"]
    assert sum(month["rows"] for month in months) == len(judged(frame(4_000)))


def test_one_score_for_all_has_no_slope_and_says_so(tmp_path: Path) -> None:
    body = reliability(tmp_path, Model((), Constant(0.4)))
    assert body["slope"] is None
    assert "Every prediction is the same" in str(body["reason"])


def test_few_days_have_parts_and_no_interval(tmp_path: Path) -> None:
    body = reliability(tmp_path, CANDIDATE, end=START + 5 * DAY)
    assert str(body["reason"]).startswith("5 clusters")
    assert body["brier"]


@pytest.mark.parametrize("part", ["reliability", "resolution", "uncertainty"])
def test_the_parts_of_the_brier_score_are_there(tmp_path: Path, part: str) -> None:
    parts = reliability(tmp_path, CANDIDATE)["brier"]
    assert isinstance(parts, dict)
    assert part in parts
