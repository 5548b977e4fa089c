"""A connection to PostgreSQL that threads and forked children share, opened anew where it was lost."""

from __future__ import annotations

import io
import os
import selectors
import ssl
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

from pg8000.native import Connection, DatabaseError, InterfaceError, PreparedStatement

from sterling.adapters.postgres_url import Address
from sterling.core.errors import NotAllowedError, SterlingError, StorageError, TamperedLedgerError

BUSY_SECONDS = 60
_ANSWER_SECONDS = BUSY_SECONDS + 30.0  # the server gives up first, and says why
_PATIENCE_SECONDS = 20.0
_RETRY_SECONDS = 0.1
_ATTEMPTS = 3

# Every query of ours has an index that gives its order. Without statistics, or with old ones, the planner would sort.
_SETTINGS = f"""
SET standard_conforming_strings = on; SET client_min_messages = warning; SET jit = off;
SET statement_timeout = '{BUSY_SECONDS}s'; SET lock_timeout = '{BUSY_SECONDS}s';
SET idle_in_transaction_session_timeout = '{BUSY_SECONDS}s'; SET plan_cache_mode = force_custom_plan;
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
"""
_STARTING = "57P03"
_LOST = ("08", "57P", "25P03", "25P04")  # the server goes down, or has cut the connection
_REFUSED = "the server refuses the user or the password. Set PGPASSWORD, or keep the password in ~/.pgpass"
_EXPLAINED = {
    "25006": "it is a read-only copy of another server. Name the primary server",
    "28000": _REFUSED,
    "28P01": _REFUSED,
    "3D000": "there is no such database. Make it: createdb --encoding UTF8 NAME",
    "53100": "the server's disk is full. Make room and run the same command again; nothing was half written",
    "53300": "the server has no connection left. End some, or raise its max_connections",
    "55P03": f"another process has held it for {BUSY_SECONDS} seconds. Wait for that one, or end it",
    "57014": f"the server took more than {BUSY_SECONDS} seconds. Try again when it has less to do",
}

T = TypeVar("T")


class LostConnectionError(StorageError):
    """The connection broke, and what the server did with the last that it was asked is not known."""


class UnreachableError(StorageError):
    """No connection can be opened."""


class Channel(Connection):  # type: ignore[misc]  # pg8000 has no types
    """One connection to a server.

    Args:
        address: The database.
    """

    def __init__(self, address: Address) -> None:
        try:
            super().__init__(timeout=address.connect_seconds, application_name="sterling", **address.connecting())
        except BaseException:
            if opened := getattr(self, "_usock", None):  # which pg8000 leaves open where the server says no
                opened.close()
            raise
        self._usock.settimeout(_ANSWER_SECONDS)
        self._known: dict[str, PreparedStatement] = {}

    def ask(self, sql: str, **values: Any) -> list[list[Any]]:
        """The rows of a query, which is sent with its values in one message once it is known."""
        if sql not in self._known:
            self._known[sql] = self.prepare(sql)
        rows: list[list[Any]] = self._known[sql].run(**values)
        return rows

    def copied(self, sql: str) -> list[list[bytes]]:
        """The rows of a query whose columns are all there, as bytes, several times faster than asking for them."""
        data = io.BytesIO()
        self.run(f"COPY ({sql}) TO STDOUT (FORMAT binary)", stream=data)
        return list(_rows(data.getvalue()))

    def wait_long(self) -> None:
        """Wait for every answer as long as it takes: to put many rows in place takes the server a while."""
        self._usock.settimeout(None)

    def hear(self, seconds: float) -> None:
        """Wait until the server says something of its own, but no longer than this."""
        if self._has_heard():
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._usock, selectors.EVENT_READ)
            selector.select(seconds)

    def abandon(self) -> None:
        """Let go of the socket without a word, since it is another process's."""
        os.close(self._usock.detach())

    def _has_heard(self) -> bool:
        """Whether bytes lie in the buffers between the socket and us, where no selector sees them."""
        self._usock.setblocking(False)
        try:
            return bool(self._sock.peek(1))
        except ssl.SSLWantReadError:
            return False
        finally:
            self._usock.settimeout(_ANSWER_SECONDS)


