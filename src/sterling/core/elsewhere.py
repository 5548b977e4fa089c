"""What is cited and not held, for a reason that is on record: bytes that were erased, and files that are kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sterling.core.errors import ErasedError
from sterling.core.evidence import Entry, Query
from sterling.core.ledger import Ledger
from sterling.core.refs import Ref
from sterling.core.store import Store

ERASED = "data.erased"
REFERENCED = "data.referenced"


class Erasure(NamedTuple):
    """What became of bytes that held a person.

    Attributes:
        position: Position of the entry that says so.
        by: The same without that person; None where nothing took their place.
    """

    position: int
    by: Ref | None


def erasures(entries: Iterable[Entry]) -> dict[Ref, Erasure]:
    """Everything that was erased, by its ref.

    Args:
        entries: Entries of the ledger, oldest first; those of other kinds say nothing here.
    """
    return {
        Ref(one["ref"]): Erasure(entry.position, one["by"] and Ref(one["by"]))
        for entry in entries
        if entry.kind == ERASED
        for one in entry.body["replaced"]
    }


def erased_in(ledger: Ledger) -> dict[Ref, Erasure]:
    """Everything that a chain says was erased."""
    return erasures(ledger.read(Query((ERASED,))))


def without_erased(store: Store, ledger: Ledger) -> Store:
    """A store as it is after all that a chain says was erased."""
    erased = erased_in(ledger)
    return WithoutErased(store, erased) if erased else store


@dataclass(frozen=True, slots=True)
class WithoutErased:
    """A store that gives what took the place of erased bytes, and never those themselves, wherever a copy may lie.

    Args:
        store: What is held.
        erased: What was erased.
    """

    store: Store
    erased: Mapping[Ref, Erasure]

    def put(self, stream: BinaryIO) -> Ref:
        """Keep what the stream holds."""
        return self.store.put(stream)

    def open(self, ref: Ref) -> Path:
        """A local file with the bytes, or with what took their place.

        Raises:
            ErasedError: if nothing did.
        """
        return self.store.open(self.now(ref))

    def has(self, ref: Ref) -> bool:
        """Whether the store holds the bytes, or what took their place."""
        try:
            return self.store.has(self.now(ref))
        except ErasedError:
            return False

    def list(self) -> Iterator[Ref]:
        """Every ref that the store holds."""
        return self.store.list()

    def delete(self, ref: Ref) -> None:
        """Let go of the bytes of this very name."""
        self.store.delete(ref)

    def intact(self, ref: Ref) -> bool:
        """Whether the bytes that are held, or took their place, are still those that their name says."""
        return self.store.intact(self.now(ref))

    def now(self, ref: Ref) -> Ref:
        """What took the place of a ref, itself where nothing did.

        Raises:
            ErasedError: if it is gone and nothing took its place.
        """
        while erasure := self.erased.get(ref):
            if erasure.by is None:
                raise ErasedError(
                    f"{ref} was erased, since it held data of a person; entry {erasure.position} says so."
                )
            ref = erasure.by
        return ref
