"""The store: bytes under the name that their content gives them, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sterling.core.errors import MissingBlobError
from sterling.core.refs import Ref, ref_of_file

_CHUNK = 1 << 20


class Store(Protocol):
    """Content-addressed bytes."""

    def put(self, stream: BinaryIO) -> Ref:
        """Keep what the stream holds; durable when it returns, and harmless where it is there already."""
        ...

    def open(self, ref: Ref) -> Path:
        """A local file with the bytes, to be read and never written.

        Raises:
            MissingBlobError: if the store does not hold them.
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

    Args:
        root: Folder to open or create.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put(self, stream: BinaryIO) -> Ref:
        """Keep what the stream holds."""
        sha = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(handle, "wb") as file:
                while chunk := stream.read(_CHUNK):
                    sha.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            ref = Ref(f"sha256:{sha.hexdigest()}")
            self._place(Path(name), self._path(ref))
        finally:
            Path(name).unlink(missing_ok=True)
        return ref

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
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            yield Ref(f"sha256:{path.parent.name}{path.name}")

    def delete(self, ref: Ref) -> None:
        """Let go of the bytes."""
        self._path(ref).unlink(missing_ok=True)

    def intact(self, ref: Ref) -> bool:
        """Whether the bytes are still those that their name says."""
        return ref_of_file(self.open(ref)) == ref

    def _path(self, ref: Ref) -> Path:
        name = ref.removeprefix("sha256:")
        return self._root / name[:2] / name[2:]

    def _place(self, incoming: Path, path: Path) -> None:
        if path.is_file():
            return
        path.parent.mkdir(exist_ok=True)
        incoming.chmod(0o444)
        incoming.replace(path)
        _sync_folder(path.parent)
        _sync_folder(self._root)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
