"""A project whose every table lies in many segments."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterling.core.evidence import Query
from sterling.core.refs import Ref
from sterling.core.verify import verify
from sterling.core.workspace import Workspace
from sterling.engine import tables
from sterling.engine.tables import StoredTable
from sterling.lifecycle import Result, plan_project, run_project
from sterling.project.load import load_project
from tests.lifecycle.small import write_project


def outputs(folder: Path) -> dict[str, dict[str, Ref]]:
    done = Workspace(folder).ledger("late-parcels").read(Query(("stage.completed",)))
    return {entry.body["title"]: entry.body["outputs"] for entry in done}


def run(folder: Path) -> Result:
    return run_project(load_project(folder), folder)


def test_segments_change_neither_the_model_nor_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(write_project(tmp_path / "whole"))
    monkeypatch.setattr(tables, "_MOST_ROWS", 200)
    folder = write_project(tmp_path / "segments")
    result = run(folder)
    assert result.candidate == whole.candidate
    assert [gate.body for gate in result.gates] == [gate.body for gate in whole.gates]
    workspace = Workspace(folder)
    done = {
        entry.body["title"]: entry.body for entry in workspace.ledger("late-parcels").read(Query(("stage.completed",)))
    }
    assert done["frame"]["manifests"] == ["frame"]
    assert done["train candidate"]["manifests"] == ["probe"]
    assert done["as of"]["manifests"] == []
    parts = StoredTable(workspace.store(), outputs(folder)["frame"]["frame"]).parts
    assert len(parts) > 10
    report = verify(workspace.ledger("late-parcels"), workspace.store())
    assert report.intact
    assert report.blobs > 100
    assert not run(folder).news

    workspace.store().delete(parts[3].ref)
    (step,) = [step for step in plan_project(load_project(folder), folder).steps if step.title == "frame"]
    assert (step.action, step.reasons) == ("run", ("what it made is no longer in the store",))
    assert verify(workspace.ledger("late-parcels"), workspace.store()).missing[0].ref == parts[3].ref
    again = run(folder)
    assert [done.title for done in again.steps if not done.cached] == ["frame"]
    assert again.candidate == whole.candidate
