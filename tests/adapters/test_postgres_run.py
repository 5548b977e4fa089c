"""A whole project on a ledger in PostgreSQL, from the command line."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from sterling.adapters.postgres import PostgresLedger
from sterling.core.store import LocalStore
from sterling.core.verify import verify
from tests.adapters.postgres import Server
from tests.cli.conftest import COMMAND, environment, sterling
from tests.lifecycle.small import write_project

ONCE = ("project.defined", "model.registered", "version.released", "run.completed")


@pytest.fixture
def named(postgres_url: str, tmp_path: Path) -> dict[str, str]:
    """What a team's environment says."""
    return {"STERLING_LEDGER": postgres_url, "STERLING_STORE": f"file:{tmp_path / 'store'}"}


def kinds(url: str) -> Counter[str]:
    with PostgresLedger(url, "late-parcels") as ledger:
        return Counter(entry.kind for entry in ledger.read())


def test_a_project_runs_releases_is_backed_up_and_comes_back(
    named: dict[str, str], postgres: Server, tmp_path: Path
) -> None:
    folder, kept, url = write_project(tmp_path / "project"), str(tmp_path / "backup"), named["STERLING_LEDGER"]
    answer = sterling(folder, "run", "--release-now", **named)
    assert answer.code == 0, answer.errors
    before = kinds(url)
    assert {before[kind] for kind in ONCE} == {1}
    assert "nothing to do" in sterling(folder, "run", **named).out
    assert kinds(url) == before
    assert not (folder / ".sterling" / "ledger.db").exists()

    assert sterling(folder, "backup", kept, **named).code == 0
    postgres.clear()
    answer = sterling(folder, "restore", kept, **named)
    assert answer.code == 0, answer.out + answer.errors
    assert sterling(folder, "verify", **named).code == 0
    assert "nothing to do" in sterling(folder, "run", **named).out
    assert kinds(url) == before


def test_two_runs_at_once_from_two_places_record_nothing_twice(named: dict[str, str], tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [*COMMAND, "run", "--release-now"],
            cwd=write_project(tmp_path / place),
            env=environment(**named),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in ("here", "there")
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    found = kinds(named["STERLING_LEDGER"])
    assert {found[kind] for kind in ONCE} == {1}
    with PostgresLedger(named["STERLING_LEDGER"], "late-parcels") as ledger:
        keys = [entry.body["key"] for entry in ledger.read() if entry.kind == "stage.completed"]
        assert len(keys) == len(set(keys))
        assert verify(ledger, LocalStore(tmp_path / "store")).intact
