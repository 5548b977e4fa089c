"""The default ledger: any number of chains in one SQLite file."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from sterling.core.canonical import canonical
from sterling.core.clock import Clock, iso, utcnow
from sterling.core.errors import ConflictError, TamperedLedgerError
from sterling.core.evidence import GENESIS, Entry, Evidence, Query, link
from sterling.core.ledger import Broken
from sterling.core.sqlite_file import SQLiteFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS chain (id TEXT PRIMARY KEY, project TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    chain TEXT NOT NULL REFERENCES chain, position INTEGER NOT NULL, recorded_at TEXT NOT NULL, actor TEXT NOT NULL,
    attestor TEXT NOT NULL, kind TEXT NOT NULL, document BLOB NOT NULL, previous TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (chain, position)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_by_kind ON entry (chain, kind, position);
CREATE TABLE IF NOT EXISTS subject (
    chain TEXT NOT NULL, subject TEXT NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (chain, subject, position)) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE UPDATE ON entry
    BEGIN SELECT RAISE(ABORT, 'ledger entries are never updated'); END;
CREATE TRIGGER IF NOT EXISTS entries_are_kept BEFORE DELETE ON entry
    BEGIN SELECT RAISE(ABORT, 'ledger entries are never deleted'); END;
"""
_SCHEMA_VERSION = 1
_COLUMNS = "e.position, e.recorded_at, e.actor, e.attestor, e.document, e.previous, e.digest"
_FIRST_PAGE, _LARGEST_PAGE = 4, 4096
_NO_END = 2**63 - 1
_WHAT_QUERIES_GO_BY = """
SELECT position, 'entry', kind, document FROM entry WHERE chain = :chain
UNION ALL SELECT position, 'kind', kind, NULL FROM entry INDEXED BY entry_by_kind WHERE chain = :chain
UNION ALL SELECT position, 'subject', subject, NULL FROM subject WHERE chain = :chain
ORDER BY 1
"""

