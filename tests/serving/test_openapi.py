"""The OpenAPI document, of a version's own features, and what a client that believes in it meets."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.serving.endpoints import Service
from sterling.serving.keys import ROLES, Keys, add_key
from sterling.serving.outcomes import Outcomes
from sterling.serving.prediction_log import PredictionLog
from sterling.serving.server import Server
from tests.serving.test_server import put_model, release


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    ledger, store = SQLiteLedger(tmp_path / "ledger.db", "late-arrivals"), LocalStore(tmp_path / "store")
    release(ledger, put_model(store, 0.25), 1)
    service = Service(outcomes=Outcomes(tmp_path / "outcomes.db"), log=PredictionLog(tmp_path / "predictions"))
    with Server(ledger, store, service=service).in_background() as address:
        yield address


def test_the_document_names_features_with_their_types_and_categories(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    features = document["components"]["schemas"]["Features"]
    assert features["required"] == ["distance", "carrier"]
    assert features["additionalProperties"] is False
    assert features["properties"]["distance"]["type"] == ["number", "null"]
    assert features["properties"]["carrier"]["enum"] == ["AA", "UA", None]
    assert set(document["paths"]) == {
        "/v1/predict", "/v1/outcomes", "/v1/feedback", "/version", "/openapi.json", "/health", "/ready", "/metrics",
    }  # fmt: skip


@pytest.mark.slow
def test_schemathesis_finds_no_failure(url: str) -> None:
    ask_with_schemathesis(url)


@pytest.mark.slow
def test_schemathesis_finds_no_failure_where_keys_are_asked_for(tmp_path: Path) -> None:
    ledger, store = SQLiteLedger(tmp_path / "ledger.db", "late-arrivals"), LocalStore(tmp_path / "store")
    release(ledger, put_model(store, 0.25), 1)
    key = add_key(tmp_path / "keys.json", "everybody", ROLES)
    service = Service(outcomes=Outcomes(tmp_path / "outcomes.db"), keys=Keys(tmp_path / "keys.json"))
    with Server(ledger, store, service=service).in_background() as address:
        ask_with_schemathesis(address, "--header", f"Authorization: Bearer {key}")


def ask_with_schemathesis(url: str, *options: str) -> None:
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("schemathesis is installed with the extra 'slow'")
    done = subprocess.run(
        [program, "run", f"{url}/openapi.json", "--max-examples", "25", "--seed", "7", "--no-color",
         "--suppress-health-check", "all", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = "\n".join(line[:400] for line in done.stdout.splitlines())
    assert done.returncode == 0, said[-6_000:] + done.stderr[-2_000:]
