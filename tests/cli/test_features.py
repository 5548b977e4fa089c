"""``sterling features``, as somebody in a terminal uses it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import sterling
from tests.cli.test_run import fits
from tests.lifecycle.small import edit, write_project


def test_describe_says_what_a_view_is_what_was_measured_who_uses_it_and_where_it_comes_from(released: Path) -> None:
    answer = sterling(released, "features", "describe", "slow")
    assert (answer.code, answer.errors) == (0, "")
    assert fits(answer.out)
    said = " ".join(answer.out.split())
    assert "sl.FeatureView('slow', deliveries, entities=['depot']" in said
    assert "mean of hours of events of deliveries that happened in the 3d before" in said
    assert "every column: 0m after delivered_at" in said
    assert "s of the processors" in said
    assert "version 1 live" in said
    assert "as it is now" in said
    assert "raw file parcels.parquet" in said


def test_describe_of_one_feature_is_of_that_feature_alone(released: Path) -> None:
    found = sterling(released, "features", "describe", "busy_count_1d", "--json").json
    assert [one["name"] for one in found["features"]] == ["busy_count_1d"]
    assert found["features"][0]["leaks"] == 0.0
    assert found["kind"] == "FeatureView"
    assert found["users"][0]["version"] == 1
    assert found["users"][0]["live"]
    assert found["freshness"]["behind_seconds"] is not None
    assert found["cost"]["seconds_cpu"] >= 0


def test_describe_names_what_it_may_have_been(released: Path) -> None:
    answer = sterling(released, "features", "describe", "bussy")
    assert answer.code == 2
    assert "There is no feature and no view 'bussy'. Did you mean 'busy'?" in answer.errors


def test_what_was_not_built_yet_is_said_to_be_so(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    answer = sterling(folder, "features", "describe", "slow")
    assert answer.code == 0, answer.errors
    assert "not built yet" in answer.out
    assert "no model yet" in answer.out


def test_build_shows_every_feature_and_writes_the_frame(folder: Path) -> None:
    answer = sterling(folder, "features", "build", "--out", "frame.parquet")
    assert answer.code == 0, answer.errors
    assert fits(answer.out)
    for name in ("depot", "weight", "busy_count_1d", "slow_mean_hours_3d"):
        assert name in answer.out
    frame = pq.read_table(folder / "frame.parquet")
    assert frame.schema.names[-4:] == ["depot", "weight", "busy_count_1d", "slow_mean_hours_3d"]
    found = sterling(folder, "features", "build", "--json").json
    assert found["rows"] == frame.num_rows
    assert [one["kind"] for one in found["features"]] == ["category", "number", "number", "number"]


def test_a_changed_definition_makes_a_new_version_and_never_alters_the_old_one(folder: Path) -> None:
    before = sterling(folder, "features", "describe", "slow", "--json").json
    edit(folder, 'windows=["3d"]', 'windows=["3d", "5d"]')
    planned = sterling(folder, "plan").out
    said = " ".join(planned.split())
    assert f"slow: version 1, which is live, reads {before['definition'][:12]}" in said
    assert "A run makes a new version; version 1 keeps what it reads." in said
    assert sterling(folder, "run", "--release-now").code == 0
    users = sterling(folder, "features", "describe", "slow", "--json").json["users"]
    assert [(user["version"], user["live"], user["same"]) for user in users] == [(2, True, True), (1, False, False)]
    assert users[1]["definition"] == before["definition"]
    assert users[1]["model"] == before["users"][0]["model"]
    assert "released features that change" not in sterling(folder, "plan").out


def test_a_new_owner_is_no_new_definition(folder: Path) -> None:
    before = sterling(folder, "features", "describe", "slow", "--json").json
    edit(folder, 'windows=["3d"])])', 'windows=["3d"])], owner="depots", description="How slow")')
    after = sterling(folder, "features", "describe", "slow", "--json").json
    assert (after["definition"], after["owner"]) == (before["definition"], "depots")
    assert sterling(folder, "plan", "--json").json["redefined"] == []


def test_parity_shows_that_every_cell_is_online_what_it_is_offline(folder: Path) -> None:
    answer = sterling(folder, "features", "parity")
    assert answer.code == 0, answer.errors
    assert fits(answer.out)
    for name in ("busy_count_1d", "slow_mean_hours_3d"):
        assert name in answer.out
    found = sterling(folder, "features", "parity", "--json").json
    assert [one["different"] for entry in found for one in entry["features"]] == [0, 0]
    assert all(entry["position"] for entry in found)


@pytest.mark.slow
def test_what_leaks_would_claim_is_left_out_where_it_is_not_wanted(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", rows=1500)
    titles = [step["title"] for step in sterling(folder, "run", "--no-leak-effect", "--json").json["steps"]]
    assert "leak effect" not in titles
    assert "What leaks would do to the metrics: not measured." in sterling(folder, "card").out
    later = sterling(folder, "run", "--json").json["steps"]
    assert [step["title"] for step in later if not step["cached"]] == ["leak effect"]
