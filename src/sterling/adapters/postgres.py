"""A ledger that a team shares: any number of chains in one PostgreSQL database."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Self

from sterling.adapters import postgres_rows as rows
from sterling.adapters import postgres_schema as schema
from sterling.adapters.postgres_session import Channel, LostConnectionError, Session, UnreachableError
from sterling.adapters.postgres_url import address_of
from sterling.core.clock import Clock, iso, utcnow
from sterling.core.errors import ConflictError, NotAllowedError, StorageError
from sterling.core.evidence import GENESIS, Entry, Evidence, Query, Record, Writer, entry_of, labels
from sterling.core.kinds import APPROVER_KINDS
from sterling.core.ledger import ChainInfo, following

_FIRST_PAGE = 4
_BATCH = 1_000
_ATTEMPTS = 3
_LOOK_SECONDS = 30.0  # a network that drops a connection without a word drops what is notified, too
_CHAIN = "SELECT number, id, project, created_at, copied FROM sterling.chain"
_BEGIN_CHAIN = """
INSERT INTO sterling.chain (id, project, created_at, copied) VALUES (:id, :project, :created_at, :copied)
ON CONFLICT DO NOTHING
"""
_OTHER_OWN = "SELECT number, id FROM sterling.chain WHERE project = :project AND NOT copied AND number <> :number"
_SET_COPIED = "UPDATE sterling.chain SET copied = :copied WHERE number = :number"


class PostgresLedger:
    """One project's chain in a PostgreSQL database.

    Threads and forked children may share an instance, processes and machines the database. Appends to a chain wait
    for each other in the server; a reader waits for nobody and holds nobody up. A connection that was lost is opened
    again, and what was being appended meanwhile is recorded once.

    Args:
        url: The database, such as ``postgresql://ada@db.example.com/evidence``. It must be there; its tables are made
            where they are missing.
        project: Name of the project whose chain this is; it is begun, under a random id, when it is not there yet.
        actor: Who appends, such as ``user:ada``.
        attestor: What vouches for the actor: ``laptop``, ``ci`` or ``production``.
        clock: Gives the time that entries carry.
        chain: Open this chain instead, whoever it belongs to; it is begun, as `chain` says, when it is not there yet.

    Raises:
        InvalidDefinitionError: if the URL cannot be meant.
        StorageError: if the database cannot be reached, is too new, or cannot hold a ledger.
        NotAllowedError: if the user may not read it, or may not make what is missing.
    """

    def __init__(
        self,
        url: str,
        project: str,
        *,
        actor: str = "unknown",
        attestor: str = "laptop",
        clock: Clock = utcnow,
        chain: ChainInfo | None = None,
    ) -> None:
        self._project, self._actor, self._attestor, self._clock = project, actor, attestor, clock
        self._session = Session(address_of(url), schema.bring_up)
        self._idle_listeners: list[Session] = []
        self._number, self.chain = self._opened(chain)

    @classmethod
    def chains(cls, url: str) -> tuple[ChainInfo, ...]:
        """Every chain in a database, by project and age; none where there is no ledger."""
        with Session(address_of(url), schema.check) as session:
            if session.again(schema.version_of) == 0:
                return ()
            found = session.ask(f"{_CHAIN} ORDER BY project, created_at, id")
        return tuple(ChainInfo(*row[1:]) for row in found)

    @classmethod
    def roles(cls, url: str, *, reader: str, writer: str, approver: str) -> str:
        """The SQL that makes the tables where they are missing, and three roles with what each may do.

        Raises:
            InvalidDefinitionError: if PostgreSQL cannot have roles of these names.
        """
        schema.check_role_names(reader, writer, approver)
        with Session(address_of(url), schema.check) as session:
            return session.again(lambda channel: schema.roles(channel, reader=reader, writer=writer, approver=approver))

    def append(self, facts: Sequence[Evidence], *, unless: Query | None = None, after: int = 0) -> int:
        """Record facts, all or none.

        Raises:
            ConflictError: if ``unless`` matches.
            NotAllowedError: if the user may not record them.
        """
        if self.chain.copied:
            raise StorageError(
                f"The chain {self.chain.id} is a copy of one that is kept elsewhere. Append there, and push again."
            )

        if not facts:
            self._refuse_conflict(self._session.ask, unless, after)
            return self.head()[0]

        def follow(ask: rows.Ask, position: int, digest: bytes) -> list[Record]:
            self._refuse_conflict(ask, unless, after)
            return Writer(self._actor, self._attestor, iso(self._clock())).records(facts, position, digest)

        with self._allowed(fact.kind for fact in facts):
            return self._write(follow)

    def read(
        self, query: Query | None = None, *, after: int = 0, until: int | None = None, newest_first: bool = False
    ) -> Iterator[Entry]:
        """Entries that match the query, of those that are there when the first is asked for."""
        query = query or Query()
        if not newest_first:
            until = self._up_to(until)
        span = (after, rows.LAST if until is None else until)
        size = _FIRST_PAGE
        while True:
            found = rows.page(self._session.ask, self._number, query, span, size, newest_first=newest_first)
            yield from map(entry_of, found)
            if len(found) < size:
                return
            span = (after, found[-1].position - 1) if newest_first else (found[-1].position, span[1])
            size = rows.next_size(size, found)

    def head(self) -> tuple[int, bytes]:
        """Position and digest of the chain's last record."""
        return self._session.again(self._head)

    def records(self, *, after: int = 0, until: int | None = None) -> Iterator[Record]:
        """The chain as it lies there, oldest first, of what is there when the first is asked for."""
        until = self._up_to(until)
        size = _FIRST_PAGE
        while found := rows.records_between(self._session.copied, self._number, (after, until), size):
            yield from found
            after, size = found[-1].position, rows.next_size(size, found)

    def extend(self, records: Iterable[Record]) -> int:
        """Continue a copy byte for byte, all or none."""
        if not self.chain.copied:
            raise StorageError(f"The chain {self.chain.id} was begun here; only a copy is continued by copying.")
        copied = list(records)
        if not copied:
            return self.head()[0]
        with self._allowed(()):
            return self._write(lambda _, position, digest: list(following(copied, position, digest)))

    def restore(self, records: Iterable[Record]) -> int:
        """Continue the chain byte for byte and make it its project's own, all or none.

        Other chains cannot be begun until it is done. Where the connection breaks, it may be done again.

        Raises:
            NotAllowedError: if the user does not own the tables.
        """
        with self._owning(), self._session.transaction(schema.LET_CHAINS_CHANGE) as (channel, _):
            self._take_over(channel)
            channel.run(schema.LET_CHAINS_STAY)
            position, digest = self._head(channel)
            checked = following(records, position, digest)
            while batch := list(islice(checked, _BATCH)):
                for statement in rows.insertions(self._number, self.chain.id, batch, end=""):
                    channel.run(statement)
                position = batch[-1].position
            channel.run("COMMIT")
        self.chain = self.chain._replace(copied=False)
        return position

    def index(self, *, after: int = 0, until: int | None = None) -> Iterator[tuple[str, Sequence[int]]]:
        """By word, the positions that queries find."""
        yield from rows.index(self._session.copied, self._number, (after, rows.LAST if until is None else until))

    def wait(self, after: int, timeout_seconds: float) -> bool:
        """Wait for an entry behind a position, which the server tells of."""
        deadline = time.monotonic() + timeout_seconds
        with self._listener() as session:
            while True:
                try:
                    with session.channel() as channel:
                        return self._heard(channel, after, deadline)
                except LostConnectionError:
                    if time.monotonic() > deadline:
                        return False

    def close(self) -> None:
        """Let go of the connections; the next call opens one again."""
        for session in (self._session, *self._idle_listeners):
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"PostgresLedger({str(self._session.address)!r}, {self._project!r})"

    def _opened(self, wanted: ChainInfo | None) -> tuple[int, ChainInfo]:
        found = self._find(wanted)
        if found is None:
            self._begin(wanted or ChainInfo(secrets.token_hex(8), self._project, iso(self._clock())))
            found = self._find(wanted)
        if found is None:
            raise StorageError(
                f"{self._session.address} has another chain of {self._project!r} already, so that this one cannot be "
                "its own."
            )
        return found

    def _find(self, wanted: ChainInfo | None) -> tuple[int, ChainInfo] | None:
        if wanted:
            found = self._session.ask(f"{_CHAIN} WHERE id = :id", id=wanted.id)
        else:
            found = self._session.ask(f"{_CHAIN} WHERE project = :project AND NOT copied", project=self._project)
        return (found[0][0], ChainInfo(*found[0][1:])) if found else None

    def _begin(self, chain: ChainInfo) -> None:
        try:
            self._session.ask(_BEGIN_CHAIN, **chain._asdict())
        except NotAllowedError as error:
            address = self._session.address
            raise NotAllowedError(
                f"{address} has no chain of {chain.project!r} yet, and {address.user} may not begin one. Let a writer "
                "begin it."
            ) from error

    def _take_over(self, channel: Channel) -> None:
        project = self.chain.project
        for number, other in channel.run(_OTHER_OWN, project=project, number=self._number):
            if channel.run(f"{_lock(number)}; {rows.head_sql(number)}")[1:]:
                raise StorageError(f"{self._session.address} has another chain of {project!r} already, {other}.")
            channel.run(_SET_COPIED, copied=True, number=number)
        channel.run(_lock(self._number))
        channel.run(_SET_COPIED, copied=False, number=self._number)

    def _up_to(self, until: int | None) -> int:
        head, _ = self.head()
        return head if until is None else min(until, head)

    def _head(self, channel: Channel) -> tuple[int, bytes]:
        return _head_in(channel.run(rows.head_sql(self._number)))

    def _refuse_conflict(self, ask: rows.Ask, unless: Query | None, after: int) -> None:
        if unless is not None and (
            clash := rows.page(ask, self._number, unless, (after, rows.LAST), 1, newest_first=False)
        ):
            raise ConflictError(
                f"{labels(clash[0].content)[0]} was recorded at {clash[0].position}, after {after}, on which this "
                "decision was based. Read the ledger again and decide again."
            )

    def _write(self, follow: Callable[[rows.Ask, int, bytes], list[Record]]) -> int:
        """Record what follows the head, once, however often the connection breaks."""
        tried: list[Record] = []
        try:
            for _ in range(_ATTEMPTS - 1):
                with suppress(LostConnectionError):
                    return self._write_once(follow, tried)
            return self._write_once(follow, tried)
        except (LostConnectionError, UnreachableError) as error:
            if not tried:
                raise
            raise StorageError(
                f"{error} Whether the last append was recorded is not known: read the ledger before you append it again."
            ) from error

    def _write_once(self, follow: Callable[[rows.Ask, int, bytes], list[Record]], tried: list[Record]) -> int:
        """Record what follows the head.

        Args:
            follow: Gives the records.
            tried: The last record of an attempt whose end is not known; kept up to date. Whoever holds the chain's
                lock knows that the server has come to the end of it, and finds the record or not.
        """
        first = f"{_lock(self._number)}; {rows.head_sql(self._number)}"
        with self._session.transaction(first) as (channel, (_, *head)):
            if tried and rows.is_recorded(channel.ask, self._number, tried[0]):
                channel.run("ROLLBACK")
                return tried[0].position
            tried.clear()
            position, digest = _head_in(head)
            records = follow(channel.ask, position, digest)
            tried.append(records[-1])
            for statement in rows.insertions(self._number, self.chain.id, records):
                channel.run(statement)
            return position + len(records)

    @contextmanager
    def _allowed(self, kinds: Iterable[str]) -> Iterator[None]:
        try:
            yield
        except NotAllowedError as error:
            user, deciding = self._session.address.user, sorted(set(kinds) & set(APPROVER_KINDS))
            if deciding:
                raise NotAllowedError(f"{user} may not record {', '.join(deciding)}: ask an approver.") from error
            raise NotAllowedError(f"{user} may read this ledger, not write to it: ask a writer.") from error

    @contextmanager
    def _owning(self) -> Iterator[None]:
        try:
            yield
        except NotAllowedError as error:
            user = self._session.address.user
            raise NotAllowedError(
                f"{user} may not restore into this ledger: only the owner of its tables may."
            ) from error

    @contextmanager
    def _listener(self) -> Iterator[Session]:
        """A session for one who waits, of whom there may be many."""
        session = self._idle_listeners.pop() if self._idle_listeners else self._session.another()
        try:
            yield session
        finally:
            self._idle_listeners.append(session)

    def _heard(self, channel: Channel, after: int, deadline: float) -> bool:
        channel.run("LISTEN sterling")  # before the first look, so that nothing falls between it and the waiting
        while not (there := self._head(channel)[0] > after) and (left := deadline - time.monotonic()) > 0:
            channel.hear(min(left, _LOOK_SECONDS))
        channel.run("UNLISTEN sterling")  # so that nothing piles up for somebody who has stopped to listen
        return there


def _head_in(found: list[list[Any]]) -> tuple[int, bytes]:
    return (found[0][0], found[0][1]) if found else (0, GENESIS)


def _lock(number: int) -> str:
    """The query that takes a chain's lock, which the end of the transaction gives back."""
    return f"SELECT pg_advisory_xact_lock({schema.LOCKS}, {number:d})"
