"""The store: bytes under the name that their content gives them, written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

from sterling.core.durable import make_folder, sync_folder
from sterling.core.errors import MissingBlobError, StorageError
from sterling.core.refs import Ref, parse_ref, ref_of_file

_CHUNK = 1 << 18  # what was read is still in the cache of the processor when it is hashed and written
_ABANDONED_SECONDS = 24 * 3600


class Store(Protocol):
    """Content-addressed bytes, shared by any number of processes."""

    def put(self, stream: BinaryIO) -> Ref:
        """Keep what the stream holds; durable when it returns, and harmless where it is there already.

        Raises:
            StorageError: if the bytes cannot be written; nothing is kept then.
        """
        ...

    def open(self, ref: Ref) -> Path:
        """A local file with the bytes, to be read and never written.

        Raises:
            MissingBlobError: if the store does not hold them.
            InvalidDefinitionError: if the text is no ref.
        """
        ...

    def has(self, ref: Ref) -> bool:
        """Whether the store holds the bytes."""
        ...

    def list(self) -> Iterator[Ref]:
        """Every ref that the store holds, in no order."""
        ...

    def delete(self, ref: Ref) -> None:
        """Let go of the bytes, where they are held."""
        ...

    def intact(self, ref: Ref) -> bool:
        """Whether the bytes that are held, there and not in a cache, are still those that the name says.

        Raises:
            MissingBlobError: if the store does not hold them.
        """
        ...


class LocalStore:
    """A store in a local folder: ``ab/cdef…`` under the root.

    Bytes arrive in ``incoming/`` and are renamed once they are whole and on the disk; what a killed process left there
    is removed a day later.

    Args:
        root: Folder to open or create.
        setting: Environment variable that chooses the folder, for errors to name.

    Raises:
        StorageError: if the folder cannot be made.

    Example:
        >>> from io import BytesIO
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = LocalStore(Path(folder))
        ...     ref = store.put(BytesIO(b"weights"))
        ...     store.open(ref).read_bytes()
        b'weights'
    """

    def __init__(self, root: Path, *, setting: str = "STERLING_STORE") -> None:
        self._root = root
        self._setting = setting
        self._incoming = root / "incoming"
        self._entered = set[Path]()  # folders that are known to stand in the root on the disk
        with self._explained("written"):
            if not self._incoming.is_dir():  # it is made last: where it is there, the way to it is on the disk
                make_folder(root)
            self._incoming.mkdir(exist_ok=True)
            self._clear_abandoned()

    def put(self, stream: BinaryIO, *, admit: Callable[[Ref, Path], object] | None = None) -> Ref:
        """Keep what the stream holds; other bytes that lie under its name are replaced.

        Args:
            stream: The bytes.
            admit: Called with the ref and a file of the bytes before they are held; what it raises keeps them out.
        """
        first, second = stream.read(_CHUNK), stream.read(_CHUNK)
        if not second and self._holds(ref := _named(hashlib.sha256(first))):
            return self._take_in(ref, self.path(ref), admit)
        with self._arriving() as (file, path):
            ref = self._receive(file, chain([first, second], iter(lambda: stream.read(_CHUNK), b"")))
            return self._take_in(ref, path, admit, file)

    def open(self, ref: Ref) -> Path:
        """A local file with the bytes."""
        if not self.has(ref):
            raise MissingBlobError(f"The store does not hold {ref}. `sterling run` makes it again from its inputs.")
        return self.path(ref)

    def has(self, ref: Ref) -> bool:
        """Whether the store holds the bytes."""
        with self._explained("read"):
            return self.path(ref).is_file()

    def list(self) -> Iterator[Ref]:
        """Every ref that the store holds."""
        for path in self._root.glob(f"{'[0-9a-f]' * 2}/{'[0-9a-f]' * 62}"):
            yield Ref(f"sha256:{path.parent.name}{path.name}")

    def delete(self, ref: Ref) -> None:
        """Let go of the bytes, for good when it returns."""
        path = self.path(ref)
        with self._explained("written"), suppress(FileNotFoundError):
            path.unlink()
            sync_folder(path.parent)

    def intact(self, ref: Ref) -> bool:
        """Whether the bytes are still those that their name says; those that the disk cannot read any more are not."""
        path = self.open(ref)
        with self._explained("read"):
            try:
                return ref_of_file(path) == ref
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return False

    def path(self, ref: Ref) -> Path:
        """Where the bytes lie, if they are held."""
        name = parse_ref(ref).removeprefix("sha256:")
        return self._root / name[:2] / name[2:]

    def _holds(self, ref: Ref) -> bool:
        with suppress(OSError):
            return ref_of_file(self.path(ref)) == ref
        return False

    @contextmanager
    def _arriving(self) -> Iterator[tuple[FileIO, Path]]:
        """A new file among what arrives, gone at the end unless it was given a name."""
        with self._explained("written"):
            handle, name = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                yield file, Path(name)
        finally:
            with suppress(OSError):  # a disk that has just failed; the next day clears it
                Path(name).unlink(missing_ok=True)

    def _receive(self, file: FileIO, chunks: Iterator[bytes]) -> Ref:
        sha = hashlib.sha256()
        for chunk in chunks:
            sha.update(chunk)
            with self._explained("written"):
                _write_all(file, chunk)
        return _named(sha)

    def _take_in(
        self, ref: Ref, whole: Path, admit: Callable[[Ref, Path], object] | None, file: FileIO | None = None
    ) -> Ref:
        if admit:
            admit(ref, whole)
        path = self.path(ref)
        with self._explained("written"):
            if file and not self._holds(ref):
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
                path.parent.mkdir(exist_ok=True)
                whole.replace(path)
            self._enter(path)
        return ref

    def _enter(self, path: Path) -> None:
        """Have the name on the disk, whoever gave it: another process may have, and not have come this far."""
        sync_folder(path.parent)
        if path.parent not in self._entered:
            sync_folder(self._root)
            self._entered.add(path.parent)

    def _clear_abandoned(self) -> None:
        oldest = time.time() - _ABANDONED_SECONDS
        for path in self._incoming.iterdir():
            with suppress(OSError):  # another process clears too, or it is another user's
                if path.stat().st_mtime < oldest:
                    path.unlink()

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            mend = "Make room" if done == "written" else "Make it readable"
            raise StorageError(
                f"The store at {self._root} cannot be {done}: {error.strerror}. {mend}, or choose another folder with "
                f"{self._setting}. What it held is unharmed."
            ) from error


def _named(sha: hashlib._Hash) -> Ref:
    return Ref(f"sha256:{sha.hexdigest()}")


def _write_all(file: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]