_Row = tuple[int, str, str, str, bytes, str, str]


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
        self, path: Path, project: str, *, actor: str = "unknown", attestor: str = "laptop", clock: Clock = utcnow
    ) -> None:
        self._project, self._actor, self._attestor, self._clock = project, actor, attestor, clock
        self._file = SQLiteFile(path, _SCHEMA, _SCHEMA_VERSION)
        self.chain: str = self._find_chain() or self._begin_chain()

    def append(self, facts: Sequence[Evidence], *, unless: Query | None = None, after: int = 0) -> int:
        """Record facts, all or none."""
        with self._file.transaction() as db:
            if unless is not None and (clash := self._page(unless, after, _NO_END, 1, newest_first=False)):
                kind, position = _entry(*clash[0]).kind, clash[0][0]
                raise ConflictError(
                    f"{kind} was recorded at {position}, after {after}, on which this decision was based. "
                    "Read the ledger again and decide again."
                )
            position, digest = self._head(db)
            for fact in facts:
                position, digest = self._insert(db, fact, position + 1, digest)
        return position

    def read(self, query: Query | None = None, *, after: int = 0, newest_first: bool = False) -> Iterator[Entry]:
        """Entries after a position that match the query, of those that are there when the first is asked for.

        Raises:
            TamperedLedgerError: where an entry was changed so that it is none any more.
        """
        query = query or Query()
        with self._file.connection() as db:
            last = self._head(db)[0]
        size = _FIRST_PAGE
        while rows := self._page(query, after, last, size, newest_first=newest_first):
            for row in rows:
                yield _entry(*row)
            if len(rows) < size:
                return
            after, last = (after, rows[-1][0] - 1) if newest_first else (rows[-1][0], last)
            size = min(8 * size, _LARGEST_PAGE)

    def check_index(self) -> Broken | None:
        """The first entry that a query would not find under what it says, or would find under what it does not say."""
        with self._file.snapshot() as db:
            return next(_index_faults(db, self.chain), None)

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SQLiteLedger({str(self._file.path)!r}, {self._project!r})"

    def _find_chain(self) -> str | None:
        with self._file.connection() as db:
            found = db.execute("SELECT id FROM chain WHERE project = ?", (self._project,)).fetchone()
        return found[0] if found else None

    def _begin_chain(self) -> str:
        with self._file.transaction() as db:
            row = (secrets.token_hex(8), self._project, iso(self._clock()))
            db.execute("INSERT INTO chain VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
            (found,) = db.execute("SELECT id FROM chain WHERE project = ?", (self._project,)).fetchone()
        return str(found)

    def _page(self, query: Query, after: int, last: int, size: int, *, newest_first: bool) -> list[_Row]:
        sql, values = _select(self.chain, query, after, last, size, newest_first=newest_first)
        with self._file.connection() as db:
            return db.execute(sql, values).fetchall()

    def _head(self, db: sqlite3.Connection) -> tuple[int, str]:
        sql = "SELECT position, digest FROM entry WHERE chain = ? ORDER BY position DESC LIMIT 1"
        return db.execute(sql, (self.chain,)).fetchone() or (0, GENESIS)

    def _insert(self, db: sqlite3.Connection, fact: Evidence, position: int, previous: str) -> tuple[int, str]:
        recorded_at = iso(self._clock())
        digest = link(previous, position, recorded_at, self._actor, self._attestor, fact)
        document = canonical(fact.document())
        row = (self.chain, position, recorded_at, self._actor, self._attestor, fact.kind, document, previous, digest)
        db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        db.executemany("INSERT INTO subject VALUES (?, ?, ?)", [(self.chain, s, position) for s in set(fact.subjects)])
        return position, digest


def _select(chain: str, query: Query, after: int, last: int, size: int, *, newest_first: bool) -> tuple[str, list[Any]]:
    """One page of matching entries: along the first subject's rows where subjects are asked for, as they are few."""
    tables, lead, values = "entry e", "e", [chain, after, last]
    if query.subjects:
        tables, lead = "subject s CROSS JOIN entry e ON e.chain = s.chain AND e.position = s.position", "s"
    where = [f"{lead}.chain = ?", f"{lead}.position > ?", f"{lead}.position <= ?"]
    for first in query.subjects[:1]:
        where.append("s.subject = ?")
        values.append(first)
    for other in query.subjects[1:]:
        where.append("EXISTS (SELECT 1 FROM subject o WHERE o.chain = ? AND o.subject = ? AND o.position = e.position)")
        values += [chain, other]
    if query.kinds:
        where.append(f"e.kind IN ({', '.join('?' * len(query.kinds))})")
        values += query.kinds
    direction = "DESC" if newest_first else "ASC"
    sql = f"SELECT {_COLUMNS} FROM {tables} WHERE {' AND '.join(where)} ORDER BY {lead}.position {direction} LIMIT ?"  # noqa: S608  placeholders only
    return sql, [*values, size]


def _entry(
    position: int, recorded_at: str, actor: str, attestor: str, document: bytes, previous: str, digest: str
) -> Entry:
    return Entry(position, recorded_at, actor, attestor, previous, digest, _evidence(position, document))


def _evidence(position: int, document: bytes) -> Evidence:
    try:
        fact = json.loads(document)
        return Evidence(fact["kind"], tuple(fact["subjects"]), fact["body"], fact["version"])
    except (ValueError, TypeError, KeyError) as error:
        raise TamperedLedgerError(f"entry {position} was changed: it cannot be read any more", position) from error


def _index_faults(db: sqlite3.Connection, chain: str) -> Iterator[Broken]:
    rows = db.execute(_WHAT_QUERIES_GO_BY, {"chain": chain})
    for position, group in groupby(rows, itemgetter(0)):
        told = list(group)
        documents = [(kind, document) for _, source, kind, document in told if source == "entry"]
        kinds = {kind for _, source, kind, _ in told if source != "subject"}
        subjects = {subject for _, source, subject, _ in told if source == "subject"}
        if reason := _index_fault(position, documents, kinds, subjects):
            yield Broken(position, reason)


def _index_fault(position: int, documents: list[tuple[str, bytes]], kinds: set[str], subjects: set[str]) -> str | None:
    if not documents:
        return f"entry {position} is missing: queries still look for it"
    [(_, document)] = documents
    try:
        fact = _evidence(position, document)
        unchanged = canonical(fact.document()) == document
    except (TamperedLedgerError, ValueError, TypeError):
        unchanged = False
    if not unchanged:
        return f"entry {position} was changed: its bytes are not those that were recorded"
    if kinds != {fact.kind}:
        return f"entry {position} says {fact.kind!r}, but queries find it as {sorted(kinds)}"
    if subjects != set(fact.subjects):
        return f"entry {position} carries {list(fact.subjects)}, but queries find it under {sorted(subjects)}"
    return None
