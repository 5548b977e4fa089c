from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from sterling.core.evidence import Evidence
from sterling.core.workspace import Workspace
from sterling.engine import tables
from sterling.lifecycle import run_project
from sterling.project.load import load_project
from tests.erasure.people import PERSON, orders_of, remove_person, write_project


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was run and released, in small segments, with the person in a log and in a document too."""
    folder = write_project(tmp_path_factory.mktemp("people") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_MOST_ROWS", 400)
        result = run_project(load_project(folder), folder, release_now=True)
    assert result.released
    workspace = Workspace(folder)
    log = f"ValueError: the weight of {min(orders_of(folder))} is negative".encode()
    body = {"stage": "train", "title": "train candidate", "key": "ab", "error": "ValueError", "log": ""}
    body["log"] = workspace.store().put(io.BytesIO(log))
    workspace.ledger("orders-late").append([Evidence("stage.failed", ("key:ab", "stage:train"), body)])
    workspace.store().put(io.BytesIO(f"a table that a killed run left behind, of {PERSON}".encode()))
    (workspace.home / "report.md").write_text(f"Most late parcels: {PERSON}.\n")
    (workspace.home / "store" / "incoming" / "half").write_bytes(f"a blob of {PERSON} that never arr".encode())
    return folder


@pytest.fixture
def folder(planted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(planted, tmp_path / "project"))


@pytest.fixture
def cleaned(folder: Path) -> Path:
    """The same, after somebody took the person out of the raw files."""
    remove_person(folder)
    return folder
