"""A project that decides: its policy is judged, registered, released, and answers; a champion keeps its own."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from sterling.core.evidence import Query
from sterling.core.workspace import Workspace
from sterling.lifecycle import Result, run_project
from sterling.project.load import load_project
from sterling.serving.server import Server
from tests.lifecycle.small import edit, write_project

DECIDES = """    policy=sl.Threshold(maximize="value", block="14d"),
    sensitive=["depot"],
    gates=[
        sl.gates.WorthMore(than="nobody"), sl.gates.WorthMore(than="champion", by=0),
        sl.gates.Fair("calibration_gap", by="depot", at_most=0.9), sl.gates.AtLeast("recall", 0.01),
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("decides") / "project")
    edit(folder, 'owner="logistics"', 'owner="logistics", value=sl.Value("EUR", true_positive=10, false_positive=-2)')
    edit(folder, "    gates=[\n", DECIDES)
    assert run(folder).released
    return folder


def run(folder: Path) -> Result:
    return run_project(load_project(folder), folder, release_now=True, leak_effect=False)


def test_gates_on_decisions_and_groups_are_judged_on_evidence(finished: Path) -> None:
    ledger = Workspace(finished).ledger("late-parcels")
    judged = {entry.body["title"]: entry for entry in ledger.read(Query(("gate.judged",)))}
    worth = judged["1,000 decisions are worth more than acting on nobody"]
    assert worth.body["passed"]
    seen = [entry for entry in ledger.read() if entry.position in worth.body["seen"]]
    assert [(entry.kind, entry.body["against_role"]) for entry in seen] == [("metric.compared", "nobody")]
    fair = judged["calibration gap differs by at most 0.9 between any two of depot"]
    assert [e.kind for e in ledger.read() if e.position in fair.body["seen"]] == ["fairness.measured"]


def test_what_was_registered_is_what_is_served(finished: Path) -> None:
    workspace = Workspace(finished)
    ledger = workspace.ledger("late-parcels")
    (chosen,) = (e for e in ledger.read(Query(("policy.chosen",))) if e.body["name"] == "lightgbm")
    threshold = chosen.body["policy"]["threshold"]
    row = {"depot": "north", "weight": 3.0, "busy_count_1d": 5, "slow_mean_hours_3d": 20.0}
    with Server(ledger, workspace.store()).in_background() as url:
        assert httpx.get(f"{url}/version").json()["policy"]["threshold"] == threshold
        answer = httpx.post(f"{url}/predict", json=row).json()
    assert answer["decisions"] == [answer["scores"][0] >= threshold]


def test_nothing_runs_again_and_a_champion_is_judged_by_its_own_policy(finished: Path) -> None:
    assert not run(finished).news
    edit(finished, "trees=15", "trees=16")
    edit(finished, 'sl.Threshold(maximize="value", block="14d")', "sl.Threshold(at=0.9)")
    run(finished)
    ledger = Workspace(finished).ledger("late-parcels")
    decided = [entry.body for entry in ledger.read(Query(("decisions.evaluated",)))]
    champion = next(body for body in decided if body["role"] == "champion")
    assert champion["own_policy"]
    assert champion["policy"]["why"].startswith("the best value from 2024-02-01")
    assert (
        decided[-1]["policy"]["why"] == "as the project says" or decided[-2]["policy"]["why"] == "as the project says"
    )
