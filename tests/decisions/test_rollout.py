from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from sterling.core.errors import ConflictError, RefusedError
from sterling.core.evidence import Query
from sterling.core.ledger import Ledger
from sterling.decisions.release import evidence_of_release, release
from sterling.decisions.rollout import pause, promote, retire, rollback
from sterling.decisions.standing import standing
from sterling.views.registry import champion, live
from sterling.views.release_plan import ReleasePlan, release_plan
from tests.decisions.released import ROLLOUT, World, model
from tests.decisions.test_release import meanwhile, staged


def go_on(world: World, **options: object) -> str:
    """Promote; gives the kind of what was recorded."""
    entry, _ = promote(world.ledger, world.store, clock=world.clock, **options)  # type: ignore[arg-type]
    return entry.kind


def plan(world: World) -> ReleasePlan:
    return standing(world.ledger).plan


def test_a_version_goes_through_its_stages_to_all_traffic(world: World) -> None:
    staged(world)
    seen = [plan(world).weights]
    for days in (2, 1, 2):
        world.after(days=days)
        go_on(world)
        seen.append(plan(world).weights)
    assert seen == [{1: 1_000_000}, {1: 950_000, 2: 50_000}, {1: 750_000, 2: 250_000}, {2: 1_000_000}]
    released = next(world.ledger.read(newest_first=True))
    assert (released.kind, released.body["rollout"], released.body["replaces"]) == ("version.released", "staged", 1)
    assert world.kinds()[1:] == ["rollout.started", "version.promoted", "version.promoted", "version.released"]


def test_what_decided_about_a_staged_release_is_found(world: World) -> None:
    staged(world)
    for _ in range(3):
        go_on(world, early=True)
    kinds = [entry.kind for entry in evidence_of_release(world.ledger, world.head)]
    assert kinds == ["gate.judged", "model.registered", "version.released"]


def test_a_stage_that_has_not_lasted_is_not_promoted_unless_that_is_recorded(world: World) -> None:
    staged(world)
    world.after(days=1.9)
    with pytest.raises(RefusedError, match=r"Version 2 is shadow until 2026-01-03 00:00 UTC at least.*--early"):
        go_on(world)
    assert go_on(world, early=True) == "version.promoted"
    assert next(world.ledger.read(newest_first=True)).body["early"] is True


def test_promoting_what_is_live_does_nothing_and_without_a_rollout_there_is_nothing_to_promote(world: World) -> None:
    world.register("a")
    entry, _ = release(world.ledger, world.store)
    assert promote(world.ledger, world.store, 1) == (entry, False)
    with pytest.raises(RefusedError, match="No version is on its way"):
        promote(world.ledger, world.store)
    world.register("b")
    release(world.ledger, world.store, rollout=ROLLOUT)
    with pytest.raises(RefusedError, match="Version 2 is on its way, and not version 7"):
        promote(world.ledger, world.store, 7)


def test_a_paused_version_gives_its_units_back_and_goes_on_with_the_same_ones(world: World) -> None:
    staged(world)
    go_on(world, early=True)
    before = plan(world).rollout
    paused, new = pause(world.ledger, reason="Its answers are slow.")
    assert (plan(world).weights, plan(world).canary, new) == ({1: 1_000_000}, None, True)
    assert pause(world.ledger, reason="Again.") == (paused, False)
    go_on(world)
    after = plan(world).rollout
    assert before
    assert after
    assert (after.stage, after.salt, after.paused) == (before.stage, before.salt, None)
    assert next(world.ledger.read(newest_first=True)).body["resumed"] is True


def test_a_rollout_that_is_rolled_back_leaves_what_was_live(world: World) -> None:
    staged(world)
    go_on(world, early=True)
    entry, _ = rollback(world.ledger, reason="Errors.", evidence=[3])
    assert (entry.body["what"], entry.body["version"], entry.body["to"]) == ("rollout", 2, 1)
    assert 3 in entry.body["seen"]
    assert plan(world).weights == {1: 1_000_000}
    assert rollback(world.ledger, 2, reason="Errors.") == (entry, False)


def test_a_release_that_is_rolled_back_gives_way_to_what_was_live_before_and_never_to_what_was_bad(
    world: World,
) -> None:
    for name in "abc":
        world.register(name)
        release(world.ledger, world.store)
    for expected in (2, 1):
        entry, _ = rollback(world.ledger, reason="Wrong.")
        assert (entry.body["to"], plan(world).weights) == (expected, {expected: 1_000_000})
    with pytest.raises(RefusedError, match="No other version was live before"):
        rollback(world.ledger, reason="Wrong.")
    entries = tuple(world.ledger.read())
    current, beaten = live(entries), champion(entries, model("a"))  # type: ignore[arg-type]
    assert current
    assert (current.version, beaten) == (1, None)


