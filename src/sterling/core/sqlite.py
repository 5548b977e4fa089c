"""The default ledger: any number of chains in one SQLite file."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

from sterling.core.clock import Clock, iso, utcnow
from sterling.core.errors import ConflictError, StorageError
from sterling.core.evidence import GENESIS, Entry, Evidence, Query, Record, Writer, entry_of, labels
from sterling.core.labels import kind_word, subject_word
from sterling.core.ledger import ChainInfo, following
from sterling.core.sqlite_file import SQLiteFile
from sterling.core.sqlite_index import Labels, Words, find_word, found_in, select
from sterling.core.sqlite_schema import SCHEMA, VERSION, first_id, from_1, last_id

_FIRST_PAGE, _LARGEST_PAGE = 4, 4096
_BATCH = 1_000
_LOOK_SECONDS = 0.05
_CHAINS = "SELECT id, project, created_at, copied FROM chains ORDER BY project, created_at, id"
_BEGIN = "INSERT INTO chains (id, project, created_at, copied) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_BY_ID = "SELECT number, id, project, created_at, copied FROM chains WHERE id = ?"
_BY_PROJECT = "SELECT number, id, project, created_at, copied FROM chains WHERE project = ? AND NOT copied"
_OTHER_OWN = "SELECT number, id FROM chains WHERE project = ? AND NOT copied AND number <> ?"
_SET_COPIED = "UPDATE chains SET copied = ? WHERE number = ?"
_HEAD = "SELECT id - ?1, digest FROM record WHERE id > ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1"
_RECORDS = "SELECT id - ?1, previous, digest, CAST(content AS BLOB) FROM record WHERE id > ?2 AND id <= ?3 ORDER BY id"

_as_record = partial(tuple.__new__, Record)  # what Record._make does, in a third of the time


class SQLiteLedger:
    """One project's chain in a SQLite file.

    Threads and forked children may share an instance, and processes the file. Reading takes no lock between two
    entries, so that a reader that stops halfway holds nobody up.

    Args:
        path: File to open or create.
        project: Name of the project whose chain this is; it is begun, under a random id, when it is not there yet.
        actor: Who appends, such as ``user:ada``.
        attestor: What vouches for the actor: ``laptop``, ``ci`` or ``production``.
        clock: Gives the time that entries carry.
        chain: Open this chain instead, whoever it belongs to; it is begun, as `chain` says, when it is not there yet.

    Raises:
        StorageError: if the file is no ledger, is too new, or cannot be opened, read or written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, SQLiteLedger(Path(folder) / "ledger.db", "flights") as ledger:
        ...     ledger.append([Evidence("data.snapshotted"), Evidence("model.trained")])
        ...     next(ledger.read(newest_first=True)).kind
        2
        'model.trained'
    """

    def __init__(
        self,
        path: Path,
        project: str,
        *,
        actor: str = "unknown",
        attestor: str = "laptop",
        clock: Clock = utcnow,
        chain: ChainInfo | None = None,
    ) -> None:
        self._project, self._actor, self._attestor, self._clock = project, actor, attestor, clock
        self._file = SQLiteFile(path, SCHEMA, VERSION, {1: from_1})
        self._words = Words()
        self._number, self.chain = self._opened(chain)
        self._first, self._last = first_id(self._number), last_id(self._number)

    @classmethod
    def chains(cls, path: Path) -> tuple[ChainInfo, ...]:
        """Every chain in a file, by project and age; none where there is no file."""
        if not path.is_file():
            return ()
        file = SQLiteFile(path, SCHEMA, VERSION, {1: from_1})
        with file.snapshot() as db:
            return tuple(map(_chain, db.execute(_CHAINS)))

    def append(self, facts: Sequence[Evidence], *, unless: Query | None = None, after: int = 0) -> int:
        """Record facts, all or none."""
        if self.chain.copied:
            raise StorageError(
                f"The chain {self.chain.id} is a copy of one that is kept elsewhere. Append there, and push again."
            )
        with self._file.transaction() as db:
            if unless is not None and (clash := self._page(db, unless, after, None, 1, newest_first=False)):
                raise ConflictError(
                    f"{labels(clash[0].content)[0]} was recorded at {clash[0].position}, after {after}, on which this "
                    "decision was based. Read the ledger again and decide again."
                )
            position, digest = self._head(db)
            writer = Writer(self._actor, self._attestor, iso(self._clock()))
            records = writer.records(facts, position, digest)
            words = self._insert(db, records, [(fact.kind, fact.subjects) for fact in facts])
        self._words.keep(db, words)
        return position + len(records)

    def read(
        self, query: Query | None = None, *, after: int = 0, until: int | None = None, newest_first: bool = False
    ) -> Iterator[Entry]:
        """Entries that match the query, of those that are there when the first is asked for."""
        query = query or Query()
        head, _ = self.head()
        until = head if until is None else min(until, head)
        size = _FIRST_PAGE
        while True:
            with self._file.connection() as db:
                found = self._page(db, query, after, until, size, newest_first=newest_first)
            yield from map(entry_of, found)
            if len(found) < size:
                return
            after, until = (after, found[-1].position - 1) if newest_first else (found[-1].position, until)
            size = min(8 * size, _LARGEST_PAGE)

    def head(self) -> tuple[int, bytes]:
        """Position and digest of the chain's last record."""
        with self._file.connection() as db:
            return self._head(db)

    def records(self, *, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """The chain as it lies there, oldest first, in one state of the file."""
        last = self._last if until is None else self._first + until
        with self._file.snapshot() as db:
            yield from map(_as_record, db.execute(_RECORDS, (self._first, self._first + after, last)))

    def extend(self, records: Iterable[Record]) -> int:
        """Continue a copy byte for byte, all or none."""
        if not self.chain.copied:
            raise StorageError(f"The chain {self.chain.id} was begun here; only a copy is continued by copying.")
        with self._file.transaction() as db:
            position, digest = self._head(db)
            checked = list(following(records, position, digest))
            words = self._insert(db, checked, [labels(record.content) for record in checked])
        self._words.keep(db, words)
        return position + len(checked)

    def restore(self, records: Iterable[Record]) -> int:
        """Continue the chain byte for byte and make it its project's own, all or none."""
        with self._file.transaction() as db:
            self._take_over(db)
            position, digest = self._head(db)
            checked = following(records, position, digest)
            while batch := list(islice(checked, _BATCH)):
                self._insert(db, batch, [labels(record.content) for record in batch])
                position = batch[-1].position
        self.chain = self.chain._replace(copied=False)
        return position

    def index(self, *, after: int = 0, until: int | None = None) -> Iterator[tuple[str, Sequence[int]]]:
        """By word, the positions that queries find."""
        last = self._last if until is None else self._first + until
        with self._file.snapshot() as db:
            yield from found_in(db, self._first, (self._first + after, last))

    def wait(self, after: int, timeout_seconds: float) -> bool:
        """Wait for an entry behind a position, looking twenty times a second."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            if self.head()[0] > after:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SQLiteLedger({str(self._file.path)!r}, {self._project!r})"

    def _opened(self, wanted: ChainInfo | None) -> tuple[int, ChainInfo]:
        with self._file.connection() as db:
            found = self._find(db, wanted)
        if found is None:
            with self._file.transaction() as db:
                row = wanted or ChainInfo(secrets.token_hex(8), self._project, iso(self._clock()))
                db.execute(_BEGIN, row)
                found = self._find(db, wanted)
        if found is None:
            raise StorageError(
                f"{self._file.path} has another chain of {self._project!r} already, so that this one cannot be its own."
            )
        return found

    def _find(self, db: sqlite3.Connection, wanted: ChainInfo | None) -> tuple[int, ChainInfo] | None:
        sql, value = (_BY_ID, wanted.id) if wanted else (_BY_PROJECT, self._project)
        row = db.execute(sql, (value,)).fetchone()
        return (row[0], _chain(row[1:])) if row else None

    def _take_over(self, db: sqlite3.Connection) -> None:
        for number, other in db.execute(_OTHER_OWN, (self.chain.project, self._number)).fetchall():
            if db.execute(_HEAD, (first_id(number), last_id(number))).fetchone():
                raise StorageError(f"{self._file.path} has another chain of {self.chain.project!r} already, {other}.")
            db.execute(_SET_COPIED, (1, number))
        db.execute(_SET_COPIED, (0, self._number))

    def _page(
        self, db: sqlite3.Connection, query: Query, after: int, until: int | None, size: int, *, newest_first: bool
    ) -> list[Record]:
        kinds, subjects = (
            [number for word in dict.fromkeys(words) if (number := find_word(db, word))]
            for words in (map(kind_word, query.kinds), map(subject_word, query.subjects))
        )
        if (query.kinds and not kinds) or len(subjects) < len(set(query.subjects)):
            return []
        span = (self._first + after, self._last if until is None else self._first + until)
        sql, values = select(kinds, subjects, span, size, newest_first=newest_first)
        return list(map(_as_record, db.execute(sql, (self._first, *values))))

    def _head(self, db: sqlite3.Connection) -> tuple[int, bytes]:
        return db.execute(_HEAD, (self._first, self._last)).fetchone() or (0, GENESIS)

    def _insert(
        self, db: sqlite3.Connection, records: Sequence[Record], labelled: Sequence[Labels]
    ) -> dict[Labels, list[int]]:
        if not records:
            return {}
        first = self._first + records[0].position
        db.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", [(self._first + r[0], *r[1:]) for r in records])
        new = self._words.numbers(db, labelled)
        db.executemany("INSERT INTO label VALUES (?, ?)", self._words.rows(db, labelled, new, first))
        return new


def _chain(row: Sequence[Any]) -> ChainInfo:
    return ChainInfo(row[0], row[1], row[2], bool(row[3]))
