"""What would bring a person back, and is not Sterling's to change, is named before anything is erased."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from sterling.core.errors import DataError
from sterling.core.evidence import Query
from sterling.core.workspace import Workspace
from sterling.lifecycle import run_project
from sterling.project.load import load_project
from tests.erasure.people import PERSON, found_in_bytes, remove_person, write_project
from tests.erasure.test_erase import run_erase
from tests.lifecycle.small import edit


def in_the_way(folder: Path) -> dict[str, int]:
    return {one.where: one.times for one in run_erase(folder).in_the_way}


def test_golden_examples_and_the_definition_are_named(cleaned: Path) -> None:
    assert in_the_way(cleaned) == {}
    edit(cleaned, "a heavy parcel", f"a parcel of {PERSON}", file="golden.jsonl")
    assert in_the_way(cleaned) == {"golden.jsonl": 1}
    edit(
        cleaned,
        'predict_at="ordered_at + INTERVAL 1 HOUR"',
        f'predict_at="ordered_at", where="customer <> \'{PERSON}\'"',
    )
    assert in_the_way(cleaned) == {"golden.jsonl": 1, "the project's definition": 1}
    with pytest.raises(
        DataError, match=r"golden\.jsonl: 1 \(remove them there\); the project's definition: 1 \(change"
    ):
        run_erase(cleaned, confirm=True)


def test_a_golden_file_of_before_is_deleted(cleaned: Path, tmp_path: Path) -> None:
    edit(cleaned, "a heavy parcel", f"a parcel of {PERSON}", file="golden.jsonl")
    run_project(load_project(cleaned), cleaned)
    edit(cleaned, f"a parcel of {PERSON}", "a heavy parcel", file="golden.jsonl")
    report = run_erase(cleaned, confirm=True)
    assert "golden examples" in {held.what for held in report.holdings}
    # an answer that was wrong would stand in an entry by its name; this one was right, and its name is nowhere
    assert report.left == ()


def test_a_live_model_that_names_the_person_is_not_erased_before_another_is_live(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    edit(folder, 'orders["depot", "weight", "items"]', 'orders["depot", "weight", "items", "customer"]')
    assert run_project(load_project(folder), folder, release_now=True).released
    remove_person(folder)
    assert in_the_way(folder) == {"the model of version 1, which is live": 1}
    assert run_project(load_project(folder), folder, release_now=True).version == 2
    assert in_the_way(folder) == {}
    report = run_erase(folder, confirm=True)
    assert report.left == ()
    assert found_in_bytes(folder / ".sterling", PERSON) == []
    # the model that was erased is no champion any more, and what is live stays what it is
    edit(folder, "trees=10", "trees=11")
    assert run_project(load_project(folder), folder, release_now=True).released
    champions = Workspace(folder).ledger("orders-late").read(Query(("champion.resolved",)))
    assert [entry.body["comparable"] for entry in champions] == [False, True, True]


def test_an_entry_that_names_the_person_is_said_to_be_left(cleaned: Path) -> None:
    edit(cleaned, "a heavy parcel", f"a parcel of {PERSON}", file="golden.jsonl")
    edit(cleaned, '"at_least": 0.0', '"at_least": 0.9999', file="golden.jsonl")
    assert run_project(load_project(cleaned), cleaned).verdict == "failed"
    edit(cleaned, f"a parcel of {PERSON}", "a heavy parcel", file="golden.jsonl")
    report = run_erase(cleaned, confirm=True)
    assert report.left
    assert all(place.where.endswith("which is never changed") for place in report.left)


def test_blobs_of_another_project_in_the_same_store_are_said_to_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STERLING_LEDGER", f"sqlite:{tmp_path / 'team' / 'ledger.db'}")
    monkeypatch.setenv("STERLING_STORE", f"file:{tmp_path / 'team' / 'store'}")
    first = write_project(tmp_path / "first", rows=600)
    second = Path(shutil.copytree(first, tmp_path / "second"))
    edit(second, '"orders-late"', '"orders-other"')
    edit(second, 'columns=["depot", "hours"]', 'columns=["depot", "hours", "customer"]')
    for folder in (first, second):
        run_project(load_project(folder), folder)
        remove_person(folder)
    left = run_erase(first, confirm=True).left
    assert left
    assert all(re.match(r"blob [0-9a-f]{12} of the project orders-other, column ", place.where) for place in left)
    assert run_erase(second, confirm=True).left == ()
    assert found_in_bytes(tmp_path / "team", PERSON) == []
