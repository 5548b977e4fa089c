"""Release a registered version: at once, or by the first stage of its rollout."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from sterling.core.errors import RefusedError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.history import entry_at
from sterling.core.ledger import Ledger
from sterling.core.store import Store
from sterling.decisions.standing import Done, Facts, Standing, record
from sterling.project.definition import from_json, to_json
from sterling.project.fallbacks import Link, can_answer
from sterling.project.rollout import Canary, Routing, Shadow, millionths
from sterling.views.release_plan import ReleasePlan

if TYPE_CHECKING:
    from sterling.project.guardrails import Guardrail


def release(
    ledger: Ledger,
    store: Store,
    version: int | None = None,
    *,
    rollout: Sequence[Shadow | Canary] = (),
    routing: Routing | None = None,
    guardrails: Sequence[Guardrail] = (),
    error_budget: float = 0.05,
) -> tuple[Entry, bool]:
    """Release a version, and record how it was done.

    A version that was live before may be released again. Where nothing is live yet, there is nothing to compare with in
    stages, and the version takes all traffic.

    Args:
        ledger: The project's chain.
        store: Where definitions are, which say who must approve.
        version: Version to release; the newest registered one where it is None.
        rollout: Its stages; none to send all traffic to it at once.
        routing: Which units keep together; as it is on record where it is None.
        guardrails: What the version must not make worse on its way.
        error_budget: Chance, at most, that it is rolled back by them where it is no worse.

    Returns:
        The ``version.released`` or ``rollout.started`` entry, and whether it is new: releasing what is live, or on its way,
        does nothing.

    Raises:
        InvalidDefinitionError: if there is no such version.
        RefusedError: if an approval, or evidence that the project asks for, is missing, a newer verdict speaks against it, another version is on its way,
            or no link of its fallback chain could answer.
        ConflictError: if another version was released meanwhile.
    """
    stages = [_stage(step) for step in rollout]

    def decide(view: Standing) -> Facts:
        registered = view.registered(version)
        _free(view, registered.body["version"], at_once=not stages)
        approved = (*view.approved(store, registered), *_proofs(ledger, registered))
        _answerable(view, store, registered)
        facts = _routing(view.plan, routing)
        if stages and view.plan.live:
            judged = {"guardrails": to_json(guardrails), "error_budget": error_budget}
            return (*facts, _start(view.plan, registered, {"stages": stages, **judged}, approved))
        how = "first" if stages else "now"
        return (*facts, released(view.plan, registered, how, approved))

    def kind_of(view: Standing) -> str:
        return "rollout.started" if stages and view.plan.live else "version.released"

    return record(ledger, kind_of, decide)


def released(plan: ReleasePlan, registered: Entry, how: str, seen: Sequence[int]) -> Evidence:
    """The fact that a version takes all traffic.

    Args:
        plan: The plan before.
        registered: Its registration.
        how: ``now``, ``first``, ``staged`` or ``rollback``.
        seen: Positions of what else it rests on.
    """
    number, model = registered.body["version"], registered.body["model"]
    body = {
        "version": number,
        "model": model,
        "rollout": how,
        "replaces": plan.live.version if plan.live else None,
        "seen": [registered.position, *seen],
    }
    return Evidence("version.released", (f"version:{number}", f"model:{model}"), body)


def _proofs(ledger: Ledger, registered: Entry) -> tuple[int, ...]:
    """Positions of the evidence that the release of a version needs, besides that of its registration."""
    model, seen = registered.body["model"], list[int]()
    if not registered.body.get("needs"):
        return ()
    from sterling.decisions.gate import judge, title  # a rollback does not wait for it
    from sterling.project.gates import Reproduced

    for needed in registered.body.get("needs", ()):
        gate: Reproduced = from_json(needed, Reproduced)
        verdict = judge(gate, ledger.read(Query(("run.reproduced",), (f"model:{model}",))))
        if not verdict.passed:
            raise RefusedError(
                f"Version {registered.body['version']} is not released: the project asks that {title(gate)}. {verdict.reason}"
            )
        seen += verdict.seen
    return tuple(seen)


def live(ledger: Ledger, *, until: int | None = None) -> Entry | None:
    """The entry of the release that takes all traffic but a canary's, now or at a position."""
    return next(ledger.read(Query(("version.released",)), until=until, newest_first=True), None)


