"""The chains of a ledger: whose they are, when they were last continued, and what is live in each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sterling.core.evidence import Entry
from sterling.core.ledger import ChainInfo
from sterling.views.tables import Row, Table, in_terminal
from sterling.views.text import cite, moment, number, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

KINDS = ("run.completed", "version.released")
_ID_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ChainRow:
    """Where a chain stands.

    Attributes:
        chain: Its id.
        project: The project that it belongs to.
        copied: Whether it was pushed here from elsewhere.
        entries: How many entries it has; None where that cannot be read.
        recorded_at: When the last was recorded, ISO 8601.
        actor: Who recorded it.
        attestor: What vouches for the actor.
        run: Position of the last completed run.
        verdict: ``passed``, ``failed`` or ``ungated``.
        version: The version that takes all traffic.
        released: Position of its release.
        fault: Why the chain cannot be read.
    """

    chain: str
    project: str
    copied: bool
    entries: int | None = 0
    recorded_at: str | None = None
    actor: str | None = None
    attestor: str | None = None
    run: int | None = None
    verdict: str | None = None
    version: int | None = None
    released: int | None = None
    fault: str | None = None


def chain_row(chain: ChainInfo, newest: Iterable[Entry]) -> ChainRow:
    """Where a chain stands.

    Args:
        chain: The chain.
        newest: Its last entry, and its last of each of `KINDS`.
    """
    entries = sorted(newest, key=lambda entry: entry.position)
    if not entries:
        return ChainRow(chain.id, chain.project, chain.copied)
    last, of = entries[-1], {entry.kind: entry for entry in entries}
    run, release = of.get("run.completed"), of.get("version.released")
    return ChainRow(
        chain.id, chain.project, chain.copied, last.position, last.recorded_at, last.actor, last.attestor,
        run.position if run else None, run.body["verdict"] if run else None,
        release.body["version"] if release else None, release.position if release else None,
    )  # fmt: skip


def unreadable(chain: ChainInfo, fault: str) -> ChainRow:
    """A chain that cannot be read, and why."""
    return ChainRow(chain.id, chain.project, chain.copied, None, fault=fault)


def render(rows: Sequence[ChainRow]) -> RenderableType:
    """Chains for a terminal."""
    faults = [f"{row.chain} cannot be read: {row.fault}" for row in rows if row.fault]
    columns = ("chain", ">entries", "last recorded", "last run", "live")
    table = Table(plural(len(rows), "chain"), columns, tuple(map(_row, rows)), note="\n".join(faults) or None)
    return in_terminal(table)


def _row(row: ChainRow) -> Row:
    chain = f"{row.project}\n{row.chain[:_ID_SHOWN]}, {'a copy' if row.copied else 'own'}"
    recorded = f"{moment(row.recorded_at)}\n{row.actor}" if row.recorded_at else "–"
    run = f"{row.verdict}\n{cite(row.run)}" if row.run else "–"
    live = f"version {row.version}\n{cite(row.released)}" if row.released else "–"
    return Row((chain, number(row.entries), recorded, run, live))
