"""Fingerprints: the content of files that lie outside, read again only where their size or time has changed."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from sterling.core.durable import write_file
from sterling.core.refs import Ref, ref_of_file

_SETTLED_NS = 2_000_000_000


@dataclass
class Fingerprints:
    """Refs of files, by size and time.

    Args:
        cache: File that remembers them from one run to the next; it may be lost at any time.
    """

    cache: Path
    _known: dict[str, list[object]] = field(default_factory=dict, init=False)
    _changed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        try:
            self._known = json.loads(self.cache.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}

    def known(self, path: Path) -> Ref | None:
        """What a file's content is, if it has the size and the time that it had when it was read."""
        known = self._known.get(str(path.resolve()))
        return Ref(str(known[2])) if known and known[:2] == _mark(path.stat()) else None

    def remember(self, path: Path, found: os.stat_result, ref: Ref) -> None:
        """Keep what was read of a file.

        Args:
            path: The file.
            found: Its size and time before it was read.
            ref: Its content.
        """
        if time.time_ns() - found.st_mtime_ns > _SETTLED_NS:  # a file that is being written keeps its time
            self._known[str(path.resolve())] = [*_mark(found), ref]
            self._changed = True

    def ref_of(self, path: Path) -> Ref:
        """The ref of a file's content, read where it is not known.

        Raises:
            FileNotFoundError: if there is no such file.
        """
        if known := self.known(path):
            return known
        found = path.stat()
        ref = ref_of_file(path)
        self.remember(path, found, ref)
        return ref

    def save(self) -> None:
        """Remember what was read, in one atomic step."""
        if not self._changed:
            return
        write_file(self.cache, json.dumps(self._known).encode())
        self._changed = False


def _mark(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns]
