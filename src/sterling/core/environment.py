"""The environment of a run: what it ran with besides its inputs, so that a difference can be named later.

Recorded are names, versions, hashes and counts; never the value of an environment variable, and no address of a
repository or an index, which may hold a secret.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from sterling.core.canonical import digest
from sterling.core.code import sources_of_sterling
from sterling.core.processors import available_threads

ENVIRONMENT = "environment.recorded"
_DISTRIBUTION = "sterling-ml"
_OF_THE_INSTALLER = frozenset({"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"})
_GIT_SECONDS = 5.0
_LARGE = 1 << 20
"""Untracked files above this count by name and size alone."""


class Installed(TypedDict):
    """An installed distribution, as JSON.

    Attributes:
        name: Its normalised name.
        version: Its version.
        files: Hash, in hex, of the names and hashes of the files that it installed; None where it has no RECORD.
        needed: Whether Sterling needs it, directly or not, without extras.
    """

    name: str
    version: str
    files: str | None
    needed: bool


def environment_of(folder: Path, blas: Iterable[Mapping[str, Any]] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """What this process runs with.

    Args:
        folder: The project's folder, whose git repository is looked at where there is one.
        blas: The BLAS libraries that are loaded, each with its version, kernel and threads.

    Returns:
        The environment, small, and its lock: every distribution, and the hash of every module of Sterling's own.
    """
    lock = {"distributions": list(installed()), "modules": dict(sources_of_sterling())}
    commit, dirty = repository(folder)
    found = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "threads": available_threads(),
        "blas": [dict(one) for one in blas],
        "distributions": len(lock["distributions"]),
        "commit": commit,
        "dirty": dirty,
    }
    return found | {"environment": digest(found | {"lock": digest(lock)})}, lock


@cache
def installed() -> tuple[Installed, ...]:
    """Every distribution that this process can import, by name; kept for the life of the process."""
    found: dict[str, tuple[metadata.Distribution, _Said]] = {}
    for distribution in metadata.distributions():
        said = _said(distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or "")
        if said.name:
            found.setdefault(normalised(said.name), (distribution, said))
    needed = _closure(_DISTRIBUTION, {name: said.requires for name, (_, said) in found.items()})
    return tuple(
        Installed(name=name, version=said.version, files=_files(one), needed=name in needed)
        for name, (one, said) in sorted(found.items())
    )


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it.

    Example:
        >>> normalised("Typing_Extensions")
        'typing-extensions'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def repository(folder: Path) -> tuple[str | None, str | None]:
    """The commit that a folder's git repository is at, and a hash of what is not committed there.

    Returns:
        The commit, None without a repository or git; the hash in hex, None where everything is committed.
    """
    try:
        commit = _git(folder, "rev-parse", "HEAD").decode().strip()
        changed = _git(folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--", ":/", *_NOT_OURS)
        others = _git(folder, "ls-files", "--others", "--exclude-standard", "-z", "--full-name", "--", ":/", *_NOT_OURS)
        root = Path(_git(folder, "rev-parse", "--show-toplevel").decode().strip())
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None, None
    untracked = [
        (name.decode(errors="replace"), _content(root / os.fsdecode(name))) for name in others.split(b"\0") if name
    ]
    if not changed and not untracked:
        return commit, None
    return commit, digest({"diff": hashlib.sha256(changed).hexdigest(), "untracked": sorted(untracked)})


_NOT_OURS = (":(top,exclude,glob)**/.sterling/**",)


def _git(folder: Path, *arguments: str) -> bytes:
    """What git says; it runs no hook of the repository's and takes no lock in it."""
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(command, check=True, capture_output=True, timeout=_GIT_SECONDS, env=quiet).stdout


def _content(path: Path) -> str:
    try:
        size = path.stat().st_size
        return f"{size} bytes" if size > _LARGE else hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


def _files(distribution: metadata.Distribution) -> str | None:
    """Hash of what a distribution installed, as its RECORD says it, without what the installer and the place add."""
    record = distribution.read_text("RECORD")
    if record is None:
        return None
    return hashlib.sha256("\n".join(sorted(_installed_files(record))).encode()).hexdigest()


def _installed_files(record: str) -> Iterator[str]:
    for line in record.splitlines():
        path, _, rest = line.partition(",sha256=")
        beside = path.startswith(("..", "/", '"')) or "__pycache__/" in path
        if rest and not beside and path.rpartition("/")[2] not in _OF_THE_INSTALLER:
            yield f"{path} {rest.partition(',')[0]}"


class _Said(NamedTuple):
    """What the head of a METADATA file says; parsing the whole of it as an e-mail takes ten times as long."""

    name: str
    version: str
    requires: tuple[str, ...]


def _said(text: str) -> _Said:
    fields = [line.partition(": ") for line in text.partition("\n\n")[0].splitlines()]
    first = {name: value.strip() for name, _, value in reversed(fields)}
    return _Said(
        first.get("Name", ""), first.get("Version", ""), tuple(v for name, _, v in fields if name == "Requires-Dist")
    )


def _closure(start: str, requires: Mapping[str, Iterable[str]]) -> set[str]:
    """A distribution and all that it requires, extras left out."""
    known, open_ends = {start}, [start]
    for name in open_ends:
        wanted = {_required(line) for line in requires.get(name, ()) if "extra ==" not in line} & set(requires)
        open_ends += sorted(wanted - known)
        known |= wanted
    return known


def _required(requirement: str) -> str:
    return normalised(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])


@cache
def _cpu() -> str:
    """The processor's own name for itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
