"""A project whose label is one of several classes, from its file to the server's answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest

import sterling as sl
from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.evidence import Query
from sterling.core.refs import Ref
from sterling.core.workspace import Workspace
from sterling.decisions.served import served_as_trained
from sterling.engine.tables import read_table
from sterling.lifecycle import Result, run_project
from sterling.models import Model
from sterling.models.answers import scores_of
from sterling.project.load import load_project
from sterling.serving.server import Server
from sterling.views.report import run_report
from tests.cli.conftest import sterling
from tests.lifecycle.small import edit, run_released, write_task

LABEL = "CASE WHEN hours < 20 THEN 'quick' WHEN hours < 35 THEN 'usual' ELSE 'slow' END"
GATES = (
    'gates=[sl.gates.NonInferior("log_loss", to="baseline", margin=0.1), sl.gates.AtLeast("accuracy", 0.5), sl.gates.AtLeast("macro_f1", 0.4), '
    'sl.gates.AtLeast("macro_roc_auc", 0.6), sl.gates.AtMost("brier", 0.7), sl.gates.AtMost("ece", 0.2), '
    'sl.gates.NonInferior("log_loss", margin=0.05), sl.gates.EverySlice("accuracy", by=["depot"], at_least=0.4, min_rows=100)],\n'
)
CLASSES = ("quick", "slow", "usual")


def write(folder: Path, *, label: str = LABEL, rows: int = 2000, task: str = "sl.Multiclass()") -> Path:
    return write_task(folder, task, GATES, label=label, rows=rows, trees="most_trees=50")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = write(tmp_path_factory.mktemp("multiclass") / "project")
    return folder, run_released(folder)


def test_classes_are_learnt_judged_and_released(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    assert (result.verdict, result.released) == ("passed", True), [entry.body["reason"] for entry in result.gates]
    ledger = Workspace(folder).ledger("late-parcels")
    report = run_report(ledger.read())
    found = {(one.name, one.metric): one.value for one in report.measures if one.role != "slice"}
    assert found["lightgbm", "log_loss"] < found["prior", "log_loss"]  # type: ignore[operator]
    assert found["prior", "macro_roc_auc"] == 0.5
    assert {name for name, _ in found} == {"lightgbm", "prior", "logistic", "shallow tree"}
    trained = next(entry for entry in ledger.read(Query(("model.trained",))) if entry.body["role"] == "candidate")
    assert set(trained.body["classes"]) == set(CLASSES)
    assert 0 < trained.body["found"]["trees"] <= 50


def test_the_server_answers_what_was_evaluated_to_the_last_bit(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    workspace = Workspace(folder)
    steps = {step.title: step.outputs for step in result.steps}
    ledger, store = workspace.ledger("late-parcels"), workspace.store()
    (checked,) = ledger.read(Query(("served.checked",)))
    assert served_as_trained([checked], result.candidate).passed
    assert checked.body["rows"] == 256
    (made,) = ledger.read(Query(("predictions.made",), (f"model:{result.candidate}",)))
    kept = read_table(store, Ref(made.body["ref"]))
    scores = dict(zip(kept["unit"].to_pylist(), scores_of(kept).tolist(), strict=True))
    frame = [row for row in read_table(store, steps["frame"]["frame"]).to_pylist() if row["unit"] in scores][:200]
    model = Model.from_bytes(store.open(Ref(result.candidate)).read_bytes())
    assert model.outputs == CLASSES
    with Server(ledger, store).in_background() as url:
        rows = [{name: row[name] for name in model.names} for row in frame]
        answer = httpx.post(f"{url}/v1/predict", json={"rows": rows}).json()
        alone = httpx.post(f"{url}/v1/predict", json=rows[0]).json()
        schema = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]["Prediction"]["properties"]
        about = httpx.get(f"{url}/version").json()
    assert answer["scores"] == [scores[row["unit"]] for row in frame]
    assert alone["scores"] == answer["scores"][:1]
    assert answer["outputs"] == about["outputs"] == list(CLASSES) == schema["outputs"]["anyOf"][0]["const"]
    assert answer["labels"] == [CLASSES[place] for place in np.argmax(answer["scores"], axis=1)]


def test_what_is_mistaken_for_what_is_on_record(finished: tuple[Path, Result]) -> None:
    folder, _ = finished
    (entry,) = Workspace(folder).ledger("late-parcels").read(Query(("classes.measured",)))
    counts = np.array(entry.body["confusion"])
    assert counts.sum() == entry.body["rows"]
    for place, one in enumerate(entry.body["classes"]):
        assert one["class"] == CLASSES[place]
        assert one["recall"]["value"] == pytest.approx(counts[place, place] / counts[place].sum())
        assert one["precision"]["value"] == pytest.approx(counts[place, place] / counts[:, place].sum())
        assert one["recall"]["low"] < one["recall"]["value"] < one["recall"]["high"]
    off = counts - np.diag(np.diag(counts))
    assert entry.body["confused"][0]["rows"] == off.max()


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("hours > 30", "'hours > 30' is bool, and Project.task is Multiclass, whose label is the name of a class"),
        ("hours", "'hours' is double, and Project.task is Multiclass"),
    ],
)
def test_a_label_that_names_no_class_is_refused(tmp_path: Path, label: str, said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said):
        run_released(write(tmp_path / "project", label=label))


def test_a_thousand_classes_end_a_run_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"are of [0-9,]+ classes, and Multiclass takes 200 at most"):
        run_released(write(tmp_path / "project", label="CAST(weight * 100 AS INTEGER)"))


@pytest.mark.slow
def test_a_class_of_one_row_and_a_second_run_that_is_compared_with_the_first(tmp_path: Path) -> None:
    folder = write(tmp_path / "project", label="CASE WHEN parcel = 'p00010' THEN 10 WHEN hours < 25 THEN 9 ELSE 2 END")
    result = run_released(folder)
    model = Model.from_bytes(Workspace(folder).store().open(Ref(result.candidate)).read_bytes())
    assert model.outputs == ("2", "9", "10")
    edit(folder, "min_rows_per_leaf=20", "min_rows_per_leaf=40")
    assert run_released(folder).candidate != result.candidate
    compared = sterling(folder, "compare", "--json")
    assert compared.code == 0, compared.errors
    assert all(one["difference"] is not None for one in compared.json["metrics"] if one["metric"] != "ece")


@pytest.mark.slow
def test_delays_of_real_flights_are_learnt_in_classes(tmp_path: Path) -> None:
    folder = tmp_path / "flights"
    shutil.copytree(Path(sl.__file__).parent / "examples" / "flights", folder)
    text = (folder / "project.py").read_text()
    start, end = text.index("features = sl.FeatureService("), text.index("project = sl.Project(")
    few = """features = sl.FeatureService([
    schedule["carrier", "origin", "distance"], sl.Expression("hour", "hour(scheduled_departure AT TIME ZONE origin_tz)"),
    sl.FeatureView("leaving_origin", schedule, ["origin"], [overdue, delayed]),
])

