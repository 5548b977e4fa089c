"""What happened, said once and never edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from sterling.core.canonical import canonical
from sterling.core.errors import TamperedLedgerError
from sterling.core.kinds import current

GENESIS = bytes(32)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One fact.

    It says what was found, never which run asked first; large or personal things stand behind refs.

    Attributes:
        kind: Dotted past-tense name, such as ``model.trained``.
        subjects: Tags that the fact is found by, such as ``model:sha256:…``.
        body: JSON payload.
        version: Version of this kind.
    """

    kind: str
    subjects: tuple[str, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1


class Record(NamedTuple):
    """An entry as it lies in a ledger: bytes, and its place in the chain.

    Attributes:
        position: 1 for the first entry of the chain, dense.
        previous: Digest of the record before; 32 zero bytes for the first.
        digest: ``sha256(previous + content)``.
        content: RFC 8785 JSON of ``actor``, ``attestor``, ``body``, ``kind``, ``position``, ``recorded_at``,
            ``subjects`` and ``version``.
    """

    position: int
    previous: bytes
    digest: bytes
    content: bytes

    def holds(self) -> bool:
        """Whether the digest is that of what the record says; False also where something else was written over it."""
        try:
            return hashlib.sha256(self.previous + self.content).digest() == self.digest
        except TypeError:
            return False


@dataclass(frozen=True, slots=True)
class Entry:
    """Evidence at its place in a chain.

    Attributes:
        position: 1 for the first entry of the chain, dense.
        recorded_at: ISO 8601 UTC; for people, never for order.
        actor: Who acted, such as ``user:ada`` or ``controller``.
        attestor: What vouches for the actor: ``laptop``, ``ci`` or ``production``.
        previous: Digest of the entry before in hex, 64 zeros for the first.
        digest: Digest of this entry in hex.
        evidence: What happened, as the newest version of its kind says it.
    """

    position: int
    recorded_at: str
    actor: str
    attestor: str
    previous: str
    digest: str
    evidence: Evidence

    @property
    def kind(self) -> str:
        """Kind of the evidence."""
        return self.evidence.kind

    @property
    def body(self) -> Mapping[str, Any]:
        """Payload of the evidence."""
        return self.evidence.body


@dataclass(frozen=True, slots=True)
class Query:
    """Entries of any of these kinds that carry all of these subjects; an empty query is every entry.

    Attributes:
        kinds: Kinds, of which an entry has one; empty for any.
        subjects: Subjects, of which an entry has all.
    """

    kinds: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Writer:
    """Who appends, and when: what all entries of one append share.

    Attributes:
        actor: Who acts.
        attestor: What vouches for the actor.
        recorded_at: ISO 8601 UTC.
    """

    actor: str
    attestor: str
    recorded_at: str

    def record(self, previous: bytes, position: int, fact: Evidence) -> Record:
        """A fact as the record that follows another.

        Raises:
            ValueError, TypeError: if the fact is no JSON.
        """
        front, middle = _ends(self.actor, self.attestor, self.recorded_at)
        subjects = tuple(sorted(set(fact.subjects)))
        content = b'%b%b,"kind":%b,"position":%d%b%b,"version":%d}' % (
            front, canonical(fact.body), _text(fact.kind), position, middle, _text(subjects), fact.version,
        )  # fmt: skip
        return Record(position, previous, hashlib.sha256(previous + content).digest(), content)

    def records(self, facts: Iterable[Evidence], position: int, digest: bytes) -> list[Record]:
        """Facts as the records that follow the one at a position, which has this digest."""
        records = list[Record]()
        for fact in facts:
            records.append(self.record(digest, position := position + 1, fact))
            digest = records[-1].digest
        return records


@lru_cache(maxsize=64)
def _ends(actor: str, attestor: str, recorded_at: str) -> tuple[bytes, bytes]:
    """What stands before a body, and between the position and the subjects, in all records of one append."""
    front = b'{"actor":%b,"attestor":%b,"body":' % (canonical(actor), canonical(attestor))
    return front, b',"recorded_at":%b,"subjects":' % canonical(recorded_at)


@lru_cache(maxsize=4096)
def _text(value: str | tuple[str, ...]) -> bytes:
    return canonical(value)


class _Labels(msgspec.Struct):
    kind: str
    subjects: tuple[str, ...]


class _Said(_Labels):
    actor: str
    attestor: str
    body: dict[str, Any]
    recorded_at: str
    version: int


_read_labels, _read = msgspec.json.Decoder(_Labels).decode, msgspec.json.Decoder(_Said).decode


def entry_of(record: Record) -> Entry:
    """What a record says.

    Raises:
        TamperedLedgerError: if it is no entry any more.
        NewerKindError: if it is of a later version of its kind than is known here.
    """
    try:
        said = _read(record.content)
        previous, digest = record.previous.hex(), record.digest.hex()
    except (msgspec.DecodeError, TypeError, AttributeError) as error:
        raise TamperedLedgerError(
            f"entry {record.position} was changed: it cannot be read any more", record.position
        ) from error
    version, body = current(said.kind, said.version, said.body, position=record.position)
    fact = Evidence(said.kind, said.subjects, body, version)
    return Entry(record.position, said.recorded_at, said.actor, said.attestor, previous, digest, fact)


def labels(content: bytes) -> tuple[str, tuple[str, ...]]:
    """Kind and subjects of a record's content, which queries find it by.

    Raises:
        ValueError: if the content is no entry.
    """
    said = _read_labels(content)
    return said.kind, said.subjects


def says_position(content: bytes) -> int | None:
    """The position that a record's content says it has; None where the content is no entry."""
    try:
        position: int = json.loads(content)["position"]
    except (ValueError, TypeError, KeyError):
        return None
    return position
