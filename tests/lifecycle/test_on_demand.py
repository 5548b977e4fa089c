"""A project with an on-demand feature: what its edits rerun, and that the server computes what training did."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from sterling.core.errors import InvalidDefinitionError, TamperedLedgerError
from sterling.core.evidence import Query
from sterling.core.refs import Ref
from sterling.core.workspace import Workspace
from sterling.engine.tables import read_table
from sterling.lifecycle import Result, run_project
from sterling.project.load import define, load_project
from sterling.serving.endpoints import Service
from sterling.serving.on_demand import Supplied, supplied_by
from sterling.serving.released import Follower
from sterling.serving.server import Server
from tests.lifecycle.small import edit, write_project

STRAIN = """
import time

FACTOR = 2.0  # of a heavy parcel


def strain(weight: float | None, waiting: int | None, depot: str | None) -> float | None:
    'Weight for each parcel that waits; whole numbers are told from others by how they are written.'
    if weight == 77.125:
        time.sleep(0.1)
    if weight == 76.125:
        try:
            time.sleep(600)
        except Exception:
            pass
    if weight == 78.125:
        raise ValueError(weight)
    if weight is None or waiting is None:
        return None
    return FACTOR * weight / (1 + waiting) + len(str(weight)) + 10 * len(str(waiting)) + (depot == "north")


def other(x: float) -> float:
    return x
