"""Groups of a sensitive attribute side by side, whether a feature or not, and features that stand in for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from sterling.core.canonical import canonical
from sterling.core.errors import DataError
from sterling.project.policy import Sensitive
from sterling.stages.contract import Context, Outcome, put_bytes, put_json
from sterling.stages.evaluate import Evaluate
from sterling.stages.fairness import Fairness
from sterling.tasks.policies import Decider
from tests.models.frames import context, frame, put_table
from tests.stages.test_evaluate import CANDIDATE, END, START, judged


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return context(tmp_path)


def measure(here: Context, table: pa.Table, *attributes: Sensitive, decided: bool = True) -> Outcome:
    inputs = {"frame": put_table(here.store, table), "candidate": put_bytes(here.store, CANDIDATE.to_bytes())}
    made = Evaluate("linear", START, END, clustered=True)(inputs, here).outputs
    policy = {"policy": put_json(here.store, Decider(0.35, "given").document())} if decided else {}
    stage = Fairness("linear", START, END, attributes, clustered=True)
    return stage(inputs | {"predicted:candidate": made["candidate"]} | policy, here)


def rate(body: Any, name: str) -> Any:
    return next(one for one in body["rates"] if one["rate"] == name)


def test_rates_of_a_column_that_is_no_feature_are_those_of_a_plain_loop(here: Context) -> None:
    table = frame(3_000)
    (fact,) = measure(here, table, Sensitive("origin")).facts
    rows = judged(table)
    acted = CANDIDATE.predict(rows.encode(CANDIDATE.columns)) >= 0.35
    origin = rows.slice_values("origin").to_numpy(False)
    for group in rate(fact.body, "true_positive_rate")["groups"]:
        inside = (origin == group["group"]) & (rows.label == 1)
        assert (group["value"], group["rows"]) == (pytest.approx(acted[inside].mean()), inside.sum())
        assert group["low"] < group["value"] < group["high"]
    gap = rate(fact.body, "selection_rate")["difference"]
    shares = {name: acted[origin == name].mean() for name in ("EWR", "JFK")}
    assert gap["value"] == pytest.approx(abs(shares["EWR"] - shares["JFK"]))
    assert gap["most"] == max(shares, key=lambda name: shares[name])
    assert canonical(fact.body)


def test_missing_is_a_group_and_small_groups_are_shown_as_such(here: Context) -> None:
    (fact,) = measure(here, frame(3_000), Sensitive("carrier", min_rows=150)).facts
    assert [group["value"] for group in fact.body["groups"]] == ["AA", "B6", "DL", "UA", None]
    small = rate(fact.body, "selection_rate")["groups"][-1]
    assert "fewer than 150" in small["reason"]
    assert fact.body["smallest"] == small["rows"]


def test_a_feature_that_tells_the_attribute_is_named(here: Context) -> None:
    table = frame(3_000)
    tells = pc.if_else(pc.greater(table["distance"], 1_000), "far", "near")
    (fact,) = measure(here, table.append_column("_slice_band", tells), Sensitive("band", held_out=True)).facts
    assert fact.body["proxies"][0]["feature"] == "distance"
    assert fact.body["warning"].startswith("distance tells band strongly")
    assert "although it is held out" in fact.body["warning"]
    assert measure(here, table, Sensitive("origin")).facts[0].body["warning"] is None


def test_without_decisions_groups_are_compared_by_calibration(here: Context) -> None:
    (fact,) = measure(here, frame(3_000), Sensitive("origin"), decided=False).facts
    assert [one["rate"] for one in fact.body["rates"]] == ["calibration_gap"]


def test_an_attribute_of_too_many_values_is_refused(here: Context) -> None:
    table = frame(3_000)
    ages = pa.array(np.arange(table.num_rows) % 90)
    with pytest.raises(DataError, match="bands of age, not ages"):
        measure(here, table.append_column("_slice_age", ages), Sensitive("age"))
