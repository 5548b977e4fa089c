"""A project says which leaks it knows, which groups must stay on one side, and why its folds may ignore time."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterling.core.errors import InvalidDefinitionError
from sterling.core.evidence import Entry, Query
from sterling.core.workspace import Workspace
from sterling.engine.tables import read_table
from sterling.lifecycle import Result, run_project
from sterling.project.load import load_project
from tests.lifecycle.small import edit, write_project

GATES = 'sl.gates.Golden("golden.jsonl"),'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", rows=1_500)


def run(folder: Path) -> Result:
    return run_project(load_project(folder), folder)


def entries(folder: Path, *kinds: str) -> list[Entry]:
    return list(Workspace(folder).ledger("late-parcels").read(Query(kinds)))


def test_a_label_among_the_features_is_found_and_refused_until_it_is_acknowledged(folder: Path) -> None:
    edit(folder, 'available_at=sl.Delay("0m"),\n    columns=["depot", "weight", "day", "ordered_at"], known=', 'available_at=sl.Delay("0m"),\n    columns=["depot", "weight", "day", "ordered_at", "hours"], known=')  # fmt: skip
    edit(folder, 'orders["depot", "weight"]', 'orders["depot", "weight", "hours"]')
    edit(folder, GATES, "sl.gates.NoLeakage(),")
    (*_, refused) = run(folder).gates
    assert not refused.body["passed"]
    assert "findings are not acknowledged: target:hours" in refused.body["reason"]
    before, after = entries(folder, "leakage.checked")
    assert {before.position, after.position} <= set(refused.body["seen"])
    edit(
        folder,
        "NoLeakage()",
        'NoLeakage([sl.gates.Acknowledged("target:hours", "a test"), sl.gates.Acknowledged("importance:hours", "a test")])',
    )
    again = run(folder)
    assert [step.title for step in again.steps if not step.cached] == ["bind"]
    assert again.gates[-1].body["passed"], again.gates[-1].body["reason"]
    assert "Acknowledged: target:hours (a test)" in again.gates[-1].body["reason"]


def test_groups_stay_on_one_side_and_the_frame_holds_numbers_for_them(folder: Path) -> None:
    edit(folder, GATES, 'sl.gates.NoLeakage(groups=["day"]),')
    edit(folder, "baselines=[sl.Prior()]", 'baselines=[sl.Prior()], cv=sl.GroupKFold(2, "day", block="7d")')
    result = run(folder)
    assert result.gates[-1].body["passed"]
    (built,) = entries(folder, "frame.assembled")
    frame = read_table(Workspace(folder).store(), built.body["ref"])
    assert str(frame.schema.field("_slice_day").type) == "int64"
    folds = [e.body["split"] for e in entries(folder, "model.validated")]
    assert folds == [{"type": "GroupKFold", "why": None}] * 2


def test_a_group_on_both_sides_of_the_holdout_fails_the_gate(folder: Path) -> None:
    edit(folder, GATES, 'sl.gates.NoLeakage(groups=["depot"]),')
    assert "groups:depot" in run(folder).gates[-1].body["reason"]


def test_random_folds_record_why_time_is_ignored(folder: Path) -> None:
    edit(
        folder,
        "baselines=[sl.Prior()]",
        'baselines=[sl.Prior()], cv=sl.StratifiedKFold(3, why="parcels were drawn at random")',
    )
    run(folder)
    folds = entries(folder, "model.validated")
    assert [e.body["split"]["why"] for e in folds] == ["parcels were drawn at random"] * 3
    assert sum(e.body["rows"] for e in folds) == entries(folder, "model.trained")[0].body["rows"]


def test_a_group_that_is_no_column_is_refused_by_name(folder: Path) -> None:
    edit(folder, GATES, 'sl.gates.NoLeakage(groups=["depott"]),')
    with pytest.raises(InvalidDefinitionError, match=r"'depott' is to name groups.*Did you mean 'depot'"):
        run(folder)
