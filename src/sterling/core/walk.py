"""One walk over a chain that checks each link and each index entry, and notes what is cited; on two cores where it is long."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import NamedTuple

from sterling.core.errors import TamperedLedgerError
from sterling.core.evidence import GENESIS, Record
from sterling.core.labels import Told
from sterling.core.ledger import Broken, Chained, check_chain
from sterling.core.processors import available_threads
from sterling.core.refs import Ref, note_refs

_WORTH_A_PROCESS = 50_000
_UNKNOWN = 2**32


class Walked(NamedTuple):
    """What a walk found.

    Attributes:
        entries: Position up to which all entries hold.
        broken: The first that does not, or that queries find by what it does not say; None where all do.
        first_cited: Refs that entries cite, with the position of the first that does, behind a break as well.
    """

    entries: int
    broken: Broken | None
    first_cited: dict[Ref, int]


def walk(ledger: Chained, *, split_from: int = _WORTH_A_PROCESS) -> Walked:
    """Walk a whole chain.

    Args:
        ledger: The chain.
        split_from: Length from which a second process walks the second half, where there is a second core.
    """
    length = _length(ledger)
    middle = _middle(ledger, length) if split_from <= length < _UNKNOWN and available_threads() > 1 else 0
    if middle:
        later = _beside(lambda: _walk(ledger, middle, length))
        walked = _joined(_walk(ledger, 0, middle), later())
    else:
        walked = _walk(ledger, 0, length)
    return walked if walked.broken else walked._replace(broken=_dangling(ledger, length))


def check_index(ledger: Chained) -> Broken | None:
    """The first entry that does not hold, or that queries find by what it does not say."""
    return walk(ledger).broken


def _length(ledger: Chained) -> int:
    try:
        return ledger.head()[0]
    except TamperedLedgerError:  # the walk will find where
        return _UNKNOWN


def _middle(ledger: Chained, length: int) -> int:
    """A position near the middle where there is a record."""
    record = next(ledger.records(after=length // 2), None)
    return record.position if record else 0


def _dangling(ledger: Chained, length: int) -> Broken | None:
    """What queries find behind the end of the chain, where nothing was appended meanwhile."""
    try:
        beyond = min((places[0] for _, places in ledger.index(after=length)), default=None)
        if beyond is None or next(ledger.records(after=beyond - 1, until=beyond), None):
            return None
    except TamperedLedgerError as error:
        return Broken(length + 1, str(error))
    return Broken(beyond, f"entry {beyond} is missing: queries still look for it")


def _walk(ledger: Chained, after: int, until: int) -> Walked:
    previous = next(ledger.records(after=after - 1, until=after)).digest if after else GENESIS
    part = _Part(ledger, after, until)
    entries, broken = part.check_chain(previous)
    broken = min(filter(None, (broken, part.check_index())), key=lambda found: found.position, default=None)
    return Walked(min(entries, broken.position - 1) if broken else entries, broken, part.first_cited())


class _Part:
    """A stretch of a chain, and what its records say."""

    def __init__(self, ledger: Chained, after: int, until: int) -> None:
        self._ledger, self._after, self._until = ledger, after, until
        self._told, self._cited, self._position = Told(), dict[bytes, int](), after

    def check_chain(self, previous: bytes) -> tuple[int, Broken | None]:
        records = self._noted()
        try:
            found = check_chain(records, after=self._after, previous=previous)
            for _ in records:
                pass
        except TamperedLedgerError as error:  # the database itself cannot be read to its end
            return self._position, Broken(self._position + 1, str(error))
        return found

    def check_index(self) -> Broken | None:
        try:
            return self._told.fault(self._ledger.index(after=self._after, until=self._until))
        except TamperedLedgerError as error:
            return Broken(self._position + 1, str(error))

    def first_cited(self) -> dict[Ref, int]:
        return {Ref(ref.decode()): position for ref, position in self._cited.items()}

    def _noted(self) -> Iterator[Record]:
        note, cited = self._told.note, self._cited
        for record in self._ledger.records(after=self._after, until=self._until):
            self._position = position = record.position
            note(record)
            note_refs(record.content, position, cited)
            yield record


def _joined(first: Walked, second: Walked) -> Walked:
    broken = first.broken or second.broken
    entries = first.entries if first.broken else second.entries
    return Walked(entries, broken, {**second.first_cited, **first.first_cited})


def _beside(work: Callable[[], Walked]) -> Callable[[], Walked]:
    """Do some work in a process of its own; what is given back waits for it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            with os.fdopen(writing, "w") as pipe:
                json.dump(_plain(work()), pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)

    def result() -> Walked:
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        if os.waitpid(child, 0)[1] != 0:
            return work()
        entries, broken, cited = json.loads(said)
        return Walked(entries, Broken(**broken) if broken else None, cited)

    return result


def _plain(walked: Walked) -> list[object]:
    return [walked.entries, asdict(walked.broken) if walked.broken else None, walked.first_cited]
