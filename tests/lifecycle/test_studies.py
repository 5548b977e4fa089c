"""Studies that a project asks for run with it, and gates over them decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterling.core.canonical import digest
from sterling.core.evidence import Entry, Query
from sterling.core.workspace import Workspace
from sterling.lifecycle import Result, run_project
from sterling.project.load import define, load_project
from tests.lifecycle.small import PROJECT, write_project

ASKED = """    cluster="day",
    studies=[
        sl.studies.Behaviour([sl.studies.Rises("weight", by=5, within=0.05)], file="behaviour.jsonl"),
        sl.studies.Ablation(), sl.studies.LearningCurve([0.5]), sl.studies.Staleness(["7d"]),
    ],
"""
GATED = """    gates=[
        sl.gates.Behaves(at_most=0.2), sl.gates.FewFlips(0.3),
        sl.gates.Robust("roc_auc", 0.4, [sl.studies.Missing("busy"), sl.studies.Scaled("weight", by=0.4536)]),
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("studies"))
    text = PROJECT.replace('    cluster="day",\n', ASKED).replace("    gates=[\n", GATED)
    (folder / "project.py").write_text(text, encoding="utf-8")
    test = '{"type": "Scores", "where": "weight > 60", "at_least": 0.2}\n'
    (folder / "behaviour.jsonl").write_text(test, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    return run_project(load_project(folder), folder, release_now=True)


def entries(folder: Path, *kinds: str) -> list[Entry]:
    return list(Workspace(folder).ledger("late-parcels").read(Query(kinds)))


def test_gates_judge_what_studies_found(folder: Path, result: Result) -> None:
    assert result.verdict == "passed"
    seen = {entry.body["gate"]["type"]: entry.body["seen"] for entry in result.gates}
    assert seen["Behaves"] == [entry.position for entry in entries(folder, "behaviour.tested")]
    assert seen["Robust"] == [entry.position for entry in entries(folder, "robustness.measured")]
    assert seen["FewFlips"] == [entry.position for entry in entries(folder, "champion.resolved")]


def test_what_a_project_asks_for_is_trained_again(folder: Path, result: Result) -> None:
    (ablation,) = entries(folder, "ablation.measured")
    titles = [one["title"] for one in ablation.body["variants"]]
    assert titles == ["without orders[depot, weight]", "without busy", "without slow"]
    assert result.steps[-1].title == "staleness"
    assert len(entries(folder, "learning.measured", "staleness.measured")) == 2


def test_a_file_of_tests_is_part_of_the_definition(folder: Path, result: Result) -> None:
    project = load_project(folder)
    before = digest(define(project, folder))
    assert before == result.definition
    path = folder / "behaviour.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("0.2", "0.99"), encoding="utf-8")
    try:
        assert digest(define(project, folder)) != before
        again = run_project(project, folder)
        assert [step.title for step in again.steps if not step.cached] == ["behaviour"]
        assert again.verdict == "failed"
    finally:
        path.write_text(text, encoding="utf-8")


def test_without_studies_the_gates_over_them_do_not_pass(folder: Path, result: Result) -> None:
    bare = run_project(load_project(folder), folder, studies=False)
    failed = {entry.body["gate"]["type"] for entry in bare.gates if not entry.body["passed"]}
    assert failed == {"Behaves", "Robust"}  # and a first release meets no champion


def test_the_next_model_is_compared_row_by_row(folder: Path, result: Result) -> None:
    path = folder / "project.py"
    path.write_text(path.read_text(encoding="utf-8").replace("trees=15", "trees=25"), encoding="utf-8")
    again = run_project(load_project(folder), folder)
    (compared,) = entries(folder, "predictions.compared")
    assert compared.body["champion"] == result.candidate
    flips = next(entry for entry in again.gates if entry.body["gate"]["type"] == "FewFlips")
    assert compared.position in flips.body["seen"]
