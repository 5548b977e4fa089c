"""A model behind a URL is asked over real HTTP, its answers are read strictly, and the candidate is held against it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sterling.core.errors import DataError, MissingExtraError
from sterling.project.external import ExternalModel
from sterling.stages.asking import ask
from tests.cli.conftest import sterling
from tests.lifecycle.small import edit
from tests.stages.server import Said, server

ROWS: dict[str, list[Any]] = {"depot": ["north", "south", None], "weight": [90.0, 3.5, None]}


def half(body: Any) -> Said:
    return Said({"scores": [0.5] * len(body["rows"])})


def test_rows_are_sent_in_batches_and_their_scores_come_back_in_order() -> None:
    with server(lambda body: Said({"scores": [(row["weight"] or 0) / 100 for row in body["rows"]]})) as found:
        answered = ask(ExternalModel(found.url, batch_rows=2), ROWS, 3)
    assert answered.scores.tolist() == [0.9, 0.035, 0.0]
    assert answered.requests == 2
    assert answered.answered_at is not None
    assert answered.answered_at.endswith("Z")
    assert [request.body for request in found.asked] == [
        {"rows": [{"depot": "north", "weight": 90.0}, {"depot": "south", "weight": 3.5}]},
        {"rows": [{"depot": None, "weight": None}]},
    ]


@pytest.mark.parametrize("shape", [float, lambda score: [1 - score, score]])
def test_mlflow_is_asked_by_its_own_protocol(shape: Callable[[float], Any]) -> None:
    with server(lambda body: Said({"predictions": [shape(0.25) for _ in body["dataframe_split"]["data"]]})) as found:
        answered = ask(ExternalModel(found.url, protocol="mlflow"), ROWS, 3)
    assert answered.scores.tolist() == [0.25] * 3
    data = [["north", 90.0], ["south", 3.5], [None, None]]
    assert found.asked[0].body == {"dataframe_split": {"columns": ["depot", "weight"], "data": data}}


def test_numbers_are_taken_where_no_probabilities_are_wanted() -> None:
    with server(lambda body: Said({"scores": [12.5, -3, 0.1]})) as found:
        assert ask(ExternalModel(found.url), ROWS, 3, probabilities=False).scores.tolist() == [12.5, -3.0, 0.1]
    with (
        server(lambda body: Said(b'{"scores": [1, Infinity, 3]}')) as found,
        pytest.raises(DataError, match="answers inf for row 2, which is no finite number"),
    ):
        ask(ExternalModel(found.url), ROWS, 3, probabilities=False)


def test_a_token_comes_from_the_environment_and_follows_no_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ExternalModel("http://127.0.0.1:1/", token_env="SCORES_TOKEN_OF_THIS_TEST")
    with pytest.raises(MissingExtraError, match="SCORES_TOKEN_OF_THIS_TEST is not set"):
        ask(model, ROWS, 3)
    monkeypatch.setenv("SCORES_TOKEN_OF_THIS_TEST", "s3cr3t")
    with server(half) as other, server(lambda body: Said({}, 302, (("Location", other.url),))) as found:
        with pytest.raises(DataError, match="refuses with 302 Found"):
            ask(ExternalModel(found.url, token_env="SCORES_TOKEN_OF_THIS_TEST"), ROWS, 3)
        assert found.asked[0].token == "Bearer s3cr3t"
        assert other.asked == []


def test_a_server_that_is_busy_is_asked_again() -> None:
    answers = [Said({}, 503), Said({"scores": [0.5] * 3})]
    with server(lambda body: answers.pop(0)) as found:
        assert len(ask(ExternalModel(found.url), ROWS, 3).scores) == 3
    assert len(found.asked) == 2


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Said({"error": "no such column"}, 400), 'refuses with 400 Bad Request: {"error": "no such column"}'),
        (Said(b"<html>"), "answers with no JSON: b'<html>'"),
        (Said({"outputs": []}), "answers without 'scores'"),
        (Said({"scores": [0.5]}), "answers with 1 scores for 3 rows"),
        (Said({"scores": [0.5, 1.5, 0.5]}), "answers 1.5 for row 2"),
        (Said({"scores": [0.5, None, 0.5]}), "answers None for row 2"),
        (Said(b'{"scores": [0.5, 0.5, NaN]}'), "answers nan for row 3"),
        (Said({"scores": [True, False, True]}), "answers True for row 1"),
    ],
)
def test_an_answer_that_is_no_probability_a_row_is_refused(said: Said, message: str) -> None:
    with server(lambda body: said) as found, pytest.raises(DataError) as raised:
        ask(ExternalModel(found.url, name="old"), ROWS, 3)
    assert str(raised.value).startswith(f"The model 'old' {message}")


def test_a_model_that_does_not_answer_in_time_or_is_not_there_is_named() -> None:
    def slow(body: Any) -> Said:
        time.sleep(1.5)
        return half(body)

    with server(slow) as found, pytest.raises(DataError, match=r"'external' did not answer within 1s\."):
        ask(ExternalModel(found.url, timeout="1s"), ROWS, 3)
    with pytest.raises(DataError, match="cannot be reached at http://127"):
        ask(ExternalModel(found.url), ROWS, 3)


def test_a_run_is_held_against_a_champion_from_outside_and_asks_it_once(folder: Path) -> None:
    with server(half) as found:
        model = f'sl.ExternalModel("{found.url}", name="vendor", columns=["depot", "weight"], version="3")'
        fallback = f"    fallback=[sl.fallbacks.External({model}), sl.fallbacks.Constant(0.4)],\n"
        edit(folder, "    holdout=", f"    external=[{model}],\n{fallback}    holdout=")
        answer = sterling(folder, "run", "--no-leak-effect", "--json")
        assert answer.code == 0, answer.errors
        count = len(found.asked)
        assert count == 2  # 1,238 rows, 1,000 in a request
        gate = next(gate for gate in answer.json["gates"] if gate["gate"]["type"] == "NonInferior")
        assert "against vendor, its hardest rival" in gate["reason"]
        edit(folder, "trees=15", "trees=16")
        assert sterling(folder, "run", "--no-leak-effect").code == 0
        assert len(found.asked) == count  # another candidate on the same rows is held against the same answers
        released = sterling(folder, "release", "--now")
        assert (released.code, "Fallback" in released.out) == (0, False), released.errors + released.out
        assert [sorted(row) for row in found.asked[-1].body["rows"]] == [["depot", "weight"]]
        assert len(found.asked) == count + 1
    out = sterling(folder, "release", "2", "--now").out
    assert "Fallback: The model 'vendor' cannot be reached at http://127.0.0.1" in out
    said = sterling(folder, "log", "--kind", "predictions.fetched", "--json").json
    assert [(e["body"]["name"], e["body"]["version"], e["body"]["rows"]) for e in said] == [("vendor", "3", 1238)]
    assert "vendor (champion)" in sterling(folder, "card").out
    again = sterling(folder, "reproduce", "--json")
    assert (again.code, again.json["body"]["as_recorded"]) == (0, ["ask vendor"])


@pytest.mark.slow
def test_a_served_version_of_sterling_can_be_the_model_from_outside(folder: Path, serving: str) -> None:
    model = f'sl.ExternalModel("{serving}/v1/predict", name="live", role="baseline")'
    edit(folder, "    holdout=", f"    external=[{model}],\n    holdout=")
    answer = sterling(folder, "run", "--no-leak-effect", "--json")
    compared = sterling(folder, "log", "--kind", "metric.compared", "--json").json
    found = {e["body"]["metric"]: e["body"] for e in compared if e["body"]["against_name"] == "live"}
    assert {body["difference"] for body in found.values()} == {0.0}  # the candidate is the very same model
    assert answer.code == 1  # which is no gain over the best baseline
