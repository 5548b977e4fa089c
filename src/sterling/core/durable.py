"""Files that are written whole or not at all, and lie on the disk when the call returns."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOOK_SECONDS = 0.01
_ARRIVING = ".arriving"
_ABANDONED_SECONDS = 24 * 3600


def write_file(path: Path, data: bytes, *, mode: int = 0o644, replace: bool = True) -> bool:
    """Write a file under its name at once, durably; its folder is made where it is not there.

    Until then it is called ``.NAME-XXXXXXXX.arriving``; what a killed process left so is removed a day later, by the
    next file that is written beside it.

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
    if not path.exists():  # where it is there, the way to it is on the disk
        make_folder(path.parent)
    _clear_abandoned(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=_ARRIVING)
    arriving = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        placed = _place(arriving, path, replace=replace)
    finally:
        with suppress(OSError):  # a disk that has just failed; it is cleared later
            arriving.unlink(missing_ok=True)
    sync_folder(path.parent)
    return placed


def make_folder(path: Path) -> None:
    """Make a folder with all that is missing above it, durably.

    Everything above it is synced, since another process may have made it and been killed before it did so.

    Raises:
        OSError: if it cannot be made.

    Example:
        >>> with tempfile.TemporaryDirectory() as root:
        ...     make_folder(Path(root) / "a" / "b")
        ...     (Path(root) / "a" / "b").is_dir()
        True
    """
    path.mkdir(parents=True, exist_ok=True)
    for above in path.absolute().parents:
        with suppress(PermissionError):  # who may not read a folder has made nothing in it
            sync_folder(above)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, patience_seconds: float) -> Iterator[None]:
    """Hold a lock file, which other processes wait for; it is let go when the process ends, however it ends.

    Raises:
        TimeoutError: if another process holds it for longer.
        OSError: if it cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_seconds
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not _lock(handle):
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"another process has held it for {patience_seconds} seconds", path)
            time.sleep(_LOOK_SECONDS)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _clear_abandoned(folder: Path) -> None:
    oldest = time.time() - _ABANDONED_SECONDS
    for path in folder.glob(f".*{_ARRIVING}"):
        with suppress(OSError):  # another process clears too, or it is another user's
            if path.stat().st_mtime < oldest:
                path.unlink()


def _place(arriving: Path, path: Path, *, replace: bool) -> bool:
    if replace:
        arriving.replace(path)
        return True
    try:
        path.hardlink_to(arriving)  # unlike a rename, this fails where the name is taken
    except FileExistsError:
        return False
    return True
