"""What decides from scores is settled on data from before the holdout, for every model in the same way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.models import Constant, Model
from sterling.models.frame import Frame
from sterling.models.training import fit
from sterling.project.definition import to_json
from sterling.project.policy import ExpectedValue, Policy, Threshold, Top, Value
from sterling.project.recipe import LightGBM, Logistic, Prior
from sterling.stages.contract import Context, Outcome, put_bytes, put_json
from sterling.stages.policy import ChoosePolicy, Contender
from sterling.stats.decisions import Amounts
from sterling.stats.value_curve import curve, objective_of
from tests.models.frames import DAY, context, frame, put_table

START = 40 * DAY
VALUE = Value("USD", 40, -15)
TRAINERS = (Contender("candidate", Logistic()), Contender("baseline:prior", Prior()))
CHOSEN = Threshold(maximize="value", block="10d")


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return context(tmp_path)


def choose(here: Context, policy: Policy, table: pa.Table) -> Outcome:
    ref = put_bytes(here.store, Model((), Constant(0.5)).to_bytes())
    inputs = {"frame": put_table(here.store, table), "candidate": ref, "baseline:prior": ref}
    return ChoosePolicy(policy, VALUE, START, TRAINERS, clustered=True)(inputs, here)


def read(here: Context, ref: Ref) -> Any:
    return json.loads(here.store.open(ref).read_bytes())


def test_the_threshold_is_the_best_of_a_model_that_never_saw_the_block(here: Context) -> None:
    table = frame(4_000)
    outcome = choose(here, CHOSEN, table)
    rows = Frame(table)
    model = fit(Logistic(), rows.take(rows.known_before(30 * DAY)).training_rows(here.seed))
    block = rows.take((rows.predict_at >= 30 * DAY) & (rows.predict_at < START) & rows.known_before(START))
    day = block.predict_at // DAY
    best = curve(
        block.label, model.predict(block.encode(model.columns)), day, objective_of("value", Amounts(40, -15))
    ).best
    said = outcome.facts[0].body
    assert said["policy"]["threshold"] == best.threshold
    assert said["chosen_on"] | {"selected": best.selected, "value": best.value} == said["chosen_on"]
    assert (said["chosen_on"]["rows"], said["chosen_on"]["clusters"]) == (len(block), 10)
    assert said["chosen_on"]["low"] < best.value < said["chosen_on"]["high"]
    assert (
        read(here, outcome.outputs["policy"]) == said["policy"] == read(here, outcome.outputs["policies"])["candidate"]
    )


def test_nothing_of_the_holdout_and_no_label_that_was_not_known_changes_it(here: Context) -> None:
    table = frame(4_000)
    late = pa.array(np.asarray(table["matured_at"].fill_null(2**60)) >= START)
    label = table["label"].to_numpy(zero_copy_only=False)
    turned = pa.array(np.where(np.asarray(late), 1 - np.nan_to_num(label), np.nan_to_num(label)).astype(np.int8))
    other = table.set_column(table.schema.get_field_index("label"), "label", turned)
    found = [choose(here, CHOSEN, given).outputs["policies"] for given in (table, other)]
    assert found[0] == found[1]


def test_the_candidate_is_trained_with_the_settings_that_a_search_found(here: Context) -> None:
    ref, small = put_bytes(here.store, Model((), Constant(0.5)).to_bytes()), LightGBM(trees=5, min_rows_per_leaf=20)
    inputs = {"frame": put_table(here.store, frame(4_000)), "candidate": ref}
    wide = ChoosePolicy(CHOSEN, VALUE, START, [Contender("candidate", LightGBM(trees=40))], clustered=True)
    asked = ChoosePolicy(CHOSEN, VALUE, START, [Contender("candidate", small)], clustered=True)
    tuned = wide(inputs | {"trainer": put_json(here.store, to_json(small))}, here).outputs["policy"]
    assert tuned == asked(inputs, here).outputs["policy"] != wide(inputs, here).outputs["policy"]


def test_several_blocks_are_scored_each_by_a_model_from_before_it(here: Context) -> None:
    said = choose(here, Threshold(maximize="f1", block="7d", blocks=3), frame(4_000)).facts[0].body["chosen_on"]
    assert (said["from"][:10], said["to"][:10], said["clusters"]) == ("1970-01-20", "1970-02-10", 21)
    assert said["objective"] == "f1"


@pytest.mark.parametrize(
    ("policy", "kind", "threshold"),
    [(ExpectedValue(), "threshold", 15 / 55), (Threshold(at=0.3), "threshold", 0.3), (Top(5, per="1d"), "top", None)],
)
def test_what_needs_no_data_is_settled_without(here: Context, policy: Policy, kind: str, threshold: float) -> None:
    outcome = choose(here, policy, frame(100))
    assert {fact.body["policy"]["type"] for fact in outcome.facts} == {kind}
    assert {fact.body["policy"].get("threshold") for fact in outcome.facts} == {threshold}
    assert all(fact.body["chosen_on"] is None for fact in outcome.facts)


def test_a_block_without_labels_is_refused(here: Context) -> None:
    with pytest.raises(DataError, match="no threshold can be chosen there"):
        choose(here, Threshold(maximize="f1", block="1m"), frame(400))
