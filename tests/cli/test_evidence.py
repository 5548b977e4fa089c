"""Commands that read the ledger of a project that was run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Answer, environment, sterling
from tests.cli.test_run import fits


def test_status_says_what_is_live_and_that_nothing_is_left(released: Path) -> None:
    answer = sterling(released, "status")
    assert answer.code == 0
    assert fits(answer.out)
    assert answer.out.startswith("The candidate lightgbm passed all 4 gates and is live as version 1.")
    found = sterling(released, "status", "--json").json
    assert found["live"]["version"] == found["candidate"]["version"] == 1
    assert found["candidate"]["verdict"] == "passed"
    assert [gate["passed"] for gate in found["gates"]] == [True, True, True, True]
    assert found["undone"] == []


def test_status_after_a_refusal_keeps_what_is_live(refused: tuple[Path, Answer]) -> None:
    answer = sterling(refused[0], "status")
    assert answer.code == 0
    assert answer.out.startswith("The candidate lightgbm failed 1 of 4 gates and is not released.")
    assert "live       version 1" in answer.out
    assert "Failed gate: ece at most 0.0001" in answer.out


def test_log_gives_a_line_an_entry_and_can_be_narrowed(released: Path) -> None:
    everything = sterling(released, "log").out.splitlines()
    assert [line.partition(" ")[0] for line in everything] == [f"[{n}]" for n in range(1, len(everything) + 1)]
    assert sterling(released, "log", "--last", "3").out.splitlines() == everything[-3:]
    judged = sterling(released, "log", "--kind", "gate.judged", "--kind", "version.released").out.splitlines()
    assert judged == [line for line in everything if "gate.judged" in line or "version.released" in line]
    (newest,) = sterling(released, "log", "--kind", "gate.judged", "--last", "1", "--json").json
    assert newest["kind"] == "gate.judged"
    assert newest["body"]["gate"] == {"type": "Golden", "file": "golden.jsonl"}
    assert set(newest) == {"position", "recorded_at", "actor", "attestor", "digest", "kind", "subjects", "body"}


def test_log_says_where_there_is_nothing_of_a_kind(released: Path) -> None:
    answer = sterling(released, "log", "--kind", "stage.failed")
    assert (answer.code, answer.out) == (0, "")
    assert answer.errors == "No entry of kind stage.failed.\n"
    assert sterling(released, "log", "--kind", "stage.failed", "--json").json == []


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("release", "Version 1 takes all traffic"),
        ("version:1", "Version 1 takes all traffic"),
        ("verdict", "every example of golden.jsonl is answered as it says"),
        ("gate:Golden", "every example of golden.jsonl is answered as it says"),
        ("metric:roc_auc", "ROC AUC of lightgbm is 0."),
        ("#1", "The project's definition is"),
        ("1", "The project's definition is"),
        ("feature:busy_count_1d", "busy_count_1d"),
        ("feature:weight", "weight reads orders.weight"),
        ("source:orders", "raw file parcels.parquet"),
    ],
)
def test_why_walks_the_evidence_behind_a_statement(released: Path, question: str, expected: str) -> None:
    answer = sterling(released, "why", question)
    assert answer.code == 0
    assert fits(answer.out)
    assert expected in " ".join(answer.out.split())


def test_why_as_json_is_a_tree_of_statements(released: Path) -> None:
    tree = sterling(released, "why", "--json").json
    assert set(tree) == {"text", "position", "children"}
    assert tree["text"].startswith("Version 1 takes all traffic")
    assert all(set(below) == set(tree) for below in tree["children"])


def test_why_a_release_ends_at_the_definition_and_at_raw_files(released: Path) -> None:
    answer = sterling(released, "why")
    assert "The project's definition is " in answer.out
    assert "raw file parcels.parquet" in answer.out


def test_why_finds_bytes_by_the_beginning_of_their_ref(released: Path) -> None:
    model = sterling(released, "status", "--json").json["live"]["model"]
    answer = sterling(released, "why", model[:19])
    assert answer.code == 0
    assert "stage train candidate" in answer.out


def test_an_unknown_question_lists_what_can_be_asked(released: Path) -> None:
    answer = sterling(released, "why", "the weather")
    assert (answer.code, answer.out) == (2, "")
    for asked in ("metric:NAME", "sterling why release", "sterling why metric:", "sterling why feature:"):
        assert asked in answer.errors


def test_compare_shows_definition_metrics_and_gates_of_two_runs(refused: tuple[Path, Answer]) -> None:
    folder, _ = refused
    answer = sterling(folder, "compare")
    assert answer.code == 0
    assert fits(answer.out)
    assert "recipe.model.trees: 15 → 16" in answer.out
    assert "✗ failed" in answer.out
    assert sterling(folder, "compare", "version:1", "latest").out == answer.out
    found = sterling(folder, "compare", "--json").json
    assert "recipe.model.trees: 15 → 16" in json.dumps(found, ensure_ascii=False)


@pytest.mark.parametrize("unknown", ["version:7", "#1", "previous"])
def test_compare_names_the_runs_that_there_are(released: Path, unknown: str) -> None:
    answer = sterling(released, "compare", unknown, "latest")
    assert answer.code == 2
    assert f"No completed run is {unknown!r}" in answer.errors


def test_the_card_cites_the_ledger_and_the_page_stands_alone(released: Path, tmp_path: Path) -> None:
    card = sterling(released, "card")
    assert card.code == 0
    assert "# late-parcels, version 1" in card.out
    assert "## Gates" in card.out
    assert sterling(released, "card", "1").out == card.out
    answer = sterling(released, "card", "--html", str(tmp_path / "page.html"))
    assert answer.code == 0
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!")
    assert "<svg" in page
    assert "src=" not in page


def test_a_card_that_cannot_be_is_one_line(released: Path, tmp_path: Path) -> None:
    answer = sterling(released, "card", "9")
    assert answer.code == 2
    assert len(answer.errors.splitlines()) == 1
    answer = sterling(released, "card", "--html", str(tmp_path / "missing" / "page.html"))
    assert answer.code == 2
    assert answer.errors.startswith(f"sterling: There is no folder {tmp_path / 'missing'}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_an_output_that_cannot_be_written_is_one_line(released: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*COMMAND, "log"],
            check=False,
            cwd=released,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (ran.returncode, ran.stderr) == (2, "sterling: No space left on device.\n")
