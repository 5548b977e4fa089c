"""The log of rows that arrived: durable before anybody is told so, numbered without gaps, each row once.

A row of an append source may come again with more of its cells known; a row that says nothing new is not kept again, so
whoever is not sure whether a push succeeded pushes again. What was refused is counted.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sterling.core.canonical import canonical
from sterling.core.clock import Clock, to_micros, utcnow
from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.core.sqlite_file import SQLiteFile
from sterling.features.arriving import Row, RowReader, merged

_SCHEMA = """
CREATE TABLE pushed (
    offset INTEGER PRIMARY KEY, source TEXT NOT NULL, event TEXT NOT NULL, row TEXT NOT NULL, received INTEGER NOT NULL);

CREATE INDEX pushed_by_event ON pushed (source, event, offset);

CREATE INDEX pushed_by_source ON pushed (source, offset);

CREATE TABLE followed (source TEXT NOT NULL, file TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (source, file));

CREATE TABLE refused (source TEXT NOT NULL, why TEXT NOT NULL, rows INTEGER NOT NULL, PRIMARY KEY (source, why))
"""
_HEAD = "SELECT coalesce(max(offset), 0) FROM pushed"
_ARRIVED = "SELECT coalesce(max(offset), 0) FROM pushed WHERE received < ?"
_OF_EVENT = "SELECT offset, row FROM pushed WHERE source = ? AND event = ? AND offset <= ? ORDER BY offset"
_OF_SOURCE = "SELECT offset, event FROM pushed WHERE source = ? AND offset > ? ORDER BY offset LIMIT ?"
_ROWS = "SELECT received, row FROM pushed WHERE source = ? ORDER BY offset"
_INSERT = "INSERT INTO pushed VALUES (?, ?, ?, ?, ?)"
_COUNT = "INSERT INTO refused VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows"
_POSITION = "SELECT position FROM followed WHERE source = ? AND file = ?"
_MOVE = "INSERT INTO followed VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position"
_EVER = (1 << 63) - 1


class Refusal(NamedTuple):
    """A row that was not taken.

    Attributes:
        row: Its place in the push, from 0.
        reason: What is wrong with it, as a sentence.
    """

    row: int
    reason: str


class Pushed(NamedTuple):
    """What became of rows that were pushed.

    Attributes:
        offset: Offset of the last row of the log, which is durable.
        taken: How many rows were new, or said more than before.
        repeated: How many said nothing new.
        refused: Those that were not taken.
    """

    offset: int
    taken: int
    repeated: int
    refused: tuple[Refusal, ...]


class Followed(NamedTuple):
    """How far a file was read, before some rows and after them.

    Attributes:
        file: The file.
        before: Bytes that were read before.
        after: Bytes that are read with these rows.
    """

    file: str
    before: int
    after: int


class Batch(NamedTuple):
    """Rows of one source that follow an offset, and all that is known of their events.

    Attributes:
        end: Offset of the last one; the given one where nothing follows.
        size: How many they are.
        before: The events as they were known at the given offset: one row each, or for versions all of them.
        after: The same at the end.
    """

    end: int
    size: int
    before: list[Row]
    after: list[Row]


class EventLog:
    """Rows that arrived, of all sources of a project, in one SQLite file.

    Args:
        path: File to open or create, such as ``.sterling/online.db``.
        readers: What checks the rows of each source, by its name.
        clock: Says when rows are received.

    Raises:
        StorageError: if the file cannot be opened, read or written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from sterling.project.sources import Delay, EventSource
        >>> landed = EventSource("landed", "landed.parquet", event_time="at", available_at=Delay("0m"), event_id="id")
        >>> reader = RowReader(landed, {"id": "int64", "at": "timestamp[us, tz=UTC]"})
        >>> with TemporaryDirectory() as folder:
        ...     log = EventLog(Path(folder) / "online.db", [reader])
        ...     row = {"id": 7, "at": "2013-01-01T06:00:00Z"}
        ...     log.push("landed", [row]), log.push("landed", [row])
        (Pushed(offset=1, taken=1, repeated=0, refused=()), Pushed(offset=1, taken=0, repeated=1, refused=()))
    """

    def __init__(self, path: Path, readers: Iterable[RowReader], *, clock: Clock = utcnow) -> None:
        self._file = SQLiteFile(path, _SCHEMA, 1, {})
        self._readers = {reader.source.name: reader for reader in readers}
        self._clock = clock

    def push(self, source: str, rows: Sequence[Mapping[str, Any]], *, followed: Followed | None = None) -> Pushed:
        """Take rows; they lie on the disk when the call returns.

        Args:
            source: Name of the source.
            rows: Its rows, each as JSON is read into Python.
            followed: Where they were read from; nothing is taken where that was read further meanwhile.

        Raises:
            InvalidDefinitionError: if there is no such source.
            StorageError: if they cannot be written.
        """
        reader = self.reader(source)
        refused, read = list[Refusal](), list[tuple[int, Row]]()
        for number, row in enumerate(rows):
            try:
                read.append((number, reader.read(row)))
            except DataError as error:
                refused.append(Refusal(number, str(error)))
        with self._file.transaction() as db:
            if followed and not _moved(db, source, followed):
                return Pushed(_head(db), 0, 0, ())
            invalid, before = len(refused), _head(db)
            repeated, offset = self._append(db, reader, read, refused)
            counts = [(source, "invalid", invalid), (source, "changed", len(refused) - invalid)]
            db.executemany(_COUNT, [count for count in counts if count[2]])
        return Pushed(offset, offset - before, repeated, tuple(sorted(refused)))

    def reader(self, source: str) -> RowReader:
        """What checks the rows of a source.

        Raises:
            InvalidDefinitionError: if there is no such source.
        """
        if source not in self._readers:
            raise InvalidDefinitionError(f"There is no source {source!r}. {nearest(source, self._readers)}")
        return self._readers[source]

    def head(self) -> int:
        """Offset of the last row; 0 where there is none."""
        with self._file.connection() as db:
            return _head(db)

    def arrived(self, at: int) -> int:
        """Offset of the last row that had been received before a moment; 0 where there is none.

        Args:
            at: Microseconds.
        """
        with self._file.connection() as db:
            found: int = db.execute(_ARRIVED, (at,)).fetchone()[0]
        return found

    def batch(self, source: str, after: int, most: int) -> Batch:
        """The rows of a source that follow an offset, with what is known of their events.

        Args:
            source: Name of the source.
            after: The offset.
            most: How many rows at most.
        """
        versions = self.reader(source).source.updates == "replace"
        with self._file.snapshot() as db:
            found = db.execute(_OF_SOURCE, (source, after, most)).fetchall()
            end = found[-1][0] if found else after
            events = list(dict.fromkeys(event for _, event in found))
            known = [_known(db, source, event, end, versions=versions) for event in events]
            earlier = [_known(db, source, event, after, versions=versions) for event in events]
        return Batch(
            end, len(found), [row for rows in earlier for row in rows], [row for rows in known for row in rows]
        )

    def rows(self, source: str) -> Iterator[tuple[int, Row]]:
        """Every row of a source with the time at which it was received, in microseconds, in the order of arrival."""
        with self._file.snapshot() as db:
            for received, row in db.execute(_ROWS, (source,)):
                yield received, json.loads(row)

    def position(self, source: str, file: str) -> int:
        """How many bytes of a file were read into the log."""
        with self._file.connection() as db:
            return _position(db, source, file)

    def count_refused(self, source: str, why: str, rows: int) -> None:
        """Count rows that turned out to be of no use."""
        with self._file.transaction() as db:
            db.execute(_COUNT, (source, why, rows))

    def refused(self) -> dict[tuple[str, str], int]:
        """How many rows were refused, by source and reason: ``invalid``, ``changed``, or ``tied`` versions."""
        with self._file.connection() as db:
            return {(source, why): rows for source, why, rows in db.execute("SELECT * FROM refused ORDER BY 1, 2")}

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._file.close()

    def _append(
        self, db: sqlite3.Connection, reader: RowReader, rows: Sequence[tuple[int, Row]], refused: list[Refusal]
    ) -> tuple[int, int]:
        """Write what is new of rows that were read: how many are not, and the offset of the last row then."""
        source, offset, received = reader.source, _head(db), to_micros(self._clock())
        repeated = 0
        for number, row in rows:
            event = reader.event(row)
            try:
                news = _is_new(row, [kept for _, kept in _entries(db, source.name, event, _EVER)], source.updates)
            except DataError as error:
                refused.append(Refusal(number, f"{source.name}: {event}: {error}"))
                continue
            repeated += not news
            if news:
                offset += 1
                db.execute(_INSERT, (offset, source.name, event, canonical_text(row), received))
        return repeated, offset


def canonical_text(row: Row) -> str:
    """A row as it is kept."""
    try:
        return canonical(row).decode()
    except ValueError:  # a whole number that a double cannot hold; only Python reads it
        return json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _is_new(row: Row, entries: list[Row], updates: str) -> bool:
    if updates == "replace":
        return row not in entries
    known: Row = {}
    for entry in entries:
        known = merged(known, entry)
    return not entries or merged(known, row) != known


def _known(db: sqlite3.Connection, source: str, event: str, until: int, *, versions: bool) -> Iterator[Row]:
    """What was known of an event at an offset: its versions, or the one row that its rows add up to."""
    if versions:
        return iter([{**row, OFFSET: offset} for offset, row in _entries(db, source, event, until)])
    known: Row = {}
    for _, row in _entries(db, source, event, until):
        known = merged(known, row)
    return iter([known] if known else [])


OFFSET = "_offset"
"""The column of a batch's rows with the offset of a version."""


def _entries(db: sqlite3.Connection, source: str, event: str, until: int) -> list[tuple[int, Row]]:
    return [(offset, json.loads(row)) for offset, row in db.execute(_OF_EVENT, (source, event, until))]


def _head(db: sqlite3.Connection) -> int:
    return int(db.execute(_HEAD).fetchone()[0])


def _position(db: sqlite3.Connection, source: str, file: str) -> int:
    found = db.execute(_POSITION, (source, file)).fetchone()
    return int(found[0]) if found else 0


def _moved(db: sqlite3.Connection, source: str, followed: Followed) -> bool:
    """Whether the file was at the place that the rows were read from; it is behind them then."""
    if _position(db, source, followed.file) != followed.before:
        return False
    db.execute(_MOVE, (source, followed.file, followed.after))
    return True
