"""Data that allow no sensible answer end a run with a clear sentence and with evidence, never with a traceback of Python's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sterling.core.errors import DataError
from sterling.core.evidence import Entry, Query
from sterling.core.workspace import Workspace
from sterling.lifecycle import check_project, run_project
from sterling.project.load import load_project
from tests.lifecycle.small import edit, write_project


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", rows=1_500)


def changed(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace columns of the parcels."""
    table = pq.read_table(folder / "parcels.parquet")
    columns = {name: table[name] for name in table.column_names}
    pq.write_table(pa.table(columns | change(columns)), folder / "parcels.parquet")


def entries(folder: Path, *kinds: str) -> list[Entry]:
    return list(Workspace(folder).ledger("late-parcels").read(Query(kinds)))


NONSENSE: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str, str]] = {
    "one class": (lambda c: {"hours": pa.array(np.full(len(c["hours"]), 50.0))}, r"are 1\. Training needs both classes", "labels known before the holdout are 1"),
    "a constant of the other class": (lambda c: {"hours": pa.array(np.zeros(len(c["hours"])))}, r"are 0\. Training needs both classes", "labels known before the holdout are 0"),
    "a label that is null": (lambda c: {"hours": pa.nulls(len(c["hours"]), pa.float64())}, "none of their labels is known|No label is known", "No label is known before the holdout"),
}  # fmt: skip


@pytest.mark.parametrize("what", NONSENSE)
def test_labels_of_one_kind_are_refused_with_the_reason_and_what_was_found_is_on_record(
    folder: Path, what: str
) -> None:
    change, said, found = NONSENSE[what]
    changed(folder, change)
    with pytest.raises(DataError, match=said):
        run_project(load_project(folder), folder)
    (assessed,) = entries(folder, "feasibility.assessed")
    assert any(found in sentence for sentence in assessed.body["impossible"])
    (checked,) = entries(folder, "leakage.checked")
    assert checked.body["reason"]
    (failed,) = entries(folder, "stage.failed")
    assert failed.body["title"] == "train candidate"
    assert not check_project(load_project(folder), folder).feasible


def test_thirty_rows_end_in_a_sentence(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", rows=30)
    result = run_project(load_project(folder), folder)
    assert result.verdict == "failed"
    (assessed,) = entries(folder, "feasibility.assessed")
    assert any("fewer than 200: little can be learnt" in warning for warning in assessed.body["warnings"])
    assert {gate["state"] for gate in assessed.body["gates"]} <= {"doubtful", "impossible"}
    assert "checks need 30" in entries(folder, "leakage.checked")[0].body["reason"]


def test_features_that_are_null_everywhere_say_so_before_training(folder: Path) -> None:
    edit(
        folder,
        'features=sl.FeatureService([orders["depot", "weight"], busy, slow])',
        'features=sl.FeatureService([orders["weight"]])',
    )
    changed(folder, lambda c: {"weight": pa.nulls(len(c["weight"]), pa.float64())})
    edit(folder, 'sl.gates.Golden("golden.jsonl"),', "")
    checked = check_project(load_project(folder), folder)
    assert checked.feasibility["impossible"] == ["Every feature is null in every row."]
    assert not checked.feasible
    result = run_project(load_project(folder), folder)
    assert result.verdict == "failed"


def test_a_constant_feature_and_one_of_countless_categories_end_in_warnings_and_a_model(folder: Path) -> None:
    changed(folder, lambda c: {
        "depot": pa.array([f"depot {n}" for n in range(len(c["depot"]))]), "weight": pa.array(np.ones(len(c["weight"]))),
    })  # fmt: skip
    checked = check_project(load_project(folder), folder)
    said = " ".join(checked.feasibility["warnings"])
    assert "weight, busy_count_1d: the same in every training row" in said
    assert run_project(load_project(folder), folder).candidate


@pytest.mark.slow
def test_countless_categories_end_in_a_warning(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", rows=60_000)
    edit(
        folder,
        'features=sl.FeatureService([orders["depot", "weight"], busy, slow])',
        'features=sl.FeatureService([orders["depot", "weight"]])',
    )
    changed(folder, lambda c: {"depot": pa.array([f"depot {n}" for n in range(len(c["depot"]))])})
    checked = check_project(load_project(folder), folder)
    assert "more than 1,000 categories" in " ".join(checked.feasibility["warnings"])
