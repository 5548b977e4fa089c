"""Outcomes and complaints: durable when they are answered, late, repeated or corrected, and joined to predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sterling.serving.endpoints import Service
from sterling.serving.logged import join
from sterling.serving.outcomes import Outcomes
from sterling.serving.prediction_log import Record
from sterling.serving.released import Follower
from sterling.serving.segments import table_of
from tests.serving.test_front import ask, follower  # noqa: F401  a fixture


def push(taken: Outcomes, *rows: Any, kind: str = "outcomes") -> Any:
    return taken.push(kind, list(rows))


def test_the_same_outcome_again_changes_nothing_and_another_one_stands_beside_it(tmp_path: Path) -> None:
    taken = Outcomes(tmp_path / "outcomes.db")
    assert push(taken, {"request_id": "r1", "outcome": True}, {"request_id": "r1", "row": 1, "outcome": 0}).taken == 2
    again = push(taken, {"request_id": "r1", "row": 0, "outcome": 1.0})
    assert (again.taken, again.repeated) == (0, 1)
    assert push(taken, {"request_id": "r1", "outcome": False}).taken == 1
    assert [row["outcome"] for _, row in Outcomes(tmp_path / "outcomes.db").rows("outcomes")] == [1.0, 0.0, 0.0]
    large = {"request_id": "r2", "outcome": 6.211826242127594e16}  # kept as 62118262421275940, which no float is
    assert (push(taken, large).taken, push(taken, large).repeated) == (1, 1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"outcome": 1}, "about a request_id"),
        ({"request_id": "r1", "unit": "C7", "at": "2024-01-01T00:00:00Z", "outcome": 1}, "about a request_id"),
        ({"unit": "C7", "outcome": 1}, "'at' is missing"),
        ({"request_id": "r1"}, "'outcome' is missing"),
        ({"request_id": "r1", "outcome": []}, "'outcome' is missing"),
        ({"request_id": "r1", "outcome": 1, "row": -1}, "count from 0"),
        ({"request_id": "", "outcome": 1}, "1 to 256 signs"),
        ({"request_id": "r1", "outcome": 1, "outcme": 2}, "no column 'outcme'"),
        ({"request_id": "r1", "outcome": 10**400}, "larger than any float"),
        (7, "no"),
    ],
)
def test_an_outcome_that_cannot_be_meant_is_refused_by_its_place(tmp_path: Path, row: Any, said: str) -> None:
    pushed = push(Outcomes(tmp_path / "outcomes.db"), {"request_id": "r0", "outcome": "late"}, row)
    assert pushed.taken == 1
    ((place, reason),) = pushed.refused
    assert place == 1
    assert said in reason


def test_over_http_they_are_durable_when_they_are_answered(tmp_path: Path, follower: Follower) -> None:  # noqa: F811
    service = Service(outcomes=Outcomes(tmp_path / "outcomes.db"))
    body = json.dumps({"rows": [{"request_id": "r1", "outcome": 1}, {"outcome": 1}]}).encode()
    answer = ask(follower, body, "/v1/outcomes", service=service)
    assert (answer["status"], answer["json"]["taken"], answer["json"]["refused"][0]["row"]) == (200, 1, 1)
    complaint = json.dumps({"request_id": "r1", "text": "No flight was late.", "kind": "wrong"}).encode()
    assert ask(follower, complaint, "/v1/feedback", service=service)["json"]["taken"] == 1
    assert ask(follower, b'{"text": "no"}', "/v1/feedback", service=service)["status"] == 422
    other = Outcomes(tmp_path / "outcomes.db")
    assert [len(list(other.rows(kind))) for kind in ("outcomes", "feedback")] == [1, 1]


def predicted() -> pa.Table:
    hour = 3_600_000_000
    one = [Record("r1", hour, 1, "sha256:0", 7, [{"x": 1.0}, {"x": 2.0}], [0.1, 0.2])]
    return table_of(iter([*one, Record("r2", 2 * hour, 1, "sha256:0", 7, [{"x": 3.0}], [0.3], unit="C7"),
                          Record("r3", 4 * hour, 1, "sha256:0", 7, [{"x": 4.0}], [0.4], unit="C7")]))  # fmt: skip


def said(*rows: dict[str, Any]) -> pa.Table:
    kinds = {"request_id": pa.string(), "row": pa.int32(), "unit": pa.string(), "at": pa.timestamp("us", "UTC"),
             "outcome": pa.float64(), "label": pa.string()}  # fmt: skip
    columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()}
    received = pa.array([number * 1_000_000 for number in range(len(rows))], pa.timestamp("us", "UTC"))
    return pa.table(columns | {"_received": received})


def test_an_outcome_finds_its_row_by_request_or_the_last_one_of_its_unit() -> None:
    hour = 3_600_000_000
    joined = join(predicted(), said(
        {"request_id": "r1", "row": 1, "outcome": 1.0},
        {"unit": "C7", "at": 3 * hour, "outcome": 5.0},
        {"unit": "C7", "at": hour, "outcome": 9.0},  # before anything was predicted for them
        {"request_id": "never", "row": 0, "outcome": 1.0},
    ))  # fmt: skip
    assert joined["_outcome"].to_pylist() == [None, 1.0, 5.0, None]
    assert joined["_request_id"].to_pylist() == ["r1", "r1", "r2", "r3"]


def test_of_several_outcomes_the_one_that_came_last_counts() -> None:
    joined = join(
        predicted(),
        said({"request_id": "r1", "row": 0, "outcome": 1.0}, {"request_id": "r1", "row": 0, "label": "late"}),
    )
    first = joined.to_pylist()[0]
    assert (first["_outcome"], first["_label"], first["_outcomes"]) == (None, "late", 2)
