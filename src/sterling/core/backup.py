"""Backup and restore: a folder that holds a chain with every blob that it cites, and the way back from it."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sterling.core.clock import utcnow
from sterling.core.connect import connect_ledger, list_chains
from sterling.core.durable import sync_folder, write_file
from sterling.core.errors import MissingBlobError, StorageError, TamperedLedgerError
from sterling.core.evidence import Record
from sterling.core.ledger import (
    Broken,
    Chained,
    ChainInfo,
    Ledger,
    Restorable,
    chained,
    check_chain,
    following,
)
from sterling.core.push import Blobs, Observe, Progress, Pushed, cited_in, compare, digest_at, ignore, push
from sterling.core.refs import Ref, ref_of_file
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore, Store
from sterling.core.verify import Cited, VerifyReport, verify
from sterling.core.walk import walk
from sterling.core.witness import Heads, HeadVerdict, Kept, check_head

_ABANDONED_SECONDS = 24 * 3600
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def backup(
    ledger: Ledger, store: Store, folder: Path, *, heads: Path | None = None, observe: Observe = ignore
) -> Pushed:
    """Bring a folder up to a chain and the blobs that it cites, as one state of the ledger has them.

    Args:
        ledger: The chain; others may go on appending to it.
        store: Where its blobs lie.
        folder: Where the backup lies, or is to lie; it may hold those of other chains too.
        heads: Folder of the signed heads, of which the chain's is kept with it.
        observe: Told how far it has come.

    Raises:
        StorageError: if something cannot be read or written.
    """
    chain = chained(ledger).chain
    head = _read_head(heads, chain)  # before the ledger, so that it is never ahead of the entries beside it
    with SQLiteLedger(folder / "ledger.db", chain.project, chain=chain._replace(copied=True)) as copy:
        done = push(ledger, store, copy, LocalStore(folder / "store"), observe=observe)
    if head and done.refused is None:
        write_file(folder / "heads" / chain.id, head)
    return done


def backed_up(folder: Path) -> tuple[ChainInfo, ...]:
    """The chains that a backup holds.

    Raises:
        StorageError: if the folder is no backup.
    """
    path = folder / "ledger.db"
    chains = tuple(chain for chain in SQLiteLedger.chains(path) if _length(path, chain))
    if not chains:
        raise StorageError(f"{folder} is no backup: it holds no ledger.db with a chain. `sterling backup` makes one.")
    return chains


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore found and did.

    Attributes:
        chain: The chain, which is the project's own again.
        entries: How many entries the ledger has now.
        new: How many of them were brought back.
        later: How many entries behind the backup's last were taken from the damaged file, since they follow it.
        left: How many entries that could be read in that file do not follow, and are only there.
        digest: Digest of the backup's last entry in hex, empty where it has none.
        same: Whether the ledger has this digest at that place.
        blobs: How many blobs were brought back.
        bytes: Their size.
        checked: How many cited blobs are now what their names say.
        missing: Refs that are cited, and that neither the backup nor the store holds.
        altered: Blobs with other bytes than their name says, in the store or in the backup, that nothing could mend.
        broken: The first entry of the ledger that does not hold in the end; None where all do.
        damaged: What was wrong with the ledger's file; None where nothing was.
        moved: Where that file lies now.
        refused: Where the ledger differs from the backup, and why nothing was restored; None where it was.
    """

    chain: ChainInfo
    entries: int = 0
    new: int = 0
    later: int = 0
    left: int = 0
    digest: str = ""
    same: bool = False
    blobs: int = 0
    bytes: int = 0
    checked: int = 0
    missing: tuple[Cited, ...] = ()
    altered: tuple[Cited, ...] = ()
    broken: Broken | None = None
    damaged: str | None = None
    moved: Path | None = None
    refused: Broken | None = None

    @property
    def proven(self) -> bool:
        """Whether the ledger holds, equals the backup, and cites no blob that was altered."""
        return self.same and self.broken is None and not self.altered


