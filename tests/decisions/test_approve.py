from __future__ import annotations

from typing import Any

import pytest

from sterling.core.errors import InvalidDefinitionError, RefusedError
from sterling.core.evidence import Entry
from sterling.decisions.approve import approve, revoke
from sterling.decisions.release import release
from sterling.decisions.rollout import promote
from sterling.decisions.standing import standing
from sterling.views.approvals import asked_for, needs
from tests.decisions.released import ROLLOUT, World


def approved_by(world: World, actor: str, version: int | None = None, *roles: str) -> Entry:
    return approve(world.beside(actor), world.store, version, actor=actor, roles=roles)[0]


def test_where_the_risk_is_minimal_nobody_is_asked(world: World) -> None:
    world.register("a", sensitive=["sex"])
    release(world.ledger, world.store)
    world.register("b", sensitive=["sex", "age"])
    assert release(world.ledger, world.store)[1]


def test_where_the_risk_is_high_somebody_else_than_the_author_must_approve(world: World) -> None:
    world.register("a", risk="high")
    with pytest.raises(
        RefusedError,
        match=r"Version 1 needs the approval of owner \(the risk is high\). Ask somebody other than user:ada.*`sterling approve 1`",
    ):
        release(world.ledger, world.store)
    with pytest.raises(RefusedError, match="user:ada registered version 1 and cannot approve it"):
        approved_by(world, "user:ada")
    given = approved_by(world, "user:bea")
    entry, _ = release(world.ledger, world.store)
    assert given.position in entry.body["seen"]


def test_an_approval_by_the_author_counts_for_nothing_even_if_it_is_on_record(world: World) -> None:
    world.register("a", risk="high")
    approve(world.ledger, world.store, actor="user:bea")  # recorded as user:ada's, who opened the ledger
    with pytest.raises(RefusedError, match="is void: the author's own, and four eyes are asked for"):
        release(world.ledger, world.store)


@pytest.mark.parametrize(
    ("changed", "role"),
    [
        ({"label": "late"}, "owner"),
        ({"features": {"type": "FeatureService", "features": []}}, "consumers"),
        ({"gates": [{"type": "Parity"}]}, "validation"),
        ({"error_budget": 0.2}, "validation"),
        ({"sensitive": ["age"]}, "data-protection"),
        (
            {"external": [{"type": "ExternalModel", "url": "https://scores.example", "role": "shadow"}]},
            "data-protection",
        ),
        ({"policy": {"type": "Threshold", "at": 0.5}}, "owner"),
        ({"recipe": {"trees": 500}}, None),
        ({"seed": 1}, None),
    ],
)
def test_who_must_approve_follows_from_what_changed(world: World, changed: dict[str, Any], role: str | None) -> None:
    world.register("a", risk="limited")
    release(world.ledger, world.store)
    world.register("b", risk="limited", **changed)
    if role is None:
        release(world.ledger, world.store)
        return
    with pytest.raises(RefusedError, match=f"needs the approval of {role}"):
        release(world.ledger, world.store)
    assert approved_by(world, "user:ada").body["roles"] == [role]
    assert release(world.ledger, world.store)[1]


def test_columns_that_become_personal_ask_for_data_protection() -> None:
    def defined(pii: list[str]) -> dict[str, object]:
        source = {"type": "EventSource", "name": "orders", "pii": pii}
        return {"project": {"problem": {"risk": "limited"}, "spine": {"source": source}}}

    asked = needs(defined(["email"]), defined([]))
    assert [need.role for need in asked] == ["consumers", "data-protection"]


def test_lowering_the_risk_takes_the_approvals_of_the_higher_one(world: World) -> None:
    world.register("a", risk="high")
    approved_by(world, "user:bea")
    release(world.ledger, world.store)
    world.register("b", risk="minimal")
    with pytest.raises(RefusedError, match=r"owner \(the risk is high and problem.risk: high → minimal\)"):
        release(world.ledger, world.store)


