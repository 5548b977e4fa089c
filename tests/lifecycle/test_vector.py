"""A released project whose server computes the whole vector: what it serves is what training saw."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from sterling.core.clock import from_micros, iso, to_micros
from sterling.core.errors import InvalidDefinitionError
from sterling.core.evidence import Query
from sterling.core.refs import Ref
from sterling.core.workspace import Workspace
from sterling.engine.duckdb import DuckDBEngine
from sterling.engine.tables import StoredTable, read_table
from sterling.features.applier import fill
from sterling.features.online import ViewPlan
from sterling.features.online_store import OnlineStore, connect_online
from sterling.lifecycle import run_project
from sterling.project.features import FeatureView, Last
from sterling.project.load import load_project
from sterling.serving import on_demand
from sterling.serving.endpoints import Service
from sterling.serving.inputs import Beyond
from sterling.serving.on_demand import supplied_by
from sterling.serving.server import Server
from sterling.serving.vector import Online
from tests.lifecycle.small import edit, write_project
from tests.serving.test_openapi import ask_with_schemathesis

CODE = """
def strain(weight: float | None, waiting: int | None) -> float | None:
    return None if weight is None or waiting is None else weight / (1 + waiting)
"""
FEATURES = """orders["depot", "weight"], sl.Expression("hour", "hour(ordered_at AT TIME ZONE 'Europe/Berlin')"), busy, slow,
        sl.Last(parcel_tariffs["cents"]), sl.Derived("half", "busy_count_1d / 2 + hour"), sl.OnDemand("strain", strain, ["weight", "busy_count_1d"])])"""
TARIFFS = """parcel_tariffs = sl.EventSource("tariffs", sl.Query("tariffs.sql", inputs=["parcels.parquet"]), event_id="parcel", entities=["depot"],
    event_time="ordered_at", available_at=sl.Delay("2h"))
