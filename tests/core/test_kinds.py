"""Kinds change, and what was recorded before still reads; this is where that is shown on kinds that have changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sterling.core.errors import NewerKindError
from sterling.core.evidence import Evidence
from sterling.core.kinds import KINDS, Body, current
from sterling.core.ledger import check_chain
from sterling.core.sqlite import SQLiteLedger

DOCS = Path(__file__).parents[2] / "docs" / "evidence.md"


def named(body: Body) -> Body:
    return {"metric": body["name"]}


def with_unit(body: Body) -> Body:
    return {**body, "unit": "1"}


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "metric.measured", (named, with_unit))


def test_every_kind_stands_in_the_docs_and_no_other_does() -> None:
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", DOCS.read_text(), re.MULTILINE)) == set(KINDS)


@pytest.mark.usefixtures("changed")
@pytest.mark.parametrize(
    ("version", "body"), [(1, {"name": "auc"}), (2, {"metric": "auc"}), (3, {"metric": "auc", "unit": "1"})]
)
def test_upcasters_chain_from_any_version_to_the_newest(version: int, body: Body) -> None:
    assert current("metric.measured", version, body) == (3, {"metric": "auc", "unit": "1"})


@pytest.mark.usefixtures("changed")
def test_a_ledger_gives_the_newest_version_and_keeps_what_was_recorded(tmp_path: Path) -> None:
    ledger = SQLiteLedger(tmp_path / "ledger.db", "flights")
    ledger.append([Evidence("metric.measured", ("m",), {"name": "auc"})])
    (entry,) = ledger.read()
    assert entry.evidence == Evidence("metric.measured", ("m",), {"metric": "auc", "unit": "1"}, 3)
    assert b'"body":{"name":"auc"}' in next(ledger.records()).content
    assert check_chain(ledger.records()) == (1, None)


@pytest.mark.usefixtures("changed")
def test_a_version_that_is_too_new_is_refused_with_its_place() -> None:
    with pytest.raises(
        NewerKindError, match=r"Entry 57 is version 4 of metric.measured; this Sterling knows version 3"
    ):
        current("metric.measured", 4, {}, position=57)


def test_a_kind_that_nobody_knows_is_passed_on_as_it_is() -> None:
    assert current("model.pondered", 4, {"x": 1}) == (4, {"x": 1})
