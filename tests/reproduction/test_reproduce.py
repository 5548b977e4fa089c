"""A run is executed again from what is on record, in a fresh process, and what differs is named with its reason."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import venv
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import sterling as package
from sterling.core.refs import Ref
from sterling.core.store import LocalStore
from sterling.reproduction.fresh import _install
from tests.cli.conftest import COMMAND, Answer, environment, sterling
from tests.lifecycle.small import edit, write_project

OWN = """
import os
from sterling.models import Constant

class Threads:
    def fit(self, rows):
        return Constant(0.2 + 0.1 * len(os.sched_getaffinity(0)))

"""


@pytest.fixture(scope="session")
def own_trainer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose own trainer counts the threads that it may use, run once."""
    folder = write_project(tmp_path_factory.mktemp("own") / "project")
    edit(folder, "import sterling as sl\n", f"import sterling as sl\n{OWN}")
    edit(folder, "sl.LightGBM(trees=15, min_rows_per_leaf=20)", 'sl.Custom(Threads(), "threads")')
    edit(folder, '        sl.gates.Improves("log_loss", over="baseline"),\n', "")
    answer = sterling(folder, "run", "--no-leak-effect")
    assert answer.code == 0, answer.errors
    return folder


@pytest.fixture
def own(own_trainer: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(own_trainer, tmp_path / "own"))


def body_of(answer: Answer) -> Any:
    return answer.json["body"]


def raw_blob(folder: Path) -> Path:
    """Where the bytes of the raw file lie in the store."""
    entry = sterling(folder, "log", "--kind", "data.prepared", "--json").json[0]
    return LocalStore(folder / ".sterling" / "store").path(Ref(entry["body"]["inputs"][0]["ref"]))


def test_a_run_is_reproduced_in_a_fresh_process_and_a_release_can_ask_for_it(folder: Path) -> None:
    edit(folder, "    gates=[\n", "    gates=[\n        sl.gates.Reproduced('model'),\n")
    ran = sterling(folder, "run", "--release-now")
    assert ran.code == 1
    assert "Version 2 is not released: the project asks that the run is reproduced, at least its model." in ran.errors
    refused = sterling(folder, "release", "--now")
    assert (refused.code, refused.out) == (1, "")
    (folder / "parcels.parquet").unlink()  # the run is executed from what is on record, not from what lies here now
    answer = sterling(folder, "reproduce", "--out", "certificate.md")
    assert answer.code == 0, answer.errors
    assert "is reproduced. The bytes of the model and of its predictions on" in answer.out
    text = (folder / "certificate.md").read_text()
    assert text.startswith("# Certificate of reproduction: late-parcels\n")
    assert re.search(r"- (\d+) of \1 refs equal, bit for bit\.", text)
    entry = sterling(folder, "log", "--kind", "run.reproduced", "--json").json[-1]
    assert (entry["body"]["level"], entry["body"]["differences"], entry["body"]["changed"]) == ("model", [], [])
    assert sterling(folder, "release", "--now").code == 0


def test_a_lost_blob_is_named_as_what_a_run_cannot_be_executed_without(folder: Path) -> None:
    blob = raw_blob(folder)
    blob.chmod(0o644)
    blob.unlink()
    answer = sterling(folder, "reproduce", "1", "--json")
    assert answer.code == 1
    first = body_of(answer)["differences"][0]
    assert first["title"] == "prepare prepare.sql"
    lost = {"kind": "data", "detail": "parcels.parquet: is no longer in the store, nor where it lay"}
    assert lost == first["causes"][0]
    assert answer.json["kind"] == "reproduction.failed"


@pytest.mark.slow
def test_an_altered_blob_is_named(folder: Path) -> None:
    blob = raw_blob(folder)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes() + b" ")
    answer = sterling(folder, "reproduce")
    assert answer.code == 1
    assert "First difference: prepare prepare.sql\n  data: parcels.parquet: was altered in the store" in answer.out


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a thread less needs two of them")
def test_another_number_of_threads_is_named_where_a_trainer_depends_on_it(own: Path) -> None:
    threads = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(threads)})
    try:
        answer = sterling(own, "reproduce", "--json")
    finally:
        os.sched_setaffinity(0, threads)
    assert answer.code == 1
    body = body_of(answer)
    assert [one["title"] for one in body["differences"]][:2] == ["train candidate", "evaluate"]
    assert {"kind": "threads", "detail": f"{len(threads)} → 1"} in body["differences"][0]["causes"]
    assert "it read what train candidate made otherwise" in body["differences"][1]["causes"][-1]["detail"]


def test_a_trainer_of_the_project_that_was_edited_since_is_named_and_metrics_are_a_level_of_their_own(
    own: Path,
) -> None:
    edit(own, "Constant(0.2 +", "Constant(0.200001 +")
    answer = sterling(own, "reproduce", "--at-least", "metrics")
    assert answer.code == 0, answer.errors
    assert "is not reproduced. Predictions differ; every metric lies within" in answer.out
    assert "First difference: train candidate\n  code: project.Threads in the project is another one now" in answer.out
    entry = sterling(own, "log", "--kind", "run.reproduced", "--json").json[-1]
    assert entry["body"]["level"] == "metrics"


def test_a_module_of_sterling_and_a_library_that_are_others_now_are_named_and_the_level_still_reached(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "path"
    ours = shutil.copytree(
        Path(package.__file__).parent, path / "sterling", ignore=shutil.ignore_patterns("__pycache__")
    )
    with (ours / "tasks" / "splits.py").open("a") as file:
        file.write("\n# a comment more\n")
    info = path / "lightgbm-99.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lightgbm\nVersion: 99.0\n\n")
    answer = sterling(folder, "reproduce", "--json", PYTHONPATH=str(path))
    assert answer.code == 0, answer.out
    body = body_of(answer)
    assert (body["level"], body["differences"]) == ("model", [])
    said = {(one["kind"], one["detail"].partition(" 4.")[0]) for one in body["changed"]}
    assert ("code", "Sterling's code is another one now: sterling.tasks.splits") in said
    assert ("libraries", "lightgbm") in said


def test_there_is_nothing_to_reproduce_before_a_run(folder: Path, tmp_path: Path) -> None:
    answer = sterling(folder, "reproduce", STERLING_LEDGER=f"sqlite:{tmp_path / 'empty.db'}")
    assert (answer.code, answer.out) == (2, "")
    assert "No completed run" in answer.errors


@pytest.mark.slow
def test_a_run_is_reproduced_in_an_environment_built_from_its_lock(folder: Path) -> None:
    command = [*COMMAND, "reproduce", "--env", "--json"]  # pip may take its time on a busy machine
    ran = subprocess.run(command, check=False, cwd=folder, env=environment(), capture_output=True, timeout=900)
    assert ran.returncode == 0, ran.stderr
    body = json.loads(ran.stdout)["body"]
    assert (body["level"], body["fresh"], body["not_installed"]) == ("model", "environment", [])
    assert body["changed"] == []


@pytest.mark.slow
def test_what_cannot_be_installed_is_named_and_the_rest_is(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    wanted = [f"six=={metadata.version('six')}", "six-of-nobody==1.0"]
    said: list[str] = []
    assert _install(str(tmp_path / "env" / "bin" / "python"), wanted, said.append) == ("six-of-nobody==1.0",)
    assert said == ["not everything could be installed at once; trying one by one"]