def evidence_of_release(ledger: Ledger, until: int) -> tuple[Entry, ...]:
    """What decided about the version that took all traffic at a position, looked up without reading the chain.

    Returns:
        The release, the registration that it rests on, the verdicts that this rests on, and approvals of the version,
        by position; nothing where no version was released by then.
    """
    current = live(ledger, until=until)
    if current is None:
        return ()
    seen = [entry_at(ledger, position) for position in current.body["seen"]]
    registered = [entry for entry in seen if entry.kind == "model.registered"]
    judged = [entry_at(ledger, position) for entry in registered for position in entry.body["seen"]]
    about = ledger.read(Query((), (f"version:{current.body['version']}",)), until=until)
    approvals = [entry for entry in about if is_approval(entry.kind)]
    found = {entry.position: entry for entry in (current, *registered, *judged, *approvals)}
    return tuple(found[position] for position in sorted(found))


def is_approval(kind: str) -> bool:
    """Whether entries of a kind say that somebody let a version pass, or took that back."""
    return kind == "version.approved" or kind.startswith("approval.")


def _free(view: Standing, version: int, *, at_once: bool) -> None:
    """See that a version may be released beside what is released.

    Raises:
        Done: if it is live, or on its way.
        RefusedError: if it is retired, or another version is on its way.
    """
    plan = view.plan
    if plan.live and plan.live.version == version and plan.rollout is None:
        raise Done(view.entry(plan.live.position))
    if version in plan.retired:
        raise RefusedError(f"Version {version} is retired and is never released again. Register the model anew.")
    if plan.rollout is None:
        return
    if plan.rollout.version != version:
        raise RefusedError(
            f"Version {plan.rollout.version} is on its way ({plan.rollout.running.title}). End that first: `sterling promote` "
            "or `sterling rollback`."
        )
    if not at_once:
        raise Done(view.entry(plan.rollout.position))


def had_before(plan: ReleasePlan, version: int) -> bool:
    """Whether another version was live before, or would be, were a version released now."""
    lives = plan.live is not None and plan.live.version != version
    return lives or any(back.version != version for back in plan.previous)


def _answerable(view: Standing, store: Store, registered: Entry) -> None:
    """See that some link of the version's fallback chain can answer, where it has one.

    Raises:
        RefusedError: if none can.
    """
    said = view.definition(store, registered)["project"].get("fallback")
    links: tuple[Link, ...] = from_json(said or [], tuple[Link, ...])
    version = registered.body["version"]
    if links and not can_answer(links, previous=had_before(view.plan, version)):
        raise RefusedError(
            f"Version {version} is not released: its fallback is the version before it, and no other was live. Add a link that "
            "always answers, such as fallbacks.Constant(0.24)."
        )


def _start(plan: ReleasePlan, registered: Entry, asked: dict[str, Any], seen: Sequence[int]) -> Evidence:
    number, model = registered.body["version"], registered.body["model"]
    body = {
        "version": number,
        "model": model,
        **asked,
        "salt": token_hex(8),
        "replaces": plan.live.version if plan.live else None,
        "seen": [registered.position, *seen],
    }
    return Evidence("rollout.started", (f"version:{number}", f"model:{model}"), body)


def _routing(plan: ReleasePlan, wanted: Routing | None) -> Facts:
    """What the project says of units, where that is not on record; the salt stays what it was."""
    if wanted is None:
        return ()
    body = {
        "unit": wanted.unit,
        "holdout": millionths(wanted.holdout),
        "explore": millionths(wanted.explore),
    }
    known = plan.routing
    if body == ({key: getattr(known, key) for key in body} if known else {"unit": None, "holdout": 0, "explore": 0}):
        return ()
    return (Evidence("routing.set", (), body | {"salt": known.salt if known else token_hex(8)}),)


def _stage(step: Shadow | Canary) -> dict[str, str | int]:
    if isinstance(step, Shadow):
        return {"kind": "shadow", "share": 0, "lasts": step.lasts}
    return {"kind": "canary", "share": millionths(step.share), "lasts": step.lasts}
