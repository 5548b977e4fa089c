"""Real processes that erase, killed before each step that lasts: the next erasing finishes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sterling.core.evidence import Query
from sterling.core.verify import verify
from sterling.core.workspace import Workspace
from sterling.lifecycle import run_project
from sterling.project.load import load_project
from tests.erasure.people import PERSON, found_in_bytes, orders_of, remove_person, write_project
from tests.erasure.test_erase import run_erase

ERASE = """
import os, signal, sys
from pathlib import Path
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.erasure.erase import erase
from sterling.project.load import load_project
from sterling.stages.person import Subject

left, steps = int(sys.argv[2]), []

def watched(holder, name):
    does = getattr(holder, name)
    def step(*arguments, **named):
        global left
        if name == "unlink" and not str(arguments[0]).endswith("report.md"):
            return does(*arguments, **named)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.append(name)
        return does(*arguments, **named)
    setattr(holder, name, step)

for holder, name in ((LocalStore, "put"), (SQLiteLedger, "append"), (LocalStore, "delete"), (Path, "unlink")):
    watched(holder, name)
folder = Path(sys.argv[1])
erase(load_project(folder), folder, [Subject("customer", sys.argv[3])], confirm=True)
print(*steps)
"""


def erase_in_process(folder: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    """Erase in a process of its own, which is killed before its step of that number; 0 for never."""
    return subprocess.run(
        [sys.executable, "-c", ERASE, str(folder), str(kill_at), PERSON], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was run, whose raw files do not hold the person any more."""
    folder = write_project(tmp_path_factory.mktemp("ready") / "project", rows=900)
    assert run_project(load_project(folder), folder, release_now=True).candidate
    shutil.copytree(folder, folder.parent / "before")
    remove_person(folder)
    (folder / ".sterling" / "report.md").write_text(f"Most late parcels: {PERSON}.\n")
    return folder


@pytest.fixture(scope="module")
def steps(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What an erasing does, step by step."""
    folder = Path(shutil.copytree(ready, tmp_path_factory.mktemp("whole") / "project"))
    done = erase_in_process(folder, 0)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def check_next_finishes(ready: Path, folder: Path, kill_at: int) -> None:
    killed = erase_in_process(Path(shutil.copytree(ready, folder)), kill_at)
    assert killed.returncode == -9, killed.stderr
    workspace = Workspace(folder)
    assert verify(workspace.ledger("orders-late"), workspace.store()).intact
    report = run_erase(folder, confirm=True)
    assert report.left == ()
    assert found_in_bytes(folder / ".sterling", PERSON, *orders_of(ready.parent / "before")) == []
    (fact, *later) = workspace.ledger("orders-late").read(Query(("data.erased",)))
    assert fact.body["replaced"]
    assert [entry.body["replaced"] for entry in later] in ([], [[]])  # the document alone was left
    found = verify(workspace.ledger("orders-late"), workspace.store())
    assert (found.intact, found.missing, found.unfinished) == (True, (), ())
    assert run_erase(folder).loose == 0


def test_new_blobs_come_first_then_the_fact_then_the_deletions(steps: list[str]) -> None:
    assert steps == sorted(steps, key=["put", "append", "delete", "unlink"].index)
    assert steps.count("append") == 1
    assert min(steps.count("put"), steps.count("delete")) > 10


@pytest.mark.parametrize(
    "where",
    [
        "append",
        pytest.param("first delete", marks=pytest.mark.slow),
        "middle",
        pytest.param("last delete", marks=pytest.mark.slow),
        "document",
    ],
)
def test_after_a_kill_the_next_erasing_finishes_it(ready: Path, steps: list[str], tmp_path: Path, where: str) -> None:
    append = steps.index("append") + 1
    places = {
        "append": append, "first delete": append + 1, "middle": (append + len(steps)) // 2,
        "last delete": len(steps) - 1, "document": len(steps),
    }  # fmt: skip
    check_next_finishes(ready, tmp_path / "project", places[where])


@pytest.mark.slow
def test_after_a_kill_at_any_step_the_next_erasing_finishes_it(ready: Path, steps: list[str], tmp_path: Path) -> None:
    for kill_at in range(1, len(steps) + 1):
        check_next_finishes(ready, tmp_path / f"killed {kill_at}", kill_at)
        shutil.rmtree(tmp_path / f"killed {kill_at}")


def test_verify_says_that_an_erasing_was_stopped(ready: Path, steps: list[str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ready, tmp_path / "project"))
    assert erase_in_process(folder, steps.index("append") + 2).returncode == -9
    workspace = Workspace(folder)
    found = verify(workspace.ledger("orders-late"), workspace.store())
    assert found.unfinished
    result = run_project(load_project(folder), folder)
    assert result.candidate
    assert run_erase(folder, confirm=True).left == ()
    assert not verify(workspace.ledger("orders-late"), workspace.store()).unfinished
