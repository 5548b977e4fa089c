"""A policy that is settled decides by itself, and is read back as it was written."""

from __future__ import annotations

import numpy as np
import pytest

from sterling.core.errors import DataError
from sterling.project.policy import ExpectedValue, Threshold, Top, Value
from sterling.tasks.policies import Decider, decider_from, resolved


@pytest.mark.parametrize(
    "decider", [Decider(0.25, "given"), Decider(None, "a capacity", k=3, per="1d"), Decider(None, "a capacity", k=3)]
)
def test_it_is_read_as_it_was_written(decider: Decider) -> None:
    assert decider_from(decider.document()) == decider


def test_a_later_format_is_refused() -> None:
    with pytest.raises(DataError, match=r"This version reads 'sterling\.policy/1'"):
        decider_from({"format": "sterling.policy/2"})


def test_the_highest_of_each_period_are_acted_on_and_ties_go_to_the_earlier_row() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.1, 0.2, 0.2])
    acted = Decider(None, "", k=2).acts(scores, np.array([0, 0, 0, 0, 1, 1]))
    assert acted.tolist() == [True, True, False, False, True, True]


def test_what_has_to_be_chosen_from_data_is_not_settled() -> None:
    value = Value("USD", 40, -5)
    assert resolved(Threshold(maximize="f1"), None) is None
    assert resolved(Threshold(at=0.5), None) == Decider(0.5, "as the project says")
    assert resolved(Top(3, per="1d"), None) == Decider(None, "the 3 highest", 3, "1d")
    settled = resolved(ExpectedValue(), value)
    assert settled is not None
    assert settled.threshold == pytest.approx(1 / 9)
