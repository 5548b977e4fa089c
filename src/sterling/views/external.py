"""External files: what the ledger says of files that are read where they lie, and for how long they are promised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sterling.core.elsewhere import REFERENCED
from sterling.core.evidence import Entry
from sterling.core.refs import Ref


@dataclass(frozen=True, slots=True)
class Reference:
    """A file that was read where it lies.

    Attributes:
        locator: How the project names it.
        ref: Its content then.
        bytes: Its size then.
        since: When it was first read with this content, ISO 8601.
        until: How long its owner promised to keep it so, ISO 8601.
        position: Position of the entry that says so.
    """

    locator: str
    ref: Ref
    bytes: int
    since: str
    until: str
    position: int


def references(entries: Iterable[Entry]) -> tuple[Reference, ...]:
    """Every file that was read where it lies, with its newest promise, in the order in which they were first read.

    Args:
        entries: Entries of the ledger, oldest first; those of other kinds say nothing here.
    """
    found: dict[tuple[str, Ref], Reference] = {}
    for entry in entries:
        if entry.kind == REFERENCED:
            body = entry.body
            made = Reference(
                body["locator"], Ref(body["ref"]), body["bytes"], body["since"], body["until"], entry.position
            )
            found[made.locator, made.ref] = made
    return tuple(found.values())


def ended(promised: Iterable[Reference], now: datetime) -> Iterator[str]:
    """A warning for each file that nobody promises to keep any longer.

    Example:
        >>> from sterling.core.clock import EPOCH, iso
        >>> from sterling.core.refs import ref_of
        >>> read = Reference("flights.parquet", ref_of(b""), 0, iso(EPOCH), "1970-03-31T00:00:00.000000Z", 7)
        >>> next(ended([read], datetime.fromisoformat("1970-04-01T00:00:00Z")))[:60]
        "The promise to keep 'flights.parquet' as it is ended on 1970"
        >>> list(ended([read], EPOCH))
        []
    """
    for file in promised:
        if datetime.fromisoformat(file.until) < now:
            yield (
                f"The promise to keep {file.locator!r} as it is ended on {file.until[:10]}. Promise longer with keep=, "
                "or name the file without sl.External, and it is copied."
            )
