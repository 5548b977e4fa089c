"""Vectors as they were served, a line for each view and request, to be compared afterwards with what the history says.

All requests of an entity are kept, or none: which, the hash of the entity decides, so that an entity's days can be
followed. The lines hold entities and values, as the online state does, and nothing else of a request.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import msgspec

from sterling.core.clock import from_micros
from sterling.core.durable import make_folder
from sterling.core.errors import InvalidDefinitionError
from sterling.features.online import Value

_log = logging.getLogger("sterling.features")
_BUCKETS = 1 << 32


class Served(msgspec.Struct, frozen=True):
    """What one view said in an answer.

    Attributes:
        at: The moment that was read, in microseconds.
        version: The version that was served.
        view: Name of the view.
        digest: Its definition.
        offset: How far the state had followed the log of rows that arrive.
        entity: The entity, packed.
        cells: Its features, in order.
    """

    at: int
    version: int
    view: str
    digest: str
    offset: int
    entity: str
    cells: list[Value]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Served).decode


class ServedLog:
    """Files of served vectors, one for each day.

    Args:
        folder: Where they lie.
        share: Share of the entities that are kept, in (0, 1].

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     log = ServedLog(Path(folder))
        ...     log.append([Served(0, 1, "late", "d1", 7, '["JFK"]', [2, None])])
        ...     [(one.view, one.cells) for one in read_served(Path(folder))]
        [('late', [2, None])]
    """

    def __init__(self, folder: Path, share: float = 1.0) -> None:
        if not 0 < share <= 1:
            raise InvalidDefinitionError(f"The share of entities that are kept is {share}. It lies in (0, 1].")
        self._folder, self._below = folder, round(share * _BUCKETS)
        make_folder(folder)

    def keeps(self, entity: bytes) -> bool:
        """Whether requests of an entity are kept."""
        return int.from_bytes(hashlib.sha256(entity).digest()[:4], "big") < self._below

    def append(self, served: list[Served]) -> None:
        """Add lines in one piece; where that fails, the answer goes on without, and the log of the server says so."""
        if not served:
            return
        day = from_micros(served[0].at).astimezone(UTC).strftime("%Y-%m-%d")
        try:
            with (self._folder / f"{day}.jsonl").open("ab", buffering=0) as file:
                file.write(b"".join(_encode(one) + b"\n" for one in served))
        except OSError as error:
            _log.warning("%s served vectors are not kept: %s", len(served), error)


def read_served(folder: Path) -> Iterator[Served]:
    """Everything that was kept, day by day; a line that a kill or a full disk cut short is passed over, and said."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield _decode(line)
                except msgspec.DecodeError:
                    _log.warning("%s: line %s is cut short, and passed over", path, number)
