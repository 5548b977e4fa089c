"""What a run runs with is recorded by names, versions and hashes, without anything that may be secret."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from sterling.core.environment import environment_of, installed, repository


def git(folder: Path, *arguments: str) -> None:
    names = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    subprocess.run(["git", *names, "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    (tmp_path / "project.py").write_text("trees = 15\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "First")
    return tmp_path


def test_a_commit_is_recorded_and_what_is_not_committed_by_its_hash(committed: Path) -> None:
    commit, dirty = repository(committed)
    assert commit is not None
    assert (len(commit), dirty) == (40, None)
    (committed / "project.py").write_text("trees = 16\n")
    edited = repository(committed)
    (committed / "helpers.py").write_text("")
    added = repository(committed)
    assert edited[0] == added[0] == commit
    assert len({None, edited[1], added[1]}) == 3


def test_the_workspace_is_no_change_of_the_project(committed: Path) -> None:
    (committed / ".sterling").mkdir()
    (committed / ".sterling" / "ledger.db").write_text("anything")
    assert repository(committed)[1] is None


def test_a_folder_without_a_repository_has_no_commit(tmp_path: Path) -> None:
    assert repository(tmp_path) == (None, None)


def test_a_distribution_counts_by_what_it_installed_and_is_needed_or_not() -> None:
    found = {one["name"]: one for one in installed()}
    assert found["lightgbm"]["needed"]
    assert not found["pytest"]["needed"]
    assert len(found["lightgbm"]["files"] or "") == 64


def test_no_environment_variable_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORES_TOKEN", "s3cr3t-of-the-test")
    assert "s3cr3t" not in json.dumps(environment_of(tmp_path))


def test_the_same_environment_has_the_same_name_and_other_threads_another_one(tmp_path: Path) -> None:
    blas = {"library": "openblas", "version": "0.3.30", "kernel": "Zen", "threads": 8}
    names = [environment_of(tmp_path, [blas | {"threads": threads}])[0]["environment"] for threads in (8, 8, 2)]
    assert names[0] == names[1] != names[2]
