"""The witnessed head: what a chain was when it was last appended to, signed, and kept outside of its database."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from sterling.core.checkpoint import origin
from sterling.core.clock import Clock, iso, utcnow
from sterling.core.durable import locked, write_file
from sterling.core.errors import SignatureError, SterlingError, StorageError, TamperedLedgerError
from sterling.core.evidence import Entry, Evidence, Query, Record
from sterling.core.ledger import Awaited, Chained, ChainInfo, Ledger
from sterling.core.signing import KeyFile, Note, VerifierKey

_EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 1.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_HEAD = re.compile(
    r"sterling head v1\nchain (?P<chain>[^\n]+)\nproject (?P<project>[^\n]+)\ncount (?P<count>[1-9][0-9]{0,17})\n"
    r"digest (?P<digest>[0-9a-f]{64})\ntime (?P<at>[^\n]+)\n"
)
_log = logging.getLogger(__name__)

State = Literal["witnessed", "behind", "cut", "rewritten", "unproven", "none"]


class ChainedLedger(Ledger, Chained, Protocol):
    """A ledger whose chain can be read byte by byte."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a chain was at a moment.

    Attributes:
        chain: Id of the chain.
        project: The project that it belongs to.
        count: How many entries it had.
        digest: Digest of the last of them, 32 bytes.
        at: When the head was written, ISO 8601 UTC.
    """

    chain: str
    project: str
    count: int
    digest: bytes
    at: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a head.

        Raises:
            SignatureError: if it is none.
        """
        said = _HEAD.fullmatch(text)
        if not said:
            raise SignatureError("This is no head of a chain.")
        return cls(said["chain"], said["project"], int(said["count"]), bytes.fromhex(said["digest"]), said["at"])

    @property
    def text(self) -> str:
        """The text that is signed; unlike a checkpoint's, so that neither passes for the other."""
        return (
            f"sterling head v1\nchain {self.chain}\nproject {self.project}\ncount {self.count}\n"
            f"digest {self.digest.hex()}\ntime {self.at}\n"
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a chain outside of its database.

    Attributes:
        head: The head; None where none is kept, or what is kept cannot be believed.
        fault: Why it cannot be believed, as a sentence.
    """

    head: Head | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class HeadVerdict:
    """What a head says about a chain.

    Attributes:
        state: ``witnessed``, or ``behind`` where entries were added since, both of which hold; ``cut``, ``rewritten``
            or ``unproven``, which do not; ``none`` where no head is kept.
        reason: The same, as a sentence.
        head: The head.
        last: Position of the chain's last entry.
    """

    state: State
    reason: str
    head: Head | None
    last: int

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against the chain."""
        return self.state in {"witnessed", "behind", "none"}


class Heads:
    """Heads of chains in a folder, a signed note in a file for each, which is replaced by one that continues it.

    Args:
        folder: The folder, made when the first head is written.
        key: The key that signs them.
    """

    def __init__(self, folder: Path, key: KeyFile) -> None:
        self._folder, self._key = folder, key

    def newest(self, chain: ChainInfo, trusted: Iterable[VerifierKey] = ()) -> Kept:
        """The head that is kept of a chain.

        Args:
            chain: The chain.
            trusted: Keys whose signature counts beside that of our own.

        Raises:
            StorageError: if the file or the key cannot be read.
        """
        path = self._path(chain)
        with _explained(path, "read"):
            try:
                written = path.read_bytes()
            except FileNotFoundError:
                return Kept()
        own = self._key.load()
        name = origin(chain.project, chain.id)
        return _believed(written, path, chain, [*([own.verifier(name)] if own else []), *trusted], self._key.path)

    def write(
        self, head: Head, digest_at: Callable[[int], bytes | None], *, patience_seconds: float = _PATIENCE_SECONDS
    ) -> bool:
        """Keep a head, unless one that is kept is newer; durable when it returns.

        Args:
            head: The head.
            digest_at: Gives the digest of the chain's entry at a position, None where there is none.
            patience_seconds: How long to wait for another process that writes heads.

        Returns:
            Whether this head or a newer one is kept; False where another process is still writing one.

        Raises:
            SignatureError: if what is kept cannot be believed; it is left as it is, since it may be all that shows
                what happened.
            TamperedLedgerError: if the chain does not continue the head that is kept, which is left as it is.
            StorageError: if it cannot be written.
        """
        chain = ChainInfo(head.chain, head.project, "")
        path = self._path(chain)
        with _explained(path, "written"):
            try:
                with locked(self._folder / ".lock", patience_seconds):
                    self._advance(chain, path, head, digest_at)
            except TimeoutError:
                return False
        return True

    def _advance(self, chain: ChainInfo, path: Path, head: Head, digest_at: Callable[[int], bytes | None]) -> None:
        kept = self.newest(chain)
        if kept.fault:
            raise SignatureError(kept.fault)
        if kept.head and digest_at(kept.head.count) != kept.head.digest:
            raise TamperedLedgerError(
                f"The chain does not continue the head in {path}, which is kept. `sterling verify` says more.",
                kept.head.count,
            )
        if kept.head is None or kept.head.count < head.count:
            note = self._key.need().sign(head.text, origin(head.project, head.chain))
            for abandoned in self._folder.glob(f".{chain.id}-*"):  # by a process that was killed
                abandoned.unlink()
            write_file(path, str(note).encode())

    def _path(self, chain: ChainInfo) -> Path:
        if not _NAME.fullmatch(chain.id):
            raise StorageError(f"{chain.id!r} is no id of a chain: it must be letters, digits, - and _.")
        return self._folder / chain.id


class WitnessedLedger:
    """A ledger that keeps a signed head of its chain outside of its database.

    A head is written after the first append, then at most once a second, and when the ledger is closed or the process
    ends. Where that fails, a warning is logged and the append stands: it is durable already.

    Args:
        inner: The ledger.
        heads: Where the heads are kept.
        clock: Gives the time that heads carry.
        monotonic: Gives the seconds between them.
    """

    def __init__(
        self,
        inner: ChainedLedger,
        heads: Heads,
        *,
        clock: Clock = utcnow,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._witness = _Witness(inner, heads, clock, monotonic)
        weakref.finalize(self, self._witness.finish)
        if isinstance(inner, Awaited):
            self.wait = inner.wait

    @property
    def chain(self) -> ChainInfo:
        """Which chain this is."""
        return self._inner.chain

    def append(self, facts: Sequence[Evidence], *, unless: Query | None = None, after: int = 0) -> int:
        """Record facts, all or none."""
        position = self._inner.append(facts, unless=unless, after=after)
        if facts:
            self._witness.saw(position)
        return position

    def read(
        self, query: Query | None = None, *, after: int = 0, until: int | None = None, newest_first: bool = False
    ) -> Iterator[Entry]:
        """Entries that match the query."""
        return self._inner.read(query, after=after, until=until, newest_first=newest_first)

    def head(self) -> tuple[int, bytes]:
        """Position and digest of the chain's last record."""
        return self._inner.head()

    def records(self, *, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """The chain as it lies there."""
        return self._inner.records(after=after, until=until)

    def extend(self, records: Iterable[Record]) -> int:
        """Continue a copy byte for byte."""
        position = self._inner.extend(records)
        if position:
            self._witness.saw(position)
        return position

    def index(self, *, after: int = 0, until: int | None = None) -> Iterator[tuple[str, Sequence[int]]]:
        """What queries go by."""
        return self._inner.index(after=after, until=until)

    def close(self) -> None:
        """Write the head of what was appended since the last, and let go of the ledger."""
        self._witness.finish()
        if close := getattr(self._inner, "close", None):
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # not there yet
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __repr__(self) -> str:
        return repr(self._inner)


class _Witness:
    """What was appended and not witnessed yet, by this process; a fork begins anew."""

    _process: int
    _lock: threading.Lock
    _last: int  # position of the last append that no head has seen, 0 for none
    _next: float  # when the next head may be written

    def __init__(self, ledger: ChainedLedger, heads: Heads, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._ledger, self._heads, self._clock, self._monotonic = ledger, heads, clock, monotonic
        self._said = set[str]()
        self._begin()

    def saw(self, position: int) -> None:
        """Note an append, and write the head if it is time."""
        if os.getpid() != self._process:
            self._begin()
        with self._lock:
            self._last = max(self._last, position)
            now = self._monotonic()
            if due := now >= self._next:
                self._next = now + _EVERY_SECONDS
        if due:
            self._write(patience_seconds=0.0)

    def finish(self) -> None:
        """Write the head of what was appended since the last."""
        if os.getpid() == self._process:
            self._write(patience_seconds=_PATIENCE_SECONDS)

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._last = 0
        self._next = float("-inf")

    def _write(self, *, patience_seconds: float) -> None:
        with self._lock:
            position, self._last = self._last, 0
        if not position:
            return
        try:
            if self._heads.write(self._head(position), self._digest_at, patience_seconds=patience_seconds):
                return
            if patience_seconds:
                self._warn("Another process has been writing one for too long.", position)
        except SterlingError as error:
            self._warn(str(error), position)
        with self._lock:
            self._last = max(self._last, position)  # the next write tries again

    def _head(self, position: int) -> Head:
        (last, digest), chain = self._ledger.head(), self._ledger.chain
        if last < position or not isinstance(digest, bytes):
            raise TamperedLedgerError(f"Entry {position} is not there any more.", position)
        return Head(chain.id, chain.project, last, digest, iso(self._clock()))

    def _digest_at(self, position: int) -> bytes | None:
        found = list(self._ledger.records(after=position - 1, until=position))
        return found[0].digest if found else None

    def _warn(self, why: str, position: int) -> None:
        if why not in self._said:
            self._said.add(why)
            _log.warning("Entry %d is recorded, but not yet witnessed by a head. %s", position, why)


def check_head(kept: Kept, ledger: Chained) -> HeadVerdict:
    """Hold a chain against the head that is kept of it.

    Args:
        kept: What is kept; read it before the chain, which goes on.
        ledger: The chain.
    """
    try:
        return _held_against(kept, ledger)
    except TamperedLedgerError as error:  # the database itself cannot be read
        return HeadVerdict("unproven", f"The chain cannot be read as far as its head. {error}", kept.head, 0)


def _held_against(kept: Kept, ledger: Chained) -> HeadVerdict:
    head, (last, _) = kept.head, ledger.head()
    if head is None:
        if kept.fault:
            return HeadVerdict("unproven", kept.fault, None, last)
        return HeadVerdict("none", "No head is kept of this chain, so that a cut tail would not show.", None, last)
    found = list(ledger.records(after=head.count - 1, until=head.count))
    when = f"the head of {head.at[:16].replace('T', ' ')} UTC"
    if last < head.count:
        return HeadVerdict(
            "cut", f"The tail was cut: {_entries(head.count - last)} missing after position {last}; {when} saw "
            f"{head.count}.", head, last,
        )  # fmt: skip
    if not found or found[0].digest != head.digest:
        return HeadVerdict(
            "rewritten", f"Entry {head.count} is not the one that {when} saw: the chain was rewritten at or before it.",
            head, last,
        )  # fmt: skip
    if last > head.count:
        first = head.count + 1
        behind = f"Entry {last} is" if last == first else f"Entries {first} to {last} are"
        return HeadVerdict("behind", f"{behind} not yet witnessed; {when} saw {head.count}.", head, last)
    return HeadVerdict("witnessed", f"All entries are witnessed by {when}.", head, last)


def _believed(written: bytes, path: Path, chain: ChainInfo, keys: Sequence[VerifierKey], key_path: Path) -> Kept:
    try:
        note = Note.parse(written)
        head = Head.parse(note.text)
        signed = note.signed_by(keys)
    except SignatureError as error:
        return Kept(None, f"The head in {path} cannot be believed. {error}")
    if (head.chain, head.project) != (chain.id, chain.project):
        return Kept(None, f"The head in {path} is of another chain, {head.chain} of {head.project}.")
    if not signed:
        by = ", ".join(f"{signature.name}+{signature.id.hex()}" for signature in note.signatures)
        return Kept(
            None, f"The head in {path} is signed with another key, {by}, than the one in {key_path}. If you changed the "
            "key yourself, verify with the old one, then delete that file: the next append writes a new one.",
        )  # fmt: skip
    return Kept(head)


def _entries(count: int) -> str:
    return "1 entry is" if count == 1 else f"{count:,} entries are"


@contextmanager
def _explained(path: Path, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"The head {path} cannot be {done}: {error.strerror}.") from error