def restore(folder: Path, chain: ChainInfo, ledger_url: str, store: Store, *, observe: Observe = ignore) -> Restored:
    """Bring a chain and its blobs back from a backup, and prove that what is there then is what was backed up.

    The ledger may lack the chain, hold a beginning of it, or lie in a damaged SQLite file, which is moved aside. A
    ledger whose chain went on differently or further is left as it is. Blobs go before the entries that cite them,
    and the entries all at once.

    Args:
        folder: The backup.
        chain: Which of its chains.
        ledger_url: The ledger.
        store: The store.
        observe: Told how far it has come.

    Raises:
        StorageError: if something cannot be read or written.
    """
    chain, kept_store = chain._replace(copied=True), LocalStore(folder / "store")
    with SQLiteLedger(folder / "ledger.db", chain.project, chain=chain) as kept:
        count, broken = check_chain(kept.records())
        if broken:
            return Restored(chain, refused=Broken(broken.position, f"the backup itself is damaged: {broken.reason}"))
        found = _look(ledger_url, chain, kept)
        if found.refused:
            return Restored(chain, refused=found.refused)
        target = None if found.damaged else _restorable(ledger_url, chain)
        blobs = Blobs(kept_store, store)
        for ref, position in cited_in(kept.records()).items():
            blobs.copy(ref, position)
            observe(Progress(position, count, blobs.copied, blobs.bytes))
        moved, held = None, 0
        if target:
            target.restore(kept.records(after=found.entries))
        else:
            moved, held = _replace(_path(ledger_url), chain, kept)
        ledger = connect_ledger(ledger_url, chain.project, chain=chain)
        report, mended = _verified(ledger, store, kept_store)
        digest = digest_at(kept, count)
    return Restored(
        chained(ledger).chain,
        entries=report.entries,
        new=count - found.entries,
        later=max(0, report.entries - count),
        left=max(0, held - report.entries),
        digest=digest,
        same=digest_at(chained(ledger), count) == digest,
        blobs=blobs.copied + mended,
        bytes=blobs.bytes,
        checked=report.blobs,
        missing=tuple(cited for cited in report.missing if cited not in blobs.altered),
        altered=(*report.altered, *blobs.altered),
        broken=report.broken,
        damaged=found.damaged,
        moved=moved,
    )


def bring_head_back(ledger: Chained, heads: Heads, kept: Heads) -> HeadVerdict:
    """Hold a restored chain against its witnessed head: the workspace's, else the backup's, which it gets then.

    A head of the backup that another key signed says nothing here, and stays where it is.

    Args:
        ledger: The chain.
        heads: The workspace's heads.
        kept: The backup's heads.

    Raises:
        StorageError: if a head or the key cannot be read or written.
    """
    own = heads.newest(ledger.chain)
    if own.head is None and own.fault is None and (backed := kept.newest(ledger.chain).head):
        if digest_at(ledger, backed.count) == backed.digest.hex():
            heads.write(backed, lambda position: bytes.fromhex(digest_at(ledger, position)) or None)
        own = Kept(backed)
    return check_head(own, ledger)


@dataclass(frozen=True, slots=True)
class _Found:
    """What is there of a chain that is to be brought back.

    Attributes:
        entries: How many entries, which are the backup's first ones.
        damaged: What is wrong with the file, where it must be replaced.
        refused: Why it must be left as it is.
    """

    entries: int = 0
    damaged: str | None = None
    refused: Broken | None = None


def _look(url: str, chain: ChainInfo, kept: Chained) -> _Found:
    there: tuple[ChainInfo, ...] = ()
    try:
        there = list_chains(url)
        return _compared(url, chain, kept, there)
    except (StorageError, TamperedLedgerError) as error:
        if not _is_damage(error):
            raise
        return _damaged(url, chain, there, "its file cannot be read any more")


def _compared(url: str, chain: ChainInfo, kept: Chained, there: tuple[ChainInfo, ...]) -> _Found:
    if rival := _rival(url, chain, there):
        return _Found(refused=rival)
    if chain.id not in {other.id for other in there}:
        return _Found()
    with _opened(url, chain) as ledger:
        return _held_against(url, kept, ledger, there)


def _held_against(url: str, kept: Chained, ledger: Chained, there: tuple[ChainInfo, ...]) -> _Found:
    fork = compare(ledger, kept)
    first = fork.same + 1
    if fork.here and fork.there and check_chain(ledger.records())[0] >= first:
        reason = f"entry {first} there is another than entry {first} of the backup: the two went different ways"
        return _Found(refused=Broken(first, reason))
    if broken := walk(ledger).broken:
        return _damaged(url, ledger.chain, there, broken.reason)
    if fork.here:
        reason = f"the ledger goes on behind the backup, which ends with entry {fork.same}: restoring would lose that"
        return _Found(refused=Broken(first, reason))
    return _Found(fork.same)


def _rival(url: str, chain: ChainInfo, there: tuple[ChainInfo, ...]) -> Broken | None:
    """Another chain that the project has for its own there; one without entries gives way."""
    for other in there:
        if other.project == chain.project and not other.copied and other.id != chain.id:
            with _opened(url, other) as ledger:
                count = ledger.head()[0]
            if count:
                reason = f"{chain.project} has begun another chain there, {other.id}, of length {count}"
                return Broken(1, reason)
    return None


