"""Push: a chain copied whole into another ledger, byte for byte, after every blob that it cites."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from sterling.core.errors import MissingBlobError, StorageError, TamperedLedgerError
from sterling.core.evidence import GENESIS, Record
from sterling.core.ledger import Broken, Chained, ChainInfo, Ledger, chained, check_chain, following
from sterling.core.refs import Ref, note_refs, ref_of_file, refs_in_file
from sterling.core.store import Store
from sterling.core.verify import Cited

_BATCH = 1_000


class Progress(NamedTuple):
    """How far a copy has come.

    Attributes:
        entries: Entries that were gone through, with the blobs that they cite.
        of: How many there are.
        blobs: Blobs that were copied.
        bytes: Their size.
    """

    entries: int
    of: int
    blobs: int
    bytes: int


Observe = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push found and did.

    Attributes:
        chain: The chain.
        entries: How many entries the copy has now.
        new: How many of them were copied this time.
        digest: Digest of the copy's last entry in hex, empty where it has none.
        blobs: How many blobs were copied this time.
        bytes: Their size.
        held: How many blobs are cited and were there already.
        missing: Refs that are cited and in neither store, as garbage collection leaves them.
        altered: Blobs with other bytes than their name says; they were not copied.
        refused: The first position where the two chains differ, or where this one is broken, and why nothing was
            copied from there on; None where all was.
    """

    chain: ChainInfo
    entries: int
    new: int
    digest: str
    blobs: int
    bytes: int
    held: int
    missing: tuple[Cited, ...]
    altered: tuple[Cited, ...]
    refused: Broken | None

    @property
    def whole(self) -> bool:
        """Whether every entry and every blob that is still what it was is there now."""
        return self.refused is None and not self.altered


def push(ledger: Ledger, store: Store, copy: Ledger, copy_store: Store, *, observe: Observe = ignore) -> Pushed:
    """Copy a chain and the blobs that it cites to where it is kept as a copy.

    What is there already is not copied again, so that a push that was stopped goes on and one that is repeated does
    nothing. Blobs go before the entries that cite them. What is recorded while it runs is for the next push.

    Args:
        ledger: The chain.
        store: Where its blobs lie.
        copy: The same chain in another ledger, opened as a copy, which may be empty.
        copy_store: Where the copy's blobs lie.
        observe: Told how far it has come.

    Raises:
        StorageError: if one of them cannot be read or written, or the other ledger holds the chain as its own.
    """
    source, target = chained(ledger), chained(copy)
    if not target.chain.copied:
        raise StorageError(f"The other ledger holds the chain {target.chain.id} itself, and no copy of it.")
    blobs, before, until = Blobs(store, copy_store), target.head()[0], source.head()[0]
    position, digest, there = 0, GENESIS, before
    refused = _refusal(source, target)
    while refused is None and position < until:
        batch = list(source.records(after=position, until=min(position + _BATCH, until)))
        if not _follows(batch, position, digest):
            refused = _broken(source, position)
            break
        for ref, where in cited_in(batch).items():
            blobs.copy(ref, where)
            observe(Progress(position, until, blobs.copied, blobs.bytes))
        there, refused = _continue(source, target, batch, there)
        position, digest = batch[-1].position, batch[-1].digest
        observe(Progress(position, until, blobs.copied, blobs.bytes))
    return Pushed(
        target.chain, there, there - before, digest_at(target, there), blobs.copied, blobs.bytes, blobs.held,
        tuple(blobs.missing), tuple(blobs.altered), refused,
    )  # fmt: skip


class Fork(NamedTuple):
    """How far two chains are the same.

    Attributes:
        same: How many entries, counted from the first, are the same byte for byte.
        here: Whether the first chain goes on behind them.
        there: Whether the second does.
    """

    same: int
    here: bool
    there: bool


