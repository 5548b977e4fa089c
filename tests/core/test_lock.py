from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sterling.core.errors import BusyError, StorageError
from sterling.core.lock import alone, together

HOLD = """
import sys, time
from pathlib import Path
from sterling.core.lock import together
with together(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "run.lock"


@contextmanager
def run_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock as a run does."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_runs_hold_it_together_and_nothing_else_beside_them(path: Path) -> None:
    refused = pytest.raises(BusyError, match=r"^A run, gc or erase is under way, and gc must not")
    with run_elsewhere(path), together(path), refused, alone(path, "gc"):
        pass
    with alone(path, "gc"):
        pass


def test_a_killed_process_holds_nothing(path: Path) -> None:
    with run_elsewhere(path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with alone(path, "gc"):
            pass
    assert path.exists()


def test_a_run_waits_for_what_holds_it_alone_and_says_so(path: Path) -> None:
    waits, runs = threading.Event(), threading.Event()

    def run() -> None:
        with together(path, waits.set):
            runs.set()

    with alone(path, "gc"):
        thread = threading.Thread(target=run)
        thread.start()
        assert waits.wait(30)
        assert not runs.is_set()
    assert runs.wait(30)
    thread.join()


def test_two_that_want_it_alone_do_not_wait_for_each_other(path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(alone(path, "gc"))
        with pytest.raises(BusyError):
            stack.enter_context(alone(path, "erase"))


def test_a_lock_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(StorageError, match=r"run\.lock cannot be opened: .* Choose a folder that you may write to")
    with refused, together(tmp_path / "file" / "run.lock"):
        pass
