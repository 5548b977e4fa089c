"""Raw files: what a locator names, taken into the store by content, or known by it where they lie."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.project.sources import External
from sterling.stages.fingerprints import Fingerprints

_PACKAGE = "package:"
_TABLES = ("*.parquet", "*.csv", "*.csv.gz", "*.csv.zip")


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
        erased: What must not come back, by the positions of the entries that say so.

    Attributes:
        fingerprints: What is known of files by their size and time.
        external: Files that were not taken, since the project reads them where they lie, each with what it says of it.
    """

    store: Store
    cache: Path
    erased: Mapping[Ref, int] = field(default_factory=dict)
    fingerprints: Fingerprints = field(init=False)
    external: dict[RawFile, External] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.fingerprints = Fingerprints(self.cache)

    def take(self, file: str | External, folder: Path) -> tuple[RawFile, ...]:
        """The files of a locator, each of them in the store, unless it is external.

        Raises:
            DataError: if one of them was erased.
        """
        if isinstance(file, External):
            found = tuple(self._look(*one) for one in files_of(file.file, folder))
            self.external |= dict.fromkeys(found, file)
            return found
        return tuple(self._take(*one) for one in files_of(file, folder))

    def save(self) -> None:
        """Remember what was read, in one atomic step."""
        self.fingerprints.save()

    def _look(self, locator: str, path: Path) -> RawFile:
        ref = self.fingerprints.ref_of(path)
        self._refuse_erased(locator, ref)
        return RawFile(locator, ref, path.stat().st_size)

    def _take(self, locator: str, path: Path) -> RawFile:
        if self.erased:
            self._look(locator, path)
        found = path.stat()
        known = self.fingerprints.known(path)
        if known and self.store.has(known):
            return RawFile(locator, known, found.st_size)
        with path.open("rb") as stream:
            ref = self.store.put(stream)
        self.fingerprints.remember(path, found, ref)
        return RawFile(locator, ref, found.st_size)

    def _refuse_erased(self, locator: str, ref: Ref) -> None:
        if position := self.erased.get(ref):
            raise DataError(
                f"{locator!r} is, byte for byte, the file that was erased since it held data of a person; entry {position} "
                "says so. Remove that person from the file, then run again."
            )
