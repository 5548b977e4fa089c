"""A project whose raw file is read where it lies, and never copied into the store."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sterling import lifecycle
from sterling.core.clock import utcnow
from sterling.core.evidence import Query
from sterling.core.refs import ref_of_file
from sterling.core.verify import verify
from sterling.core.workspace import Workspace
from sterling.lifecycle import Result, check_project, plan_project, run_project
from sterling.project.load import load_project
from tests.lifecycle.small import edit, write_project

HOUR_AGO = utcnow().timestamp() - 3600


def write(folder: Path, *, rows: int = 3000) -> Path:
    """The project, told to read its file where it lies; an hour old, so that its size and time may be trusted."""
    write_project(folder, rows=rows)
    os.utime(folder / "parcels.parquet", (HOUR_AGO, HOUR_AGO))
    edit(folder, '["parcels.parquet"]', '[sl.External("parcels.parquet", keep="90d")]')
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("external") / "project")
    assert run(folder).verdict == "passed"
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "project"))


def run(folder: Path) -> Result:
    return run_project(load_project(folder), folder)


def test_the_file_is_recorded_and_promised_and_not_copied(finished: Path) -> None:
    workspace, ref = Workspace(finished), ref_of_file(finished / "parcels.parquet")
    assert not workspace.store().has(ref)
    (entry,) = workspace.ledger("late-parcels").read(Query(("data.referenced",)))
    assert (entry.body["locator"], entry.body["ref"]) == ("parcels.parquet", ref)
    since, until = (datetime.fromisoformat(entry.body[name]) for name in ("since", "until"))
    assert until - since == timedelta(days=90)
    report = verify(workspace.ledger("late-parcels"), workspace.store())
    assert (report.intact, report.missing) == (True, ())
    assert [(cited.ref, cited.position) for cited in report.external] == [(ref, entry.position)]


def test_a_second_run_does_nothing(folder: Path) -> None:
    assert not run(folder).news


def test_whether_a_file_is_copied_or_not_changes_nothing_that_is_made(folder: Path) -> None:
    edit(folder, '[sl.External("parcels.parquet", keep="90d")]', '["parcels.parquet"]')
    result = run(folder)
    assert [step.title for step in result.steps if not step.cached] == ["bind"]
    assert Workspace(folder).store().has(ref_of_file(folder / "parcels.parquet"))


def test_a_changed_file_is_new_data(folder: Path) -> None:
    write_project(folder.parent / "other", rows=3100)
    shutil.copy(folder.parent / "other" / "parcels.parquet", folder / "parcels.parquet")
    assert plan_project(load_project(folder), folder).steps[0].action == "run"
    assert run(folder).verdict == "passed"
    assert len(list(Workspace(folder).ledger("late-parcels").read(Query(("data.referenced",))))) == 2


def test_what_nobody_promises_any_longer_is_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(folder).warnings == plan_project(load_project(folder), folder).warnings == ()
    monkeypatch.setattr(lifecycle, "utcnow", lambda: utcnow() + timedelta(days=91))
    for found in (run(folder).warnings, plan_project(load_project(folder), folder).warnings):
        assert len(found) == 1
        assert found[0].startswith("The promise to keep 'parcels.parquet' as it is ended on")
    edit(folder, 'keep="90d"', 'keep="120d"')
    assert run(folder).warnings == ()


def test_a_file_of_a_source_and_a_folder_are_read_where_they_lie(tmp_path: Path) -> None:
    folder = write(tmp_path / "project")
    edit(folder, 'sl.Query("prepare.sql", inputs=[sl.External("parcels.parquet", keep="90d")])', "'unused'")
    text = (
        (folder / "project.py").read_text().replace('"orders", parcels,', '"orders", sl.External("data", keep="1w"),')
    )
    text = text.replace('"deliveries", parcels,', '"deliveries", sl.External("data", keep="1w"),')
    text = text.replace('"day", ', "").replace('cluster="day"', 'cluster="depot"')
    (folder / "project.py").write_text(text)
    (folder / "data").mkdir()
    (folder / "parcels.parquet").rename(folder / "data" / "parcels.parquet")
    checked = check_project(load_project(folder), folder)
    assert checked.rows == 3000
    assert not Workspace(folder).store().has(ref_of_file(folder / "data" / "parcels.parquet"))
    (entry,) = Workspace(folder).ledger("late-parcels").read(Query(("data.referenced",)))
    assert entry.body["locator"] == "data/parcels.parquet"
