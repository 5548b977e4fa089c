from __future__ import annotations

import re
from pathlib import Path

import pytest

from sterling.core.evidence import Entry, Evidence
from sterling.views.log import SENTENCES, line, sentence
from tests.views.golden import golden
from tests.views.ledger import Entries

DOCUMENTED = set(
    re.findall(
        r"^\| `([a-z_]+\.[a-z_]+)`", (Path(__file__).parents[2] / "docs/evidence.md").read_text(), flags=re.MULTILINE
    )
)


def test_every_documented_kind_has_a_sentence() -> None:
    assert DOCUMENTED - set(SENTENCES) == set()


def test_every_sentence_is_of_a_documented_kind() -> None:
    assert set(SENTENCES) - DOCUMENTED == set()


def test_the_ledger_of_these_tests_holds_every_kind(refused: Entries) -> None:
    assert {entry.kind for entry in refused} == DOCUMENTED


def test_every_entry_has_one_line(refused: Entries) -> None:
    assert "".join(f"{line(entry)}\n" for entry in refused) == golden(
        "log.txt", "".join(f"{line(e)}\n" for e in refused)
    )


def test_every_sentence_ends_and_stands_on_one_line(refused: Entries) -> None:
    for entry in refused:
        assert re.fullmatch(r"[^\n]+\.", sentence(entry)), entry.kind


def test_a_kind_of_a_newer_version_is_said_to_be_unknown() -> None:
    assert "has no sentence for" in sentence(Entry(1, "", "", "", "", "", Evidence("model.pondered")))


@pytest.mark.parametrize("metric", ["roc_auc", "ece"])
def test_an_undefined_metric_says_why(metric: str) -> None:
    body = {"metric": metric, "name": "lightgbm", "slice": {"carrier": "HA"}, "value": None, "reason": "one class only"}
    entry = Entry(1, "", "", "", "", "", Evidence("metric.measured", (), body))
    assert sentence(entry).endswith("where carrier is HA is undefined: one class only.")
