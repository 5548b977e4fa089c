"""Copies of remote blobs on this machine: bounded, shared by processes, and never taken from one that reads them."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sterling.core.errors import InvalidDefinitionError, StorageError
from sterling.core.refs import Ref
from sterling.core.store import LocalStore

_DEFAULT_GB = "20"
_SLACK = 20  # the folder is measured again whenever a twentieth of the limit has been added

_leases: dict[Path, _Lease] = {}


def cache_folder() -> Path:
    """Where copies are kept: what ``STERLING_CACHE`` says, else ``~/.cache/sterling``.

    Raises:
        StorageError: if there is neither that variable nor a home.
    """
    if named := os.environ.get("STERLING_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "sterling"
    except RuntimeError as error:
        raise StorageError("This user has no home to keep copies in. Name a folder with STERLING_CACHE.") from error


def cache_limit() -> float:
    """How many bytes the copies may take: ``STERLING_CACHE_GB`` times 10⁹, else 20 GB.

    Raises:
        InvalidDefinitionError: if the variable holds no number above 0.
    """
    text = os.environ.get("STERLING_CACHE_GB") or _DEFAULT_GB
    with suppress(ValueError):
        if (limit := float(text) * 1e9) > 0:
            return limit
    raise InvalidDefinitionError(f"STERLING_CACHE_GB is {text!r}, which is no number above 0. Example: 20")


class Cache:
    """A folder with the blobs of remote stores, the least recently used evicted beyond a limit.

    What a process has opened stays for as long as the process lives, beyond the limit if need be; any number of
    processes and stores may share the folder.

    Args:
        root: Folder to open or create.
        store: Name of the store among those that share the folder.
        limit: Bytes of all of them together.

    Raises:
        StorageError: if the folder cannot be made.
    """

    def __init__(self, root: Path, store: str, *, limit: float) -> None:
        self._root = root.absolute()
        self._limit = limit
        self._added = limit  # so that the first addition measures
        self._blobs = LocalStore(self._root / store, setting="STERLING_CACHE")
        with self._explained():
            (self._root / "leases").mkdir(exist_ok=True)

    def put(self, stream: BinaryIO, *, admit: Callable[[Ref, Path], object]) -> Ref:
        """Keep a copy of what the stream holds, once ``admit`` has taken it without raising."""
        ref = self._blobs.put(stream, admit=admit)
        with suppress(OSError):  # evicted already, by a process with a smaller limit
            self._added += self._blobs.path(ref).stat().st_size
        if self._added * _SLACK >= self._limit:
            self._evict()
            self._added = 0
        return ref

    def open(self, ref: Ref) -> Path | None:
        """The copy, which stays while this process lives; None where there is none."""
        path = self._blobs.path(ref)
        with self._locked(fcntl.LOCK_SH):
            self._lease().add(path.relative_to(self._root))
            try:
                os.utime(path)
            except FileNotFoundError:
                return None
        return path

    def drop(self, ref: Ref) -> None:
        """Let go of the copy, whoever reads it."""
        self._blobs.delete(ref)

    def _evict(self) -> None:
        with self._locked(fcntl.LOCK_EX):
            leased = set(self._leased())
            found = sorted((stat.st_mtime, stat.st_size, path) for path, stat in self._copies())
            excess = sum(size for _, size, _ in found) - self._limit
            for _, size, path in found:
                if excess <= 0:
                    return
                if path not in leased:
                    path.unlink(missing_ok=True)
                    excess -= size

    def _copies(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._root.glob("*/[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):  # dropped meanwhile
                yield path, path.stat()

    def _leased(self) -> Iterator[Path]:
        """What living processes have opened; the leases of those that have ended are removed."""
        for lease in (self._root / "leases").iterdir():
            with lease.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield from (self._root / os.fsdecode(line) for line in file.read().splitlines())
                else:
                    lease.unlink()

    def _lease(self) -> _Lease:
        """This process's lease, made under the lock, so that no other takes it for one that has ended."""
        if self._root not in _leases:
            _leases[self._root] = _Lease(self._root / "leases")
        return _leases[self._root]

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with self._explained(), (self._root / "lock").open("ab") as file:
            fcntl.flock(file, how)
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"The cache at {self._root} cannot be used: {error.strerror}. Choose a folder on this machine that you "
                "may write to with STERLING_CACHE."
            ) from error


class _Lease:
    """What this process has opened: a file that is locked for as long as the process, or a fork of it, lives."""

    def __init__(self, folder: Path) -> None:
        self._noted = set[Path]()
        self._handle, _ = tempfile.mkstemp(dir=folder)
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def add(self, path: Path) -> None:
        if path not in self._noted:
            os.write(self._handle, os.fsencode(path) + b"\n")
            self._noted.add(path)
