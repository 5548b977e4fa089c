"""Rates of groups, and how far the two that differ most are apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from sterling.stats.groups import GROUP_RATES, group_rates
from sterling.stats.rows import BadRowsError
from tests.stats.simulated_decisions import group_errors, grouped

Y, P, GROUP, DAY = grouped(np.random.default_rng(2), 4, 30, 40, 1.0)
ACTED = (P >= 0.25).astype(np.float64)


@pytest.mark.parametrize("rate", GROUP_RATES)
def test_rates_and_the_largest_difference_are_those_of_a_plain_loop(rate: str) -> None:
    found = group_rates(rate, Y, P, ACTED, GROUP, DAY)
    by_hand = []
    for group in range(4):
        y, p, acted = (column[group == GROUP] for column in (Y, P, ACTED))
        by_hand.append({
            "selection_rate": acted.mean(), "true_positive_rate": acted[y == 1].mean(),
            "false_positive_rate": acted[y == 0].mean(), "precision": y[acted == 1].mean(),
            "calibration_gap": p.mean() - y.mean(),
        }[rate])  # fmt: skip
    assert [one.value for one in found.groups] == pytest.approx(by_hand)
    assert found.difference.value == pytest.approx(
        max(a - b for a, b in combinations(sorted(by_hand, reverse=True), 2))
    )
    assert found.difference.most == by_hand.index(max(by_hand))
    assert found.difference.least == by_hand.index(min(by_hand))
    if found.ratio is not None:
        assert found.ratio.value == pytest.approx(min(by_hand) / max(by_hand))


def test_the_interval_of_the_largest_allows_for_picking_it_and_the_bound_need_not() -> None:
    two = np.isin(GROUP, [0, 3])
    picked = group_rates("selection_rate", Y, P, ACTED, GROUP, DAY).difference
    alone = group_rates("selection_rate", Y[two], P[two], ACTED[two], GROUP[two] // 3, DAY[two]).difference
    assert picked.value == pytest.approx(alone.value)
    assert picked.low < alone.low < alone.value < alone.high < picked.high  # type: ignore[operator]
    assert picked.bound == pytest.approx(alone.bound)


def test_a_small_group_is_shown_and_takes_no_part() -> None:
    group = np.where((GROUP == 3) & (np.arange(len(GROUP)) % 20 != 3), 2, GROUP)
    found = group_rates("true_positive_rate", Y, P, ACTED, group, DAY)
    assert found.groups[3].reason is not None
    assert "fewer than 100" in found.groups[3].reason
    assert found.groups[3].value is not None
    assert 3 not in (found.difference.most, found.difference.least)


def test_a_large_group_that_is_never_acted_on_is_not_passed_over() -> None:
    found = group_rates("selection_rate", Y, P, ACTED * (GROUP != 1), GROUP, DAY)
    assert found.difference.value is None
    assert found.difference.reason is not None
    assert "same in every cluster" in found.difference.reason
    assert found.difference.least == 1


def test_one_group_has_nothing_to_be_compared_with() -> None:
    assert group_rates("selection_rate", Y, P, ACTED, np.zeros(len(Y)), DAY).difference.value is None


def test_decisions_are_needed_for_all_but_calibration() -> None:
    assert group_rates("calibration_gap", Y, P, None, GROUP, DAY).ratio is None
    with pytest.raises(BadRowsError, match="Pass them as `acted`"):
        group_rates("precision", Y, P, None, GROUP, DAY)
    with pytest.raises(BadRowsError, match="Known: selection_rate"):
        group_rates("parity", Y, P, ACTED, GROUP, DAY)


@pytest.mark.slow
@pytest.mark.parametrize("apart", [0.0, 0.6])
def test_the_largest_gap_is_covered_though_it_was_picked(apart: float) -> None:
    for bound, low, high in group_errors(6, 30, 200, apart=apart).values():
        assert bound < 0.1  # .05 and 3 Monte Carlo standard errors
        assert low + high < 0.1
