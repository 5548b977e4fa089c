"""Register a model that passed its gates, or record why it was refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.project.definition import to_json
from sterling.project.gates import Gate

_DECIDED = ("model.registered", "model.refused")


def decided(ledger: Ledger, decision: str) -> Entry | None:
    """The entry in which a decision ended, if it has been taken."""
    return next(ledger.read(Query(_DECIDED, (f"decision:{decision}",)), newest_first=True), None)


def register(
    ledger: Ledger,
    *,
    model: str,
    definition: str,
    decision: str,
    judged: Sequence[Entry],
    needs: Sequence[Gate] = (),
    policy: str | None = None,
) -> int:
    """Give a model that passed every gate the next version, or record its refusal.

    Args:
        ledger: The project's chain.
        model: Ref of the model.
        definition: Hash of the project's definition.
        decision: Key of the decision.
        judged: The ``gate.judged`` entries of this decision.
        needs: Gates that a release of the version must pass besides.
        policy: Ref of what decides from its scores, as it was judged; None where nothing does.

    Returns:
        Position of the entry.

    Raises:
        ConflictError: if the decision was taken, or another version registered, meanwhile.
    """
    subjects = (f"model:{model}", f"decision:{decision}")
    seen = [entry.position for entry in judged]
    reasons = [f"{entry.body['title']}: {entry.body['reason']}" for entry in judged if not entry.body["passed"]]
    if reasons:
        refused = Evidence("model.refused", subjects, {"model": model, "reasons": reasons, "seen": seen})
        return ledger.append([refused], unless=Query(_DECIDED, subjects[1:]))
    newest = next(ledger.read(Query(("model.registered",)), newest_first=True), None)
    version = newest.body["version"] + 1 if newest else 1
    body: dict[str, Any] = {"version": version, "model": model, "definition": definition, "seen": seen}
    body |= {"needs": [to_json(gate) for gate in needs]} if needs else {}
    if policy is not None:
        body["policy"] = policy
    fact = Evidence("model.registered", (*subjects, f"version:{version}"), body)
    return ledger.append([fact], unless=Query(("model.registered",)), after=newest.position if newest else 0)
