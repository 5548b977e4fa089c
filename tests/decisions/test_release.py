from __future__ import annotations

from typing import Any

import pytest

from sterling.core.errors import ConflictError, InvalidDefinitionError, RefusedError
from sterling.core.evidence import Query
from sterling.decisions.register import register
from sterling.decisions.release import live, release
from sterling.decisions.rollout import retire
from sterling.decisions.standing import standing
from sterling.project.rollout import Routing
from sterling.views.registry import versions
from tests.decisions.released import ROLLOUT, World, model


def test_versions_are_dense(world: World) -> None:
    assert [world.register(name).body["version"] for name in "abc"] == [1, 2, 3]


def test_a_model_that_failed_a_gate_is_refused_with_the_reasons(world: World) -> None:
    refused = world.register("a", passed=False)
    assert refused.kind == "model.refused"
    assert refused.body["reasons"] == ["roc_auc at least 0.7: because"]
    assert refused.body["seen"] == [1]


def test_the_newest_version_is_released_and_says_what_it_replaces(world: World) -> None:
    world.register("a")
    release(world.ledger, world.store)
    world.register("b")
    entry, new = release(world.ledger, world.store)
    assert (entry.body["version"], entry.body["replaces"], entry.body["rollout"], new) == (2, 1, "now", True)


def test_of_two_that_release_one_version_at_once_one_does_and_the_other_finds_it_done(world: World) -> None:
    world.register("a")
    meanwhile(world, lambda theirs: release(theirs, world.store))
    entry, new = release(world.ledger, world.store)
    assert (entry.body["version"], new) == (1, False)
    assert world.kinds() == ["version.released"]


def test_of_two_that_release_two_versions_at_once_one_is_refused(world: World) -> None:
    world.register("a")
    world.register("b")
    meanwhile(world, lambda theirs: release(theirs, world.store, 1))
    with pytest.raises(ConflictError, match=r"version.released was recorded at 6, after 0.*decide again"):
        release(world.ledger, world.store, 2)
    assert world.kinds() == ["version.released"]


def test_what_is_judged_about_another_model_meanwhile_disturbs_no_release(world: World) -> None:
    world.register("a")
    meanwhile(world, lambda _: world.judge("b", passed=False))
    assert release(world.ledger, world.store)[1]


def test_a_verdict_against_the_model_that_comes_meanwhile_is_heard(world: World) -> None:
    world.register("a")
    meanwhile(world, lambda _: world.judge("a", passed=False))
    with pytest.raises(
        RefusedError, match=r"Version 1 is not let pass: a gate failed since, roc_auc at least 0.7 \[4\]"
    ):
        release(world.ledger, world.store)
    world.judge("a")
    assert release(world.ledger, world.store)[1]


def test_releasing_what_is_live_does_nothing(world: World) -> None:
    world.register("a")
    first, _ = release(world.ledger, world.store)
    again, new = release(world.ledger, world.store, 1)
    assert (again.position, new) == (first.position, False)


def test_an_earlier_version_can_be_released_again(world: World) -> None:
    for name in "ab":
        world.register(name)
        release(world.ledger, world.store)
    release(world.ledger, world.store, 1)
    current = live(world.ledger)
    assert current is not None
    assert current.body["version"] == 1


def test_a_version_that_was_never_registered_cannot_be_released(world: World) -> None:
    with pytest.raises(InvalidDefinitionError, match="`sterling run` registers a model that passes its gates"):
        release(world.ledger, world.store)
    world.register("a")
    with pytest.raises(InvalidDefinitionError, match=r"has not registered version 9. Known: 1\."):
        release(world.ledger, world.store, 9)


def test_the_first_version_takes_all_traffic_since_nothing_is_live_to_compare_with(world: World) -> None:
    world.register("a")
    entry, _ = release(world.ledger, world.store, rollout=ROLLOUT)
    assert (entry.kind, entry.body["rollout"]) == ("version.released", "first")


