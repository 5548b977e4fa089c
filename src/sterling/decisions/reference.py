"""Reference: record that a file is read where it lies, and until when its owner promised to keep it so."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from sterling.core.clock import iso
from sterling.core.elsewhere import REFERENCED
from sterling.core.errors import ConflictError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.core.refs import Ref
from sterling.project.times import micros


class ExternalFile(NamedTuple):
    """A file as it was found where it lies.

    Attributes:
        locator: How the project names it.
        ref: Its content.
        bytes: Its size.
        keep: For how long its owner keeps it unchanged, such as ``"90d"``.
    """

    locator: str
    ref: Ref
    bytes: int
    keep: str


def reference(ledger: Ledger, files: Iterable[ExternalFile], now: datetime) -> None:
    """Record files that are read where they lie, each content of each once.

    The time of a promise runs from the first reading, however often the file is read again; a longer or a shorter
    ``keep`` is a new promise, which runs from then too.

    Args:
        ledger: The project's chain.
        files: The files.
        now: When they were found.
    """
    for file in files:
        while not _on_record(entries := tuple(ledger.read(_same(file))), file):
            first = next((entry for entry in entries if entry.body["ref"] == file.ref), None)
            fact = _fact(file, first.body["since"] if first else iso(now))
            with suppress(ConflictError):
                ledger.append([fact], unless=_same(file), after=entries[-1].position if entries else 0)


def _on_record(entries: tuple[Entry, ...], file: ExternalFile) -> bool:
    newest = next((entry for entry in reversed(entries) if entry.body["ref"] == file.ref), None)
    return newest is not None and newest.body["until"] == _until(file, newest.body["since"])


def _same(file: ExternalFile) -> Query:
    return Query((REFERENCED,), (f"file:{file.locator}",))


def _fact(file: ExternalFile, since: str) -> Evidence:
    body = {"locator": file.locator, "ref": file.ref, "bytes": file.bytes, "since": since, "until": _until(file, since)}
    return Evidence(REFERENCED, (f"file:{file.locator}",), body)


def _until(file: ExternalFile, since: str) -> str:
    return iso(datetime.fromisoformat(since) + timedelta(microseconds=micros(file.keep)))
