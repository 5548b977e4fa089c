from __future__ import annotations

from collections import Counter

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.project.rollout import WHOLE
from sterling.serving.router import CANARY, EXPLORE, HOLDOUT, LIVE, PLACES, Router, point, threshold, unit_text

SHARES = st.integers(0, WHOLE)
UNITS = [f"customer-{number}" for number in range(20_000)]


def router(canary: int, *, holdout: int = 0, explore: int = 0, salt: str = "a0") -> Router:
    return Router(
        1, 2 if canary else None, salt, threshold(canary), "b0", threshold(holdout), threshold(holdout + explore)
    )


@given(SHARES, SHARES, st.text(), st.text())
def test_raising_the_weight_only_moves_units_from_the_old_to_the_new_arm(
    first: int, second: int, salt: str, unit: str
) -> None:
    low, high = sorted((first, second))
    before, after = (router(share, salt=salt).assign(unit).version for share in (low, high))
    assert (before, after) in {(1, 1), (1, 2), (2, 2)}


@given(SHARES, SHARES, st.integers(0, WHOLE // 2), st.integers(0, WHOLE // 2), st.text())
def test_a_ramp_never_touches_who_is_held_out_or_explores(
    first: int, second: int, holdout: int, explore: int, unit: str
) -> None:
    arms = {router(share, holdout=holdout, explore=explore).assign(unit).arm for share in (first, second)}
    assert len(arms) == 1 or arms == {LIVE, CANARY}


@given(st.integers(0, WHOLE // 2), st.integers(0, WHOLE // 2), SHARES)
def test_the_probabilities_of_the_arms_sum_to_one(holdout: int, explore: int, canary: int) -> None:
    found = router(canary, holdout=holdout, explore=explore)
    chances = {assigned.arm: assigned.probability for assigned in map(found.assign, UNITS[:500])}
    expected = {
        HOLDOUT: holdout / WHOLE, EXPLORE: explore / WHOLE,
        CANARY: (1 - (holdout + explore) / WHOLE) * canary / WHOLE,
        LIVE: (1 - (holdout + explore) / WHOLE) * (1 - canary / WHOLE),
    }  # fmt: skip
    assert sum(expected.values()) == pytest.approx(1)
    for arm, chance in chances.items():
        assert chance == pytest.approx(expected[arm], abs=1e-9)


@given(st.text(), st.text())
def test_everybody_gets_the_same_answer_every_time(salt: str, unit: str) -> None:
    assert router(300_000, salt=salt).assign(unit) == router(300_000, salt=salt).assign(unit)


def test_shares_are_met_and_two_rollouts_draw_apart() -> None:
    first, second = (router(250_000, salt=salt) for salt in ("a0", "c7"))
    both = Counter((first.assign(unit).arm, second.assign(unit).arm) for unit in UNITS)
    shares = {arms: count / len(UNITS) for arms, count in both.items()}
    assert shares[CANARY, CANARY] == pytest.approx(0.0625, abs=0.006)
    assert shares[CANARY, LIVE] == pytest.approx(0.1875, abs=0.01)


def test_a_share_in_full_is_everybody_and_none_is_nobody() -> None:
    assert {router(WHOLE).assign(unit).version for unit in UNITS[:1000]} == {2}
    assert {router(0).assign(unit).version for unit in UNITS[:1000]} == {1}


def test_a_warehouse_computes_the_same_arms_in_sql() -> None:
    """The statement of docs/release.md."""
    sql = """
        SELECT unit, ('0x' || sha256(concat($salt, ':', unit))[:16])::UBIGINT AS point,
               point < (50000::HUGEINT << 64) // 1000000 AS canary
        FROM (SELECT unnest($units) AS unit)
    """
    found = duckdb.execute(sql, {"salt": "a0", "units": [*UNITS[:500], "ñandú", ""]}).fetchall()
    assert [row[1] for row in found] == [point("a0", row[0]) for row in found]
    assert [row[2] for row in found] == [router(50_000).assign(row[0]).arm == CANARY for row in found]


def test_points_are_places_of_the_ring() -> None:
    assert all(0 <= point("a0", unit) < PLACES for unit in UNITS[:100])


@pytest.mark.parametrize(("value", "unit"), [("", ""), (7.5, "7.5"), (10**20, str(10**20)), (False, "false")])
def test_a_unit_is_a_text(value: object, unit: str) -> None:
    assert unit_text(value) == unit
