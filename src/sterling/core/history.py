"""The position at which a ledger stood at a moment, found without reading its chain."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sterling.core.errors import TamperedLedgerError
from sterling.core.evidence import Entry
from sterling.core.ledger import Ledger, head_of

_DISORDER = 1_000


class Place(NamedTuple):
    """Where a chain stood at a moment.

    Attributes:
        position: Its last entry by then; 0 where there was none.
        until: A later position whose entry was recorded by then too, where clocks disagree; else `position`.
    """

    position: int
    until: int


def position_at(ledger: Ledger, moment: datetime) -> Place:
    """The last position before the first entry that was recorded after a moment.

    Order is by position, and recorded times run back where two clocks disagree. What counts is the latest time up to
    a position: an entry is past a moment once any entry before it is. That is exact where times run back over fewer
    than 1,000 entries; an entry whose clock was ahead of more than that is passed over. What is recorded after the
    moment does not change the answer.

    Args:
        ledger: The chain.
        moment: A time with a zone.

    Raises:
        ValueError: if the time has no zone.

    Example:
        >>> from sterling.core.evidence import Evidence
        >>> from sterling.core.sqlite import SQLiteLedger
        >>> from sterling.testing import FixedClock
        >>> from datetime import UTC, timedelta
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
        >>> with TemporaryDirectory() as folder, SQLiteLedger(Path(folder) / "l.db", "flights", clock=clock) as ledger:
        ...     for _ in range(24):
        ...         clock.advance(timedelta(hours=1)) and ledger.append([Evidence("a.happened")]) and None
        ...     position_at(ledger, datetime(2026, 1, 1, 6, 30, tzinfo=UTC))
        Place(position=6, until=6)
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone. Write 2026-01-01T12:00:00Z for UTC.")
    until = _crossing(ledger, moment)
    after = max(0, until - _DISORDER)
    for entry in ledger.read(after=after, until=until):
        if datetime.fromisoformat(entry.recorded_at) > moment:
            return Place(entry.position - 1, until)
    return Place(until, until)


def entry_at(ledger: Ledger, position: int) -> Entry:
    """The entry at a position.

    Raises:
        TamperedLedgerError: if there is none.
    """
    found = next(ledger.read(after=position - 1, until=position), None)
    if found is None:
        raise TamperedLedgerError(f"entry {position} is missing", position)
    return found


def _crossing(ledger: Ledger, moment: datetime) -> int:
    """A position that was recorded by a moment, and the next one not: bit by bit, so that a longer chain gives the same."""
    head, place = head_of(ledger), 0
    for bit in reversed(range(head.bit_length())):
        candidate = place + (1 << bit)
        if candidate <= head and _recorded_at(ledger, candidate) <= moment:
            place = candidate
    return place


def _recorded_at(ledger: Ledger, position: int) -> datetime:
    return datetime.fromisoformat(entry_at(ledger, position).recorded_at)
