"""External files: read where they lie, as long as they are still what was recorded of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from sterling.core.clock import utcnow
from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.stages.fingerprints import Fingerprints
from sterling.stages.raw import files_of

State = Literal["there", "changed", "gone"]


class Promised(NamedTuple):
    """A file that is kept elsewhere.

    Attributes:
        locator: How the project names it.
        ref: Its content.
        until: Until when its owner promised to keep it so, ISO 8601.
    """

    locator: str
    ref: Ref
    until: str


@dataclass(frozen=True, slots=True)
class ExternalFiles:
    """A store that also opens files which it does not hold: where they lie, after a look at what they are.

    Args:
        store: What is held.
        files: What is not.
        folder: The project's folder.
        fingerprints: What is known of the files.
    """

    store: Store
    files: tuple[Promised, ...]
    folder: Path
    fingerprints: Fingerprints

    def put(self, stream: BinaryIO) -> Ref:
        """Keep what the stream holds."""
        return self.store.put(stream)

    def open(self, ref: Ref) -> Path:
        """A local file with the bytes.

        Raises:
            DataError: if the file where they lie is gone or has other bytes; the message says what was promised.
        """
        found = [file for file in self.files if file.ref == ref]
        if not found or self.store.has(ref):
            return self.store.open(ref)
        for file in found:
            path = path_of(file.locator, self.folder)
            if path and self.fingerprints.ref_of(path) == ref:
                return path
        file = found[-1]
        what = "was changed" if path_of(file.locator, self.folder) else "is gone"
        raise DataError(
            f"{file.locator!r} {what} since it was read where it lies{promise(file.until, utcnow())}. Bring it back, or run "
            "again on what is there now."
        )

    def has(self, ref: Ref) -> bool:
        """Whether the store holds the bytes."""
        return self.store.has(ref)

    def list(self) -> Iterator[Ref]:
        """Every ref that the store holds."""
        return self.store.list()

    def delete(self, ref: Ref) -> None:
        """Let go of the bytes that the store holds."""
        self.store.delete(ref)

    def intact(self, ref: Ref) -> bool:
        """Whether the bytes that the store holds are still those that the name says."""
        return self.store.intact(ref)


def state_of(locator: str, ref: Ref, folder: Path, fingerprints: Fingerprints) -> State:
    """What has become of a file: by its size and time, and where these have changed by its content.

    Args:
        locator: How the project names it.
        ref: Its content as it was read.
        folder: The project's folder.
        fingerprints: What is known of files.
    """
    path = path_of(locator, folder)
    if path is None:
        return "gone"
    return "there" if fingerprints.ref_of(path) == ref else "changed"


def promise(until: str, now: datetime) -> str:
    """Until when a file was promised, to end a sentence about what became of it.

    Example:
        >>> from sterling.core.clock import EPOCH
        >>> promise("1970-03-31T00:00:00Z", EPOCH)
        ', although it was to be kept until 1970-03-31'
    """
    if datetime.fromisoformat(until) < now:
        return f"; the promise to keep it ended on {until[:10]}"
    return f", although it was to be kept until {until[:10]}"


def path_of(locator: str, folder: Path) -> Path | None:
    """Where a file lies, or None where there is none."""
    try:
        ((_, path),) = files_of(locator, folder)
    except (InvalidDefinitionError, ValueError):
        return None
    return path
