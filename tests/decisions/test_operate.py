from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sterling.core.errors import ConflictError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.decisions.approve import approve
from sterling.decisions.guardrails import Counts
from sterling.decisions.operate import PATIENCE, Look, operate
from sterling.decisions.release import release
from sterling.decisions.rollout import pause, promote, rollback
from sterling.decisions.standing import standing
from sterling.project.guardrails import Errors, Latency
from sterling.project.rollout import Canary
from tests.decisions.released import World
from tests.decisions.test_guardrails import seen
from tests.decisions.test_release import meanwhile

STAGES = (Canary("20%", "1d"), Canary("50%", "1d"))
SAME = Counts(seen(80_000), seen(20_000), processes=2)
SLOW = Counts(seen(8_000), seen(2_000, mean=3.0), processes=2)
EVEN = Counts(seen(50_000), seen(50_000), processes=2)
SHORT = Counts(seen(80), seen(20), processes=2)


@pytest.fixture
def staged(world: World) -> World:
    """Version 1 is live, and version 2 a canary on 20 %."""
    for name in ("a", "b"):
        world.register(name)
    release(world.ledger, world.store, 1)
    release(world.ledger, world.store, 2, rollout=STAGES, guardrails=(Errors(), Latency()))
    return world


def look(world: World, counts: Counts, ledger: Ledger | None = None) -> Look:
    return operate(ledger or world.ledger, world.store, lambda _: counts, clock=world.clock)


def judged(world: World) -> list[Entry]:
    return list(world.ledger.read(Query(("guardrails.judged",))))


def test_a_version_that_is_no_worse_reaches_all_traffic_by_itself(staged: World) -> None:
    assert look(staged, SAME).why.startswith("Every guardrail holds; canary 20 % lasts until")
    staged.after(days=1)
    first = look(staged, SAME)
    assert (first.did, first.decided and first.decided.kind) == ("promoted", "version.promoted")
    staged.after(days=1)
    last = look(staged, EVEN)
    assert (last.did, last.decided and last.decided.body["rollout"]) == ("promoted", "staged")
    for held, decided in zip(judged(staged), (first.decided, last.decided), strict=True):
        assert decided
        assert held.position in decided.body["seen"]
        assert (held.body["verdict"], held.body["guardrails"][0]["state"]) == ("held", "held")
    assert look(staged, EVEN).why == "No version is on its way: version 2 takes all traffic."


def test_nothing_is_recorded_where_nothing_is_decided(staged: World) -> None:
    before = staged.head
    for _ in range(30):
        assert look(staged, SHORT).did == look(staged, SAME).did == "waits"
    assert staged.head == before


def test_a_version_that_is_worse_is_rolled_back_with_what_shows_it(staged: World) -> None:
    found = look(staged, SLOW)
    assert found.did == "rolled back"
    assert found.decided
    (evidence,) = judged(staged)
    assert found.decided.body["seen"][-1] == evidence.position
    assert found.decided.body["reason"] == evidence.body["why"]
    assert "Worse for sure: latency 2.00 ms → 3.00 ms, +50.0 % (at least +" in evidence.body["why"]
    assert evidence.body["guardrails"][1]["low"] > 0
    assert standing(staged.ledger).plan.weights == {1: 1_000_000}


def test_a_stage_that_has_lasted_waits_for_its_sample_and_is_paused_in_the_end(staged: World) -> None:
    staged.after(days=1)
    waits = look(staged, SHORT)
    assert waits.did == "waits"
    assert "Not enough evidence yet: 100 of " in waits.why
    staged.after(days=PATIENCE)
    found = look(staged, SHORT)
    assert (found.did, judged(staged)[0].body["verdict"]) == ("paused", "unknown")
    assert look(staged, SAME).did == "nothing"
    promote(staged.ledger, staged.store, clock=staged.clock)
    assert look(staged, SHORT).did == "waits"


def test_a_canary_that_is_asked_another_share_is_paused(staged: World) -> None:
    found = look(staged, EVEN)
    assert found.did == "paused"
    assert "asked 50.0 % of 100,000 requests instead of its share" in found.why