def compare(here: Chained, there: Chained) -> Fork:
    """Walk two chains up to where they differ."""
    same = 0
    for one, other in zip_longest(here.records(), there.records()):
        if one != other:
            return Fork(same, one is not None, other is not None)
        same += 1
    return Fork(same, here=False, there=False)


def cited_in(records: Iterable[Record]) -> dict[Ref, int]:
    """Every ref that records cite, with the position of the first that does."""
    noted: dict[bytes, int] = {}
    for record in records:
        note_refs(record.content, record.position, noted)
    return {Ref(ref.decode()): position for ref, position in noted.items()}


class Blobs:
    """Copies blobs from one store to another, each after all that it cites, and none with other bytes than its name's.

    Attributes:
        copied: How many were copied.
        bytes: Their size.
        held: How many were there already.
        missing: Those that neither store holds.
        altered: Those that have other bytes than their name says.
    """

    def __init__(self, source: Store, target: Store) -> None:
        self._source, self._target = source, target
        self._held = set(target.list())
        self._seen = set[Ref]()
        self.copied = self.bytes = self.held = 0
        self.missing, self.altered = list[Cited](), list[Cited]()

    def copy(self, ref: Ref, position: int) -> None:
        """Copy a blob that an entry cites, unless it is there; what it cites, in any case."""
        if ref in self._seen:
            return
        self._seen.add(ref)
        held = ref in self._held
        self.held += held
        path = self._open(ref) if held else self._intact(Cited(ref, position))
        if path is None:
            return
        for inner in refs_in_file(path):
            self.copy(inner, position)
        if not held:
            with path.open("rb") as file:
                self._target.put(file)
            self.copied += 1
            self.bytes += path.stat().st_size

    def _open(self, ref: Ref) -> Path | None:
        try:
            return self._source.open(ref)
        except (MissingBlobError, TamperedLedgerError):
            return None

    def _intact(self, cited: Cited) -> Path | None:
        """The blob, unless it is missing or altered, which is noted."""
        try:
            path = self._source.open(cited.ref)
        except MissingBlobError:
            self.missing.append(cited)
            return None
        except TamperedLedgerError:  # from a store that checks what it fetches
            self.altered.append(cited)
            return None
        if ref_of_file(path) == cited.ref:
            return path
        self.altered.append(cited)
        return None


def _refusal(source: Chained, target: Chained) -> Broken | None:
    """Where a copy is no beginning of the chain; its last entry tells, since each holds the digest of all before."""
    there, digest = target.head()
    if there == 0 or digest_at(source, there) == digest.hex():
        return None
    fork = compare(source, target)
    first = fork.same + 1
    broken = check_chain(source.records())[1]
    if broken and broken.position <= first:
        return broken
    if fork.here:
        return Broken(
            first, f"entry {first} here is another than entry {first} of the copy: the two went different ways"
        )
    return Broken(first, f"the chain here ends with entry {fork.same}, and the copy goes on to entry {there}")


def _continue(source: Chained, target: Chained, batch: list[Record], there: int) -> tuple[int, Broken | None]:
    """Continue a copy by what it does not have of a batch; another push may be doing the same."""
    while new := [record for record in batch if record.position > there]:
        try:
            there = target.extend(new)
        except TamperedLedgerError:
            moved = target.head()[0]
            if moved == there:
                raise
            there = moved
            if refused := _refusal(source, target):
                return there, refused
    return there, None


def _follows(batch: list[Record], position: int, digest: bytes) -> bool:
    try:
        return bool(list(following(batch, position, digest)))
    except TamperedLedgerError:
        return False


def _broken(source: Chained, position: int) -> Broken:
    return check_chain(source.records())[1] or Broken(position + 1, f"entry {position + 1} is missing")


def digest_at(ledger: Chained, position: int) -> str:
    """Digest of the record at a position in hex, empty where there is none."""
    return next((record.digest.hex() for record in ledger.records(after=position - 1, until=position)), "")
