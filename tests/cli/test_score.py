"""Scoring many rows, as a job does it: whom it scores, that a rerun doubles nothing, and what a kill leaves."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pg8000.native
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from sterling.adapters.postgres_url import address_of
from sterling.core.errors import InvalidDefinitionError, RefusedError, SterlingError
from sterling.core.evidence import Query
from sterling.core.refs import Ref
from sterling.core.workspace import Workspace
from sterling.engine.tables import read_table
from sterling.features.online_store import connect_online
from sterling.lifecycle import build_online
from sterling.project.load import load_project
from sterling.scoring.given import check_partitions
from sterling.scoring.job import Job, Limit, Scored
from sterling.scoring.places import destination_of
from sterling.scoring.score import score_population, score_rows, version_of
from sterling.serving.endpoints import Service
from sterling.serving.released import Follower, ServedModel
from sterling.serving.requests import Asked
from sterling.serving.server import Server
from sterling.serving.vector import Online
from sterling.tasks.policies import Decider
from tests.adapters.postgres import postgres, postgres_url
from tests.cli.conftest import COMMAND, environment, sterling
from tests.lifecycle.small import edit

__all__ = ["postgres", "postgres_url"]
HOLDOUT = "2024-02-15..2024-03-19"
NAMES = ["depot", "weight", "busy_count_1d", "slow_mean_hours_3d"]


def scores(place: Path) -> pa.Table:
    """All scores of a folder, in the order of the partitions."""
    return pa.concat_tables(pq.ParquetFile(file).read() for file in sorted(place.glob("partition=*/*.parquet")))


def population(folder: Path, at: str, place: str, **said: Any) -> Scored:
    return score_population(load_project(folder), folder, at, destination_of(place, "scores"), **said)


def frame(folder: Path) -> pa.Table:
    """The rows that the model was made from."""
    workspace = Workspace(folder)
    [fact] = workspace.ledger("late-parcels").read(Query(("frame.assembled",)))
    return read_table(workspace.store(), Ref(fact.body["ref"]))


@pytest.fixture
def rows(folder: Path) -> Path:
    """A file of rows that bring their features."""
    path = folder / "rows.parquet"
    pq.write_table(frame(folder).select(["unit", *NAMES]), path, row_group_size=700)
    return path


def test_a_population_gets_the_very_scores_of_the_evaluation(folder: Path) -> None:
    found = population(folder, HOLDOUT, str(folder / "out"))
    workspace = Workspace(folder)
    ledger = workspace.ledger("late-parcels")
    live = next(ledger.read(Query(("version.released",)))).body["model"]
    made = next(ledger.read(Query(("predictions.made",), (f"model:{live}",))))
    judged = read_table(workspace.store(), Ref(made.body["ref"]))
    ours = scores(folder / "out")
    assert found.body is not None
    assert found.body["rows"] == ours.num_rows >= judged.num_rows > 1_000
    known = dict(zip(ours["unit"].to_pylist(), ours["score"].to_pylist(), strict=True))
    assert [known[unit] for unit in judged["unit"].to_pylist()] == judged["score"].to_pylist()
    assert list((folder / ".sterling" / "scoring").iterdir()) == []


def test_scoring_again_does_nothing_and_when_it_is_asked_for_gives_the_same_bytes(folder: Path) -> None:
    place = folder / "out"
    first = population(folder, "2024-03-01..2024-03-03", str(place))
    before = {file: file.read_bytes() for file in place.rglob("*.parquet")}
    again = population(folder, "2024-03-02..2024-03-04", str(place))
    assert (again.kept, [entry.body["partition"] for entry in again.written]) == (
        ("2024-03-02", "2024-03-03"),
        ["2024-03-04"],
    )
    nothing = population(folder, "2024-03-02..2024-03-04", str(place))
    assert (nothing.position, nothing.written, len(nothing.kept)) == (None, (), 3)
    forced = population(folder, "2024-03-01..2024-03-03", str(place), job=Job(again=True))
    assert [entry.body["output"] for entry in forced.written] == [entry.body["output"] for entry in first.written]
    assert {file: file.read_bytes() for file in before} == before


def test_what_was_changed_at_the_destination_is_written_again(folder: Path) -> None:
    place = folder / "out"
    population(folder, "2024-03-01..2024-03-02", str(place))
    (file,) = (place / "partition=2024-03-01").iterdir()
    file.unlink()
    assert [entry.body["partition"] for entry in population(folder, "2024-03-01..2024-03-02", str(place)).written] == [
        "2024-03-01"
    ]


def test_rows_get_the_very_scores_of_the_server(folder: Path, rows: Path) -> None:
    found = score_rows(load_project(folder), folder, rows, destination_of(str(folder / "out"), "scores"))
    ours = scores(folder / "out")
    assert found.body is not None
    assert found.body["population"] == {"kind": "rows", "from": str(rows)}
    workspace = Workspace(folder)
    ledger, store = workspace.ledger("late-parcels"), workspace.store()
    asked = frame(folder).select(NAMES).to_pylist()
    with Server(ledger, store, service=Service(), follower=Follower(ledger, store)).in_background() as url:
        answer = httpx.post(f"{url}/v1/predict", json={"rows": asked[:900]}).raise_for_status().json()
    assert ours["score"].to_pylist()[:900] == answer["scores"]
    assert ours["unit"].to_pylist() == frame(folder)["unit"].to_pylist()


def test_a_file_without_types_is_scored_alike(folder: Path, rows: Path) -> None:
    pa.csv.write_csv(pq.read_table(rows), folder / "rows.csv")
    project = load_project(folder)
    for name in ("rows.parquet", "rows.csv"):
        score_rows(project, folder, folder / name, destination_of(str(folder / name.replace(".", "-")), "scores"))
    assert scores(folder / "rows-csv")["score"].equals(scores(folder / "rows-parquet")["score"])


def test_rows_that_do_not_meet_the_schema_lie_beside_the_others(folder: Path) -> None:
    (folder / "rows.csv").write_text(
        "parcel,depot,weight,busy_count_1d,slow_mean_hours_3d\na,north,3,5,20\nb,mars,3,5,20\nc,south,heavy,5,20\nd,south,300,5,\n"
    )
    place = destination_of(str(folder / "out"), "scores")
    project = load_project(folder)
    with pytest.raises(RefusedError, match=r"3 of 4 rows .* row 1, 'depot' \(unseen-category\)"):
        score_rows(project, folder, folder / "rows.csv", place)
    assert not (folder / "out").exists() or not list((folder / "out").rglob("*.parquet"))
    found = score_rows(project, folder, folder / "rows.csv", place, job=Job(limit=Limit(3), explain=2))
    assert found.body is not None
    assert found.body["refused"] == {"out-of-range": 1, "unseen-category": 1, "wrong-type": 1}
    refused = pq.read_table(folder / "out" / "_refused" / "partition=all" / "scores.parquet")
    assert refused.select(["parcel", "row", "field"]).to_pylist()[2] == {"parcel": "d", "row": 3, "field": "weight"}
    [scored] = scores(folder / "out").to_pylist()
    reasons = json.loads(scored["reasons"])
    assert [scored["parcel"], len(reasons)] == ["a", 2]
    assert abs(reasons[0]["contribution"]) >= abs(reasons[1]["contribution"])
    taken = score_rows(
        project, folder, folder / "rows.csv", place, job=Job(limit=Limit(0.25, share=True), beyond="null")
    )
    assert taken.body is not None
    assert (taken.body["rows"], taken.body["nulled"]) == (3, 2)


def test_a_capacity_is_kept_by_moment_and_by_day(folder: Path) -> None:
    project, workspace = load_project(folder), Workspace(folder)
    served = version_of(project, folder, workspace.ledger(project.name), workspace, None).served
    capped = replace(served, decider=Decider(None, "a capacity", k=3, per="1d"))
    check_partitions(capped, project, "day")
    with pytest.raises(InvalidDefinitionError, match="would take such rows apart"):
        check_partitions(capped, project, "hour")


@pytest.mark.slow
def test_a_day_of_a_capacity_has_its_highest_scores_acted_on(folder: Path) -> None:
    edit(folder, '    cluster="day",', '    cluster="day", policy=sl.Top(3, per="1d"),')
    assert sterling(folder, "run", "--release-now").code == 0
    population(folder, "2024-03-01..2024-03-03", str(folder / "out"))
    for day in ("2024-03-01", "2024-03-02", "2024-03-03"):
        found = pq.ParquetFile(folder / "out" / f"partition={day}" / "scores.parquet").read()
        highest = sorted(found["score"].to_pylist(), reverse=True)[:3]
        assert sorted(found.filter(found["decision"])["score"].to_pylist(), reverse=True) == highest
    with pytest.raises(InvalidDefinitionError, match="Name whole ones"):
        population(folder, "2024-03-01T00:00:00Z..2024-03-01T12:00:00Z", str(folder / "out"))


def test_a_deadline_stops_at_a_border_and_says_what_is_left(folder: Path) -> None:
    late = population(folder, "2024-03-01..2024-03-03", str(folder / "out"), job=Job(deadline_seconds=0.0))
    assert late.left == ("2024-03-01", "2024-03-02", "2024-03-03")
    assert late.body is not None
    assert late.body["left"] == list(late.left)
    rest = population(folder, "2024-03-01..2024-03-03", str(folder / "out"))
    assert len(rest.written) == 3


def test_the_command_writes_a_table_and_says_so(folder: Path) -> None:
    named = {"SCORES": f"duckdb:{folder / 's.db'}"}
    said = sterling(folder, "score", "--at", "2024-03-01", "--to", "env:SCORES", "--consumer", "crm", **named)
    assert (said.code, "Version 1 scored 43 rows" in said.out) == (0, True), said.errors
    with duckdb.connect(str(folder / "s.db")) as db:
        assert db.execute("SELECT count(*), count(DISTINCT unit), min(version) FROM scores").fetchone() == (43, 43, 1)
    fact = next(Workspace(folder).ledger("late-parcels").read(Query(("batch.scored",), ("consumer:crm",))))
    assert (fact.body["rows"], fact.body["destination"]) == (43, f"duckdb:{folder / 's.db'}#scores")


@pytest.mark.slow
def test_the_command_says_what_it_wants_and_what_is_left(folder: Path) -> None:
    wrong = sterling(folder, "score")
    assert (wrong.code, "--at" in wrong.errors) == (2, True)
    late = sterling(folder, "score", "--at", "2024-01-05..2024-03-10", "--partition", "hour", "--deadline", "1s")
    assert (late.code, "came first" in late.errors) == (75, True), late.errors
    again = sterling(folder, "score", "--at", "2024-01-05", "--json").json
    assert again["batch"] is None or again["batch"]["left"] == []


def test_what_cannot_be_scored_is_refused_in_a_sentence(folder: Path, rows: Path) -> None:
    place, project = destination_of(str(folder / "out"), "scores"), load_project(folder)
    for message, said in {
        "no column 'when'": {"moment": "when"},
        "some do not say": {"by": "day"},
        "registered no version 7": {"version": 7},
        "no column 'colour'": {"by": "colour"},
    }.items():
        with pytest.raises(SterlingError, match=message):
            score_rows(project, folder, rows, place, **said)  # type: ignore[arg-type]
    with pytest.raises(SterlingError, match="No moment of prediction lies"):
        population(folder, "2020-01-01", str(folder / "out"))
    edit(folder, 'windows=["1d"]', 'windows=["2d"]')
    with pytest.raises(InvalidDefinitionError, match="'busy' by another definition"):
        population(folder, "2024-03-01", str(folder / "out"))


@pytest.mark.slow
def test_raw_rows_get_the_very_scores_of_the_server(folder: Path) -> None:
    project = load_project(folder)
    online = connect_online(f"sqlite:{folder / 'online.db'}")
    build_online(project, folder, online)
    every = pq.read_table(folder / "parcels.parquet")
    moment, raw = pc.add(pc.max(every["ordered_at"]), pa.scalar(10**12, pa.duration("us"))), every.slice(0, 500)
    raw = raw.append_column("predict_at", pa.repeat(moment, raw.num_rows)).drop_columns(["hours", "delivered_at"])
    pq.write_table(raw, folder / "raw.parquet")
    place = destination_of(str(folder / "out"), "scores")
    score_rows(project, folder, folder / "raw.parquet", place, online=online)
    workspace = Workspace(folder)
    ledger, store = workspace.ledger(project.name), workspace.store()
    release = next(ledger.read(Query(("version.released",))))
    served = ServedModel.load(ledger, store, release, (), Online(project, online))
    asked = [
        {
            "parcel": row["parcel"],
            "depot": row["depot"],
            "weight": row["weight"],
            "ordered_at": row["ordered_at"].isoformat(),
        }
        for row in raw.to_pylist()
    ]
    expected = served.answer(Asked(asked, int(moment.cast(pa.timestamp("us")).value))).scores
    assert scores(folder / "out")["score"].to_pylist() == expected.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "duckdb", "postgresql"])
def test_a_killed_job_goes_on_behind_the_last_partition(
    kind: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    place, read = _place(kind, folder, request)
    table = pa.concat_tables([frame(folder).select(["unit", "predict_at", *NAMES])] * 40)
    moments = table["predict_at"].cast(pa.timestamp("us", "UTC"))
    pq.write_table(table.set_column(1, "predict_at", moments), folder / "rows.parquet")
    command = ["score", "--from", "rows.parquet", "--partition", "day", "--to", place]
    clean = sterling(folder, "score", "--from", "rows.parquet", "--partition", "day", "--to", str(folder / "clean"))
    assert clean.code == 0, clean.errors
    expected = sorted(zip(*(scores(folder / "clean")[name].to_pylist() for name in ("unit", "score")), strict=True))
    chance = random.Random(kind)
    kills = 0
    while kills < 6:
        with subprocess.Popen([*COMMAND, *command], cwd=folder, env=environment(), stdout=-3, stderr=-3) as job:
            time.sleep(0.8 + 2.2 * chance.random())
            killed = job.poll() is None
            os.kill(job.pid, signal.SIGKILL) if killed else None
        kills += 1
        found = read()
        assert len(found) % 40 == 0, "a partition is there in part"
    last = sterling(folder, *command, "--json")
    assert last.code == 0, last.errors
    assert sorted(read()) == expected


def _place(
    kind: str, folder: Path, request: pytest.FixtureRequest
) -> tuple[str, Callable[[], list[tuple[str, float]]]]:
    if kind == "parquet":
        out = folder / "out"

        def from_files() -> list[tuple[str, float]]:
            files = sorted(out.glob("partition=*/scores.parquet"))
            tables = [pq.ParquetFile(file).read(["unit", "score"]) for file in files]
            return [(row["unit"], row["score"]) for table in tables for row in table.to_pylist()]

        return str(out), from_files
    if kind == "duckdb":
        file = folder / "s.db"

        def from_duckdb() -> list[tuple[str, float]]:
            with duckdb.connect(str(file)) as db:
                known = db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'scores'").fetchone()
                return db.execute("SELECT unit, score FROM scores").fetchall() if known == (1,) else []

        return f"duckdb:{file}", from_duckdb
    url = request.getfixturevalue("postgres_url")

    def from_postgres() -> list[tuple[str, float]]:
        database = pg8000.native.Connection(**address_of(url).connecting())
        there = database.run("SELECT to_regclass('scores')")[0][0]
        found = [tuple(row) for row in database.run("SELECT unit, score FROM scores")] if there else []
        database.close()
        return found

    return url, from_postgres