busy = """
MIDDLE = datetime.fromisoformat("2024-03-01T00:00:00+00:00")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("vector") / "project")
    (folder / "strains.py").write_text(CODE)
    (folder / "tariffs.sql").write_text(
        "SELECT parcel, depot, ordered_at, CAST(weight * 10 AS BIGINT) AS cents FROM parcels"
    )
    edit(folder, "import sterling as sl", "import sterling as sl\nfrom strains import strain")
    edit(folder, "busy = ", TARIFFS)
    edit(folder, 'orders["depot", "weight"], busy, slow])', FEATURES)
    edit(folder, '        sl.gates.Golden("golden.jsonl"),\n', "")
    run_project(load_project(folder), folder, release_now=True)
    make_states(folder, to_micros(MIDDLE))
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of a project that has run and was released, with its online state."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


@pytest.fixture(scope="module")
def url(finished: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_demand, "LIMIT_MS", 5_000)  # a machine that does much else may pause for longer than 50 ms
        with server(finished).in_background() as address:
            yield address


def make_states(folder: Path, at: int) -> None:
    """The online state, from what was validated, as it is at a moment; what comes later waits."""
    project, workspace = load_project(folder), Workspace(folder)
    for feature in project.features.features:
        if not isinstance(feature, FeatureView | Last):
            continue
        source = ViewPlan(feature, {}).source.name
        fact = next(
            workspace.ledger(project.name).read(Query(("data.validated",), (f"source:{source}",)), newest_first=True)
        )
        table = StoredTable(workspace.store(), Ref(fact.body["ref"]))
        plan = ViewPlan(feature, {field.name: str(field.type) for field in table.schema})
        assert fill(online(folder), project.name, plan, table, DuckDBEngine(1), at=at, offset=7)


def online(folder: Path) -> OnlineStore:
    return connect_online(f"sqlite:{folder / '.sterling' / 'state.db'}")


def server(folder: Path, *, store: bool = True, beyond: Beyond = "null") -> Server:
    project, workspace = load_project(folder), Workspace(folder)
    state = Online(project, online(folder) if store else None)
    return Server(
        workspace.ledger(project.name), workspace.store(), supplied=supplied_by(project, folder), online=state,
        service=Service(beyond=beyond),
    )  # fmt: skip


def raw_rows(folder: Path) -> dict[datetime, dict[str, Any]]:
    """What a client knows of each parcel, by the moment of prediction."""
    table = pq.read_table(folder / "parcels.parquet", columns=["depot", "weight", "ordered_at"]).to_pylist()
    return {
        row["ordered_at"] + timedelta(hours=1): row | {"ordered_at": row["ordered_at"].isoformat()} for row in table
    }


def test_each_later_moment_gets_the_vector_and_the_score_of_training(finished: Path, url: str) -> None:
    workspace = Workspace(finished)
    fact = next(workspace.ledger("late-parcels").read(Query(("frame.assembled",)), newest_first=True))
    frame = read_table(workspace.store(), Ref(fact.body["ref"]))
    raw, names = raw_rows(finished), httpx.get(f"{url}/version").json()["features"]
    asked = [row for row in frame.to_pylist() if row["predict_at"] > to_micros(MIDDLE)][::7]
    assert len(asked) > 80
    for row in asked:
        at = from_micros(row["predict_at"])
        body = {"rows": [raw[at]], "predict_at": iso(at), "features": True}
        answer = httpx.post(f"{url}/v1/predict", json=body).raise_for_status().json()
        expected = {feature["name"]: row[feature["name"]] for feature in names}
        assert answer["features"] == [expected]
        assert answer["moment"] == iso(at)
        given = {name: value for name, value in expected.items() if name != "strain"}
        assert httpx.post(f"{url}/v1/predict", json=given).json()["scores"] == answer["scores"]


def test_the_version_says_where_each_feature_comes_from(url: str) -> None:
    version = httpx.get(f"{url}/version").json()
    said = {feature["name"]: (feature["from"], feature.get("computed_from")) for feature in version["features"]}
    assert said == {
        "depot": ("request", None), "weight": ("request", None), "hour": ("expression", ["ordered_at"]),
        "busy_count_1d": ("online state", ["depot"]), "slow_mean_hours_3d": ("online state", ["depot"]),
        "tariffs_cents": ("online state", ["depot"]), "half": ("derived", ["busy_count_1d", "hour"]),
        "strain": ("function", ["weight", "busy_count_1d"]),
    }  # fmt: skip
    assert version["raw_columns"] == ["depot", "ordered_at", "weight"]


RAW = {"depot": "north", "weight": 3, "ordered_at": "2024-03-20T12:30:00+01:00"}


def test_without_a_moment_it_is_now_and_an_entity_that_nobody_knows_has_no_events(url: str) -> None:
    before = iso(from_micros(to_micros(datetime.now(MIDDLE.tzinfo))))
    answer = httpx.post(f"{url}/v1/predict", json={"rows": [RAW | {"depot": "mars"}, RAW], "features": True}).json()
    assert answer["moment"] >= before
    unknown, known = answer["features"]
    assert (unknown["busy_count_1d"], unknown["slow_mean_hours_3d"], unknown["tariffs_cents"]) == (0, None, None)
    assert (unknown["hour"], unknown["half"], unknown["strain"]) == (12, 12.0, 3.0)
    assert known["tariffs_cents"] is not None


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ([RAW], {"predict_at": "2024-02-01T00:00:00Z"}, "the online state has moved on to 2024-02-2"),
        ([RAW], {"predict_at": "2024-02-01"}, "predict_at is '2024-02-01'. It is a time with its zone"),
        ([RAW], {"features": 1}, "features is 1. It is true or false."),
        ([RAW | {"wieght": 1}], {}, "'wieght' is no column of the row. Did you mean 'weight'?"),
        ([RAW, {"depot": "north", "weight": 3}], {}, "Row 1: 'ordered_at' left out. Send null if unknown."),
        ([RAW | {"ordered_at": "2024-03-20T12:30:00"}], {}, "It is a time with its zone"),
        ([RAW | {"weight": "heavy"}], {}, "'weight' is 'heavy'. It is a finite number, or null."),
        ([RAW | {"busy_count_1d": 1}], {"predict_at": "2024-03-20T13:00:00Z"}, "The rows bring features that are computed here"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_in_one_sentence(url: str, rows: Any, more: Any, said: str) -> None:
    answer = httpx.post(f"{url}/v1/predict", json={"rows": rows, **more})
    assert answer.status_code in {400, 409, 422}
    assert said in answer.json()["detail"]


def test_a_moment_far_ahead_moves_nothing_for_those_who_ask_about_now(url: str) -> None:
    def ask(at: str) -> Any:
        body = {"rows": [RAW], "predict_at": at, "features": True}
        return httpx.post(f"{url}/v1/predict", json=body).raise_for_status().json()["features"]

    before = ask("2024-03-02T00:00:00Z")
    assert ask("2030-01-01T00:00:00Z") != before
    assert ask("2024-03-02T00:00:00Z") == before
    assert httpx.post(f"{url}/v1/predict", json={"rows": [RAW]}).json()["moment"] < "2030"


def test_a_value_out_of_its_range_is_null_as_in_training(url: str) -> None:
    answer = httpx.post(f"{url}/v1/predict", json={"rows": [RAW | {"weight": 1_000}], "features": True}).json()
    assert (answer["features"][0]["weight"], answer["features"][0]["strain"]) == (None, None)


def test_health_says_how_far_the_state_has_followed(url: str) -> None:
    httpx.post(f"{url}/v1/predict", json={"rows": [RAW]}).raise_for_status()
    said = httpx.get(f"{url}/health").json()["online"]
    assert said["offsets"] == {"busy": 7, "slow": 7, "last tariffs[cents]": 7}
    assert said["newest_change"] > iso(MIDDLE)
    assert said["age_seconds"] > 0


def test_without_an_online_store_features_are_brought_and_raw_columns_are_refused_with_the_reason(folder: Path) -> None:
    with server(folder, store=False).in_background() as address:
        given = {
            "depot": "north",
            "weight": 3.0,
            "hour": 12,
            "busy_count_1d": 5,
            "slow_mean_hours_3d": None,
            "tariffs_cents": 1,
            "half": 14.5,
        }
        assert httpx.post(f"{address}/v1/predict", json=given).status_code == 200
        refused = httpx.post(f"{address}/v1/predict", json={"rows": [RAW]}).json()["detail"]
    assert "no online store is named. Build it with `sterling features build`, and name it with --online." in refused


def test_a_state_of_another_definition_is_refused_when_the_version_is_loaded(folder: Path) -> None:
    (folder / ".sterling" / "state.db").unlink()
    command = [sys.executable, "-m", "sterling", "serve", "--port", "0", "--project", str(folder), "--online"]
    done = subprocess.run(
        [*command, f"sqlite:{folder / 'state.db'}"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert (
        "The online store holds no state of 'busy' in this definition. Build it: sterling features build."
        in done.stderr
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "busy_count_1d / 2 + hour",
            "busy_count_1d / 3 + hour",
            "Version 1 was trained with another features= than the project has now",
        ),
        ("INTERVAL 1 HOUR", "INTERVAL 2 HOUR", "Version 1 was trained with another spine= than the project has now"),
    ],
)
def test_another_definition_is_refused_when_the_version_is_loaded(folder: Path, old: str, new: str, said: str) -> None:
    edit(folder, old, new)
    with pytest.raises(InvalidDefinitionError, match=said):
        server(folder)


def test_an_expression_that_only_duckdb_computes_is_refused_when_the_version_is_loaded(folder: Path) -> None:
    edit(folder, "busy_count_1d / 2 + hour", "round(busy_count_1d / 3, 2)")
    run_project(load_project(folder), folder, release_now=True)
    with pytest.raises(
        InvalidDefinitionError, match="'ROUND\\(busy_count_1d / 3, 2\\)' on DOUBLE, INTEGER is not computed"
    ):
        server(folder)


PROGRAM = """
import json, sys
from pathlib import Path
from sterling.cli import app
import threading, urllib.request
from sterling.core.workspace import Workspace
from sterling.features.online_store import connect_online
from sterling.project.load import load_project
from sterling.serving.on_demand import supplied_by
from sterling.serving.server import Server
from sterling.serving.vector import Online
folder = Path(sys.argv[1])
project, workspace = load_project(folder), Workspace(folder)
online = Online(project, connect_online(f"sqlite:{folder / '.sterling' / 'state.db'}"))
server = Server(workspace.ledger(project.name), workspace.store(), supplied=supplied_by(project, folder), online=online)
with server.in_background() as url:
    body = json.dumps({"rows": [json.loads(sys.argv[2])]}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/predict", body, {"Content-Type": "application/json"})) as answer:
        print(json.load(answer)["version"], *sorted({"lightgbm", "pandas", "sklearn", "pyarrow", "scipy", "duckdb"} & set(sys.modules)))
"""


def test_a_fresh_process_computes_vectors_without_duckdb_and_arrow(finished: Path) -> None:
    import json

    command = [sys.executable, "-c", PROGRAM, str(finished), json.dumps(RAW)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "1"


def test_a_value_that_training_did_not_know_is_refused_by_name_unless_it_is_to_be_null(
    finished: Path, url: str
) -> None:
    strange = {"rows": [RAW, RAW | {"depot": "mars"}]}
    assert httpx.post(f"{url}/v1/predict", json=strange).json()["nulled"] == [{"row": 1, "field": "depot"}]
    with server(finished, beyond="refuse").in_background() as strict:
        refused = httpx.post(f"{strict}/v1/predict", json=strange)
    assert refused.status_code == 422
    problem = refused.json()
    assert (problem["type"], problem["field"], problem["row"]) == ("urn:sterling:problem:unseen-category", "depot", 1)


@pytest.mark.slow
def test_schemathesis_finds_no_failure_where_vectors_are_computed(finished: Path) -> None:
    with server(finished, beyond="refuse").in_background() as strict:
        ask_with_schemathesis(strict)
