"""Decisions are judged on the holdout: every model under its policy, on the same rows, by what they are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from sterling.core.canonical import canonical
from sterling.core.refs import Ref
from sterling.models.frame import Frame
from sterling.project.policy import Value
from sterling.stages.contract import Context, Outcome, put_bytes, put_json
from sterling.stages.decide import Decide
from sterling.stages.evaluate import Evaluate
from sterling.tasks.policies import Decider
from tests.models.frames import context, frame, put_table
from tests.stages.test_evaluate import BASELINE, CANDIDATE, CHAMPION, END, START, bodies, judged

VALUE = Value("USD", 40, -15, -2, 1)
AT = Decider(0.35, "given")
STAGE = Decide("linear", START, END, clustered=True, value=VALUE, sliced=[("recall", "origin")])


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return context(tmp_path)


@pytest.fixture
def table() -> pa.Table:
    return frame(3_000)


def decide(here: Context, table: pa.Table, decider: Decider = AT, stage: Decide = STAGE, **more: Ref) -> Outcome:
    models = {"candidate": CANDIDATE, "baseline:prior": BASELINE}
    refs = {key: put_bytes(here.store, model.to_bytes()) for key, model in models.items()}
    inputs = {"frame": put_table(here.store, table), **refs}
    made = Evaluate("linear", START, END, clustered=True)(inputs, here).outputs
    policies = put_json(here.store, {key: decider.document() for key in models})
    return stage(inputs | {"policies": policies, **{f"predicted:{key}": made[key] for key in models}, **more}, here)


def test_the_candidate_is_judged_as_by_hand(here: Context, table: pa.Table) -> None:
    outcome, rows = decide(here, table), judged(table)
    acted = CANDIDATE.predict(rows.encode(CANDIDATE.columns)) >= 0.35
    tn, fp, fn, tp = metrics.confusion_matrix(rows.label, acted).ravel()
    said = bodies(outcome, "decisions.evaluated", role="candidate")[0]
    assert said["confusion"] == {"true_positive": tp, "false_positive": fp, "false_negative": fn, "true_negative": tn}
    assert (said["acted"], said["unit"]) == (int(acted.sum()), "USD per 1,000 decisions")
    measured = {body["metric"]: body for body in bodies(outcome, "metric.measured", role="candidate", slice={})}
    worth = 40 * tp - 15 * fp - 2 * fn + tn
    assert measured["value"]["value"] == pytest.approx(1000 * worth / len(rows))
    assert measured["precision"]["value"] == pytest.approx(metrics.precision_score(rows.label, acted))
    assert all(body["lower"] <= body["value"] <= body["upper"] and body["clusters"] == 30 for body in measured.values())


def test_it_is_compared_with_baselines_with_nobody_and_with_everybody(here: Context, table: pa.Table) -> None:
    outcome, rows = decide(here, table), judged(table)
    own = bodies(outcome, "metric.measured", role="candidate", metric="value")[0]["value"]
    compared = {body["against_role"]: body["difference"] for body in bodies(outcome, "metric.compared", metric="value")}
    share = rows.label.mean()
    assert set(compared) == {"baseline", "nobody", "everybody"}
    assert own - compared["nobody"] == pytest.approx(1000 * (-2 * share + (1 - share)))
    assert own - compared["everybody"] == pytest.approx(1000 * (40 * share - 15 * (1 - share)))
    assert compared["baseline"] == compared["everybody"]  # the prior of 0.4 acts on all of them


def test_the_champion_decides_by_the_policy_that_it_was_registered_with(here: Context, table: pa.Table) -> None:
    champion = put_bytes(here.store, CHAMPION.to_bytes())
    own = put_json(here.store, Decider(0.6, "its own").document())
    scores = CHAMPION.predict(judged(table).encode(CHAMPION.columns))
    with_own = bodies(
        decide(here, table, champion=champion, champion_policy=own), "decisions.evaluated", role="champion"
    )[0]
    without = bodies(decide(here, table, champion=champion), "decisions.evaluated", role="champion")[0]
    assert (with_own["acted"], with_own["own_policy"]) == ((scores >= 0.6).sum(), True)
    assert (without["acted"], without["own_policy"]) == ((scores >= 0.35).sum(), False)


def test_a_capacity_takes_the_highest_scores_of_each_period(here: Context, table: pa.Table) -> None:
    rows = judged(table)
    scores = CANDIDATE.predict(rows.encode(CANDIDATE.columns))
    for per, periods in (
        ("1d", rows.predict_at // 86_400_000_000),
        ("origin", rows.slice_values("origin").to_numpy(False)),
    ):
        outcome = decide(here, table, Decider(None, "", k=7, per=per), STAGE)
        wanted = 0
        for period in np.unique(periods):
            inside = np.flatnonzero(periods == period)
            wanted += int(rows.label[inside[np.argsort(-scores[inside], kind="stable")][:7]].sum())
        said = bodies(outcome, "decisions.evaluated", role="candidate")[0]
        assert (said["confusion"]["true_positive"], said["acted"]) == (wanted, 7 * len(np.unique(periods)))


def test_slices_that_gates_ask_for_are_measured(here: Context, table: pa.Table) -> None:
    outcome, rows = decide(here, table), judged(table)
    found = [body for body in bodies(outcome, "metric.measured", metric="recall") if body["slice"]]
    assert {body["slice"]["origin"]: body["rows"] for body in found} == {
        origin: int((Frame(rows.table).slice_values("origin").to_numpy(False) == origin).sum())
        for origin in ("EWR", "JFK")
    }


def test_without_amounts_nothing_is_said_of_value(here: Context, table: pa.Table) -> None:
    outcome = decide(here, table, stage=Decide("linear", START, END, clustered=True))
    assert not bodies(outcome, "metric.measured", metric="value")
    assert bodies(outcome, "decisions.evaluated", role="candidate")[0]["curve"] is None
    assert {body["against_role"] for body in bodies(outcome, "metric.compared")} == {"baseline"}


def test_the_curve_holds_the_policy_and_every_fact_can_be_written(here: Context, table: pa.Table) -> None:
    outcome = decide(here, table)
    curve: Any = bodies(outcome, "decisions.evaluated", role="candidate")[0]["curve"]
    assert curve["best"]["value"] == max(point["value"] for point in curve["points"])
    assert all(canonical([fact.kind, fact.subjects, fact.body]) for fact in outcome.facts)
    assert outcome == decide(here, table)