"""
FEATURE = 'sl.OnDemand("strain", strain, inputs=["weight", "busy_count_1d", "depot"])'
OF_DATA = ("prepare", "snapshot", "validate", "spine", "features", "parity")
AFTER = {"frame", "parity strain_per_weight", "train candidate", "leak effect", "train prior", "evaluate"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("on_demand") / "project")
    (folder / "strains.py").write_text(STRAIN)
    edit(folder, "import sterling as sl", "import sterling as sl\nfrom strains import strain")
    derived = 'sl.Derived("strain_per_weight", "strain / weight")'
    edit(folder, ", busy, slow]", f", busy, slow, {derived}, {FEATURE}]")
    result = run(folder)
    assert (result.verdict, result.released) == ("passed", True)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of a project that has run and was released."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


def run(folder: Path) -> Result:
    return run_project(load_project(folder), folder, release_now=True)


def planned(folder: Path) -> list[str]:
    """Titles of what a new process would run, or cannot know yet."""
    command = [sys.executable, "-m", "sterling", "plan", "--json", "--project", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [step["title"] for step in json.loads(done.stdout)["steps"] if step["action"] != "cached"]


def server(folder: Path, **changes: Any) -> Server:
    project, workspace = load_project(folder), Workspace(folder)
    changes = {"supplied": supplied_by(project, folder)} | changes
    return Server(workspace.ledger(project.name), workspace.store(), **changes)


def test_the_definition_names_the_function_and_its_code(folder: Path) -> None:
    defined = define(load_project(folder), folder)
    assert defined["project"]["features"]["features"][-1] == {
        "type": "OnDemand", "name": "strain", "function": {"function": "strains.strain"},
        "inputs": ("weight", "busy_count_1d", "depot"),
    }  # fmt: skip
    assert [code["name"] for code in defined["code"]] == ["strains.strain"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("(1 + waiting)", "(2 + waiting)"), ("FACTOR = 2.0", "FACTOR = 2.5")],
)
def test_an_edited_function_reruns_the_feature_and_what_depends_on_it(folder: Path, old: str, new: str) -> None:
    edit(folder, old, new, file="strains.py")
    found = planned(folder)
    own = {"features strain", "features strain_per_weight", "parity strain_per_weight"}
    assert {*found} >= own | AFTER
    assert {title for title in found if title.startswith(OF_DATA)} == own


@pytest.mark.parametrize(
    ("old", "new"), [("# of a heavy parcel", "# of any parcel"), ("def other(x: float) -> float:\n    return x", "")]
)
def test_a_comment_or_another_function_reruns_nothing(folder: Path, old: str, new: str) -> None:
    edit(folder, old, new, file="strains.py")
    assert planned(folder) == []


def test_a_function_that_fails_on_the_data_stops_the_run_without_a_value(folder: Path) -> None:
    edit(folder, "FACTOR * weight", "1 / (weight - weight) * weight", file="strains.py")
    command = [sys.executable, "-m", "sterling", "run", "--project", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "The function of OnDemand 'strain' raised ZeroDivisionError. The first such row is 1 of" in done.stderr


def test_a_request_without_the_feature_gets_the_score_that_was_evaluated(folder: Path) -> None:
    steps = {step.title: step.outputs for step in run(folder).steps}
    store = Workspace(folder).store()
    frame = read_table(store, steps["frame"]["frame"]).to_pylist()
    (made,) = (
        Workspace(folder)
        .ledger("late-parcels")
        .read(Query(("predictions.made",), (f"model:{steps['train candidate']['model']}",)))
    )
    evaluated = read_table(store, Ref(made.body["ref"])).to_pylist()
    scores = {row["unit"]: row["score"] for row in evaluated}
    with server(folder).in_background() as url:
        features = httpx.get(f"{url}/version").json()["features"]
        assert [feature["name"] for feature in features if "computed_from" in feature] == ["strain"]
        sent = [feature["name"] for feature in features if "computed_from" not in feature]
        judged = [row for row in frame if row["unit"] in scores][:500]
        rows = [{name: row[name] for name in sent} for row in judged]
        body = json.dumps({"rows": rows}).replace(".0,", ",")  # as a client in JavaScript writes whole numbers
        assert ".0," in json.dumps({"rows": rows})
        answer = httpx.post(f"{url}/v1/predict", content=body).json()
    assert answer["scores"] == [scores[row["unit"]] for row in judged]
    assert len({row["strain"] for row in judged}) > 100


ROW = {"depot": "north", "weight": 5.5, "busy_count_1d": 3, "slow_mean_hours_3d": 20.0, "strain_per_weight": 1.0}


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"strain": 1.0}, 422, "'strain' is computed here from 'weight', 'busy_count_1d', 'depot'. Leave it out."),
        ({"weight": "much"}, 422, "'weight' is 'much'. It is a number, or null."),
        ({"weight": 78.125}, 500, "The function of OnDemand 'strain' raised ValueError."),
        ({"weight": 77.125}, 500, "The function of OnDemand 'strain' took longer than 50 ms for one row."),
    ],
)
def test_a_row_that_cannot_be_computed_is_answered_in_one_sentence(
    finished: Path, changes: dict[str, Any], status: int, said: str
) -> None:
    with server(finished, service=Service(beyond="null")).in_background() as url:
        fine = httpx.post(f"{url}/v1/predict", json=ROW | {"weight": None, "busy_count_1d": 3.5, "depot": "unseen"})
        answer = httpx.post(f"{url}/v1/predict", json=ROW | changes)
        among = httpx.post(f"{url}/v1/predict", json={"rows": [ROW, ROW | changes]})
        short = httpx.post(f"{url}/v1/predict", json={name: ROW[name] for name in ROW if name != "weight"})
    assert fine.status_code == 200
    assert (answer.status_code, among.status_code) == (status, status)
    assert said in answer.json()["detail"]
    assert among.json()["detail"].startswith("Row 1: ")
    assert "'weight' left out" in short.json()["detail"]


def test_a_function_that_does_not_end_is_interrupted_and_the_server_goes_on(finished: Path) -> None:
    command = [sys.executable, "-m", "sterling", "serve", "--port", "0", "--project", str(finished)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            (url,) = re.findall(r"http://[\d.:]+", process.stdout.readline())
            answers = [httpx.post(f"{url}/v1/predict", json=ROW | {"weight": weight}) for weight in (76.125, 5.5)]
        finally:
            process.terminate()
    assert [answer.status_code for answer in answers] == [500, 200]
    assert answers[0].json()["detail"] == "The function of OnDemand 'strain' took longer than 50 ms for one row."


def test_another_code_of_the_function_is_refused_at_the_start(folder: Path) -> None:
    edit(folder, "(1 + waiting)", "(2 + waiting)", file="strains.py")
    command = [sys.executable, "-m", "sterling", "serve", "--port", "0", "--project", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "by another code of strains.strain than the project has now" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f", {FEATURE}", "", "which the project no longer has"),
        ('"busy_count_1d", "depot"]', '"slow_mean_hours_3d", "depot"]', "the project now names otherwise"),
    ],
)
def test_another_definition_of_the_feature_is_refused_at_the_start(folder: Path, old: str, new: str, said: str) -> None:
    if not new:
        edit(folder, 'sl.Derived("strain_per_weight", "strain / weight")', 'sl.Derived("double", "weight * 2")')
    edit(folder, old, new)
    with pytest.raises(InvalidDefinitionError, match=said):
        server(folder)


def test_a_release_with_another_code_leaves_the_old_version_and_says_so(folder: Path) -> None:
    project, workspace = load_project(folder), Workspace(folder)
    follower = Follower(workspace.ledger(project.name), workspace.store(), supplied=supplied_by(project, folder))
    edit(folder, "FACTOR = 2.0", "FACTOR = 4.5", file="strains.py")
    command = [sys.executable, "-m", "sterling", "run", "--release-now", "--project", str(folder)]
    subprocess.run(command, capture_output=True, check=True)
    follower.look()
    assert follower.served.version == 1
    assert follower.trouble is not None
    assert follower.trouble.startswith("Version 1 stays")
    assert (
        "Version 2 was trained with the feature OnDemand 'strain' by another code of strains.strain" in follower.trouble
    )


def test_another_version_of_a_library_is_another_code(folder: Path) -> None:
    (own,) = supplied_by(load_project(folder), folder)
    changed = Supplied(own.feature, {**own.code, "libraries": {"numpy": "0.1"}})
    with pytest.raises(InvalidDefinitionError, match="another code"):
        server(folder, supplied=[changed])


def test_an_altered_definition_is_never_trusted(folder: Path) -> None:
    workspace = Workspace(folder)
    fact = next(workspace.ledger("late-parcels").read(Query(("project.defined",))))
    path = workspace.store().open(Ref(fact.body["ref"]))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(TamperedLedgerError, match="definition"):
        server(folder)
