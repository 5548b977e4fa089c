"""What cannot be meant is refused before any feature is computed, with the value and what would work."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sterling.core.errors import SterlingError
from sterling.core.evidence import Query
from sterling.core.workspace import Workspace
from sterling.lifecycle import run_project
from sterling.project.load import load_project
from tests.lifecycle.small import edit, write_project
from tests.stages.bench import TIME, at

COUNT, MEAN = 'sl.Count(windows=["1d"])', 'sl.Mean("hours", windows=["3d"])'
PLANS = """
plans = sl.EntitySource("plans", "plans.parquet", entities=["depot"], valid_from="since")
project = sl.Project("""
WRONG = {
    "an unknown column": (MEAN, 'sl.Mean("hourz", windows=["3d"])', "deliveries lists no column 'hourz'. Did you mean 'hours'"),
    "a column that is not known at prediction": (
        'orders["depot", "weight"]', 'orders["depot", "weight", "delivered_at"]',
        "Feature 'delivered_at' reads 'delivered_at' of orders, which becomes known at delivered_at",
    ),
    "a column of which nobody says when it is known": (
        COUNT, 'sl.Count("hours", windows=["1d"])', "orders lists no column 'hours'.* unknown availability",
    ),
    "a window without a unit": (COUNT, 'sl.Count(windows=["1"])', "Count.windows is '1'"),
    "an expression that answers differently each time": (
        COUNT, 'sl.Count(windows=["1d"], where="random() < 0.5")', r"RANDOM\(\) is refused",
    ),
    "an aggregate over text": (MEAN, 'sl.Mean("parcel", windows=["3d"])', "Mean reads 'parcel', which is string, not a number"),
    "two features of one name": (
        "busy, slow]", 'busy, slow, sl.Expression("weight", "weight * 2")]', "Two features are called 'weight'. Rename one",
    ),
    "two aggregates of one name": (
        COUNT, f'{COUNT}, sl.Count(windows=["1d"], where="weight > 9")', "two aggregates are called 'busy_count_1d'",
    ),
    "more different values than a budget": (
        COUNT, 'sl.CountDistinct("weight", windows=["1d"], budget=3)', "over the budget of 3",
    ),
}  # fmt: skip


def refused(folder: Path, message: str) -> None:
    """The run is refused, and no feature of any definition but good ones is on record."""
    with pytest.raises(SterlingError, match=message):
        run_project(load_project(folder), folder)
    recorded = Workspace(folder).ledger("late-parcels").read(Query(("frame.assembled", "model.trained", "spine.built")))
    assert {entry.kind for entry in recorded} <= {"spine.built"}


@pytest.mark.parametrize("what", WRONG)
def test_a_bad_definition_is_refused_by_name(what: str, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", rows=400)
    old, new, message = WRONG[what]
    edit(folder, old, new)
    refused(folder, message)


def test_a_dimension_that_would_multiply_rows_is_refused(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", rows=400)
    twice = {"depot": ["north", "north"], "since": pa.array([at(0), at(0)], TIME), "size": [1, 2]}
    pq.write_table(pa.table(twice), folder / "plans.parquet")
    edit(folder, "project = sl.Project(", PLANS.lstrip())
    edit(folder, "busy, slow]", 'busy, slow, sl.Last(plans["size"])]')
    refused(
        folder, "plans: depot and valid_from name 1 rows more than once, one of them 2 times, so a join would multiply"
    )


def test_a_dimension_is_looked_up_in_a_run(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    sizes = {
        "depot": ["north", "south", "north"], "size": [1, 2, 3],
        "since": pa.array([at(0), at(0), at(24 * 365.25 * 54)], TIME),
    }  # fmt: skip
    pq.write_table(pa.table(sizes), folder / "plans.parquet")
    edit(folder, "project = sl.Project(", PLANS.lstrip())
    edit(folder, "busy, slow]", 'busy, slow, sl.Last(plans["size"])]')
    result = run_project(load_project(folder), folder)
    assert result.verdict == "passed"
    (built,) = Workspace(folder).ledger("late-parcels").read(Query(("features.built",), ("view:last plans[size]",)))
    assert 0.1 < built.body["features"][0]["nulls"] < 0.3  # nothing is known of the depot in the east
