"""What becomes of a version after its release has begun: promoted, paused, rolled back, retired."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sterling.core.clock import Clock, utcnow
from sterling.core.errors import RefusedError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.core.store import Store
from sterling.decisions.release import released
from sterling.decisions.standing import Done, Facts, Standing, fresh, record
from sterling.views.release_plan import Release, Rollout
from sterling.views.text import cite, moment


def promote(
    ledger: Ledger,
    store: Store,
    version: int | None = None,
    *,
    early: bool = False,
    on: int | None = None,
    evidence: Sequence[int] = (),
    stage: int | None = None,
    clock: Clock = utcnow,
) -> tuple[Entry, bool]:
    """Give a version the next stage of its rollout, and after the last one all traffic; a paused one goes on.

    Args:
        ledger: The project's chain.
        store: Where definitions are, which say who must approve.
        version: The version; the one on its way where it is None.
        early: Do not wait until the stage has lasted; it is recorded that it was not.
        on: Position up to which whoever asks has looked; what speaks against it behind that is a reason to refuse.
        evidence: Positions of what shows that it may go on.
        stage: Position of the entry with which the stage began that is meant; None for whichever runs, or is paused.
        clock: Says what time it is.

    Returns:
        The ``version.promoted`` or ``version.released`` entry, and whether it is new.

    Raises:
        RefusedError: if no such version is on its way, its stage has not lasted, an approval does not hold any more, the
            newest verdict about it is no, the evidence that was looked at is stale, or another stage runs.
        ConflictError: if somebody else decided meanwhile.
    """

    def decide(view: Standing) -> Facts:
        fresh(view, on)
        rollout = _at(_under_way(view, version), stage)
        if stage is not None and rollout.paused:
            raise RefusedError(
                f"Version {rollout.version} is paused meanwhile: {rollout.reason} {cite(rollout.paused)}"
            )
        short = rollout.paused is None and clock() < datetime.fromisoformat(rollout.due)
        if short and not early:
            raise RefusedError(
                f"Version {rollout.version} is {rollout.running.title} until {moment(rollout.due)} at least "
                f"{cite(rollout.position)}. Promote it then; --early does so now, and is recorded."
            )
        registered = view.registered(rollout.version)
        approved = view.approved(store, registered)
        seen = [registered.position, rollout.paused or rollout.position, *approved, *evidence]
        if rollout.last and rollout.paused is None:
            return (released(view.plan, registered, "early" if short else "staged", seen[1:]),)
        place = rollout.stage + (1 if rollout.paused else 2)
        body = {"stage": place, "title": rollout.stages[place - 1].title, "of": len(rollout.stages), "early": short,
                "resumed": rollout.paused is not None, "seen": seen}  # fmt: skip
        return (_fact("version.promoted", rollout, body),)

    def kind_of(view: Standing) -> str:
        rollout = view.plan.rollout
        return "version.released" if rollout and rollout.last and rollout.paused is None else "version.promoted"

    return record(ledger, kind_of, decide)


def pause(
    ledger: Ledger,
    version: int | None = None,
    *,
    reason: str,
    evidence: Sequence[int] = (),
    stage: int | None = None,
) -> tuple[Entry, bool]:
    """Take the units away from the version that is on its way, and keep its stage; the live one answers all.

    Args:
        ledger: The project's chain.
        version: The version; the one on its way where it is None.
        reason: Why, as a sentence.
        evidence: Positions of what shows that.
        stage: Position of the entry with which the stage began that is meant; None for whichever runs.

    Returns:
        The ``version.paused`` entry, and whether it is new.

    Raises:
        RefusedError: if no such version is on its way, or another stage runs.
    """

    def decide(view: Standing) -> Facts:
        rollout = _at(_under_way(view, version), stage)
        if rollout.paused:
            raise Done(view.entry(rollout.paused))
        body = {"stage": rollout.stage + 1, "reason": reason, "seen": [rollout.position, *evidence]}
        return (_fact("version.paused", rollout, body),)

    return record(ledger, "version.paused", decide, insist=True)


def rollback(
    ledger: Ledger,
    version: int | None = None,
    *,
    to: int | None = None,
    reason: str,
    evidence: Sequence[int] = (),
    stage: int | None = None,
) -> tuple[Entry, bool]:
    """End the rollout of a version; where none is under way, give all traffic to a version that had it before.

    It needs no approval, and is decided again where somebody decides meanwhile.

    Args:
        ledger: The project's chain.
        version: The version to roll back; the one on its way, else the live one, where it is None.
        to: The version to go back to, which was live before; the newest such where it is None.
        reason: Why, as a sentence.
        evidence: Positions of what shows that.
        stage: Position of the entry with which the stage of a rollout began that is meant; None for whatever is so now.

    Returns:
        The ``version.rolled_back`` entry, and whether it is new.

    Raises:
        RefusedError: if the version is neither live nor on its way, nothing was live before, or another stage runs.
    """
    bad: list[int] = [] if version is None else [version]

    def decide(view: Standing) -> Facts:
        plan = view.plan
        if plan.live is None:
            raise RefusedError("Nothing is released, so there is nothing to roll back.")
        if not bad:
            bad.append(plan.rollout.version if plan.rollout and to is None else plan.live.version)
        rollout = plan.rollout
        if rollout and rollout.version == bad[0]:
            _at(rollout, stage)
            body = {"what": "rollout", "to": plan.live.version, "reason": reason, "seen": [rollout.position, *evidence]}
            return (_fact("version.rolled_back", rollout, body),)
        if plan.live.version != bad[0] or stage is not None:
            _rolled_back_before(view, bad[0])
        target = _target(view, to)
        registered = view.registered(target.version)
        body = {"what": "release", "to": target.version, "reason": reason,
                "seen": [plan.live.position, target.position, *evidence]}  # fmt: skip
        back = released(plan, registered, "rollback", [target.position])
        return (_fact("version.rolled_back", plan.live, body), back)

    return record(ledger, "version.rolled_back", decide, insist=True)


def retire(ledger: Ledger, version: int, *, reason: str) -> tuple[Entry, bool]:
    """Take a version out of service for good: it is neither released nor rolled back to again.

    Args:
        ledger: The project's chain.
        version: The version.
        reason: Why, as a sentence.

    Returns:
        The ``version.retired`` entry, and whether it is new.

    Raises:
        InvalidDefinitionError: if there is no such version.
        RefusedError: if it is live or on its way.
    """

    def decide(view: Standing) -> Facts:
        registered, plan = view.registered(version), view.plan
        if version in plan.retired:
            raise Done(_newest(view, "version.retired", version))
        if (plan.live and plan.live.version == version) or (plan.rollout and plan.rollout.version == version):
            raise RefusedError(f"Version {version} is in service. Release another one first, or roll it back.")
        body = {"version": version, "model": registered.body["model"], "reason": reason, "seen": [registered.position]}
        return (Evidence("version.retired", (f"version:{version}", f"model:{registered.body['model']}"), body),)

    return record(ledger, "version.retired", decide)


def _under_way(view: Standing, version: int | None) -> Rollout:
    """The rollout of a version.

    Raises:
        Done: if it is live already.
        RefusedError: if it is not on its way.
    """
    rollout, current = view.plan.rollout, view.plan.live
    if rollout and version in {None, rollout.version}:
        return rollout
    if rollout is None and current and version == current.version:
        raise Done(view.entry(current.position))
    if rollout:
        raise RefusedError(f"Version {rollout.version} is on its way, and not version {version}.")
    raise RefusedError("No version is on its way. `sterling release` begins the rollout that the project declares.")


def _at(rollout: Rollout, stage: int | None) -> Rollout:
    """The rollout, at a stage.

    Raises:
        RefusedError: if another one runs by now.
    """
    if stage is not None and rollout.position != stage:
        raise RefusedError(
            f"Version {rollout.version} began another stage {cite(rollout.position)} after the one that was judged {cite(stage)}."
        )
    return rollout


def _target(view: Standing, to: int | None) -> Release:
    found = view.plan.previous
    chosen = next((release for release in found if to in {None, release.version}), None)
    if chosen is None:
        known = ", ".join(str(release.version) for release in found)
        raise RefusedError(
            f"Version {to} was not live before, or is retired. There is a way back to: {known}."
            if found
            else "No other version was live before that could take over. `sterling release --now` releases one."
        )
    return chosen


def _rolled_back_before(view: Standing, version: int) -> None:
    """Say that a version is out of service already.

    Raises:
        Done: if it was rolled back.
        RefusedError: if it never was in service.
    """
    query = Query(("version.rolled_back",), (f"version:{version}",))
    before = next(view.ledger.read(query, until=view.head, newest_first=True), None)
    if before is None:
        raise RefusedError(f"Version {version} is neither live nor on its way, so there is nothing to roll back.")
    raise Done(before)


def _newest(view: Standing, kind: str, version: int) -> Entry:
    return next(view.ledger.read(Query((kind,), (f"version:{version}",)), until=view.head, newest_first=True))


def _fact(kind: str, about: Rollout | Release, body: dict[str, Any]) -> Evidence:
    return Evidence(
        kind,
        (f"version:{about.version}", f"model:{about.model}"),
        {"version": about.version, "model": about.model, **body},
    )