def test_a_staged_release_begins_with_the_first_stage_and_leaves_the_live_version(world: World) -> None:
    world.register("a")
    release(world.ledger, world.store)
    registered = world.register("b")
    entry, new = release(world.ledger, world.store, rollout=ROLLOUT)
    assert (entry.kind, new, entry.body["seen"]) == ("rollout.started", True, [registered.position])
    plan = standing(world.ledger).plan
    assert (plan.weights, plan.shadow and plan.shadow.version) == ({1: 1_000_000}, 2)
    assert release(world.ledger, world.store, rollout=ROLLOUT) == (entry, False)


def test_the_rest_of_a_rollout_can_be_skipped_and_is_recorded_so(world: World) -> None:
    staged(world)
    entry, new = release(world.ledger, world.store)
    assert (entry.body["version"], entry.body["rollout"], new) == (2, "now", True)
    assert standing(world.ledger).plan.rollout is None


def test_beside_a_rollout_nothing_else_is_released(world: World) -> None:
    staged(world)
    world.register("c")
    for rollout in ((), ROLLOUT):
        with pytest.raises(RefusedError, match=r"Version 2 is on its way \(shadow\)"):
            release(world.ledger, world.store, 3, rollout=rollout)


def test_a_retired_version_is_never_released_again(world: World) -> None:
    for name in "ab":
        world.register(name)
        release(world.ledger, world.store)
    retire(world.ledger, 1, reason="It learnt from a table that was wrong.")
    with pytest.raises(RefusedError, match="Version 1 is retired"):
        release(world.ledger, world.store, 1)


def test_each_rollout_draws_a_salt_of_its_own_and_the_holdout_keeps_its(world: World) -> None:
    world.register("a")
    release(world.ledger, world.store, routing=Routing("customer", holdout="1%"))
    world.register("b")
    release(world.ledger, world.store, rollout=ROLLOUT, routing=Routing("customer", holdout="2%"))
    first, second = world.ledger.read(Query(("routing.set",)))
    (started,) = world.ledger.read(Query(("rollout.started",)))
    assert first.body == {"unit": "customer", "holdout": 10_000, "explore": 0, "salt": first.body["salt"]}
    assert second.body["salt"] == first.body["salt"] != started.body["salt"]
    assert second.body["holdout"] == 20_000


def test_a_version_whose_definition_is_not_on_record_is_not_released(world: World) -> None:
    world.define = lambda **_: "d" * 64  # type: ignore[method-assign]
    world.register("a")
    with pytest.raises(RefusedError, match="The definition dddddddddddd is not on record"):
        release(world.ledger, world.store)


def staged(world: World) -> None:
    """Version 1 is live, and version 2 its shadow."""
    world.register("a")
    release(world.ledger, world.store)
    world.register("b")
    release(world.ledger, world.store, rollout=ROLLOUT)


def meanwhile(world: World, act: Any) -> None:
    """Let somebody act right before the next append, once."""
    append, theirs = world.ledger.append, world.beside("user:bea")

    def append_later(*facts: Any, **condition: Any) -> int:
        world.ledger.append = append  # type: ignore[method-assign]
        act(theirs)
        return append(*facts, **condition)

    world.ledger.append = append_later  # type: ignore[method-assign]


def test_a_decision_is_taken_once(world: World) -> None:
    judged = [world.judge("a", passed=False)]
    decision = judged[0].evidence.subjects[0].removeprefix("decision:")
    register(world.ledger, model=model("a"), definition="d", decision=decision, judged=judged)
    with pytest.raises(ConflictError):
        register(world.ledger, model=model("a"), definition="d", decision=decision, judged=judged)


def test_what_decides_from_its_scores_is_registered_with_a_model(world: World) -> None:
    judged, ref = [world.judge("a")], "sha256:" + "5" * 64
    register(world.ledger, model=model("a"), definition="d", decision="d", judged=judged, policy=ref)
    assert versions(world.ledger.read())[-1].policy == ref
