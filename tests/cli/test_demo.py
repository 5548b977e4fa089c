"""The first minute, as a new user has it: the real data, the real server, twice in a row."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def demo(folder: Path) -> str:
    command = [sys.executable, "-m", "sterling", "demo", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first") / "demo"


@pytest.fixture(scope="module")
def said(folder: Path) -> str:
    return demo(folder)


def test_the_model_is_released_and_served_to_the_last_bit(said: str) -> None:
    assert "Served over HTTP: version 1" in said
    assert "to the last bit" in " ".join(said.split())


def test_the_tempting_mistake_is_refused_and_what_it_pretends_is_measured(said: str) -> None:
    text = " ".join(said.split())
    assert "Refused. Feature 'dep_delay' reads 'dep_delay' of schedule, which becomes known at actual_departure" in text
    found = re.search(r"pretended a ROC AUC of ([0-9.]+) where ([0-9.]+) is true", text)
    assert found is not None
    pretended, honest = map(float, found.groups())
    assert pretended > 0.9
    assert 0.72 < honest < 0.78


def test_every_line_fits_a_terminal_of_80_columns(said: str, folder: Path) -> None:
    assert [line for line in said.splitlines() if len(line) > 80 and str(folder) not in line] == []


def test_card_and_page_are_there_and_ask_for_nothing_from_outside(said: str, folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert not re.search(r"(?:src|href)=[\"']?https?://", page)
    assert "# late-arrivals, version 1" in (folder / "model_card.md").read_text()


def test_the_refused_feature_left_nothing_on_the_ledger(said: str, folder: Path) -> None:
    command = [sys.executable, "-m", "sterling", "log", "--json", "--project", str(folder)]
    log = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert not [entry for entry in log if entry["kind"] == "stage.failed"]


def test_a_second_demo_is_answered_from_the_ledger(said: str, folder: Path) -> None:
    assert "version 1" in demo(folder)


def test_what_somebody_edited_in_the_demo_is_kept(said: str, folder: Path) -> None:
    project = folder / "project.py"
    edited = project.read_text() + "\n# mine\n"
    project.write_text(edited)
    assert "is kept; remove it to start afresh" in " ".join(demo(folder).split())
    assert project.read_text() == edited
