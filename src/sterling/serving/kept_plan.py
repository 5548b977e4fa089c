"""The plan that a server goes on by where its ledger cannot be reached: what it has read there, signed, in a file."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sterling.core.checkpoint import origin
from sterling.core.clock import Clock, iso, utcnow
from sterling.core.durable import locked, write_file
from sterling.core.errors import BusyError, SignatureError, SterlingError, StorageError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Awaited, Chained, Ledger
from sterling.core.signing import KeyFile, Note, VerifierKey

FORMAT = "sterling.plan/1"
_log = logging.getLogger("sterling.serving")
_AGAIN_SECONDS = 1.0
_PATIENCE_SECONDS = 1.0
_TEXT = re.compile(
    r"sterling plan v1\nchain (?P<chain>[^\n]+)\nproject (?P<project>[^\n]+)\nposition (?P<position>[1-9][0-9]{0,17})\n"
    r"digest (?P<digest>[0-9a-f]{64})\ntime (?P<at>[^\n]+)\n"
)

_Asked = tuple[tuple[str, ...], tuple[str, ...]]


class AnotherChainError(SterlingError):
    """The ledger that is named is not the one that was read before."""


class Extract(NamedTuple):
    """What was read of a chain.

    Attributes:
        chain: Id of the chain.
        project: The project that it belongs to.
        position: How far it was read.
        at: When, ISO 8601 UTC.
        asked: Kinds and subjects of what was asked for.
        entries: The entries that were given, in order.
    """

    chain: str
    project: str
    position: int
    at: str
    asked: tuple[_Asked, ...]
    entries: tuple[Entry, ...]


class PlanFile:
    """A signed plan in a file.

    Args:
        path: The file.
        key: The key that signs it, and that is believed.
        trusted: Other keys that are believed.
    """

    def __init__(self, path: Path, key: KeyFile, trusted: Sequence[VerifierKey] = ()) -> None:
        self.path, self._key, self._trusted = path, key, tuple(trusted)

    def read(self, project: str) -> Extract | None:
        """What is kept of a project's chain; None where there is no file.

        Raises:
            SignatureError: if it is no plan of the project, or not signed by a key that is believed.
            StorageError: if it cannot be read.
        """
        try:
            written = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}. The signed plan cannot be read.") from error
        try:
            return self._believed(written, project)
        except SignatureError as error:
            raise SignatureError(f"The plan in {self.path} is refused. {error}") from error

    def write(self, extract: Extract) -> bool:
        """Keep a plan, unless one that is kept is newer; whether this one or a newer one is kept.

        Raises:
            SignatureError: if what is kept cannot be believed; it is left as it is.
            StorageError: if it cannot be written, or there is no key.
        """
        try:
            with locked(self.path.with_name(f".{self.path.name}.lock"), _PATIENCE_SECONDS):
                kept = self.read(extract.project)
                if kept is None or kept.chain != extract.chain or kept.position <= extract.position:
                    write_file(self.path, self._signed(extract))
        except TimeoutError:
            return False
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}. The signed plan cannot be written.") from error
        return True

    def _signed(self, extract: Extract) -> bytes:
        body = _body(extract)
        text = (
            f"sterling plan v1\nchain {extract.chain}\nproject {extract.project}\nposition {extract.position}\n"
            f"digest {hashlib.sha256(body).hexdigest()}\ntime {extract.at}\n"
        )
        note = self._key.need().sign(text, origin(extract.project, extract.chain))
        return msgspec.json.encode({"format": FORMAT, "note": str(note), "body": body.decode()}) + b"\n"

    def _believed(self, written: bytes, project: str) -> Extract:
        try:
            document = msgspec.json.decode(written)
            note, body = Note.parse(document["note"]), document["body"].encode()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SignatureError("It is no signed plan.") from error
        said = _TEXT.fullmatch(note.text)
        if not said or hashlib.sha256(body).hexdigest() != said["digest"]:
            raise SignatureError("What is signed is something else.")
        own = self._key.load()
        name = origin(said["project"], said["chain"])
        if not note.signed_by([*([own.verifier(name)] if own else []), *self._trusted]):
            raise SignatureError(
                "No key that is believed has signed it: name the public key of whoever did with --plan-key (`sterling key` "
                "prints it)."
            )
        if said["project"] != project:
            raise SignatureError(f"It is of another project, {said['project']}.")
        return _extract(said["chain"], said["project"], int(said["position"]), said["at"], msgspec.json.decode(body))


@dataclass
class Remembered:
    """A ledger whose answers are remembered, and given again while it cannot be reached.

    Only what was asked for before can be answered then; anything else is refused, so that what is not remembered never
    passes for what is not on record. A ledger that can be read and has another chain is an error, not an absence.

    Args:
        connect: Opens the ledger.
        project: The project.
        kept: What was read of its chain before, by another process; None for nothing.
        clock: Says what time it is.

    """

    connect: Callable[[], Ledger]
    project: str
    kept: Extract | None = None
    clock: Clock = utcnow
    _trouble: str | None = field(default=None, init=False)
    _since: float | None = field(default=None, init=False)
    _ledger: Ledger | None = field(default=None, init=False)
    _again: float = field(default=float("-inf"), init=False)
    _entries: dict[int, Entry] = field(default_factory=dict, init=False)
    _asked: set[_Asked] = field(default_factory=set, init=False)
    _head: Entry | None = field(default=None, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kept is not None:
            self.take(self.kept)

    def take(self, extract: Extract) -> None:
        """Answer by what another process has read, where the ledger cannot be reached."""
        with self._lock:
            self.kept = extract
            self._entries = {entry.position: entry for entry in extract.entries}
            self._asked = set(extract.asked)
            self._head = extract.entries[-1] if extract.entries else None

    @property
    def position(self) -> int:
        """How far the chain was read."""
        return max(self._head.position if self._head else 0, self.kept.position if self.kept else 0)

    @property
    def trouble(self) -> str | None:
        """Why the ledger cannot be reached, or that it has not answered for a while; None where it can."""
        since = self._since
        waited = 0.0 if since is None else time.monotonic() - since
        return f"it has not answered for {waited:.0f} seconds." if waited > _PATIENCE_SECONDS else self._trouble

    def append(self, facts: Sequence[Evidence], *, unless: Query | None = None, after: int = 0) -> int:
        """Record facts, where the ledger can be reached."""
        return self._opened().append(facts, unless=unless, after=after)

    def read(
        self, query: Query | None = None, *, after: int = 0, until: int | None = None, newest_first: bool = False
    ) -> Iterator[Entry]:
        """Entries that match the query: of the ledger, or where it cannot be reached those that are remembered."""
        asked = query or Query()
        given, self._since = 0, time.monotonic()
        try:
            for entry in self._opened().read(asked, after=after, until=until, newest_first=newest_first):
                self._remember(asked, entry, after, until)
                given, self._since, self._trouble = given + 1, None, None
                yield entry
            self._remember(asked, None, after, until)
            self._since, self._trouble = None, None
        except (StorageError, BusyError) as error:
            self._lost(error)
            if given:
                raise
            yield from self._again_from_memory(asked, after, until, error, newest_first=newest_first)

    def wait(self, after: int, timeout_seconds: float) -> bool:
        """Until something was appended, where the ledger can tell, or the time is over."""
        if self.trouble is None and isinstance(self._ledger, Awaited):
            return self._ledger.wait(after, timeout_seconds)
        time.sleep(timeout_seconds)
        return False

    def extract(self) -> Extract:
        """All that is remembered.

        Raises:
            StorageError: if the ledger was never reached, or has no chain of its own.
        """
        with self._lock:
            if not isinstance(self._ledger, Chained) or self._head is None:
                raise StorageError("Nothing was read of a chain, so that there is nothing to keep.")
            entries = {**self._entries, self._head.position: self._head}
            return Extract(
                self._ledger.chain.id, self.project, self._head.position, iso(self.clock()), tuple(sorted(self._asked)),
                tuple(entries[position] for position in sorted(entries)),
            )  # fmt: skip

    def _opened(self) -> Ledger:
        if self._ledger is None:
            if self._trouble and time.monotonic() < self._again:
                raise StorageError(self._trouble)
            self._again = time.monotonic() + _AGAIN_SECONDS
            self._ledger = self.connect() if self.kept is None else self._opened_in_time(self.kept)
        return self._ledger

    def _opened_in_time(self, kept: Extract) -> Ledger:
        """The ledger, where it opens soon and is the one that was read before; one that is locked opens much later."""
        found: list[Ledger | SterlingError] = []

        def connect() -> None:
            try:
                ledger = self.connect()
                _check_same(ledger, kept)
                found.append(ledger)
            except SterlingError as error:
                found.append(error)

        thread = threading.Thread(target=connect, name="open-ledger", daemon=True)
        thread.start()
        thread.join(_PATIENCE_SECONDS)
        if not found:
            raise StorageError(f"it does not open within {_PATIENCE_SECONDS:g} s. Another process may hold it.")
        if isinstance(found[0], AnotherChainError):
            raise found[0]
        if isinstance(found[0], SterlingError):
            raise StorageError(str(found[0])) from found[0]
        return found[0]

    def _lost(self, error: SterlingError) -> None:
        if self._trouble is None:
            _log.warning("the ledger cannot be reached: %s", error)
        self._since, self._trouble = None, str(error)

    def _remember(self, query: Query, entry: Entry | None, after: int, until: int | None) -> None:
        with self._lock:
            if query.kinds or query.subjects:
                self._asked.add((query.kinds, query.subjects))
            elif entry is not None and not after and until is None:
                self._head = entry if self._head is None or entry.position >= self._head.position else self._head
                return
            if entry is not None:
                self._entries[entry.position] = entry

    def _again_from_memory(
        self, query: Query, after: int, until: int | None, error: SterlingError, *, newest_first: bool
    ) -> Iterator[Entry]:
        with self._lock:
            entries = {**self._entries, **({self._head.position: self._head} if self._head else {})}
            known = (query.kinds, query.subjects) in self._asked
            if not (query.kinds or query.subjects):
                known = self._head is not None and (until is None or after + 1 in entries)
        if not known:
            raise error
        wanted = [entries[position] for position in sorted(entries, reverse=newest_first)]
        yield from (
            entry
            for entry in wanted
            if entry.position > after and (until is None or entry.position <= until) and _matches(query, entry)
        )


def _check_same(ledger: Ledger, kept: Extract) -> None:
    """See that a ledger is the one that was read, and no new one or an older copy in its place.

    Raises:
        AnotherChainError: if it is another one.
        StorageError: if it is shorter.
    """
    if not isinstance(ledger, Chained):
        return
    if ledger.chain.id != kept.chain:
        raise AnotherChainError(
            f"The ledger's chain is {ledger.chain.id}, and {kept.chain} was served before. Name that ledger, or remove "
            ".sterling/plan.json if the other one is meant."
        )
    if ledger.head()[0] < kept.position:
        raise StorageError(
            f"its last entry is {ledger.head()[0]}, and it was read as far as {kept.position}: entries were lost."
        )


def by_plan(file: PlanFile, project: str, seen: Extract | None) -> Remembered:
    """A ledger that there is none of: what a signed plan holds, and each newer one that takes its place in the file.

    Args:
        file: Where the plan lies.
        project: The project.
        seen: The plan that was gone by before, than which none may be older; None for none.

    Raises:
        SignatureError: if the plan cannot be believed, or is older than what was seen.
        StorageError: if there is no plan.
    """

    def newest() -> Extract:
        found = file.read(project)
        if found is None:
            raise StorageError(f"{file.path} is not there. `sterling release --export FILE` writes a signed plan.")
        last = ledger.kept if ledger is not None else seen
        if last is not None and last.chain == found.chain and found.position < last.position:
            raise SignatureError(
                f"The plan in {file.path} is refused: it is of position {found.position}, and one of {last.position} was seen."
            )
        return found

    def look() -> Ledger:
        assert ledger is not None
        try:
            found = newest()
        except SterlingError as error:
            raise StorageError(str(error)) from error
        if ledger.kept is None or found.position > ledger.kept.position:
            ledger.take(found)
        raise StorageError(f"There is no ledger: it goes on by the plan in {file.path}.")

    ledger: Remembered | None = None
    ledger = Remembered(look, project, newest())
    return ledger


def _matches(query: Query, entry: Entry) -> bool:
    return (not query.kinds or entry.kind in query.kinds) and {*query.subjects} <= {*entry.evidence.subjects}


def keep(ledger: Remembered, file: PlanFile) -> None:
    """Keep what was read of a ledger that can be reached; where that cannot be done it is logged, and nothing else happens."""
    if ledger.trouble is not None:
        return
    with suppress(TimeoutError):
        try:
            file.write(ledger.extract())
        except SterlingError as error:
            _log.warning("the plan is not kept: %s", error)


def adopt(file: PlanFile, into: Path) -> None:
    """Note which plan was gone by, so that none that is older is believed later."""
    try:
        write_file(into, file.path.read_bytes())
    except OSError as error:
        _log.warning("that the plan was seen is not kept: %s", error)


def _body(extract: Extract) -> bytes:
    entries = [
        {
            "position": entry.position, "recorded_at": entry.recorded_at, "actor": entry.actor, "attestor": entry.attestor,
            "previous": entry.previous, "digest": entry.digest, "kind": entry.kind, "subjects": entry.evidence.subjects,
            "body": entry.body, "version": entry.evidence.version,
        }
        for entry in extract.entries
    ]  # fmt: skip
    return msgspec.json.encode({"asked": extract.asked, "entries": entries})


def _extract(chain: str, project: str, position: int, at: str, body: Any) -> Extract:
    asked = tuple((tuple(kinds), tuple(subjects)) for kinds, subjects in body["asked"])
    entries = tuple(
        Entry(
            said["position"], said["recorded_at"], said["actor"], said["attestor"], said["previous"], said["digest"],
            Evidence(said["kind"], tuple(said["subjects"]), said["body"], said["version"]),
        )
        for said in body["entries"]
    )  # fmt: skip
    return Extract(chain, project, position, at, asked, entries)