class Session:
    """A connection that is opened when it is needed and used by one thread at a time.

    A forked child opens one of its own.

    Args:
        address: The database.
        prepare: Is given every new connection first.
    """

    def __init__(self, address: Address, prepare: Callable[[Channel], object]) -> None:
        self.address, self._prepare = address, prepare
        self._lock = threading.RLock()
        self._channel: Channel | None = None
        self._was_open = False
        _sessions.add(self)

    @contextmanager
    def channel(self) -> Iterator[Channel]:
        """The connection, for this thread alone until the block ends.

        Raises:
            LostConnectionError: if it breaks within the block.
            UnreachableError: if none can be opened.
            StorageError: if the server says no.
        """
        with self._lock, explained(self.address):
            if self._channel is None:
                self._channel = self._opened()
            try:
                yield self._channel
            except BaseException as error:
                if not isinstance(error, _BETWEEN_MESSAGES) or is_lost(error):
                    self.close()  # what the server says next would answer what was asked before
                raise

    @contextmanager
    def transaction(self, first: str) -> Iterator[tuple[Channel, list[list[Any]]]]:
        """A transaction that the block has to commit; where it fails before, all is undone.

        Args:
            first: Statements that are sent together with ``BEGIN``.

        Yields:
            The connection, and the rows that the first statements gave.
        """
        with self.channel() as channel:
            try:
                yield channel, channel.run(f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {first}")
            except _BETWEEN_MESSAGES as error:
                if not is_lost(error):
                    channel.run("ROLLBACK")
                raise

    def again(self, work: Callable[[Channel], T]) -> T:
        """Do what may be done twice, since it only reads: where the connection breaks, it is done on another."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self.channel() as channel:
                    return work(channel)
            except LostConnectionError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError  # the last attempt has returned or raised

    def ask(self, sql: str, **values: Any) -> list[list[Any]]:
        """The rows of a query."""
        return self.again(lambda channel: channel.ask(sql, **values))

    def copied(self, sql: str) -> list[list[bytes]]:
        """The rows of a query as bytes."""
        return self.again(lambda channel: channel.copied(sql))

    def another(self) -> Session:
        """A session of the same kind with a connection of its own."""
        return Session(self.address, self._prepare)

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            channel, self._channel = self._channel, None
            if channel is not None:
                _close(channel)

    def begin_anew(self) -> None:
        """In a forked child: leave the parent its connection, and the lock, which another thread may have held."""
        channel, self._channel = self._channel, None
        self._lock = threading.RLock()
        if channel is not None:
            channel.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_channel", None) is not None:
            self.close()

    def _opened(self) -> Channel:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                channel = Channel(self.address)
                break
            except _CONNECTION_ERRORS as error:
                code = code_of(error)
                waits = code == _STARTING or (self._was_open and (code is None or is_lost(error)))
                if not waits or time.monotonic() > deadline:
                    raise UnreachableError(f"{self.address}: {_why_not(error)}.") from error
            time.sleep(_RETRY_SECONDS)
        try:
            channel.run(_SETTINGS)
            self._prepare(channel)
        except BaseException:
            _close(channel)
            raise
        self._was_open = True
        return channel


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn what the server and the network say into a sentence that says what would work.

    Raises:
        LostConnectionError: if the connection broke.
        NotAllowedError: if the user may not do this.
        TamperedLedgerError: if the server finds its own files damaged.
        StorageError: for everything else.
    """
    try:
        yield
    except _CONNECTION_ERRORS as error:
        code, said = code_of(error), said_by(error)
        if is_lost(error):
            raise LostConnectionError(
                f"{address}: the connection was lost ({said}). Try again when the server answers."
            ) from error
        if code == "42501":
            raise NotAllowedError(
                f"{address}: {said}. Ask the ledger's owner: sterling roles prints what is needed."
            ) from error
        if code in {"XX001", "XX002"}:
            raise TamperedLedgerError(f"{address} is damaged: {said}. Restore it from a backup.") from error
        raise StorageError(f"{address}: {_EXPLAINED.get(code or '', said)}.") from error


def is_lost(error: BaseException) -> bool:
    """Whether an error means that the connection is none any more."""
    code = code_of(error)
    return isinstance(error, _CONNECTION_ERRORS) and (code is None or code.startswith(_LOST))


def code_of(error: BaseException) -> str | None:
    """The code by which the server names an error; None where it did not come from the server."""
    while not isinstance(error, DatabaseError):
        if error.__context__ is None:
            return None
        error = error.__context__  # closing a connection that was refused fails in its turn
    code: str | None = error.args[0].get("C")
    return code


def said_by(error: BaseException) -> str:
    """What the server said, else what the error says."""
    if isinstance(error, DatabaseError):
        return str(error.args[0].get("M")).rstrip(".")
    return str(error).rstrip(".") or type(error).__name__


def _close(channel: Channel) -> None:
    with suppress(InterfaceError, OSError):  # the server may have closed it first
        channel.close()


def _why_not(error: BaseException) -> str:
    code = code_of(error)
    if code is not None:
        return _EXPLAINED.get(code, said_by(error))
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}). Name who vouches for it: sslrootcert=FILE"
    return f"no server answers there ({said_by(error.__cause__ or error)}). Start it, or correct the URL"


def _rows(data: bytes) -> Iterator[list[bytes]]:
    """Rows of PostgreSQL's binary format: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4."""
    at = _HEADER_BYTES
    while (columns := int.from_bytes(data[at : at + 2], signed=True)) >= 0:
        at += 2
        row = []
        for _ in range(columns):
            start = at + 4
            at = start + int.from_bytes(data[at:start])
            row.append(data[start:at])
        yield row


_HEADER_BYTES = 19
_CONNECTION_ERRORS = (DatabaseError, InterfaceError, OSError, struct.error)
_BETWEEN_MESSAGES = (DatabaseError, SterlingError, ValueError, TypeError)
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _begin_all_anew() -> None:
    for session in list(_sessions):
        session.begin_anew()


os.register_at_fork(after_in_child=_begin_all_anew)
