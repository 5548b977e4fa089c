"""Raw files: what a locator names, taken into the store by content."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.core.refs import Ref
from sterling.core.store import Store

_PACKAGE = "package:"
_TABLES = ("*.parquet", "*.csv", "*.csv.gz", "*.csv.zip")
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as it was found.

    Attributes:
        locator: How the project names it; a file of a folder carries the folder's name before its own.
        ref: Its bytes.
        size: Their number.
    """

    locator: str
    ref: Ref
    size: int


def files_of(locator: str, folder: Path) -> tuple[tuple[str, Path], ...]:
    """The files that a locator names, each with its own locator, in order of their names.

    Args:
        locator: A file or a folder relative to the project, or ``package:NAME/PATH``.
        folder: The project's folder.

    Raises:
        InvalidDefinitionError: if nothing is there.
    """
    path = _package_path(locator) if locator.startswith(_PACKAGE) else folder / locator
    if path.is_dir():
        found = sorted(file for pattern in _TABLES for file in path.glob(pattern))
        if not found:
            raise InvalidDefinitionError(f"The folder {locator!r} holds no Parquet or CSV file.")
        return tuple((f"{locator}/{file.name}", file) for file in found)
    if not path.is_file():
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InvalidDefinitionError(f"There is no file {locator!r} ({path}). {nearest(path.name, beside)}")
    return ((locator, path),)


def _package_path(locator: str) -> Path:
    package, _, inside = locator.removeprefix(_PACKAGE).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidDefinitionError(f"{locator!r}: the package {package!r} is not installed. pip install {package}")
    return Path(spec.submodule_search_locations[0]) / inside


@dataclass
class Intake:
    """Takes raw files into a store, and reads a file again only when its size or time has changed.

    Args:
        store: Where the bytes go.
        cache: File that remembers size, time and ref of what was read; it may be lost at any time.
    """

    store: Store
    cache: Path
    _known: dict[str, list[object]] = field(default_factory=dict, init=False)
    _changed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        try:
            self._known = json.loads(self.cache.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}

    def take(self, locator: str, folder: Path) -> tuple[RawFile, ...]:
        """The files of a locator, each of them in the store."""
        return tuple(self._take(*file) for file in files_of(locator, folder))

    def save(self) -> None:
        """Remember what was read, in one atomic step."""
        if not self._changed:
            return
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.cache.parent, prefix=f".{self.cache.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self._known, file)
            Path(name).replace(self.cache)
        finally:
            Path(name).unlink(missing_ok=True)
        self._changed = False

    def _take(self, locator: str, path: Path) -> RawFile:
        stat = path.stat()
        mark = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(path.resolve()))
        if known and known[:2] == mark and self.store.has(ref := Ref(str(known[2]))):
            return RawFile(locator, ref, stat.st_size)
        with path.open("rb") as stream:
            ref = self.store.put(stream)
        if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:  # a file that is being written keeps its time
            self._known[str(path.resolve())] = [*mark, ref]
            self._changed = True
        return RawFile(locator, ref, stat.st_size)
