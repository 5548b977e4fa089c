"""The ledger: two verbs, ``append`` and ``read``, over one hash chain per project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sterling.core.evidence import GENESIS, Entry, Evidence, Query


class Ledger(Protocol):
    """One chain of evidence, dense from position 1, shared by any number of processes."""

    def append(self, facts: Sequence[Evidence], *, unless: Query | None = None, after: int = 0) -> int:
        """Record facts, all or none.

        Args:
            facts: What happened, in order; with no facts nothing is written.
            unless: Refuse where an entry after ``after`` matches this query.
            after: Position up to which the caller has read.

        Returns:
            Position of the chain's last entry.

        Raises:
            ConflictError: if ``unless`` matches. Read again, decide again.
        """
        ...

    def read(self, query: Query | None = None, *, after: int = 0, newest_first: bool = False) -> Iterator[Entry]:
        """Entries after a position that match the query, oldest first unless asked otherwise, one at a time."""
        ...


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place where a chain is not what it was.

    Attributes:
        position: Position of the entry that was expected.
        reason: What is wrong there, as a sentence.
    """

    position: int
    reason: str


def check_chain(entries: Iterable[Entry]) -> tuple[int, Broken | None]:
    """Walk a chain from its first entry.

    Returns:
        How many entries hold, and the first that does not.
    """
    previous, count = GENESIS, 0
    for expected, entry in enumerate(entries, start=1):
        if reason := _fault(entry, expected, previous):
            return count, Broken(expected, reason)
        previous, count = entry.digest, expected
    return count, None


def _fault(entry: Entry, expected: int, previous: str) -> str | None:
    if entry.position != expected:
        return f"entry {expected} is missing: the chain goes on with {entry.position}"
    if entry.digest != entry.expected_digest():
        return f"entry {expected} was changed: it does not match its digest"
    if entry.previous != previous:
        return f"entry {expected} does not follow entry {expected - 1}: one of them was replaced or moved"
    return None
