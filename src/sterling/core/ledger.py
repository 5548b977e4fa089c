"""The ledger: two verbs, ``append`` and ``read``, over one hash chain per project."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, Protocol, runtime_checkable

from sterling.core.errors import StorageError, TamperedLedgerError
from sterling.core.evidence import GENESIS, Entry, Evidence, Query, Record, says_position

_LOOK_SECONDS, _IDLE_SECONDS = 0.1, 1.0


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

    def read(
        self, query: Query | None = None, *, after: int = 0, until: int | None = None, newest_first: bool = False
    ) -> Iterator[Entry]:
        """Entries that match the query, oldest first unless asked otherwise, one at a time.

        What is appended while they are read is not among them, and a reader that stops early holds nobody up.
        ``next(ledger.read(newest_first=True), None)`` is the chain's head, in constant time.

        Args:
            query: What is asked for; every entry where left out.
            after: Only entries behind this position.
            until: Only entries up to this position, itself included; to the end where left out.
            newest_first: Newest first.

        Raises:
            TamperedLedgerError: where an entry was changed so that it is none any more.
            NewerKindError: where a later version of Sterling recorded more than this one can read.
        """
        ...


class ChainInfo(NamedTuple):
    """A chain in a database that may hold many.

    Attributes:
        id: Its random name, the same wherever it is copied to.
        project: The project that it belongs to.
        created_at: ISO 8601 UTC.
        copied: Whether it was copied here from elsewhere; a copy is continued by copying more, never appended to.
    """

    id: str
    project: str
    created_at: str
    copied: bool = False


@runtime_checkable
class Chained(Protocol):
    """A ledger whose chain can be verified, proven and copied byte by byte."""

    @property
    def chain(self) -> ChainInfo:
        """Which chain this is."""
        ...

    def head(self) -> tuple[int, bytes]:
        """Position and digest of the chain's last record; 0 and 32 zero bytes where there is none."""
        ...

    def records(self, *, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """The chain as it lies there, whatever was done to it, oldest first, in one state of the database."""
        ...

    def extend(self, records: Iterable[Record]) -> int:
        """Continue a copy byte for byte, all or none.

        Returns:
            Position of the copy's last entry.

        Raises:
            TamperedLedgerError: if a record does not follow the one before it, or does not match its digest.
            StorageError: if the chain is no copy.
        """
        ...

    def index(self, *, after: int = 0, until: int | None = None) -> Iterator[tuple[str, Sequence[int]]]:
        """What queries go by: for each word, as `core/labels.py` spells them, the positions that they find, in order."""
        ...


@runtime_checkable
class Restorable(Protocol):
    """A ledger into which a chain can be brought back from a backup."""

    def restore(self, records: Iterable[Record]) -> int:
        """Continue the chain byte for byte and make it its project's own, all or none.

        An own chain of the project that has no entry gives way; it becomes a copy.

        Returns:
            Position of the chain's last entry.

        Raises:
            TamperedLedgerError: if a record does not follow the one before it, or does not match its digest.
            StorageError: if the project has another chain of its own there, with entries.
        """
        ...


@runtime_checkable
class Awaited(Protocol):
    """A ledger that can tell when something is appended without being asked again and again."""

    def wait(self, after: int, timeout_seconds: float) -> bool:
        """Wait for an entry behind a position.

        Returns:
            Whether there is one; False when the time is over.
        """
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


def head_of(ledger: Ledger) -> int:
    """Position of a chain's last entry, 0 where there is none."""
    newest = next(ledger.read(newest_first=True), None)
    return newest.position if newest else 0


def chained(ledger: Ledger) -> Chained:
    """The ledger, as one whose chain can be verified and copied.

    Raises:
        StorageError: if it cannot.
    """
    if not isinstance(ledger, Chained):
        raise StorageError(
            f"{ledger!r} does not give its records, so that its chain can be neither verified nor copied."
        )
    return ledger


def follow(
    ledger: Ledger, query: Query | None = None, *, after: int = 0, idle: Callable[[], object] = bool
) -> Iterator[Entry]:
    """Entries behind a position as they are appended, for ever.

    Args:
        ledger: The ledger.
        query: What is asked for; every entry where left out.
        after: Only entries behind this position.
        idle: Called about once a second while nothing comes; what it raises ends the following.
    """
    while True:
        head = head_of(ledger)
        yield from ledger.read(query, after=after, until=head)
        after = max(after, head)
        while not _has_come(ledger, after):
            idle()


def _has_come(ledger: Ledger, after: int) -> bool:
    if isinstance(ledger, Awaited):
        return ledger.wait(after, timeout_seconds=_IDLE_SECONDS)
    time.sleep(_LOOK_SECONDS)
    return head_of(ledger) > after


def following(records: Iterable[Record], position: int, digest: bytes) -> Iterator[Record]:
    """Records, each of which follows the one before.

    Args:
        records: The records.
        position: Position of the record before the first.
        digest: Its digest.

    Raises:
        TamperedLedgerError: at the first that does not.
    """
    for record in records:
        if (record.position, record.previous) != (position + 1, digest) or not record.holds():
            raise TamperedLedgerError(
                f"entry {record.position} does not follow entry {position} of the copy: one of them was changed, or the "
                "two went different ways",
                record.position,
            )
        yield record
        position, digest = record.position, record.digest


def check_chain(records: Iterable[Record], *, after: int = 0, previous: bytes = GENESIS) -> tuple[int, Broken | None]:
    """Walk a chain from its first entry, or from a later one on.

    A chain that was cut short at its end cannot be told from a short one: that takes a head that somebody else kept.

    Args:
        records: The records behind a position.
        after: That position.
        previous: Digest of the record there.

    Returns:
        Up to which position entries hold, and the first that does not.
    """
    last, count = previous, after
    for record in records:
        position, follows, digest, content = record
        if position != count + 1 or follows != last or sha256(last + content).digest() != digest:
            return count, Broken(count + 1, _fault(record, count + 1, last))
        last, count = digest, position
    return count, None


def _fault(record: Record, expected: int, last: bytes) -> str:
    if record.position != expected:
        return f"entry {expected} is missing: the chain goes on with {record.position}"
    if record.previous == last:
        return f"entry {expected} was changed: it does not match its digest"
    if record.holds() and says_position(record.content) == expected:
        return f"entry {expected} does not follow entry {expected - 1}: one of them was replaced or inserted"
    return f"entry {expected} is not the one that was recorded there: it was moved, replaced or inserted"
