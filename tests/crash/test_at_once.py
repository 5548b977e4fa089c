"""Processes at once on one ledger, killed at any time: nothing acknowledged is lost, nothing is there twice, nobody is locked out."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sterling.core.evidence import Evidence, Query
from sterling.core.ledger import check_chain
from sterling.core.sqlite import SQLiteLedger
from sterling.core.verify import verify
from sterling.core.walk import check_index
from sterling.core.workspace import Workspace
from sterling.lifecycle import plan_project
from sterling.project.load import load_project
from tests.crash.tasks import PROJECT
from tests.lifecycle.small import write_project

WRITERS = 4
WRITE = """
import os, sys
from pathlib import Path
from sterling.core.errors import ConflictError
from sterling.core.evidence import Evidence, Query
from sterling.core.sqlite import SQLiteLedger
path, name = Path(sys.argv[1]), sys.argv[2]
ledger = SQLiteLedger(path, "late-parcels", actor=name)
say = lambda text: os.write(1, f"{text}\\n".encode())
say("ready")
for n in range(100_000):
    position = ledger.append([Evidence(f"{half}.happened", (f"by:{name}",), {"n": n}) for half in ("left", "right")])
    say(f"wrote {n} {position}")
    wanted = Query(("thing.claimed",), (f"thing:{position % 997}",))
    try:
        ledger.append([Evidence("thing.claimed", wanted.subjects, {"by": name})], unless=wanted)
        say(f"claimed {position % 997}")
    except ConflictError:
        pass
"""
OPEN_AT_ONCE = """
import os, sys, time
from pathlib import Path
from sterling.core.evidence import Evidence
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
def work(folder, name, start):
    while time.monotonic() < start:
        pass
    LocalStore(folder / "store")
    SQLiteLedger(folder / "ledger.db", "late-parcels").append([Evidence("a.happened", (name,))])
for n in range(int(sys.argv[2])):
    start, children = time.monotonic() + 0.02, []
    for name in map(str, range(8)):
        children.append(os.fork())
        if not children[-1]:
            code = 1
            try:
                work(Path(sys.argv[1]) / str(n) / ".sterling", name, start)
                code = 0
            finally:
                if code:
                    sys.excepthook(*sys.exc_info())
                os._exit(code)
    assert {os.waitpid(child, 0)[1] for child in children} == {0}, n
"""
READ_HALFWAY = """
import sys
from pathlib import Path
from sterling.core.evidence import Evidence
from sterling.core.sqlite import SQLiteLedger
ledger = SQLiteLedger(Path(sys.argv[1]), "late-parcels")
reading = ledger.read()
for _ in range(500):
    next(reading)
