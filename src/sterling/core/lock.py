"""The lock of a workspace: any number of runs hold it at once, and what must not happen beside a run holds it alone.

It is the operating system's: whatever a process held is let go when it ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sterling.core.errors import BusyError, StorageError


@contextmanager
def together(path: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock beside others who hold it so; whoever holds it alone is waited for.

    Args:
        path: The lock's file.
        waiting: Called once where there is somebody to wait for.

    Raises:
        StorageError: if the lock cannot be taken at all.
    """
    with _opened(path) as handle:
        if not _taken(handle, fcntl.LOCK_SH):
            waiting()
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock while nobody else does.

    Args:
        path: The lock's file.
        what: What is done meanwhile; an error says that it must wait.

    Raises:
        BusyError: if somebody holds it.
        StorageError: if the lock cannot be taken at all.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, together(Path(folder) / "run.lock"):
        ...     with alone(Path(folder) / "run.lock", "gc"):
        ...         pass
        Traceback (most recent call last):
        sterling.core.errors.BusyError: A run, gc or erase is under way, and gc must not work beside one. Try again when it has ended.
    """
    with _opened(path) as handle:
        if not _taken(handle, fcntl.LOCK_EX):
            raise BusyError(
                f"A run, gc or erase is under way, and {what} must not work beside one. Try again when it has ended."
            )
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _open(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be opened: {error.strerror}. Choose a folder that you may write to."
        ) from error
    try:
        yield handle
    finally:
        os.close(handle)


def _taken(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError:  # somebody else made it: to hold it, reading is enough
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
