"""What a decision about a release looks at, all of it at one position, and how it is recorded on top of that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import merge
from typing import TYPE_CHECKING, Any

from sterling.core.errors import ConflictError, InvalidDefinitionError, RefusedError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger, head_of
from sterling.core.store import Store
from sterling.views import release_plan as plan_view
from sterling.views.release_plan import ReleasePlan, release_plan
from sterling.views.text import cite

if TYPE_CHECKING:
    from sterling.views.approvals import Approvals

CONTRADICTING = (*plan_view.KINDS, "approval.revoked", "gate.judged", "model.refused")
"""What, recorded meanwhile, makes a decision look again."""

_TRIES = 20
Facts = Sequence[Evidence]


class Done(Exception):  # noqa: N818  not an error: what was asked for is so already
    """What was asked for is on record already.

    Args:
        entry: Where.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(f"recorded at {entry.position}")
        self.entry = entry


@dataclass(frozen=True, slots=True)
class Standing:
    """A ledger as one decision sees it.

    Attributes:
        ledger: The chain.
        head: Position of its last entry; nothing later is looked at.
        plan: The release plan there.
    """

    ledger: Ledger
    head: int
    plan: ReleasePlan

    def entry(self, position: int) -> Entry:
        """The entry at a position."""
        return next(self.ledger.read(after=position - 1, until=position))

    def registered(self, version: int | None = None) -> Entry:
        """The registration of a version, the newest one where it is None.

        Raises:
            InvalidDefinitionError: if there is no such version.
        """
        subjects = () if version is None else (f"version:{version}",)
        query = Query(("model.registered",), subjects)
        found = next(self.ledger.read(query, until=self.head, newest_first=True), None)
        if found is None:
            raise InvalidDefinitionError(self._unknown(version))
        return found

    def approvals(self, store: Store, registered: Entry) -> Approvals:
        """Whether a version may pass, held against the definition that is live."""
        from sterling.views import approvals as approvals_view  # whoever rolls back or pauses does not wait for it

        body = registered.body
        live = self.plan.live
        against = self.registered(live.version).body["definition"] if live else None
        subjects = ((kind, f"version:{body['version']}") for kind in approvals_view.KINDS[:2])
        verdicts = ((kind, f"model:{body['model']}") for kind in approvals_view.KINDS[2:])
        reads = [
            self.ledger.read(Query((kind,), (subject,)), until=self.head) for kind, subject in (*subjects, *verdicts)
        ]
        about = merge(*reads, key=lambda entry: entry.position)
        return approvals_view.approvals(
            about,
            registered,
            self._defined(store, body["definition"]),
            self._defined(store, against) if against else None,
            against,
        )

    def approved(self, store: Store, registered: Entry) -> tuple[int, ...]:
        """Positions of the approvals that let a version pass.

        Raises:
            RefusedError: if one is missing, or the newest verdict about its model is no.
        """
        found = self.approvals(store, registered)
        if found.failed:
            raise RefusedError(
                f"Version {found.version} is not let pass: {found.failed[1]} {cite(found.failed[0])}. `sterling run` judges "
                "it again once that is mended."
            )
        if found.missing:
            from sterling.views.approvals import asked_for

            raise RefusedError(asked_for(found))
        return tuple(given.position for given in found.counted)

    def definition(self, store: Store, registered: Entry) -> Mapping[str, Any]:
        """The definition that a version was made by."""
        return self._defined(store, registered.body["definition"])

    def _defined(self, store: Store, definition: str) -> Mapping[str, Any]:
        query = Query(("project.defined",), (f"definition:{definition}",))
        fact = next(self.ledger.read(query, until=self.head), None)
        if fact is None:
            raise RefusedError(
                f"The definition {definition[:12]} is not on record, so that nobody can say who must approve. `sterling run` "
                "records it."
            )
        defined: dict[str, Any] = json.loads(store.open(fact.body["ref"]).read_bytes())
        return defined

    def _unknown(self, version: int | None) -> str:
        known = sorted(entry.body["version"] for entry in self.ledger.read(Query(("model.registered",))))
        which = "any version" if version is None else f"version {version}"
        hint = (
            f"Known: {', '.join(map(str, known))}."
            if known
            else "`sterling run` registers a model that passes its gates."
        )
        return f"The ledger has not registered {which}. {hint}"


def standing(ledger: Ledger) -> Standing:
    """The ledger as it is now."""
    head = head_of(ledger)
    return Standing(ledger, head, release_plan(ledger.read(Query(plan_view.KINDS), until=head)))


def fresh(view: Standing, on: int | None) -> None:
    """See that nothing that decides was recorded behind what was looked at.

    Raises:
        RefusedError: if something was.
    """
    if on is None:
        return
    later = next(view.ledger.read(Query(CONTRADICTING), after=on, until=view.head), None)
    if later is not None:
        from sterling.views.log import sentence

        raise RefusedError(
            f"What was looked at up to {cite(on)} is stale: {sentence(later)} {cite(later.position)} Look at "
            f"`sterling release --plan` and decide again, --on {view.head}."
        )


def record(
    ledger: Ledger, kind: str | Callable[[Standing], str], decide: Callable[[Standing], Facts], *, insist: bool = False
) -> tuple[Entry, bool]:
    """Decide on the ledger as it is, and record that on top of it, unless something contradicting was recorded meanwhile.

    Args:
        ledger: The chain.
        kind: Kind of the fact that is returned, or what gives it.
        decide: Gives the facts; raises `Done` where what was asked for is so already, `RefusedError` where it must not be.
        insist: Decide again also where what is released was changed meanwhile, as a rollback does.

    Returns:
        The entry, and whether it is new.

    Raises:
        RefusedError: if the decision is no.
        ConflictError: if what is released was changed meanwhile, so that whoever asked saw something else.
    """
    first: int | None = None
    for _ in range(_TRIES):
        view = standing(ledger)
        try:
            facts = decide(view)
        except Done as done:
            return done.entry, False
        first = view.plan.position if first is None else first
        if view.plan.position != first and not insist:
            raise _changed(view, first)
        with suppress(ConflictError):
            last = ledger.append(facts, unless=Query(CONTRADICTING), after=view.head)
            named = kind if isinstance(kind, str) else kind(view)
            query = Query((named,), next(fact.subjects for fact in facts if fact.kind == named))
            return next(ledger.read(query, after=view.head, until=last)), True
    raise ConflictError("Others decide about releases at the same time without an end. Try again.")


def _changed(view: Standing, seen: int) -> ConflictError:
    position = view.plan.position
    return ConflictError(
        f"{view.entry(position).kind} was recorded at {position}, after {seen}, on which this decision was based. Look at "
        "`sterling release --plan` and decide again."
    )
