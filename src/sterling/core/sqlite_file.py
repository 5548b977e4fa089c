"""A SQLite file that threads, forked children and other processes share, with errors that say what would work."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sterling.core.durable import make_folder
from sterling.core.errors import StorageError, TamperedLedgerError

_BUSY_SECONDS = 60.0
_AGAIN_SECONDS = 0.01
_SQLITE_ERRORS = {
    sqlite3.SQLITE_BUSY: f"another process has held it for {_BUSY_SECONDS:.0f} seconds. Wait for that one, or end it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Choose a folder that you may write to",
    sqlite3.SQLITE_FULL: "the disk is full. Make room and run the same command again; nothing was half written",
    sqlite3.SQLITE_IOERR: "the disk failed, or is full. Make room and run the same command again",
    sqlite3.SQLITE_NOTADB: "it is no SQLite file. Choose another path, or restore it from a backup",
    sqlite3.SQLITE_PERM: "you may not open it. Choose a folder that you may write to",
    sqlite3.SQLITE_READONLY: "it is read-only. Choose a folder that you may write to",
}


class SQLiteFile:
    """One connection to a SQLite file, opened when it is needed.

    The connection is used by one thread at a time, closed before a fork and opened again after it, since SQLite's
    locks belong to a process: https://www.sqlite.org/howtocorrupt.html, section 2.6.

    Args:
        path: File to open or create.
        schema: Statements that make the tables in a new file.
        version: Version of the schema; a file with a later one is refused.
        migrations: By version, what turns a file of that version into the next one. It runs in the transaction that
            it is given, so that a file is of one version or the other.
    """

    def __init__(
        self, path: Path, schema: str, version: int, migrations: Mapping[int, Callable[[sqlite3.Connection], None]]
    ) -> None:
        self.path = path
        self._schema, self._version, self._migrations = schema, version, migrations
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        with explained(path):
            if not path.exists():  # it is made last: where it is there, the way to it is on the disk
                make_folder(path.parent)
        _files.add(self)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone until the block ends.

        Raises:
            StorageError: if the file cannot be opened, read or written.
        """
        with self._lock, explained(self.path):
            if self._db is None:
                self._db = self._connect()
            yield self._db

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection, holding the file's write lock: all that the block writes is kept and durable, or none."""
        with self.connection() as db, _transaction(db):
            yield db

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own that sees one state of the file, for reads that take long."""
        with explained(self.path), closing(self._connect()) as db:
            db.execute("BEGIN")
            yield db

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def hold(self) -> None:
        """Close the connection and keep every thread from using it until :meth:`release`."""
        self._lock.acquire()
        self.close()

    def release(self) -> None:
        """End :meth:`hold`."""
        self._lock.release()

    def __del__(self) -> None:
        if getattr(self, "_db", None) is not None:
            self.close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
        try:
            self._prepare_patiently(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare_patiently(self, db: sqlite3.Connection) -> None:
        """Prepare it, and again while others do: changing to a write-ahead log does not wait for its turn by itself."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return self._prepare(db)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_AGAIN_SECONDS)

    def _prepare(self, db: sqlite3.Connection) -> None:
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found > self._version:
            raise StorageError(
                f"{self.path} was written by a newer Sterling (version {found} of its tables; this one knows "
                f"{self._version}). Upgrade: pip install --upgrade sterling-ml"
            )
        if found < self._version:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            with _transaction(db):
                self._bring_up(db)
        db.execute("PRAGMA synchronous = FULL")

    def _bring_up(self, db: sqlite3.Connection) -> None:
        (found,) = db.execute("PRAGMA user_version").fetchone()  # another process may have been first
        if found == 0:
            for statement in self._schema.split(";\n\n"):
                db.execute(statement)
        for version in range(found or self._version, self._version):
            self._migrations[version](db)
        db.execute(f"PRAGMA user_version = {self._version}")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # where the disk is full, SQLite itself has rolled back
            db.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say about a file into a sentence that says what would work.

    Raises:
        TamperedLedgerError: if the file's pages are damaged.
        StorageError: if it cannot be opened, read or written for another reason.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte names the error, the rest its variant
        if code == sqlite3.SQLITE_CORRUPT:
            raise TamperedLedgerError(f"{path} is damaged. Restore it from a backup.") from error
        raise StorageError(f"{path}: {_SQLITE_ERRORS.get(code, str(error))}.") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}. Choose a folder that you may write to.") from error


_files: weakref.WeakSet[SQLiteFile] = weakref.WeakSet()
_held: list[SQLiteFile] = []


def _hold_all() -> None:
    _held.extend(_files)
    for file in _held:
        file.hold()


def _release_all() -> None:
    for file in _held:
        file.release()
    _held.clear()


os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_release_all)
