"""One view, two projects: from a file beside each, or from a package that both have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sterling.core.evidence import Query
from sterling.core.workspace import Workspace
from sterling.lifecycle import run_project
from sterling.project.load import load_project
from sterling.stages.features import definition_hashes
from tests.lifecycle.small import edit, write_project

MODULE = '''
"""How slow a depot has been, for every team."""

import sterling as sl

deliveries = sl.EventSource(
    "deliveries", sl.Query("prepare.sql", inputs=["parcels.parquet"]), event_id="parcel", event_time="delivered_at",
    available_at=sl.Delay("0m"),
)
slow = sl.FeatureView(
    "slow", deliveries, entities=["depot"], features=[sl.Mean("hours", windows=["3d"])], owner="logistics"
)
'''
DELIVERIES = """deliveries = sl.EventSource(
    "deliveries", parcels, event_id="parcel", event_time="delivered_at", available_at=sl.Delay("0m")
)
"""
SLOW = 'slow = sl.FeatureView("slow", deliveries, entities=["depot"], features=[sl.Mean("hours", windows=["3d"])])\n'


def sharing(folder: Path, module: str) -> Path:
    """A project that takes its view from a module."""
    write_project(folder, rows=1500)
    edit(folder, DELIVERIES, "")
    edit(folder, SLOW, f"from {module} import deliveries, slow\n")
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Iterator[str]:
    """A package that is installed, as far as Python can tell."""
    home = tmp_path / "site"
    (home / "teams_features").mkdir(parents=True)
    (home / "teams_features" / "__init__.py").write_text("")
    (home / "teams_features" / "depots.py").write_text(MODULE)
    sys.path.insert(0, str(home))
    yield "teams_features.depots"
    sys.path.remove(str(home))
    for name in [name for name in sys.modules if name.startswith("teams_features")]:
        del sys.modules[name]


def digest_of(folder: Path) -> str:
    """The hash of the view as a run recorded it, which is the one that the project has."""
    loaded = load_project(folder)
    run_project(loaded, folder)
    ledger = Workspace(folder).ledger(loaded.name)
    (built,) = ledger.read(Query(("features.built",), ("view:slow",)))
    (recorded,) = {one["definition"] for one in built.body["features"]}
    assert definition_hashes(loaded, folder)["slow"] == recorded
    return str(recorded)


def test_a_view_has_one_identity_in_every_project_that_imports_it(tmp_path: Path, package: str) -> None:
    first, second = sharing(tmp_path / "a", package), sharing(tmp_path / "b", package)
    edit(second, '"late-parcels"', '"other-parcels"')
    edit(second, "INTERVAL 1 HOUR", "INTERVAL 2 HOUR")
    beside = sharing(tmp_path / "c", "our_features")
    (beside / "our_features.py").write_text(MODULE)
    written = write_project(tmp_path / "d", rows=1500)  # the same, written in project.py
    assert len({digest_of(folder) for folder in (first, second, beside, written)}) == 1


def test_two_projects_with_files_of_one_name_do_not_take_each_others_view(tmp_path: Path) -> None:
    first, second = sharing(tmp_path / "a", "our_features"), sharing(tmp_path / "b", "our_features")
    (first / "our_features.py").write_text(MODULE)
    (second / "our_features.py").write_text(MODULE.replace('"3d"', '"5d"'))
    hashes = [definition_hashes(load_project(folder), folder)["slow"] for folder in (first, second, first)]
    assert hashes[0] != hashes[1]
    assert hashes[0] == hashes[2]
