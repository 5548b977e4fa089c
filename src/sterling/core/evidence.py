"""What happened, said once and never edited."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sterling.core.canonical import canonical

GENESIS = "0" * 64


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

    def document(self) -> dict[str, Any]:
        """The fact as JSON, with its subjects in one order."""
        subjects = sorted(set(self.subjects))
        return {"body": self.body, "kind": self.kind, "subjects": subjects, "version": self.version}


@dataclass(frozen=True, slots=True)
class Entry:
    """Evidence at its place in a chain.

    Attributes:
        position: 1 for the first entry of the chain, dense.
        recorded_at: ISO 8601 UTC; for people, never for order.
        actor: Who acted, such as ``user:ada`` or ``controller``.
        attestor: What vouches for the actor: ``laptop``, ``ci`` or ``production``.
        previous: Digest of the entry before, 64 zeros for the first.
        digest: ``sha256(previous || canonical(entry))`` in hex.
        evidence: What happened.
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

    def expected_digest(self) -> str:
        """The digest that this entry must have, given what it says and what came before."""
        return link(self.previous, self.position, self.recorded_at, self.actor, self.attestor, self.evidence)


@dataclass(frozen=True, slots=True)
class Query:
    """Entries of any of these kinds that carry all of these subjects; an empty query is every entry.

    Attributes:
        kinds: Kinds, of which an entry has one; empty for any.
        subjects: Subjects, of which an entry has all.
    """

    kinds: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()


def link(previous: str, position: int, recorded_at: str, actor: str, attestor: str, evidence: Evidence) -> str:
    """Digest that ties an entry to everything before it."""
    entry = evidence.document() | {
        "position": position, "recorded_at": recorded_at, "actor": actor, "attestor": attestor,
    }  # fmt: skip
    return hashlib.sha256(bytes.fromhex(previous) + canonical(entry)).hexdigest()
