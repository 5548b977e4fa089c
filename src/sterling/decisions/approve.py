"""Approve a version, or take that back."""

from __future__ import annotations

from collections.abc import Sequence

from sterling.core.errors import InvalidDefinitionError, RefusedError, nearest
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.core.store import Store
from sterling.decisions.standing import Done, Facts, Standing, fresh, record
from sterling.views.approvals import ROLES
from sterling.views.text import cite


def approve(
    ledger: Ledger,
    store: Store,
    version: int | None = None,
    *,
    actor: str,
    roles: Sequence[str] = (),
    on: int | None = None,
) -> tuple[Entry, bool]:
    """Let a version pass, in some roles, on the evidence that is on record now.

    The approval lists what it rests on: the registration, its verdicts, and the release that it was held against.

    Args:
        ledger: The project's chain.
        store: Where definitions are, which say who must approve.
        version: The version; the newest registered one where it is None.
        actor: Who approves; the ledger records the same.
        roles: In which roles; all that are missing where none is named.
        on: Position up to which whoever approves has looked; what speaks against it behind that is a reason to refuse.

    Returns:
        The ``version.approved`` entry, and whether it is new.

    Raises:
        InvalidDefinitionError: if there is no such version or role.
        RefusedError: if the newest verdict about it is no, four eyes are asked for and the author approves, or what was
            looked at is stale.
        ConflictError: if what is released was changed meanwhile.
    """
    for role in roles:
        if role not in ROLES:
            raise InvalidDefinitionError(f"There is no role {role!r}. {nearest(role, ROLES)}")

    def decide(view: Standing) -> Facts:
        fresh(view, on)
        registered = view.registered(version)
        found = view.approvals(store, registered)
        number, model = registered.body["version"], registered.body["model"]
        if found.failed:
            raise RefusedError(
                f"Version {number} cannot be approved: {found.failed[1]} {cite(found.failed[0])}. `sterling run` judges it "
                "again once that is mended."
            )
        if found.four_eyes and actor == found.author:
            raise RefusedError(
                f"{actor} registered version {number} and cannot approve it: its risk is high, which takes four eyes."
            )
        wanted = tuple(roles) or tuple(need.role for need in found.missing)
        mine = [given for given in found.counted if given.actor == actor and {*wanted} <= {*given.roles}]
        if mine:
            raise Done(view.entry(mine[-1].position))
        live = view.plan.live
        seen = [registered.position, *registered.body["seen"], *([live.position] if live else [])]
        against = view.registered(live.version).body["definition"] if live else None
        body = {
            "version": number,
            "model": model,
            "roles": list(wanted or ("owner",)),
            "against": against,
            "seen": seen,
        }
        return (Evidence("version.approved", (f"version:{number}", f"model:{model}"), body),)

    return record(ledger, "version.approved", decide)


def revoke(ledger: Ledger, version: int, *, roles: Sequence[str] = (), reason: str) -> tuple[Entry, bool]:
    """Take approvals of a version back, so that it is neither released nor promoted on them.

    Args:
        ledger: The project's chain.
        version: The version.
        roles: In which roles; all of them where none is named.
        reason: Why, as a sentence.

    Returns:
        The ``approval.revoked`` entry, and whether it is new.

    Raises:
        InvalidDefinitionError: if there is no such version.
        RefusedError: if nobody has approved it.
    """

    def decide(view: Standing) -> Facts:
        registered = view.registered(version)
        about = (f"version:{version}",)
        given = list(view.ledger.read(Query(("version.approved",), about), until=view.head))
        if not given:
            raise RefusedError(f"Nobody has approved version {version}, so there is nothing to take back.")
        before = next(view.ledger.read(Query(("approval.revoked",), about), until=view.head, newest_first=True), None)
        named = list(roles) or sorted({role for entry in given for role in entry.body["roles"]})
        if before and before.position > given[-1].position and {*named} <= {*before.body["roles"]}:
            raise Done(before)
        model = registered.body["model"]
        body = {"version": version, "model": model, "roles": named, "reason": reason,
                "seen": [entry.position for entry in given]}  # fmt: skip
        return (Evidence("approval.revoked", (*about, f"model:{model}"), body),)

    return record(ledger, "approval.revoked", decide)
