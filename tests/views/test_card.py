from __future__ import annotations

import re

import pytest

from sterling.core.canonical import canonical
from sterling.core.refs import ref_of
from sterling.views.card import card_run, definition_ref, model_card
from sterling.views.facts import NoRunError
from tests.views.golden import golden
from tests.views.ledger import Entries, definition, ref


def test_the_card_shows_the_latest_evidence_and_where_it_is(second: Entries) -> None:
    shown = model_card(second, 2, definition(trees=500))
    assert shown == golden("model_card.md", shown)


def test_every_position_of_the_card_is_in_the_ledger(second: Entries) -> None:
    shown = model_card(second, 1, definition())
    cited = {int(number) for group in re.findall(r"\[([\d, –]+)\]", shown) for number in re.findall(r"\d+", group)}
    assert cited
    assert cited <= {entry.position for entry in second}


def test_without_a_version_the_card_is_of_the_live_one(second: Entries) -> None:
    assert model_card(second, None, definition(trees=500)) == model_card(second, 2, definition(trees=500))


def test_a_card_can_be_asked_for_by_the_models_ref(second: Entries) -> None:
    assert model_card(second, ref("lightgbm 300 trees"), definition()) == model_card(second, 1, definition())


def test_the_newest_run_of_the_model_counts(refused: Entries) -> None:
    assert "✗ failed" in model_card(refused, 2, definition(trees=500, floor=0.7))


def test_the_definition_that_a_card_needs_is_named(second: Entries) -> None:
    assert definition_ref(card_run(second, 1)) == ref_of(canonical(definition()))


def test_what_was_not_measured_is_said(second: Entries) -> None:
    unmeasured = [entry for entry in second if entry.kind not in {"calibration.measured", "metric.compared"}]
    shown = model_card(unmeasured, 1, definition())
    assert "## Calibration\n\nnot measured\n" in shown
    assert "- Calibration: not measured." in shown


def test_an_unknown_version_names_the_known_ones(second: Entries) -> None:
    with pytest.raises(NoRunError, match=r"of 9\. Versions and models: 1 \("):
        model_card(second, 9, definition())


def test_markup_in_a_project_stays_text(second: Entries) -> None:
    sly = definition()
    sly["project"]["problem"]["decision"] = "<img src=x> | `rm` [link](http://x)"
    assert r"\<img src=x\> \| \`rm\` \[link\](http://x)" in model_card(second, 1, sly)
