"""A store for work beside the project's own: what is made on the way goes elsewhere, what was given is read where it lies."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sterling.core.errors import MissingBlobError
from sterling.core.refs import Ref
from sterling.core.store import Store


@dataclass(frozen=True, slots=True)
class Scratch:
    """A store that holds what is made, and opens of another what may be read from there.

    Args:
        made: Where what is made goes.
        given: Where what was given lies.
        readable: What of that may be read; all of it where it is None. Executing a run again must make the rest anew.
    """

    made: Store
    given: Store
    readable: Container[Ref] | None = None

    def put(self, stream: BinaryIO) -> Ref:
        """Keep what the stream holds, beside the project's own store."""
        return self.made.put(stream)

    def open(self, ref: Ref) -> Path:
        """A local file with the bytes.

        Raises:
            MissingBlobError: if they were not made, and are not among what was given.
        """
        if self.made.has(ref):
            return self.made.open(ref)
        if self._may_read(ref):
            return self.given.open(ref)
        raise MissingBlobError(f"{ref} was not made again.")

    def has(self, ref: Ref) -> bool:
        """Whether the bytes were made, or given."""
        return self.made.has(ref) or (self._may_read(ref) and self.given.has(ref))

    def list(self) -> Iterator[Ref]:
        """Every ref that was made."""
        return self.made.list()

    def delete(self, ref: Ref) -> None:
        """Let go of what was made."""
        self.made.delete(ref)

    def intact(self, ref: Ref) -> bool:
        """Whether the bytes are still those that the name says."""
        return self.made.intact(ref) if self.made.has(ref) else self.given.intact(ref)

    def _may_read(self, ref: Ref) -> bool:
        return self.readable is None or ref in self.readable
