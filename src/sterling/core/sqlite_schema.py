"""The tables of a SQLite ledger, and how files of earlier versions become files of this one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from sterling.core.canonical import canonical

VERSION = 2
CHAIN_BITS = 40  # a record's id is its chain's number and, in the lower bits, its position

SCHEMA = """
CREATE TABLE chains (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, created_at TEXT NOT NULL,
    copied INTEGER NOT NULL);

CREATE UNIQUE INDEX own_chain ON chains (project) WHERE NOT copied;

CREATE TABLE record (
    id INTEGER PRIMARY KEY, previous BLOB NOT NULL, digest BLOB NOT NULL, content BLOB NOT NULL);

CREATE TABLE word (number INTEGER PRIMARY KEY, text TEXT NOT NULL);

CREATE UNIQUE INDEX word_by_text ON word (text);

CREATE TABLE label (word INTEGER NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (word, record)) WITHOUT ROWID;

CREATE TRIGGER records_stay BEFORE UPDATE ON record
    BEGIN SELECT RAISE(ABORT, 'ledger entries are never updated'); END;

CREATE TRIGGER records_are_kept BEFORE DELETE ON record
    BEGIN SELECT RAISE(ABORT, 'ledger entries are never deleted'); END
"""


def first_id(number: int) -> int:
    """The id before that of a chain's first record."""
    return number << CHAIN_BITS


def last_id(number: int) -> int:
    """The largest id that a record of a chain may have."""
    return (number + 1 << CHAIN_BITS) - 1


def from_1(db: sqlite3.Connection) -> None:
    """Version 1 kept what an entry says in columns; version 2 keeps the bytes that its digest is over.

    Digests and positions stay. An entry that was tampered with keeps its fault, so that it is found here too.
    """
    for statement in SCHEMA.split(";\n\n"):
        db.execute(statement)
    db.execute("INSERT INTO chains (id, project, created_at, copied) SELECT id, project, created_at, 0 FROM chain")
    db.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", _records_of_1(db))
    db.execute("INSERT INTO word (text) SELECT DISTINCT 'k:' || kind FROM entry")
    db.execute("INSERT INTO word (text) SELECT DISTINCT 's:' || subject FROM subject")
    db.execute(_LABELS_OF_1.format(prefix="k:", column="kind", table="entry", bits=CHAIN_BITS))
    db.execute(_LABELS_OF_1.format(prefix="s:", column="subject", table="subject", bits=CHAIN_BITS))
    for table in ("subject", "entry", "chain"):
        db.execute(f"DROP TABLE {table}")


_LABELS_OF_1 = """
INSERT INTO label SELECT w.number, (c.number << {bits}) + o.position FROM {table} o
JOIN chains c ON c.id = o.chain JOIN word w ON w.text = '{prefix}' || o.{column}
"""


def _records_of_1(db: sqlite3.Connection) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    rows = db.execute(
        "SELECT c.number, e.position, e.recorded_at, e.actor, e.attestor, e.document, e.previous, e.digest "
        "FROM entry e JOIN chains c ON c.id = e.chain"
    )
    for number, position, recorded_at, actor, attestor, document, previous, digest in rows:
        columns = {"position": position, "recorded_at": recorded_at, "actor": actor, "attestor": attestor}
        content = _content_of_1(columns, document)
        yield first_id(number) + position, _bytes_of_1(previous), _bytes_of_1(digest), content


def _content_of_1(columns: dict[str, Any], document: bytes) -> bytes:
    try:
        said = json.loads(document)
        if canonical(said) == document:
            return canonical(columns | said)
    except (ValueError, TypeError):
        pass
    return document if isinstance(document, bytes) else str(document).encode()


def _bytes_of_1(digest: str) -> bytes:
    try:
        return bytes.fromhex(digest)
    except ValueError:
        return digest.encode()
