from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.lifecycle.small import write_project

COMMAND = [sys.executable, "-m", "sterling"]


class Answer(NamedTuple):
    """What a command said.

    Attributes:
        code: Its exit code.
        out: Its standard output.
        errors: Its standard error.
    """

    code: int
    out: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**named: str) -> dict[str, str]:
    """An environment in which nothing but a test says where the ledger lies and who acts, 80 columns wide."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("STERLING_") and key != "CI"}
    return inherited | {"COLUMNS": "80"} | named


def sterling(folder: Path, *arguments: str, **named: str) -> Answer:
    """Run a command in a folder, as somebody in a terminal would; upper-case keywords are environment variables."""
    ran = subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        cwd=folder,
        env=environment(**named),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return Answer(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A project that was run and released once, and what the command said."""
    folder = write_project(tmp_path_factory.mktemp("released") / "project")
    answer = sterling(folder, "run", "--release-now")
    assert answer.code == 0, answer.errors
    return folder, answer


@pytest.fixture
def released(first_run: tuple[Path, Answer]) -> Path:
    """The project that was run and released once; only for what does not change it."""
    return first_run[0]


@pytest.fixture
def folder(released: Path, tmp_path: Path) -> Path:
    """A copy of the project that was run and released once."""
    return Path(shutil.copytree(released, tmp_path / "project"))


@pytest.fixture(scope="session")
def refused(first_run: tuple[Path, Answer], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A copy whose second run trained another model that failed a gate, and what the command said."""
    folder = Path(shutil.copytree(first_run[0], tmp_path_factory.mktemp("refused") / "project"))
    text = (folder / "project.py").read_text()
    text = text.replace("trees=15", "trees=16").replace(
        'gates.NonInferior("roc_auc", margin=0.2)', 'gates.AtMost("ece", 0.0001)'
    )
    (folder / "project.py").write_text(text)
    return folder, sterling(folder, "run")