def test_a_rollout_without_guardrails_is_never_promoted(world: World) -> None:
    for name in ("a", "b"):
        world.register(name)
    release(world.ledger, world.store, 1)
    release(world.ledger, world.store, 2, rollout=STAGES)
    world.after(days=2)
    assert look(world, SAME).why == "Not enough evidence yet: the rollout was begun without guardrails."


@pytest.mark.parametrize(("counts", "kind"), [(SLOW, "version.rolled_back"), (SAME, "version.promoted")])
def test_controllers_that_look_at_once_decide_once(staged: World, counts: Counts, kind: str) -> None:
    staged.after(days=1)
    first, ledgers = staged.head, [staged.beside(f"user:{number}") for number in range(6)]

    def at_once(ledger: Ledger) -> Look:
        """What a controller finds, to which the next stage has counted nothing yet."""
        return operate(ledger, staged.store, lambda at: counts if at == first else Counts(), clock=staged.clock)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(at_once, ledgers))
    assert len(judged(staged)) == 1
    assert staged.kinds().count(kind) == 1


@pytest.mark.parametrize(("counts", "did"), [(SLOW, "rolled back"), (SAME, "promoted"), (EVEN, "paused")])
def test_what_a_controller_left_half_done_is_done_by_the_next(staged: World, counts: Counts, did: str) -> None:
    staged.after(days=1)

    class Killed(BaseException):
        pass

    append = staged.ledger.append

    def killed(facts: Sequence[Evidence], **condition: Any) -> int:
        if facts[0].kind != "guardrails.judged":
            raise Killed
        return append(facts, **condition)

    staged.ledger.append = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        look(staged, counts)
    staged.ledger.append = append  # type: ignore[method-assign]
    assert len(judged(staged)) == 1
    assert look(staged, counts if did != "rolled back" else SHORT).did == did
    assert len(judged(staged)) == 1


def pause_it(ledger: Ledger) -> None:
    pause(ledger, reason="By hand.")


def go_back(ledger: Ledger) -> None:
    rollback(ledger, reason="By hand.")


@pytest.mark.parametrize("act", [pause_it, go_back])
def test_what_a_person_decides_meanwhile_stands(staged: World, act: Callable[[Ledger], None]) -> None:
    staged.after(days=1)

    def first(theirs: Ledger) -> None:
        look(staged, SAME, theirs)
        act(theirs)

    meanwhile(staged, first)
    found = look(staged, SLOW)
    assert found.did == "waits"
    assert found.why == "Another controller decides at this moment."
    assert standing(staged.ledger).plan.weights == {1: 1_000_000}


def test_a_stage_that_began_anew_is_not_rolled_back_for_what_was_found_before(staged: World) -> None:
    view = standing(staged.ledger)
    assert view.plan.rollout
    before = view.plan.rollout.position
    pause(staged.ledger, reason="By hand.")
    promote(staged.ledger, staged.store, clock=staged.clock)
    for act in (pause, rollback):
        with pytest.raises(Exception, match="began another stage"):
            act(staged.ledger, 2, reason="Slow.", stage=before)


def test_a_promotion_needs_its_approvals_and_goes_on_being_guarded_until_they_are_there(world: World) -> None:
    world.register("a", risk="high")
    approve(world.beside("user:bea"), world.store, actor="user:bea")
    release(world.ledger, world.store, 1)
    world.register("b", risk="high")
    approve(world.beside("user:bea"), world.store, actor="user:bea")
    release(world.ledger, world.store, 2, rollout=STAGES, guardrails=(Errors(), Latency()))
    world.judge("b", passed=False)
    world.after(days=1)
    refused = [look(world, SAME), look(world, SAME)]
    assert all(found.did == "waits" and "Nothing is done: Version 2 is not let pass" in found.why for found in refused)
    assert len(judged(world)) == 1
    assert look(world, SLOW).did == "rolled back"


def test_a_verdict_that_comes_between_makes_it_look_again(staged: World) -> None:
    def conflict(*_: object, **__: object) -> int:
        raise ConflictError("somebody was faster")

    append = staged.ledger.append
    staged.ledger.append = conflict  # type: ignore[method-assign]
    assert look(staged, SLOW).why == "Another controller decides at this moment."
    staged.ledger.append = append  # type: ignore[method-assign]
    assert look(staged, SLOW).did == "rolled back"
