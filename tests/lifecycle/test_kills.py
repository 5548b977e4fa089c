"""Real processes, stopped at random points: the next run goes on, makes the same, and the ledger holds."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sterling.core.evidence import Query
from sterling.core.verify import verify
from sterling.core.workspace import Workspace
from sterling.lifecycle import run_project
from sterling.project.load import load_project
from tests.lifecycle.small import write_project

COMMAND = [sys.executable, "-m", "sterling", "run", "--release-now", "--json"]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--project", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def outputs(folder: Path) -> dict[str, dict[str, str]]:
    """What every step made, by title."""
    done = Workspace(folder).ledger("late-parcels").read(Query(("stage.completed",)))
    return {entry.body["title"]: entry.body["outputs"] for entry in done}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    folder = write_project(tmp_path_factory.mktemp("undisturbed") / "project")
    run_project(load_project(folder), folder, release_now=True)
    return outputs(folder)


def wait_for_steps(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many steps are on record, or the process has ended."""
    while process.poll() is None:
        if (folder / ".sterling" / "ledger.db").exists() and len(outputs(folder)) >= count:
            return
        time.sleep(0.01)


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 30))])
def test_after_a_kill_the_next_run_goes_on_and_makes_the_same(
    tmp_path: Path, expected: dict[str, dict[str, str]], seed: int
) -> None:
    folder, chance = write_project(tmp_path / "project"), random.Random(seed)
    for _ in range(2):
        process = start(folder)
        wait_for_steps(folder, chance.randrange(len(expected)), process)
        time.sleep(chance.random() * 0.2)
        process.kill()
        process.communicate()
    result = run_project(load_project(folder), folder, release_now=True)
    assert (result.verdict, result.version, result.released) == ("passed", 1, True)
    assert outputs(folder) == expected
    workspace = Workspace(folder)
    assert verify(workspace.ledger("late-parcels"), workspace.store()).intact
    keys = [entry.body["key"] for entry in workspace.ledger("late-parcels").read(Query(("stage.completed",)))]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("steps", [0, 4, 12])
def test_ctrl_c_ends_cleanly_and_is_no_failure(tmp_path: Path, steps: int) -> None:
    folder = write_project(tmp_path / "project", rows=20_000)
    process = start(folder)
    wait_for_steps(folder, steps, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run had ended before the signal")
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("sterling: stopped. What was completed is on record")
    assert "Traceback" not in errors
    workspace = Workspace(folder)
    assert not list(workspace.ledger("late-parcels").read(Query(("stage.failed",))))
    assert run_project(load_project(folder), folder).verdict == "passed"


def test_two_runs_at_once_both_end_well_and_record_nothing_twice(
    tmp_path: Path, expected: dict[str, dict[str, str]]
) -> None:
    folder = write_project(tmp_path / "project")
    processes = [start(folder), start(folder)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert outputs(folder) == expected
    ledger = Workspace(folder).ledger("late-parcels")
    for kind in ("project.defined", "model.registered", "version.released", "run.completed"):
        assert len(list(ledger.read(Query((kind,))))) == 1, kind
    keys = [entry.body["key"] for entry in ledger.read(Query(("stage.completed",)))]
    assert len(keys) == len(set(keys))
