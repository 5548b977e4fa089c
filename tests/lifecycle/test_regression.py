"""A project whose label is a number, from its file to the server's answer."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.evidence import Entry, Query
from sterling.core.refs import Ref
from sterling.core.workspace import Workspace
from sterling.engine.tables import read_table
from sterling.lifecycle import Result
from sterling.models import Model
from sterling.project.load import load_project
from sterling.serving.server import Server
from sterling.views.report import run_report
from sterling.views.report_studies import study_tables
from tests.lifecycle.small import edit, run_released, write_project, write_task

GATES = (
    'gates=[sl.gates.NonInferior("rmse", to="baseline", margin=1.0), sl.gates.AtLeast("r2", 0.3), sl.gates.EverySlice("r2", by=["depot"], '
    'at_least=-0.5, min_rows=100), sl.gates.Golden("golden.jsonl")],\n'
)


def write(folder: Path, *, label: str = "hours", rows: int = 3000) -> Path:
    return write_task(folder, "sl.Regression()", GATES, label=label, rows=rows, trees="trees=200")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = write(tmp_path_factory.mktemp("regression") / "project")
    return folder, run_released(folder)


def test_a_number_is_learnt_judged_and_released(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    assert (result.verdict, result.released) == ("passed", True), [entry.body["reason"] for entry in result.gates]
    ledger = Workspace(folder).ledger("late-parcels")
    report = run_report(ledger.read())
    found = {(one.name, one.metric): one.value for one in report.measures if one.role != "slice"}
    assert found["lightgbm", "rmse"] < found["prior", "rmse"]  # type: ignore[operator]
    assert found["prior", "r2"] == pytest.approx(0, abs=0.02)
    assert {name for name, _ in found} == {"lightgbm", "prior", "ridge", "shallow tree"}
    trained = next(entry for entry in ledger.read(Query(("model.trained",))) if entry.body["role"] == "candidate")
    assert trained.body["quartiles"][0] < trained.body["mean"] < trained.body["quartiles"][4]


def report_entries(folder: Path) -> list[Entry]:
    return list(Workspace(folder).ledger("late-parcels").read(Query(("metric.measured",))))


def test_a_number_is_looked_at_as_closely_as_a_condition(finished: tuple[Path, Result]) -> None:
    folder, _ = finished
    report = run_report(Workspace(folder).ledger("late-parcels").read())
    titles = [table.title for table in study_tables(report)]
    for title in (
        "Discovered slices",
        "Where errors are larger",
        "Residuals",
        "Largest residuals",
        "Importance on the holdout",
    ):
        assert title in titles
    assert "Confusion" not in titles
    sliced = [entry.body["metric"] for entry in report_entries(folder) if entry.body["slice"]]
    assert set(sliced) == {"rmse", "mae", "r2"}


def test_the_server_answers_what_was_evaluated_to_the_last_bit(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    workspace = Workspace(folder)
    steps = {step.title: step.outputs for step in result.steps}
    ledger, store = workspace.ledger("late-parcels"), workspace.store()
    (made,) = ledger.read(Query(("predictions.made",), (f"model:{result.candidate}",)))
    scores = {row["unit"]: row["score"] for row in read_table(store, Ref(made.body["ref"])).to_pylist()}
    frame = [row for row in read_table(store, steps["frame"]["frame"]).to_pylist() if row["unit"] in scores][:200]
    names = Model.from_bytes(store.open(Ref(result.candidate)).read_bytes()).names
    with Server(ledger, store).in_background() as url:
        answer = httpx.post(f"{url}/v1/predict", json={"rows": [{name: row[name] for name in names} for row in frame]})
    assert answer.json()["scores"] == [scores[row["unit"]] for row in frame]
    assert max(scores.values()) > 20


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("hours > 30", "'hours > 30' is bool, and Project.task is Regression, whose label is a number. A condition is"),
        ("depot", "'depot' is string, and Project.task is Regression, whose label is a number."),
    ],
)
def test_a_label_that_is_no_number_is_refused(tmp_path: Path, label: str, said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said):
        run_released(write(tmp_path / "project", label=label))


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("ln(weight - weight)", "is infinite or no number in"),
        ("1", "All .* labels known before the holdout, .* are 1. Training needs labels that differ."),
        ("CASE WHEN FALSE THEN hours END", "none of their labels is known by then"),
    ],
)
def test_labels_that_nothing_can_be_learnt_from_end_a_run_in_one_sentence(
    tmp_path: Path, label: str, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        run_released(write(tmp_path / "project", label=label))


def test_thirty_rows_end_in_bounds_that_nothing_passes(tmp_path: Path) -> None:
    result = run_released(write(tmp_path / "project", rows=30))
    assert result.verdict == "failed"


def test_a_number_as_the_label_of_a_condition_is_refused(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    edit(folder, '"hours > 30"', '"hours"')
    with pytest.raises(InvalidDefinitionError, match=r"'hours' is double, and .* Binary.* or task=sl.Regression\(\)"):
        run_released(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'NonInferior("rmse"',
            'NonInferior("log_loss"',
            "which is not measured under the task Regression. Use one of rmse",
        ),
        ("min_rows_per_leaf=20)", "min_rows_per_leaf=20), baselines=[sl.Logistic()]", "Use Ridge"),
        ("task=sl.Regression(),", "", "which is not measured under the task Binary"),
    ],
)
def test_what_does_not_fit_the_task_is_refused_when_the_project_is_read(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    folder = write(tmp_path / "project")
    edit(folder, old, new)
    with pytest.raises(InvalidDefinitionError, match=said):
        load_project(folder)
