"""Folders that are still there after a loss of power: a name is on the disk only once its folder was synced."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def make_folder(path: Path) -> None:
    """Make a folder with all that is missing above it, durably.

    Everything above it is synced, since another process may have made it and been killed before it did so.

    Raises:
        OSError: if it cannot be made.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     make_folder(Path(root) / "a" / "b")
        ...     (Path(root) / "a" / "b").is_dir()
        True
    """
    path.mkdir(parents=True, exist_ok=True)
    for above in path.absolute().parents:
        with suppress(PermissionError):  # who may not read a folder has made nothing in it
            sync_folder(above)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
