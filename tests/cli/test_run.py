"""Commands that check, plan and run a project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, sterling
from tests.lifecycle.small import edit


def fits(text: str) -> bool:
    return all(len(line) <= 80 for line in text.splitlines())


def test_a_run_that_passes_exits_with_0_and_shows_models_and_gates(first_run: tuple[Path, Answer]) -> None:
    _, answer = first_run
    assert answer.code == 0
    assert fits(answer.out + answer.errors)
    assert "✓ train candidate" in answer.errors
    for shown in ("▸ lightgbm", "Paired differences", "✓ passed", "On record too: "):
        assert shown in answer.out


def test_a_second_run_does_nothing_and_says_so(folder: Path) -> None:
    before = sterling(folder, "log").out
    answer = sterling(folder, "run", "--release-now")
    assert answer.code == 0
    assert re.match(r"late-parcels: nothing to do\. All \d+ steps and the decision are on record \[", answer.out)
    assert re.search(r"\d+ steps answered from the ledger", answer.errors)
    assert sterling(folder, "log").out == before
    details = sterling(folder, "run", "--release-now", "--details").out
    assert fits(details)
    assert "Quarantined are rows" in details


def test_a_run_as_json_says_what_came_of_it(folder: Path) -> None:
    answer = sterling(folder, "run", "--json")
    assert (answer.code, answer.errors) == (0, "")
    result = answer.json
    assert (result["project"], result["verdict"], result["version"]) == ("late-parcels", "passed", 1)
    assert (result["released"], result["news"]) == (True, False)
    assert {step["title"] for step in result["steps"]} >= {"snapshot orders", "frame", "train candidate", "evaluate"}
    assert all(step["cached"] and step["position"] for step in result["steps"])
    assert [gate["passed"] for gate in result["gates"]] == [True, True, True, True]
    assert result["candidate"].startswith("sha256:")


def test_a_run_that_fails_a_gate_exits_with_1_and_says_which(refused: tuple[Path, Answer]) -> None:
    _, answer = refused
    assert answer.code == 1
    assert fits(answer.out)
    assert "✗ failed" in answer.out
    assert "ece at most 0.0001" in answer.out


def test_a_verdict_on_record_is_said_again(refused: tuple[Path, Answer]) -> None:
    folder, _ = refused
    answer = sterling(folder, "run")
    assert answer.code == 1
    assert "nothing to do" in answer.out
    assert "The verdict stands: the candidate failed." in answer.out


def test_a_project_without_gates_is_run_and_cannot_be_released(folder: Path) -> None:
    text = (folder / "project.py").read_text()
    (folder / "project.py").write_text(text[: text.index("    gates=[")] + ")\n")
    asked = sterling(folder, "run", "--release-now", "--json")
    assert (asked.code, asked.json["verdict"], asked.json["released"]) == (1, "ungated", False)
    answer = sterling(folder, "run")
    assert answer.code == 0
    assert "The project has no gates, so nothing is registered." in answer.out


def test_a_plan_of_what_is_on_record_is_that_nothing_would_run(released: Path) -> None:
    answer = sterling(released, "plan")
    assert answer.code == 0
    assert fits(answer.out)
    assert re.fullmatch(r"Nothing would run: the ledger answers all \d+ steps\.", answer.out.splitlines()[-1])


def test_a_plan_after_an_edit_names_the_change_and_runs_nothing(folder: Path) -> None:
    before = sterling(folder, "log").out
    edit(folder, "trees=15", "trees=16")
    answer = sterling(folder, "plan")
    assert answer.code == 0
    assert fits(answer.out)
    assert "recipe.model.trees: 15 → 16" in answer.out
    assert "● train candidate" in answer.out
    assert "✓ frame" in answer.out
    planned = sterling(folder, "plan", "--json").json
    assert {step["title"]: step["action"] for step in planned["steps"]}["train candidate"] == "run"
    assert planned["changes"] == ["recipe.model.trees: 15 → 16"]
    assert planned["as_of"].startswith("2024-03-2")
    assert sterling(folder, "log").out == before


def test_check_names_what_fits_and_trains_nothing(released: Path) -> None:
    answer = sterling(released, "check")
    assert answer.code == 0
    assert fits(answer.out)
    assert "2 sources, 4 features" in answer.out
    checked = sterling(released, "check", "--json").json
    assert checked == {
        "project": "late-parcels",
        "sources": ["orders", "deliveries"],
        "features": ["depot", "weight", "busy_count_1d", "slow_mean_hours_3d"],
        "rows": 3000,
        "labelled": 3000,
        "positives": checked["positives"],
        "frame": checked["frame"],
        "feasible": True,
        **{name: checked[name] for name in ("feasibility", "leakage", "positions")},
    }
    assert 0 < checked["positives"] < 3000
    assert {gate["state"] for gate in checked["feasibility"]["gates"]} <= {"fine", "doubtful"}
    assert checked["leakage"]["findings"] == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('orders["depot", "weight"]', 'orders["depot", "wheight"]', "Did you mean 'weight'?"),
        ('orders["depot", "weight"]', 'orders["depot", "delivered_at"]', "ordered_at + INTERVAL 1 HOUR"),
        ('windows=["1d"]', 'windows=["1x"]', "Count.windows is '1x'"),
        ('InRange("weight", 0, 100)', 'InRange("weight", 0, 10)', "weight"),
        ("import sterling as sl", "import sterling as sl\nimport nothing_of_that_name", "No module named"),
        ("project = sl.Project(", "other = sl.Project(*[", "SyntaxError"),
        ("project = sl.Project(", "project = repr(sl.Project)\ndict(name=", "defines no Project"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exits_with_2(folder: Path, old: str, new: str, message: str) -> None:
    edit(folder, old, new)
    answer = sterling(folder, "run", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.errors.splitlines()) == 1
    assert answer.errors.startswith("sterling: ")
    assert message in answer.errors


def test_a_mistake_says_where_in_the_project_file(folder: Path) -> None:
    edit(folder, 'windows=["1d"]', 'windows=["1x"]')
    answer = sterling(folder, "check", "--project", str(folder))
    assert answer.errors.startswith("sterling: project.py:")


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["run"], ["log"], ["verify"], ["gc"], ["release", "--now"]],
)
def test_a_folder_without_a_project_says_how_to_make_one(tmp_path: Path, arguments: list[str]) -> None:
    answer = sterling(tmp_path, *arguments)
    assert answer.code == 2
    assert "Make a project with `sterling new NAME`" in answer.errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["plan", "--nonsense"], "No such option: --nonsense"),
        (["serve", "--port", "70000"], "'--port'"),
        (["log", "--last", "-1"], "'--last'"),
        (["new"], "Missing argument 'name'"),
        (["plan", "--as-of", "banana"], "as_of is 'banana'"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_what_is_wrong(released: Path, arguments: list[str], message: str) -> None:
    answer = sterling(released, *arguments)
    assert answer.code == 2
    assert message in answer.errors
