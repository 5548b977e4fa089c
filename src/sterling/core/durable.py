"""Files that are written whole or not at all, and lie on the disk when the call returns."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, data: bytes, *, mode: int = 0o644, replace: bool = True) -> bool:
    """Write a file under its name at once, durably; its folder is made where it is not there.

    Args:
        path: File to write.
        data: What it is to hold.
        mode: Who may read and write it.
        replace: Whether a file that is there gives way.

    Returns:
        Whether it was written; False only where ``replace`` is false and the file is there.

    Raises:
        OSError: if it cannot be written; what was there is unharmed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    arriving = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        placed = _place(arriving, path, replace=replace)
    finally:
        arriving.unlink(missing_ok=True)
    sync_folder(path.parent)
    return placed


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which other processes wait for; it is let go when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _place(arriving: Path, path: Path, *, replace: bool) -> bool:
    if replace:
        arriving.replace(path)
        return True
    try:
        path.hardlink_to(arriving)  # unlike a rename, this fails where the name is taken
    except FileExistsError:
        return False
    return True
