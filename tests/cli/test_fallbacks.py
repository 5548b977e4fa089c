"""A fallback chain in a project's file, as somebody with two terminals and an online store sees it."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.valkey import running_valkey
from tests.cli.conftest import COMMAND, environment, sterling
from tests.lifecycle.small import edit
from tests.stages.server import Said, server

CHAIN = """fallback=[
        sl.fallbacks.PreviousModel(timeout="500ms"), sl.fallbacks.Cached("1h"),
        sl.fallbacks.External(sl.ExternalModel("URL", name="vendor", columns=["depot", "weight"])), sl.fallbacks.Constant(0.2),
    ],
    fallback_when=sl.fallbacks.When(timeout="2s"),
    routing=sl.Routing("depot"),
    cluster="day","""
PARCEL = {"depot": "north", "weight": 3.0, "day": "2024-03-26", "ordered_at": "2024-03-29T23:00:00Z"}


@pytest.mark.slow
def test_an_online_store_that_is_killed_is_stood_in_for_until_it_is_back(folder: Path) -> None:
    with server(lambda _: Said({"scores": [0.5]})) as vendor, running_valkey() as valkey:
        edit(folder, 'cluster="day",', CHAIN.replace("URL", vendor.url))
        ran = sterling(folder, "run", "--release-now")
        assert ran.code == 0, ran.errors
        built = sterling(folder, "features", "build", "--online", valkey.url)
        assert built.code == 0, built.errors
        with subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "--online", valkey.url], cwd=folder, env=environment(),
            stdout=subprocess.PIPE, text=True,
        ) as serving:  # fmt: skip
            try:
                assert serving.stdout
                url = serving.stdout.readline().split(" on ")[1].split("/v1/predict")[0]
                first = predict(url, PARCEL)
                assert "fallback" not in first
                valkey.kill()
                known, new = predict(url, PARCEL), predict(url, PARCEL | {"depot": "south"})
                ((said,),) = [known["fallback"]]
                assert (said["link"], said["reason"], known["scores"]) == (
                    "cached",
                    "missing features",
                    first["scores"],
                )
                assert (new["fallback"][0]["link"], new["scores"]) == ("external", [0.5])
                assert vendor.asked[-1].body == {
                    "rows": [{"depot": "south", "weight": 3.0}]
                }  # as the request brought it
                valkey.start()
                deadline = time.monotonic() + 20
                while "fallback" in predict(url, PARCEL):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                assert predict(url, PARCEL)["scores"] == first["scores"]
            finally:
                serving.terminate()


def predict(url: str, row: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}/v1/predict", json.dumps(row).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read()) from None
