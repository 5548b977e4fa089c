"""How much memory may still be taken: the machine's, the container's and the process's own limit, whichever is least."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def available() -> int:
    """Bytes that this process may still take.

    Example:
        >>> available() > 0
        True
    """
    return max(min(_limits()), 0)


def _limits() -> Iterator[int]:
    yield _free()
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield soft - taken()
    most, now = _number(_GROUP / "memory.max"), _number(_GROUP / "memory.current")
    if most is not None and now is not None:
        yield most - now


def _free() -> int:
    """What the machine has left; where it does not say, half of what it has."""
    found = _entry(Path("/proc/meminfo"), "MemAvailable:")
    return found if found is not None else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def taken() -> int:
    """Address space that this process has."""
    return _entry(Path("/proc/self/status"), "VmSize:") or 0


def _entry(path: Path, name: str) -> int | None:
    """An entry in kB of one of the kernel's tables."""
    if not path.exists():
        return None
    _, found, rest = path.read_text().partition(name)
    return int(rest.split()[0]) * 1024 if found else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # there is no such group, or it says "max"
        return None