def test_one_can_go_further_back_but_only_to_what_was_live(world: World) -> None:
    for name in "abc":
        world.register(name)
        release(world.ledger, world.store)
    world.register("d")
    with pytest.raises(
        RefusedError, match=r"Version 4 was not live before, or is retired\. There is a way back to: 2, 1"
    ):
        rollback(world.ledger, to=4, reason="Wrong.")
    rollback(world.ledger, to=1, reason="Wrong.")
    assert plan(world).weights == {1: 1_000_000}


def test_a_retired_version_is_no_way_back(world: World) -> None:
    for name in "abc":
        world.register(name)
        release(world.ledger, world.store)
    entry, _ = retire(world.ledger, 2, reason="Its data were wrong.")
    assert retire(world.ledger, 2, reason="Again.") == (entry, False)
    rollback(world.ledger, reason="Wrong.")
    assert plan(world).weights == {1: 1_000_000}
    with pytest.raises(RefusedError, match="Version 1 is in service"):
        retire(world.ledger, 1, reason="Old.")


def test_what_never_was_in_service_is_not_rolled_back(world: World) -> None:
    with pytest.raises(RefusedError, match="Nothing is released"):
        rollback(world.ledger, reason="Wrong.")
    staged(world)
    with pytest.raises(RefusedError, match="Version 5 is neither live nor on its way"):
        rollback(world.ledger, 5, reason="Wrong.")


def test_a_promotion_on_stale_evidence_is_refused_and_says_what_to_do(world: World) -> None:
    staged(world)
    looked = world.head
    pause(world.beside("user:bea"), reason="Its answers are slow.")
    with pytest.raises(
        RefusedError, match=rf"up to \[{looked}\] is stale: Version 2 is paused.*`sterling release --plan`"
    ):
        go_on(world, early=True, on=looked)
    assert go_on(world, on=world.head) == "version.promoted"


def test_a_verdict_against_the_model_stops_its_promotion(world: World) -> None:
    staged(world)
    failed = world.judge("b", passed=False)
    with pytest.raises(RefusedError, match=rf"not let pass: a gate failed since.*\[{failed.position}\]"):
        go_on(world, early=True)


def test_somebody_who_pauses_is_not_overtaken_by_a_promotion(world: World) -> None:
    staged(world)
    meanwhile(world, lambda theirs: pause(theirs, reason="Errors."))
    with pytest.raises(ConflictError, match=r"version.paused was recorded at \d+, after \d+"):
        go_on(world, early=True)
    assert plan(world).canary is None


def test_two_promotions_at_once_are_one(world: World) -> None:
    staged(world)
    meanwhile(world, lambda theirs: promote(theirs, world.store, early=True, clock=world.clock))
    with pytest.raises(ConflictError):
        go_on(world, early=True)
    assert plan(world).weights == {1: 950_000, 2: 50_000}


def test_a_rollback_is_never_refused_because_somebody_promotes(world: World) -> None:
    staged(world)
    for _ in range(2):
        go_on(world, early=True)
    meanwhile(world, lambda theirs: promote(theirs, world.store, early=True, clock=world.clock))
    entry, _ = rollback(world.ledger, reason="Errors.")
    assert (entry.body["version"], entry.body["what"]) == (2, "release")
    assert plan(world).weights == {1: 1_000_000}


def test_whoever_acts_at_once_the_ledger_tells_one_story(world: World) -> None:
    for name in "ab":
        world.register(name)
        release(world.ledger, world.store)
    world.register("c")
    release(world.ledger, world.store, rollout=ROLLOUT)
    acts: list[Callable[[Ledger], object]] = [
        lambda ledger: promote(ledger, world.store, early=True, clock=world.clock),
        lambda ledger: pause(ledger, reason="Errors."),
        lambda ledger: rollback(ledger, 3, reason="Errors."),
        lambda ledger: release(ledger, world.store, 3),
        lambda ledger: retire(ledger, 1, reason="Old."),
    ]

    def act(number: int) -> None:
        with suppress(RefusedError, ConflictError):
            acts[number % len(acts)](world.beside(f"user:{number}"))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(act, range(40)))
    check_story(world)


def check_story(world: World) -> None:
    """Every decision fits the state that the ones before it left."""
    found, rolled_back = ReleasePlan(), False
    for entry in world.ledger.read():
        before = found
        found = release_plan([entry], before)
        if entry.kind in {"version.promoted", "version.paused"}:
            assert before.rollout
            assert before.rollout.version == entry.body["version"]
        if entry.kind == "version.rolled_back" and entry.body["what"] == "release":
            assert entry.body["to"] in [release.version for release in before.previous]
        rolled_back |= entry.kind == "version.rolled_back"
    assert rolled_back
    assert found.live
    assert found.live.version not in found.retired


@pytest.mark.parametrize("kind", ["version.promoted", "version.rolled_back"])
def test_every_decision_lists_what_it_rests_on(world: World, kind: str) -> None:
    staged(world)
    go_on(world, early=True)
    rollback(world.ledger, reason="Errors.")
    (entry,) = world.ledger.read(Query((kind,)))
    assert entry.body["seen"]
    assert all(position < entry.position for position in entry.body["seen"])