ledger.append([Evidence("reader.halfway")])
input()
print(500 + len([*reading]))
"""
RUN = ("run", "--release-now", "--json")


Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts Python with some arguments, and ends in the end what is still running."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def sterling(begin: Begin) -> Begin:
    """Starts a command in a folder."""
    return lambda folder, *arguments: begin("-m", "sterling", *arguments, "--project", folder)


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_processes_that_make_one_new_ledger_at_once_all_get_it(tmp_path: Path, begin: Begin, rounds: int) -> None:
    _, errors = begin("-c", OPEN_AT_ONCE, tmp_path, rounds).communicate()
    assert errors == ""
    for n in range(rounds):
        with SQLiteLedger(tmp_path / str(n) / ".sterling" / "ledger.db", PROJECT) as ledger:
            assert check_chain(ledger.records()) == (8, None)


@pytest.mark.parametrize("lives", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_writers_that_are_killed_again_and_again_lose_nothing_and_repeat_nothing(
    tmp_path: Path, begin: Begin, record_property: Any, lives: int
) -> None:
    path, chance, acknowledged = tmp_path / "ledger.db", random.Random(lives), dict[str, list[str]]()
    SQLiteLedger(path, PROJECT).close()
    names = [f"{writer}:{life}" for life in range(lives) for writer in range(WRITERS)]
    running: dict[str, subprocess.Popen[str]] = {}
    while names or running:
        while names and len(running) < WRITERS:
            name = names.pop(0)
            running[name] = begin("-c", WRITE, path, name)
        time.sleep(chance.random() * 0.15)
        name = chance.choice([*running])
        process = running.pop(name)
        process.send_signal(signal.SIGKILL)
        said, errors = process.communicate()
        assert errors == ""
        acknowledged[name] = [line for line in said.splitlines(keepends=True) if line.endswith("\n")]
    check_history(SQLiteLedger(path, PROJECT), acknowledged)
    record_property("tried: kills of writers", len(acknowledged))


def check_history(ledger: SQLiteLedger, acknowledged: dict[str, list[str]]) -> None:
    """Every pair is whole and in order, at most one more than was acknowledged; every thing was claimed by one."""
    count, broken = check_chain(ledger.records())
    assert (broken, check_index(ledger)) == (None, None)
    entries = {entry.position: entry for entry in ledger.read()}
    assert [*entries] == [*range(1, count + 1)]
    for name, lines in acknowledged.items():
        wrote = [tuple(map(int, line.split()[1:])) for line in lines if line.startswith("wrote")]
        mine = [*ledger.read(Query((), (f"by:{name}",)))]
        assert [entry.body["n"] for entry in mine] == [n // 2 for n in range(len(mine))]
        assert [entry.kind for entry in mine] == ["left.happened", "right.happened"] * (len(mine) // 2)
        assert len(mine) // 2 - len(wrote) in {0, 1}
        assert [(entry.body["n"], entry.position) for entry in mine[1::2]][: len(wrote)] == wrote
        for thing in (line.split()[1] for line in lines if line.startswith("claimed")):
            (claim,) = ledger.read(Query(("thing.claimed",), (f"thing:{thing}",)))
            assert claim.body["by"] == name
    claims = Counter(entry.evidence.subjects for entry in entries.values() if entry.kind == "thing.claimed")
    assert set(claims.values()) <= {1}


def check_run(folder: Path) -> None:
    """Everything is on record once, and holds."""
    workspace = Workspace(folder)
    ledger = workspace.ledger(PROJECT)
    for kind in ("project.defined", "model.registered", "version.released", "run.completed"):
        assert len(list(ledger.read(Query((kind,))))) == 1, kind
    keys = [entry.body["key"] for entry in ledger.read(Query(("stage.completed",)))]
    steps = plan_project(load_project(folder), folder).steps
    assert {step.action for step in steps} == {"cached"}
    assert len(keys) == len(set(keys)) == len(steps)
    facts = Counter((entry.kind, entry.evidence.subjects, str(entry.body)) for entry in ledger.read())
    assert set(facts.values()) == {1}
    report = verify(ledger, workspace.store())
    assert (report.intact, report.missing) == (True, ())


@pytest.mark.parametrize(
    ("runs", "kills"),
    [(2, 0), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(3, 0), (2, 1), (3, 1), (3, 2), (4, 2)])],
)
def test_runs_at_once_all_end_well_and_record_nothing_twice(
    tmp_path: Path, sterling: Begin, runs: int, kills: int
) -> None:
    folder, chance = write_project(tmp_path / "project", rows=600), random.Random(runs + kills)
    processes = [sterling(folder, *RUN) for _ in range(runs + kills)]
    for process in processes[:kills]:
        time.sleep(1 + chance.random())
        process.kill()
        process.communicate()
    for process in processes[kills:]:
        _, errors = process.communicate(timeout=300)
        assert (process.returncode, errors) == (0, "")
    check_run(folder)


@pytest.mark.slow
def test_reading_beside_a_run_disturbs_neither(tmp_path: Path, sterling: Begin) -> None:
    folder, looks = write_project(tmp_path / "project", rows=20_000), Counter[str]()
    run = sterling(folder, *RUN)
    while run.poll() is None:
        for command in ("verify", "log", "status"):
            look = sterling(folder, command)
            _, errors = look.communicate(timeout=120)
            assert look.returncode == 0, errors
            assert "locked" not in errors
            looks[command] += 1
    _, errors = run.communicate()
    assert (run.returncode, errors) == (0, "")
    assert min(looks.values()) > 1
    check_run(folder)


def test_a_process_that_sleeps_while_it_reads_holds_no_writer_up(tmp_path: Path, begin: Begin) -> None:
    path = tmp_path / "ledger.db"
    ledger = SQLiteLedger(path, PROJECT)
    ledger.append([Evidence("a.happened")] * 2000)
    reader = begin("-c", READ_HALFWAY, path)
    while not ledger.wait(2000, timeout_seconds=1.0):
        assert reader.poll() is None
    for _ in range(50):
        ledger.append([Evidence("b.happened")] * 20)
    assert reader.communicate("go on\n") == ("2000\n", "")
    assert ledger.append([]) == 3001
