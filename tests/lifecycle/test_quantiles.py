"""A project whose answer is quantiles of a number, from its file to the server's answer."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.evidence import Query
from sterling.core.refs import Ref
from sterling.core.workspace import Workspace
from sterling.decisions.served import served_as_trained
from sterling.engine.tables import read_table
from sterling.lifecycle import Result
from sterling.models import Model
from sterling.models.answers import scores_of
from sterling.project.load import load_project
from sterling.serving.server import Server
from sterling.views.report import run_report
from sterling.views.report_studies import study_tables
from tests.lifecycle.small import edit, run_released, write_task

GATES = (
    'gates=[sl.gates.NonInferior("pinball", to="baseline", margin=1.0), sl.gates.AtLeast("coverage", 0.5), '
    'sl.gates.AtMost("coverage", 0.95), sl.gates.NonInferior("pinball", margin=0.1), '
    'sl.gates.EverySlice("pinball", by=["depot"], at_most=20.0, min_rows=100)],\n'
)
LEVELS = ("0.1", "0.5", "0.9")


def write(folder: Path, *, label: str = "hours", rows: int = 3000) -> Path:
    return write_task(folder, "sl.Quantiles([0.1, 0.5, 0.9])", GATES, label=label, rows=rows, trees="most_trees=60")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = write(tmp_path_factory.mktemp("quantiles") / "project")
    return folder, run_released(folder)


def test_quantiles_are_learnt_judged_and_released(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    assert (result.verdict, result.released) == ("passed", True), [entry.body["reason"] for entry in result.gates]
    entries = list(Workspace(folder).ledger("late-parcels").read())
    report = run_report(entries)
    found = {(one.name, one.metric): one.value for one in report.measures if one.role != "slice"}
    assert found["lightgbm", "pinball"] < found["prior", "pinball"]  # type: ignore[operator]
    assert {name for name, _ in found} == {"lightgbm", "prior", "ridge", "shallow tree"}
    assert {metric for _, metric in found} == {"pinball", "coverage", "width"}
    trained = next(e for e in entries if e.kind == "model.trained" and e.body["role"] == "candidate")
    assert set(trained.body["found"]["by_level"]) == set(LEVELS)
    assert 0 <= trained.body["found"]["crossed"] < 0.5
    titles = [table.title for table in study_tables(report)]
    assert {"Intervals", "Quantiles", "Importance on the holdout", "Robustness"} <= set(titles)


def test_each_share_is_that_of_the_predictions(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    workspace = Workspace(folder)
    ledger, store = workspace.ledger("late-parcels"), workspace.store()
    kept, label = _predicted(folder, result)
    (fact,) = ledger.read(Query(("calibration.measured",), (f"model:{result.candidate}",)))
    inside = (kept[:, 0] <= label) & (label <= kept[:, 2])
    (one,) = fact.body["intervals"]
    assert (one["share"], one["width"]) == pytest.approx((inside.mean(), (kept[:, 2] - kept[:, 0]).mean()))
    assert [level["share"] for level in fact.body["levels"]] == pytest.approx((label[:, None] <= kept).mean(axis=0))
    (judged,) = ledger.read(Query(("calibration.judged",)))
    model = Model.from_bytes(store.open(Ref(result.candidate)).read_bytes())
    assert bool(model.predictor.shifts) == (judged.body["accepted"] == "conformal")  # type: ignore[attr-defined]


def test_the_server_answers_what_was_evaluated_to_the_last_bit(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    workspace = Workspace(folder)
    steps = {step.title: step.outputs for step in result.steps}
    ledger, store = workspace.ledger("late-parcels"), workspace.store()
    (checked,) = ledger.read(Query(("served.checked",)))
    assert served_as_trained([checked], result.candidate).passed
    (made,) = ledger.read(Query(("predictions.made",), (f"model:{result.candidate}",)))
    table = read_table(store, Ref(made.body["ref"]))
    scores = dict(zip(table["unit"].to_pylist(), scores_of(table).tolist(), strict=True))
    frame = [row for row in read_table(store, steps["frame"]["frame"]).to_pylist() if row["unit"] in scores][:200]
    model = Model.from_bytes(store.open(Ref(result.candidate)).read_bytes())
    assert model.outputs == LEVELS
    with Server(ledger, store).in_background() as url:
        rows = [{name: row[name] for name in model.names} for row in frame]
        answer = httpx.post(f"{url}/v1/predict", json={"rows": rows}).json()
        schema = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]["Prediction"]["properties"]
    assert answer["scores"] == [scores[row["unit"]] for row in frame]
    assert answer["outputs"] == list(LEVELS) == schema["outputs"]["anyOf"][0]["const"]
    assert "labels" not in answer
    assert all(low <= middle <= high for low, middle, high in answer["scores"])


def test_a_constant_label_ends_a_run_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"are 1. Training needs labels that differ"):
        run_released(write(tmp_path / "project", label="1"))


def test_labels_that_are_all_null_end_a_run_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of their labels is known by then"):
        run_released(write(tmp_path / "project", label="CASE WHEN FALSE THEN hours END"))


def test_thirty_rows_end_in_bounds_that_nothing_passes(tmp_path: Path) -> None:
    assert run_released(write(tmp_path / "project", rows=30)).verdict == "failed"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('AtLeast("coverage"', 'AtLeast("rmse"', "not measured under the task Quantiles. Use one of pinball, coverage, width"),
        ("min_rows_per_leaf=20)", "min_rows_per_leaf=20), baselines=[sl.Logistic()]", "Logistic has no quantiles"),
        ("[0.1, 0.5, 0.9]", "[0.5]", "A project has two at least"),
        ("[0.1, 0.5, 0.9]", "[0.9, 0.1]", "They lie between 0 and 1, and rise"),
        ("min_rows=100)],", "min_rows=100)], studies=[sl.studies.Slices()],", "Slices is no study of the task Quantiles"),
        ("min_rows=100)],", 'min_rows=100), sl.gates.Golden("golden.jsonl")],', "about one score a row"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_task_is_refused_when_the_project_is_read(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    folder = write(tmp_path / "project")
    edit(folder, old, new)
    with pytest.raises(InvalidDefinitionError, match=said):
        load_project(folder)


def _predicted(folder: Path, result: Result) -> tuple[np.ndarray, np.ndarray]:
    """The candidate's quantiles on the holdout, and the labels."""
    workspace = Workspace(folder)
    steps = {step.title: step.outputs for step in result.steps}
    ledger, store = workspace.ledger("late-parcels"), workspace.store()
    (made,) = ledger.read(Query(("predictions.made",), (f"model:{result.candidate}",)))
    table = read_table(store, Ref(made.body["ref"]))
    frame = read_table(store, steps["frame"]["frame"])
    labels = dict(zip(frame["unit"].to_pylist(), frame["label"].to_pylist(), strict=True))
    return scores_of(table), np.array([labels[unit] for unit in table["unit"].to_pylist()])
