"""Evaluation is a function of a frame and some models: every model on the same rows, and nothing left out in silence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn import metrics

from sterling.core.canonical import canonical
from sterling.core.errors import DataError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models import Column, Constant, Linear, Model, NumberTerm
from sterling.models.frame import Frame
from sterling.stages.contract import Context, Outcome, put_bytes
from sterling.stages.evaluate import MOST_SLICES, Evaluate
from tests.models.frames import DAY, context, frame, put_table

START, END = 30 * DAY, 60 * DAY
DISTANCE = Column("distance", "number")
CANDIDATE = Model(
    (DISTANCE, Column("wind", "number")), Linear(-1, (NumberTerm(1000, 600, 1, 0), NumberTerm(10, 5, 1, 0)))
)
BASELINE = Model((), Constant(0.4))
CHAMPION = Model((DISTANCE,), Linear(-1, (NumberTerm(1000, 600, 1, 0),)))
STAGE = Evaluate("linear", START, END, clustered=True)


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return context(tmp_path)


@pytest.fixture
def table() -> pa.Table:
    return frame(2_000)


def inputs(here: Context, table: pa.Table, **more: Model) -> dict[str, Ref]:
    models = {"candidate": CANDIDATE, "baseline:prior": BASELINE, **more}
    refs = {name: put_bytes(here.store, model.to_bytes()) for name, model in models.items()}
    return {"frame": put_table(here.store, table), **refs}


def judged(table: pa.Table) -> Frame:
    """The rows of the holdout whose label is known."""
    inside = pc.and_(pc.greater_equal(table["predict_at"], START), pc.less(table["predict_at"], END))
    return Frame(table.filter(pc.and_(inside, pc.is_valid(table["label"]))))


def bodies(outcome: Outcome, kind: str, **fields: Any) -> list[Mapping[str, Any]]:
    found = [fact.body for fact in outcome.facts if fact.kind == kind]
    return [body for body in found if all(body[name] == value for name, value in fields.items())]


def test_metrics_are_those_of_scikit_learn_on_the_same_rows(here: Context, table: pa.Table) -> None:
    outcome = STAGE(inputs(here, table), here)
    rows = judged(table)
    scores = CANDIDATE.predict(rows.encode(CANDIDATE.columns))
    measured = {body["metric"]: body for body in bodies(outcome, "metric.measured", role="candidate", slice={})}
    assert measured["roc_auc"]["value"] == pytest.approx(metrics.roc_auc_score(rows.label, scores))
    assert measured["average_precision"]["value"] == pytest.approx(metrics.average_precision_score(rows.label, scores))
    assert measured["log_loss"]["value"] == pytest.approx(metrics.log_loss(rows.label, scores))
    assert measured["brier"]["value"] == pytest.approx(metrics.brier_score_loss(rows.label, scores))
    assert all(body["rows"] == len(rows) and body["clusters"] == 30 for body in measured.values())
    assert all(body["lower"] <= body["value"] <= body["upper"] for body in measured.values())


def test_a_difference_is_the_difference_of_what_was_measured(here: Context, table: pa.Table) -> None:
    outcome = STAGE(inputs(here, table, champion=CHAMPION), here)
    measured = {(body["role"], body["metric"]): body["value"] for body in bodies(outcome, "metric.measured")}
    compared = bodies(outcome, "metric.compared")
    assert {(body["against_name"], body["against_role"]) for body in compared} == {
        ("prior", "baseline"),
        ("champion", "champion"),
    }
    for body in compared:
        ours, theirs = measured["candidate", body["metric"]], measured[body["against_role"], body["metric"]]
        assert body["difference"] == pytest.approx(ours - theirs)


def test_evaluating_twice_gives_the_same_refs_and_the_same_facts(here: Context, table: pa.Table) -> None:
    refs = inputs(here, table, champion=CHAMPION)
    assert STAGE(refs, here) == STAGE(refs, here)


def test_every_fact_can_be_written_to_a_ledger(here: Context, table: pa.Table) -> None:
    outcome = Evaluate("linear", START, END, slices=("carrier", "seats"))(inputs(here, table), here)
    assert all(canonical([fact.kind, fact.subjects, fact.body]) for fact in outcome.facts)


def test_predictions_are_kept_and_rows_without_a_label_are_counted(here: Context, table: pa.Table) -> None:
    outcome = STAGE(inputs(here, table), here)
    made = bodies(outcome, "predictions.made", name="linear")[0]
    inside = table.filter(pc.and_(pc.greater_equal(table["predict_at"], START), pc.less(table["predict_at"], END)))
    status = inside["status"].to_pylist()
    assert made["pending"] == status.count("pending") > 0
    assert made["missing"] == status.count("missing") > 0
    assert made["rows"] + made["pending"] + made["missing"] == inside.num_rows
    kept = pq.read_table(here.store.open(outcome.outputs["candidate"]))
    rows = judged(table)
    assert made["ref"] == outcome.outputs["candidate"]
    assert kept["unit"].to_pylist() == rows.table["unit"].to_pylist()
    assert kept["score"].to_pylist() == CANDIDATE.predict(rows.encode(CANDIDATE.columns)).tolist()


def test_every_value_of_a_slice_is_measured_and_so_is_its_absence(here: Context, table: pa.Table) -> None:
    stage = Evaluate("linear", START, END, clustered=True, slices=("carrier", "origin"), slice_metrics=("brier",))
    outcome = stage(inputs(here, table), here)
    rows = judged(table)
    for metric in ("roc_auc", "brier"):
        found = {
            next(iter(body["slice"].items())): body["rows"]
            for body in bodies(outcome, "metric.measured", role="candidate", metric=metric)
            if body["slice"]
        }
        wanted = {
            (column, value["values"]): value["counts"]
            for column in ("carrier", "origin")
            for value in pc.value_counts(rows.slice_values(column)).to_pylist()
        }
        assert found == wanted
    assert ("carrier", None) in wanted


def test_a_slice_with_too_little_evidence_is_shown_and_says_why(here: Context, table: pa.Table) -> None:
    first = pc.if_else(pc.less(table["predict_at"], START + 3 * DAY), "early", "late")
    stage = Evaluate("linear", START, END, clustered=True, slices=("phase",))
    outcome = stage(inputs(here, table.append_column("_slice_phase", first)), here)
    early = bodies(outcome, "metric.measured", slice={"phase": "early"})[0]
    assert (early["value"], early["lower"], early["clusters"]) == (None, None, 3)
    assert early["reason"].startswith("3 clusters")


def test_without_a_champion_its_absence_is_recorded(here: Context, table: pa.Table) -> None:
    resolved = bodies(STAGE(inputs(here, table), here), "champion.resolved")[0]
    assert (resolved["champion"], resolved["comparable"]) == (None, False)
    assert resolved["reason"] == "first release, nothing to compare with"


def test_a_champion_is_named_by_its_ref(here: Context, table: pa.Table) -> None:
    resolved = bodies(STAGE(inputs(here, table, champion=CHAMPION), here), "champion.resolved")[0]
    assert (resolved["model"], resolved["champion"], resolved["comparable"]) == (CANDIDATE.ref, CHAMPION.ref, True)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (Column("speed", "number"), "it reads the feature 'speed', which the frame does not have"),
        (Column("dest", "number"), "its feature 'dest' is a number, and a category in the frame"),
    ],
)
def test_a_champion_that_cannot_read_the_frame_takes_no_part(
    here: Context, table: pa.Table, column: Column, reason: str
) -> None:
    champion = Model((column,), Constant(0.5))
    outcome = STAGE(inputs(here, table, champion=champion), here)
    resolved = bodies(outcome, "champion.resolved")[0]
    assert (resolved["champion"], resolved["comparable"], resolved["reason"]) == (champion.ref, False, reason)
    assert not bodies(outcome, "metric.compared", against_role="champion")


def test_clusters_make_bounds_wider_where_rows_of_a_cluster_are_alike(here: Context, table: pa.Table) -> None:
    day = table["predict_at"].to_numpy() // DAY
    label = pa.array((day % 3 == 0).astype(np.int8), mask=np.asarray(pc.is_null(table["label"])))
    table = table.set_column(table.column_names.index("label"), "label", label)
    widths = {}
    for clustered in (True, False):
        outcome = Evaluate("linear", START, END, clustered=clustered)(inputs(here, table), here)
        body = bodies(outcome, "metric.measured", role="candidate", metric="brier")[0]
        widths[clustered] = body["upper"] - body["lower"]
    assert widths[True] > 2 * widths[False]


def test_the_error_rate_is_the_projects_budget(here: Context, table: pa.Table) -> None:
    strict = Evaluate("linear", START, END, error_rate=0.01, clustered=True)(inputs(here, table), here)
    loose = Evaluate("linear", START, END, error_rate=0.2, clustered=True)(inputs(here, table), here)
    low, high = (bodies(o, "metric.measured", role="candidate", metric="roc_auc")[0] for o in (strict, loose))
    assert (low["error_rate"], high["error_rate"]) == (0.01, 0.2)
    assert low["lower"] < high["lower"]


def test_calibration_covers_the_holdout(here: Context, table: pa.Table) -> None:
    bins = bodies(STAGE(inputs(here, table), here), "calibration.measured")[0]["bins"]
    assert sum(bin_["rows"] for bin_ in bins) == len(judged(table))
    assert [bin_["predicted"] for bin_ in bins] == sorted(bin_["predicted"] for bin_ in bins)


def test_golden_examples_are_answered_with_null_for_what_is_left_out(here: Context, table: pa.Table) -> None:
    examples = (
        b'{"name": "windy", "features": {"wind": 60}, "at_least": 0.9}\n\n'
        b'{"name": "calm", "features": {"wind": 0, "distance": 100}, "at_least": 0.9, "at_most": 1}\n'
    )
    outcome = STAGE(inputs(here, table) | {"golden": put_bytes(here.store, examples)}, here)
    checked = bodies(outcome, "golden.checked")[0]
    score = CANDIDATE.predict_rows([{"wind": 0, "distance": 100}])[0]
    assert checked["examples"] == 2
    assert checked["failed"] == [{"name": "calm", "score": score, "at_least": 0.9, "at_most": 1}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "holds none"),
        (b"{", "line 1: it is no JSON"),
        (b"[]", "it is no object"),
        (b'{"name": "a", "feature": {}, "at_most": 1}', "Did you mean 'features'?"),
        (b'{"name": "a", "at_most": 1}', "needs a name"),
        (b'{"name": "a", "features": {}}', "neither at_least nor at_most"),
        (b'{"name": "a", "features": {}, "at_most": "1"}', "They are numbers"),
        (b'{"name": "a", "features": {"wnd": 1}, "at_most": 1}', "Did you mean 'wind'?"),
    ],
)
def test_an_example_that_says_nothing_is_refused(here: Context, table: pa.Table, line: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said.replace("?", r"\?")):
        STAGE(inputs(here, table) | {"golden": put_bytes(here.store, line)}, here)


def test_a_holdout_without_labels_is_refused_with_counts(here: Context, table: pa.Table) -> None:
    with pytest.raises(DataError, match=r"1970-03-12.*0 rows, 0 pending, 0 missing"):
        Evaluate("linear", 70 * DAY, 80 * DAY)(inputs(here, table), here)


def test_a_row_without_its_cluster_is_refused(here: Context, table: pa.Table) -> None:
    empty = pa.nulls(len(table), pa.string())
    table = table.set_column(table.column_names.index("cluster"), "cluster", empty)
    with pytest.raises(DataError, match="rows of the holdout have no cluster"):
        STAGE(inputs(here, table), here)
    assert Evaluate("linear", START, END)(inputs(here, table), here)


def test_a_column_of_too_many_values_makes_no_slices(here: Context) -> None:
    table = frame(MOST_SLICES * 3)
    with pytest.raises(DataError, match=r"'distance' has .* values in the holdout"):
        Evaluate("linear", START, END, clustered=True, slices=("distance",))(inputs(here, table), here)
    with pytest.raises(DataError, match="neither a feature nor a slice 'runway'"):
        Evaluate("linear", START, END, clustered=True, slices=("runway",))(inputs(here, table), here)


def test_facts_are_found_by_their_model_and_metric(here: Context, table: pa.Table) -> None:
    fact: Evidence = next(f for f in STAGE(inputs(here, table), here).facts if f.kind == "metric.measured")
    assert set(fact.subjects) == {f"model:{fact.body['model']}", f"metric:{fact.body['metric']}"}
