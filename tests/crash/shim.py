"""Crashes on demand: processes that die, or whose disk fails, at the n-th step that changes a folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from enum import IntEnum
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple, Self

SOURCE = Path(__file__).with_name("shim.c")
HEAVY = (
    "duckdb", "lightgbm", "pyarrow.compute", "pyarrow.parquet", "sklearn.linear_model", "scipy.stats", "sqlglot",
    "sterling.cli", "sterling.core.verify", "sterling.engine.duckdb", "sterling.lifecycle", "sterling.project.load",
    "sterling.stages.graph", "tests.crash.tasks",
)  # fmt: skip


class Mode(IntEnum):
    """What the shim does; the numbers are those of `shim.c`."""

    COUNT = 1
    KILL_BEFORE = 2
    KILL_TORN = 3
    KILL_AFTER = 4
    FAIL_ONCE = 5
    FAIL_FROM = 6
    LOG = 7


class Answer(NamedTuple):
    """How a job ended.

    Attributes:
        status: Its exit code, or a signal as a negative number.
        steps: How many steps were counted; None where it was killed.
        returned: What the task returned, as JSON.
        out: Its standard output.
        errors: Its standard error.
    """

    status: int
    steps: int | None
    returned: Any
    out: str
    errors: str


@cache
def library() -> Path:
    """The shim, compiled once into a temporary folder.

    Raises:
        AssertionError: if there is no C compiler, since then nothing of this suite would be tested.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "The crash suite compiles tests/crash/shim.c. Install a C compiler: apt-get install gcc libc6-dev"
    built = Path(mkdtemp(prefix="sterling-shim-")) / "shim.so"
    flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Werror"]
    command = [*compiler.split(), *flags, "-o", str(built), str(SOURCE), "-ldl", "-lpthread"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return built


class Crasher:
    """Runs tasks in children of one warm process, which the shim may stop at any step.

    Args:
        scratch: Folder for what the children say.
        preload: Modules that the process imports before it forks.
    """

    def __init__(self, scratch: Path, preload: tuple[str, ...] = HEAVY) -> None:
        self._folder = scratch
        scratch.mkdir(parents=True, exist_ok=True)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("STERLING_") and key != "CI"}
        paths = [path for path in sys.path if path]
        settings = {"LD_PRELOAD": str(library()), "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote", *preload],
            env=inherited | settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._receive()

    def run(
        self,
        task: str,
        *arguments: object,
        root: Path | None = None,
        mode: Mode = Mode.COUNT,
        at: int = 0,
        error: int = errno.EIO,
        seconds: int = 120,
    ) -> Answer:
        """Run ``module:function`` with some arguments in a child.

        Args:
            task: A function that can be imported by name.
            arguments: What it is called with, as JSON.
            root: Folder whose changes count as steps; None to leave the shim alone.
            mode: What the shim does.
            at: The step at which it does that, from 1.
            error: Error of a step that fails.
            seconds: How long it may take, before it is killed by an alarm.
        """
        arm = {"root": str(root), "mode": int(mode), "at": at, "error": error} if root else None
        job = {"task": task, "arguments": arguments, "arm": arm, "folder": str(self._folder), "seconds": seconds}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job, default=str) + "\n")
        self._process.stdin.flush()
        return Answer(**self._receive())

    @property
    def log(self) -> Path:
        """Where `Mode.LOG` writes every step."""
        return self._folder / "log"

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the warm process ended with {self._process.wait()}"
        return json.loads(line)
