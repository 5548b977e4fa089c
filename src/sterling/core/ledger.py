"""The ledger: two verbs, ``append`` and ``read``, over one hash chain per project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sterling.core.errors import TamperedLedgerError
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
        """Entries after a position that match the query, oldest first unless asked otherwise, one at a time.

        What is appended while they are read is not among them, and a reader that stops early holds nobody up.
        ``next(ledger.read(newest_first=True), None)`` is the chain's head, in constant time.

        Raises:
            TamperedLedgerError: where an entry was changed so that it is none any more.
        """
        ...


@runtime_checkable
class Indexed(Protocol):
    """A ledger that finds entries by columns kept beside their documents, which could be edited on their own."""

    def check_index(self) -> Broken | None:
        """The first entry that queries find under what it does not say, or do not find under what it says."""
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

    A chain that was cut short at its end cannot be told from a short one: that takes a head that somebody else kept.

    Returns:
        How many entries hold, and the first that does not.
    """
    previous, count = GENESIS, 0
    try:
        for expected, entry in enumerate(entries, start=1):
            if reason := _fault(entry, expected, previous):
                return count, Broken(expected, reason)
            previous, count = entry.digest, expected
    except TamperedLedgerError as error:
        return count, Broken(count + 1, str(error))
    return count, None


def _fault(entry: Entry, expected: int, previous: str) -> str | None:
    if entry.position != expected:
        return f"entry {expected} is missing: the chain goes on with {entry.position}"
    follows, holds = entry.previous == previous, _holds(entry)
    if follows and not holds:
        return f"entry {expected} was changed: it does not match its digest"
    if holds and not follows:
        return f"entry {expected} does not follow entry {expected - 1}: one of them was replaced or inserted"
    if not holds:
        return f"entry {expected} is not the one that was recorded there: it was moved, replaced or inserted"
    return None


def _holds(entry: Entry) -> bool:
    try:
        return entry.digest == entry.expected_digest()
    except (ValueError, TypeError):  # what was written over it is no JSON, or no digest
        return False