@contextmanager
def _opened(url: str, chain: ChainInfo) -> Iterator[Chained]:
    """A chain that is let go of in the end: SQLite must not have a file open that another takes the place of."""
    ledger = connect_ledger(url, chain.project, chain=chain)
    try:
        yield chained(ledger)
    finally:
        if close := getattr(ledger, "close", None):
            close()


def _damaged(url: str, chain: ChainInfo, there: tuple[ChainInfo, ...], reason: str) -> _Found:
    if not url.startswith("sqlite:"):
        reason = f"{reason}. A database is not mended in place: restore into an empty one"
        return _Found(refused=Broken(1, reason))
    if any(other.id != chain.id and _length(_path(url), other) for other in there):
        reason = f"{reason}. The file holds other chains too, which would be moved aside with it: restore into another"
        return _Found(refused=Broken(1, reason))
    return _Found(damaged=reason)


def _is_damage(error: Exception) -> bool:
    return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def _restorable(url: str, chain: ChainInfo) -> Restorable:
    ledger = connect_ledger(url, chain.project, chain=chain)
    if not isinstance(ledger, Restorable):
        raise StorageError(f"{ledger!r} takes no chain back. Restore into a SQLite file, with STERLING_LEDGER.")
    return ledger


def _replace(path: Path, chain: ChainInfo, kept: SQLiteLedger) -> tuple[Path, int]:
    """Put a whole file in the place of a damaged one; where that lies then, and how many entries could be read in it."""
    _clear_abandoned(path)
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.restoring-", dir=path.parent) as aside:
        with SQLiteLedger(Path(aside) / path.name, chain.project, chain=chain) as ledger:
            ledger.restore(kept.records())
            ledger.restore(_later(path, chain, *kept.head()))
        held = _length(path, chain)
        return _exchange(Path(aside) / path.name, path), held


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:"))


def _length(path: Path, chain: ChainInfo) -> int:
    """Position of a chain's last entry in a damaged file, as far as it can be read."""
    with suppress(StorageError, TamperedLedgerError):
        if chain.id in {there.id for there in SQLiteLedger.chains(path)}:
            with SQLiteLedger(path, chain.project, chain=chain) as ledger:
                return ledger.head()[0]
    return 0


def _later(path: Path, chain: ChainInfo, position: int, digest: bytes) -> Iterator[Record]:
    """What a damaged file holds behind an entry, as far as it can be read and follows it."""
    with suppress(StorageError, TamperedLedgerError):
        if _length(path, chain):
            with SQLiteLedger(path, chain.project, chain=chain) as ledger:
                yield from following(ledger.records(after=position), position, digest)


def _exchange(new: Path, path: Path) -> Path:
    """Put a file in the place of a damaged one, which is kept beside it with what SQLite has not merged into it."""
    moved = next((other for other in path.parent.glob(f"{path.name}.damaged-*") if other.samefile(path)), None)
    moved = moved or path.with_name(f"{path.name}.damaged-{utcnow():%Y%m%dT%H%M%S.%fZ}")
    for tail in ("-wal", "-shm"):  # first: a new file must not find the old one's log
        with suppress(FileNotFoundError):
            path.with_name(path.name + tail).rename(moved.with_name(moved.name + tail))
    if not moved.exists():  # it does where a restore was killed just then
        moved.hardlink_to(path)
    new.replace(path)
    sync_folder(path.parent)
    return moved


def _verified(ledger: Ledger, store: Store, kept: Store) -> tuple[VerifyReport, int]:
    """Check everything, after blobs that were altered gave way to those of the backup; and how many did."""
    report = verify(ledger, store)
    mended = [cited for cited in report.altered if _mend(cited.ref, store, kept)]
    return (verify(ledger, store) if mended else report), len(mended)


def _mend(ref: Ref, store: Store, kept: Store) -> bool:
    try:
        path = kept.open(ref)
    except MissingBlobError:
        return False
    if ref_of_file(path) != ref:
        return False
    store.delete(ref)
    with path.open("rb") as file:
        store.put(file)
    return True


def _clear_abandoned(path: Path) -> None:
    """Remove what restores that were killed a day ago or longer left beside a ledger."""
    oldest = time.time() - _ABANDONED_SECONDS
    for folder in path.parent.glob(f"{path.name}.restoring-*"):
        with suppress(FileNotFoundError):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


def _read_head(heads: Path | None, chain: ChainInfo) -> bytes | None:
    """The signed head of a chain, as it lies there."""
    try:
        return (heads / chain.id).read_bytes() if heads else None
    except FileNotFoundError:
        return None
