"""The store: bytes under the name that their content gives them, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

from sterling.core.errors import MissingBlobError, StorageError
from sterling.core.folders import make_folder, sync_folder
from sterling.core.refs import Ref, parse_ref, ref_of_file

_CHUNK = 1 << 20
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


class LocalStore:
    """A store in a local folder: ``ab/cdef…`` under the root.

    Bytes arrive in ``incoming/`` and are renamed once they are whole and on the disk; what a killed process left there
    is removed a day later.

    Args:
        root: Folder to open or create.

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

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._durable: set[Path] = set()
        with self._explained():
            if not self._incoming.is_dir():  # it is made last: where it is there, the way to it is on the disk
                make_folder(root)
            self._incoming.mkdir(exist_ok=True)
            self._clear_abandoned()

    def put(self, stream: BinaryIO) -> Ref:
        """Keep what the stream holds."""
        first, second = stream.read(_CHUNK), stream.read(_CHUNK)
        if not second and self._holds(ref := _named(hashlib.sha256(first)), len(first)):
            with self._explained():
                self._make_durable(self._path(ref))
            return ref
        with self._explained():
            handle, name = tempfile.mkstemp(dir=self._incoming)
        try:
            return self._receive(handle, Path(name), chain([first, second], iter(lambda: stream.read(_CHUNK), b"")))
        finally:
            with suppress(OSError):  # it has its name, or is cleared later
                Path(name).unlink()

    def open(self, ref: Ref) -> Path:
        """A local file with the bytes."""
        path = self._path(ref)
        if not path.is_file():
            raise MissingBlobError(f"The store does not hold {ref}. `sterling run` makes it again from its inputs.")
        return path

    def has(self, ref: Ref) -> bool:
        """Whether the store holds the bytes."""
        return self._path(ref).is_file()

    def list(self) -> Iterator[Ref]:
        """Every ref that the store holds."""
        for path in self._root.glob(f"{'[0-9a-f]' * 2}/{'[0-9a-f]' * 62}"):
            yield Ref(f"sha256:{path.parent.name}{path.name}")

    def delete(self, ref: Ref) -> None:
        """Let go of the bytes."""
        with self._explained():
            self._path(ref).unlink(missing_ok=True)

    def intact(self, ref: Ref) -> bool:
        """Whether the bytes are still those that their name says."""
        return ref_of_file(self.open(ref)) == ref

    def _path(self, ref: Ref) -> Path:
        name = parse_ref(ref).removeprefix("sha256:")
        return self._root / name[:2] / name[2:]

    def _holds(self, ref: Ref, size: int) -> bool:
        with suppress(OSError):
            return self._path(ref).stat().st_size == size
        return False

    def _receive(self, handle: int, incoming: Path, chunks: Iterator[bytes]) -> Ref:
        sha = hashlib.sha256()
        with os.fdopen(handle, "wb", buffering=0) as file:
            for chunk in chunks:
                sha.update(chunk)
                with self._explained():
                    _write_all(file, chunk)
            ref = _named(sha)
            with self._explained():
                if not self._holds(ref, file.tell()):
                    os.fsync(file.fileno())
                    self._place(incoming, self._path(ref))
                self._make_durable(self._path(ref))
        return ref

    def _place(self, incoming: Path, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        incoming.chmod(0o444)
        incoming.replace(path)

    def _make_durable(self, path: Path) -> None:
        """Put a blob's name on the disk, even where another process made it, which may have been killed since."""
        sync_folder(path.parent)
        if path.parent not in self._durable:
            sync_folder(self._root)
            self._durable.add(path.parent)

    def _clear_abandoned(self) -> None:
        oldest = time.time() - _ABANDONED_SECONDS
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # another process clears too
                if path.stat().st_mtime < oldest:
                    path.unlink()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"The store at {self._root} cannot be written: {error.strerror}. Make room, or choose a folder that "
                "you may write to with STERLING_STORE. What it held is unharmed."
            ) from error


def _named(sha: hashlib._Hash) -> Ref:
    return Ref(f"sha256:{sha.hexdigest()}")


def _write_all(file: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]
