"""Commands that make, release, serve and describe a project, and where it lies."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sterling.project.definition import to_json
from sterling.project.load import load_project
from tests.cli.conftest import COMMAND, environment, sterling
from tests.lifecycle.small import edit

ROW = {"depot": "north", "weight": 90.0, "busy_count_1d": 4, "slow_mean_hours_3d": 40.0}


def ask(address: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(address, data, {"Content-Type": "application/json"}), timeout=10
    ) as response:
        return json.load(response)


def test_a_release_says_how_and_is_made_once(folder: Path) -> None:
    edit(folder, "trees=15", "trees=16")
    assert sterling(folder, "run", "--json").json["released"] is False
    waiting = sterling(folder, "status").out
    assert "Version 2 is registered and not live." in waiting
    answer = sterling(folder, "release")
    assert (answer.code, answer.out) == (2, "")
    assert "--now sends all traffic to the version at once" in answer.errors
    made = sterling(folder, "release", "--now", "--json").json
    assert (made["version"], made["replaces"], made["rollout"], made["new"]) == (2, 1, "now", True)
    again = sterling(folder, "release", "--now")
    assert (again.code, again.out) == (0, f"Already live: version 2 [{made['position']}].\n")
    assert sterling(folder, "release", "2", "--now", "--json").json["new"] is False
    back = sterling(folder, "release", "1", "--now")
    assert (back.code, back.out.partition(" [")[0]) == (0, "Released version 1")


def test_a_version_that_is_not_registered_cannot_be_released(released: Path) -> None:
    answer = sterling(released, "release", "7", "--now")
    assert answer.code == 2
    assert "has not registered version 7" in answer.errors


def test_a_served_version_answers_and_sigterm_ends_it_cleanly(released: Path) -> None:
    command = [*COMMAND, "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=released, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"Serving version 1 on (http://127\.0\.0\.1:\d+)/v1/predict", said)
            assert found, said
            answer = ask(f"{found[1]}/v1/predict", {"rows": [ROW, dict.fromkeys(ROW)]})
            assert answer["version"] == 1
            assert len(answer["scores"]) == 2
            assert all(0 < score < 1 for score in answer["scores"])
            assert ask(f"{found[1]}/health")["status"] == "ok"
            assert [feature["name"] for feature in ask(f"{found[1]}/version")["features"]] == list(ROW)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


def test_sigterm_ends_a_server_that_has_only_just_begun(released: Path) -> None:
    for _ in range(3):
        with subprocess.Popen(
            [*COMMAND, "serve", "--port", "0"], cwd=released, env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith("Serving version 1")
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=20)
            finally:
                process.kill()
        assert process.returncode == 0


def test_nothing_is_served_before_a_release(folder: Path, tmp_path: Path) -> None:
    answer = sterling(folder, "serve", "--port", "0", STERLING_LEDGER=f"sqlite:{tmp_path / 'empty.db'}")
    assert answer.code == 2
    assert len(answer.errors.splitlines()) == 1


def test_the_schema_is_one_and_fits_the_project(released: Path) -> None:
    schema = sterling(released, "schema").json
    jsonschema.Draft202012Validator.check_schema(schema)
    definition = json.loads(json.dumps(to_json(load_project(released))))
    jsonschema.validate(definition, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(definition | {"spines": []}, schema)


def test_ledger_store_actor_and_attestor_are_what_the_environment_says(folder: Path, tmp_path: Path) -> None:
    named = {
        "STERLING_LEDGER": f"sqlite:{tmp_path / 'team.db'}",
        "STERLING_STORE": f"file:{tmp_path / 'team'}",
        "STERLING_ACTOR": "user:nightly",
        "STERLING_ATTESTOR": "production",
    }
    before = (folder / ".sterling" / "ledger.db").read_bytes()
    assert sterling(folder, "check", **named).code == 0
    found = sterling(folder, "log", "--json", **named).json
    assert {(entry["actor"], entry["attestor"]) for entry in found} == {("user:nightly", "production")}
    assert any((tmp_path / "team").rglob("*"))
    assert (folder / ".sterling" / "ledger.db").read_bytes() == before


def test_ci_vouches_for_what_runs_there(folder: Path, tmp_path: Path) -> None:
    named = {"STERLING_LEDGER": f"sqlite:{tmp_path / 'ci.db'}", "CI": "true"}
    assert sterling(folder, "check", **named).code == 0
    assert {entry["attestor"] for entry in sterling(folder, "log", "--json", **named).json} == {"ci"}


@pytest.mark.parametrize(
    ("variable", "url", "known"),
    [("STERLING_LEDGER", "mongo://x", "postgresql, sqlite"), ("STERLING_STORE", "ftp://x", "abfs, file, gs, s3")],
)
def test_a_place_without_an_adapter_names_those_that_there_are(
    released: Path, variable: str, url: str, known: str
) -> None:
    answer = sterling(released, "verify", **{variable: url})
    assert answer.code == 2
    assert f"Known: {known}" in answer.errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["taken"], "taken exists already"),
        (["Churn"], "cannot be named 'Churn'"),
        (["../churn"], "cannot be named '../churn'"),
        (["churn", "--template", "sceduled"], "Did you mean 'scheduled'?"),
    ],
)
def test_new_refuses_what_it_cannot_make_and_leaves_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "taken").mkdir()
    answer = sterling(tmp_path, "new", *arguments)
    assert answer.code == 2
    assert message in answer.errors
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_new_project_runs_at_once(tmp_path: Path) -> None:
    made = sterling(tmp_path, "new", "churn")
    assert made.code == 0, made.errors
    assert made.out == "Made churn/. Next: cd churn && sterling plan && sterling run\n"
    folder = tmp_path / "churn"
    answer = sterling(folder, "run", "--json")
    assert answer.code == 0, answer.errors
    assert (answer.json["project"], answer.json["verdict"], answer.json["version"]) == ("churn", "passed", 1)
    assert "nothing to do" in sterling(folder, "run").out
    assert sterling(folder, "release", "--now").code == 0
