"""The default ledger: any number of chains in one SQLite file."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sterling.core.canonical import canonical
from sterling.core.clock import Clock, iso, utcnow
from sterling.core.errors import ConflictError
from sterling.core.evidence import GENESIS, Entry, Evidence, Query, link

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
_COLUMNS = "position, recorded_at, actor, attestor, document, previous, digest"
_BUSY_SECONDS = 60.0


class SQLiteLedger:
    """One project's chain in a SQLite file.

    Args:
        path: File to open or create.
        project: Name of the project whose chain this is; it is begun, under a random id, when it is not there yet.
        actor: Who appends, such as ``user:ada``.
        attestor: What vouches for the actor: ``laptop``, ``ci`` or ``production``.
        clock: Gives the time that entries carry.
    """

    def __init__(
        self, path: Path, project: str, *, actor: str = "unknown", attestor: str = "laptop", clock: Clock = utcnow
    ) -> None:
        self._path, self._project = path, project
        self._actor, self._attestor, self._clock = actor, attestor, clock
        self._local = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction() as db:
            found = db.execute("SELECT id FROM chain WHERE project = ?", (project,)).fetchone()
            self.chain: str = found[0] if found else secrets.token_hex(8)
            if not found:
                db.execute("INSERT INTO chain VALUES (?, ?, ?)", (self.chain, project, iso(clock())))

    def append(self, facts: Sequence[Evidence], *, unless: Query | None = None, after: int = 0) -> int:
        """Record facts, all or none."""
        with self._transaction() as db:
            if unless is not None and (clash := next(self.read(unless, after=after), None)):
                raise ConflictError(
                    f"{clash.kind} was recorded at {clash.position}, after {after}, on which this decision was based. "
                    "Read the ledger again and decide again."
                )
            position, digest = self._head(db)
            for fact in facts:
                position, digest = self._insert(db, fact, position + 1, digest)
        return position

    def read(self, query: Query | None = None, *, after: int = 0, newest_first: bool = False) -> Iterator[Entry]:
        """Entries after a position that match the query."""
        query = query or Query()
        where, values = ["chain = ?", "position > ?"], [self.chain, after, *query.kinds]
        if query.kinds:
            where.append(f"kind IN ({', '.join('?' * len(query.kinds))})")
        for subject in query.subjects:
            where.append("position IN (SELECT position FROM subject WHERE chain = ? AND subject = ?)")
            values += [self.chain, subject]
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {_COLUMNS} FROM entry WHERE {' AND '.join(where)} ORDER BY position {order}"  # noqa: S608  placeholders only
        for row in self._db.execute(sql, values):
            yield _entry(*row)

    @property
    def _db(self) -> sqlite3.Connection:
        """This thread's and this process's own connection: SQLite's must not cross a fork."""
        if getattr(self._local, "pid", None) != os.getpid():
            db = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_SECONDS)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(_SCHEMA)
            self._local.db, self._local.pid = db, os.getpid()
        connection: sqlite3.Connection = self._local.db
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

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


def _entry(
    position: int, recorded_at: str, actor: str, attestor: str, document: bytes, previous: str, digest: str
) -> Entry:
    fact = json.loads(document)
    evidence = Evidence(fact["kind"], tuple(fact["subjects"]), fact["body"], fact["version"])
    return Entry(position, recorded_at, actor, attestor, previous, digest, evidence)
