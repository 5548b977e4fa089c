"""The default online store: one table in a SQLite file, which the processes of a machine share."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from sterling.core.sqlite_file import SQLiteFile

_SCHEMA = "CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL)"
_GET = "SELECT value FROM state WHERE key = ?"
_SET = "INSERT INTO state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_REMOVE = "DELETE FROM state WHERE key = ?"


class SQLiteOnlineStore:
    """Bytes under names in a SQLite file; what is put lies on the disk when the call returns.

    Threads and forked children may share an instance, and processes the file. Readers and the writer do not wait for
    each other.

    Args:
        path: File to open or create.

    Raises:
        StorageError: if the file is no SQLite file, is too new, or cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self._file = SQLiteFile(path, _SCHEMA, 1, {})

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What lies under each name, all at one moment."""
        with self._file.connection() as db:
            if len(keys) == 1:
                return [_value(db, keys[0])]
            db.execute("BEGIN")
            try:
                return [_value(db, key) for key in keys]
            finally:
                db.execute("COMMIT")

    def put(self, items: Mapping[bytes, bytes | None], *, when: tuple[bytes, bytes | None] | None = None) -> bool:
        """Write all or none, durably; nothing where something else lies under the name of ``when``."""
        with self._file.transaction() as db:
            if when is not None and _value(db, when[0]) != when[1]:
                return False
            db.executemany(_SET, [item for item in items.items() if item[1] is not None])
            db.executemany(_REMOVE, [(key,) for key, value in items.items() if value is None])
        return True

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._file.close()


def _value(db: sqlite3.Connection, key: bytes) -> bytes | None:
    found: tuple[bytes] | None = db.execute(_GET, (key,)).fetchone()
    return found[0] if found else None
