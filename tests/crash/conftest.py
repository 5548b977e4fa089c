"""What the crash suite shares: a warm process to crash, and an undisturbed run to compare with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.crash.shim import Crasher
from tests.lifecycle.small import write_project

_A_DAY_AGO = 1_700_000_000
_MEMORY = Path("/dev/shm")
_ROOM = 32_000_000


@pytest.fixture(scope="session")
def crasher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crasher]:
    with Crasher(tmp_path_factory.mktemp("crasher")) as crasher:
        yield crasher


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project that has not run; its files are old enough for their fingerprints to be kept."""
    folder = write_project(tmp_path_factory.mktemp("template") / "project", rows=600)
    for file in folder.iterdir():
        os.utime(file, (_A_DAY_AGO, _A_DAY_AGO))
    return folder


@pytest.fixture
def fresh(template: Path, quick: Path) -> Iterator[Callable[[], Path]]:
    """Gives copies of the project, at one path, one after the other."""
    folder = quick / "project"

    def copy() -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(template, folder))

    yield copy
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a process that is killed, or told that its disk failed, knows no difference."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM:
        yield tmp_path
        return
    with TemporaryDirectory(dir=_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def undisturbed(template: Path, crasher: Crasher, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What there is after a run that nothing disturbed."""
    folder = Path(shutil.copytree(template, tmp_path_factory.mktemp("undisturbed") / "project"))
    answer = crasher.run("tests.crash.tasks:run_and_judge", folder)
    assert (answer.returned["code"], answer.returned["strays"]) == (0, []), answer.errors
    made: dict[str, Any] = answer.returned
    return made
