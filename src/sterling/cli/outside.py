"""Files that a project reads where they lie: what became of each, and what was promised of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sterling.core.refs import short

if TYPE_CHECKING:
    from sterling.core.ledger import Ledger
    from sterling.core.workspace import Workspace

_STATES = {"there": "is there as it was", "changed": "was changed", "gone": "is gone"}


class Outside(NamedTuple):
    """A file that is kept outside of the store.

    Attributes:
        locator: How the project names it.
        ref: Its content as it was read.
        until: Until when its owner promised to keep it so, ISO 8601.
        ended: Whether that time is over.
        state: What became of it: ``there``, ``changed`` or ``gone``.
        position: Position of the entry that says so.
    """

    locator: str
    ref: str
    until: str
    ended: bool
    state: str
    position: int


def look(workspace: Workspace, ledger: Ledger) -> tuple[Outside, ...]:
    """Every file that was ever read where it lies, looked at now."""
    from datetime import datetime

    from sterling.core.clock import utcnow
    from sterling.core.elsewhere import REFERENCED
    from sterling.core.errors import SterlingError
    from sterling.core.evidence import Query
    from sterling.stages.external import state_of
    from sterling.stages.fingerprints import Fingerprints
    from sterling.views.external import references

    try:
        promised = references(ledger.read(Query((REFERENCED,))))
    except (SterlingError, KeyError, TypeError):  # a chain that was tampered with
        return ()
    seen, now = Fingerprints(workspace.fingerprints), utcnow()
    return tuple(
        Outside(
            file.locator, file.ref, file.until, datetime.fromisoformat(file.until) < now,
            state_of(file.locator, file.ref, workspace.folder, seen), file.position,
        ) for file in promised
    )  # fmt: skip


def sentence(file: Outside) -> str:
    """What became of a file.

    Example:
        >>> sentence(Outside("flights.parquet", "sha256:" + "3a" * 32, "2027-01-31T00:00:00Z", False, "gone", 7))
        'Outside of the store: flights.parquet (3a3a3a3a3a3a) is gone, although it was to be kept until 2027-01-31.'
    """
    known = f"Outside of the store: {file.locator} ({short(file.ref)}) {_STATES[file.state]}"
    if file.state == "there" and not file.ended:
        return f"{known}, and is to be kept until {file.until[:10]}."
    promise = "; the promise to keep it ended on" if file.ended else ", although it was to be kept until"
    return f"{known}{promise} {file.until[:10]}."