"""
    text = (
        text[:start]
        + few
        + text[end : text.index("    policy=")]
        + """    task=sl.Multiclass(["on time", "late", "very late"]),
    gates=[gates.Improves("log_loss"), gates.AtLeast("macro_roc_auc", 0.6), gates.EverySlice("accuracy", by=["origin"], at_least=0.6)],
)
"""
    )
    classes = "CASE WHEN arr_delay < 15 THEN 'on time' WHEN arr_delay < 60 THEN 'late' ELSE 'very late' END"
    text = text.replace("arr_delay >= 15", classes).replace("trees=100, leaves=31", "trees=30, leaves=15")
    text = text.replace('        value=sl.Value("USD", true_positive=40, false_positive=-5),\n', "")
    (folder / "project.py").write_text(text)
    result = run_project(load_project(folder), folder, release_now=True, leak_effect=False, studies=False)
    assert (result.verdict, result.released) == ("passed", True), [entry.body["reason"] for entry in result.gates]
    (entry,) = Workspace(folder).ledger("late-arrivals").read(Query(("classes.measured",)))
    assert [one["class"] for one in entry.body["classes"]] == ["on time", "late", "very late"]
    assert entry.body["classes"][2]["precision"]["value"] > 2 * entry.body["classes"][2]["rows"] / entry.body["rows"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('AtLeast("accuracy"', 'AtLeast("roc_auc"', "not measured under the task Multiclass. Use one of log_loss"),
        ("min_rows_per_leaf=20)", "min_rows_per_leaf=20), baselines=[sl.Ridge()]", "Use Logistic"),
        ("min_rows_per_leaf=20)", "min_rows_per_leaf=20, positive_weight=2.0)", "Use weight"),
        ('horizon="7d"', 'horizon="7d", missing=0', "which is no class of Multiclass"),
        ("sl.Multiclass()", 'sl.Multiclass(["a"])', "It has two names at least"),
        ('at_least=0.4, min_rows=100)],', 'at_least=0.4, min_rows=100), sl.gates.Golden("golden.jsonl")],', "about one score a row"),
        ('at_least=0.4, min_rows=100)],', 'at_least=0.4, min_rows=100)], sensitive=["depot"],', "ask a yes-or-no question"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_task_is_refused_when_the_project_is_read(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    folder = write(tmp_path / "project")
    edit(folder, old, new)
    with pytest.raises(InvalidDefinitionError, match=said):
        load_project(folder)
