"""Release a registered version to all traffic at once."""

from __future__ import annotations

from sterling.core.errors import ConflictError, InvalidDefinitionError, RefusedError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.history import entry_at
from sterling.core.ledger import Ledger
from sterling.decisions.gate import judge, title
from sterling.project.definition import from_json
from sterling.project.gates import Reproduced


def release(ledger: Ledger, version: int | None = None) -> tuple[Entry, bool]:
    """Send all traffic to a version, without a staged rollout, and record that it was done so.

    Args:
        ledger: The project's chain.
        version: Version to release; the newest registered one where it is None.

    Returns:
        The ``version.released`` entry, and whether it is new: releasing what is live already does nothing.

    Raises:
        InvalidDefinitionError: if there is no such version.
        RefusedError: if the project asks for evidence that a release needs, and it is not on record.
        ConflictError: if another version was released meanwhile.
    """
    registered = _registered(ledger, version)
    current = live(ledger)
    number = registered.body["version"]
    if current and current.body["version"] == number:
        return current, False
    proofs = _proofs(ledger, registered)
    body = {
        "version": number,
        "model": registered.body["model"],
        "rollout": "now",
        "replaces": current.body["version"] if current else None,
        "seen": [registered.position, *proofs],
    }
    fact = Evidence("version.released", (f"version:{number}", f"model:{registered.body['model']}"), body)
    try:
        ledger.append([fact], unless=Query(("version.released",)), after=current.position if current else 0)
    except ConflictError:
        theirs = live(ledger)
        if theirs and theirs.body["version"] == number:
            return theirs, False
        raise
    released = live(ledger)
    assert released is not None
    return released, True


def _proofs(ledger: Ledger, registered: Entry) -> tuple[int, ...]:
    """Positions of the evidence that the release of a version needs, besides that of its registration."""
    model, seen = registered.body["model"], list[int]()
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
    """The entry of the release that takes all traffic, now or at a position."""
    return next(ledger.read(Query(("version.released",)), until=until, newest_first=True), None)


def evidence_of_release(ledger: Ledger, until: int) -> tuple[Entry, ...]:
    """What decided about the version that took all traffic at a position, looked up without reading the chain.

    Returns:
        The release, the registration that it rests on, the verdicts that this rests on, and approvals of the version,
        by position; nothing where no version was released by then.
    """
    released = live(ledger, until=until)
    if released is None:
        return ()
    seen = [entry_at(ledger, position) for position in released.body["seen"]]
    registered = [entry for entry in seen if entry.kind == "model.registered"]
    judged = [entry_at(ledger, position) for entry in registered for position in entry.body["seen"]]
    about = ledger.read(Query((), (f"version:{released.body['version']}",)), until=until)
    approvals = [entry for entry in about if is_approval(entry.kind)]
    found = {entry.position: entry for entry in (released, *registered, *judged, *approvals)}
    return tuple(found[position] for position in sorted(found))


def is_approval(kind: str) -> bool:
    """Whether entries of a kind say that somebody let a version pass, or took that back."""
    return kind == "version.approved" or kind.startswith("approval.")


def _registered(ledger: Ledger, version: int | None) -> Entry:
    subjects = () if version is None else (f"version:{version}",)
    found = next(ledger.read(Query(("model.registered",), subjects), newest_first=True), None)
    if found is None:
        known = sorted(entry.body["version"] for entry in ledger.read(Query(("model.registered",))))
        which = "any version" if version is None else f"version {version}"
        raise InvalidDefinitionError(
            f"The ledger has not registered {which}. "
            + (
                f"Known: {', '.join(map(str, known))}."
                if known
                else "`sterling run` registers a model that passes its gates."
            )
        )
    return found
