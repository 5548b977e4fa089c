"""Features that a server computes from rows as they arrive, as somebody with two terminals sees it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.conftest import COMMAND, environment, sterling

STATE = "sqlite:.sterling/online.db"
PARCEL = {"depot": "north", "weight": 3.0, "day": "2024-03-26", "ordered_at": "2024-03-29T23:00:00Z"}
ASKED = {"rows": [PARCEL], "features": True, "predict_at": "2024-03-30T00:00:00Z"}
LANDED = {"parcel": "q1", "depot": "north", "weight": 3.0, "hours": 500.0, "day": "2024-03-26",
          "ordered_at": "2024-03-25T00:00:00Z", "delivered_at": "2024-03-29T20:00:00Z"}  # fmt: skip


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--online", STATE, *options], cwd=folder, env=environment(),
        stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split(" on ")[1].split("/v1/predict")[0]
        finally:
            server.terminate()


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def slow(url: str) -> float:
    value: float = post(f"{url}/v1/predict", ASKED)["features"][0]["slow_mean_hours_3d"]
    return value


def until_it_changes(url: str, before: float) -> float:
    for _ in range(400):
        if (now := slow(url)) != before:
            return now
        time.sleep(0.05)
    raise AssertionError("The feature did not change.")


def test_an_event_that_is_pushed_is_in_the_features_of_the_next_request(folder: Path) -> None:
    built = sterling(folder, "features", "build", "--online", STATE)
    assert built.code == 0, built.errors
    assert "Online: slow is made from the history." in built.out
    with serving(folder) as url:
        before = slow(url)
        pushed = post(f"{url}/v1/events/deliveries", {"rows": [LANDED]})
        assert (pushed["taken"], pushed["refused"]) == (1, [])
        after = until_it_changes(url, before)
        assert after > before
    with serving(folder) as url:
        assert slow(url) == after
    again = sterling(folder, "features", "build", "--online", STATE)
    assert "Online: slow follows the rows that arrive, and stays as it is." in again.out


def test_rows_that_are_appended_to_a_file_are_taken(folder: Path) -> None:
    sterling(folder, "features", "build", "--online", STATE)
    rows = folder / "deliveries.jsonl"
    with serving(folder, "--follow", f"deliveries={rows.name}") as url:
        before = slow(url)
        rows.write_text(json.dumps(LANDED) + "\n" + '{"parcel": "half')
        assert until_it_changes(url, before) > before


def test_following_a_file_without_an_online_state_is_refused(folder: Path) -> None:
    answer = sterling(folder, "serve", "--follow", "deliveries=rows.jsonl")
    assert answer.code == 2
    assert "name it with --online" in " ".join(answer.errors.split())


def test_following_a_source_that_no_feature_reads_is_refused(folder: Path) -> None:
    sterling(folder, "features", "build", "--online", STATE)
    answer = sterling(folder, "serve", "--online", STATE, "--follow", "delivery=rows.jsonl")
    assert answer.code == 2
    assert "Did you mean 'deliveries'?" in answer.errors


def test_serving_without_the_state_that_is_named_says_what_makes_it(folder: Path) -> None:
    answer = sterling(folder, "serve", "--online", STATE)
    assert answer.code == 2
    assert "sterling features build" in answer.errors


def test_vectors_that_were_served_are_compared_with_the_history_and_each_difference_has_a_cause(folder: Path) -> None:
    sterling(folder, "features", "build", "--online", STATE)
    with serving(folder, "--record", "1") as url:
        before = slow(url)
        same = sterling(folder, "features", "parity", "--served", "--json")
        assert (same.code, [(one["view"], one["equal"]) for one in same.json]) == (0, [("busy", 1), ("slow", 1)])
        post(f"{url}/v1/events/deliveries", {"rows": [LANDED]})  # the history never hears of it
        until_it_changes(url, before)
    found = sterling(folder, "features", "parity", "--served")
    assert found.code == 1, found.errors
    assert "other pipeline" in found.out
    (_, skewed) = sterling(folder, "features", "parity", "--served", "--json").json
    assert skewed["causes"] == {"other pipeline": 1}