def test_an_approval_lists_what_it_looked_at(world: World) -> None:
    world.register("a", risk="high")
    approved_by(world, "user:bea")
    live, _ = release(world.ledger, world.store)
    registered = world.register("b", risk="high")
    given = approved_by(world, "user:bea")
    assert given.body["seen"] == [registered.position, *registered.body["seen"], live.position]
    assert (given.actor, given.attestor) == ("user:bea", "laptop")


def test_an_approval_is_void_where_a_later_verdict_says_no(world: World) -> None:
    world.register("a", risk="high")
    approved_by(world, "user:bea")
    world.judge("a", passed=False)
    with pytest.raises(RefusedError, match="a gate failed since"):
        release(world.ledger, world.store)
    with pytest.raises(RefusedError, match="Version 1 cannot be approved: a gate failed since"):
        approved_by(world, "user:bea")
    world.judge("a")
    with pytest.raises(RefusedError, match=r"needs the approval of owner.*is void: a gate failed since"):
        release(world.ledger, world.store)
    approved_by(world, "user:bea")
    assert release(world.ledger, world.store)[1]


def test_an_approval_is_void_where_another_version_is_live_than_it_was_held_against(world: World) -> None:
    world.register("a", risk="limited")
    release(world.ledger, world.store)
    world.register("b", risk="limited", label="later")
    approved_by(world, "user:ada", 2)
    world.register("c", risk="limited", seed=2)
    release(world.ledger, world.store, 3)
    with pytest.raises(RefusedError, match="is void: another version is live than the one that it was held against"):
        release(world.ledger, world.store, 2)


def test_an_approval_that_is_taken_back_stops_the_next_promotion(world: World) -> None:
    world.register("a", risk="high")
    approved_by(world, "user:bea")
    release(world.ledger, world.store)
    world.register("b", risk="high")
    approved_by(world, "user:bea")
    release(world.ledger, world.store, rollout=ROLLOUT)
    taken, new = revoke(world.beside("user:bea"), 2, reason="The label is wrong.")
    assert new
    assert revoke(world.beside("user:bea"), 2, reason="Again.") == (taken, False)
    with pytest.raises(RefusedError, match=rf"is void: revoked by user:bea \[{taken.position}\]"):
        promote(world.ledger, world.store, early=True)


def test_approving_twice_is_approving_once_and_each_role_is_its_own(world: World) -> None:
    world.register("a", risk="high", label="late")
    first = approve(world.beside("user:bea"), world.store, actor="user:bea", roles=["owner"])
    assert approve(world.beside("user:bea"), world.store, actor="user:bea", roles=["owner"]) == (first[0], False)
    assert approve(world.beside("user:bea"), world.store, actor="user:bea", roles=["validation"])[1]
    with pytest.raises(InvalidDefinitionError, match=r"There is no role 'ownr'\. Did you mean 'owner'"):
        approved_by(world, "user:bea", None, "ownr")
    world.register("b")
    with pytest.raises(RefusedError, match="Nobody has approved version 2"):
        revoke(world.ledger, 2, reason="Wrong.")


def test_one_who_looked_before_something_decisive_is_told_so(world: World) -> None:
    world.register("a")
    looked = world.head
    world.judge("b", passed=False)
    with pytest.raises(RefusedError, match="is stale"):
        approve(world.ledger, world.store, 1, actor="user:bea", on=looked)


def test_what_is_missing_is_said_in_one_sentence(world: World) -> None:
    world.register("a", risk="limited")
    release(world.ledger, world.store)
    world.register("b", risk="limited", label="later", sensitive=["age"])
    view = standing(world.ledger)
    said = asked_for(view.approvals(world.store, view.registered()))
    assert said == (
        'Version 2 needs the approval of owner (label: added, later); data-protection (sensitive: [] → ["age"]). '
        "`sterling approve 2` gives it."
    )
