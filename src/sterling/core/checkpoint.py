"""Checkpoints (c2sp.org/tlog-checkpoint), which say what a whole ledger is in three lines, and proofs of one entry of it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from sterling.core.errors import SignatureError
from sterling.core.merkle import heads, inclusion_spans, verify_inclusion
from sterling.core.signing import Note, SigningKey, from_base64

_PROOF = "c2sp.org/tlog-proof@v1"
_DIGEST = 32
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a ledger was at a size: the head of the Merkle tree over its entries.

    Attributes:
        origin: Name of the ledger, which is also that of the key that signs for it.
        size: How many entries it had.
        root: RFC 6962 tree head over their canonical bytes, 32 bytes.

    Example:
        >>> from sterling.core.merkle import EMPTY
        >>> print(Checkpoint("sterling/flights/00c0ffee", 0, EMPTY).text, end="")
        sterling/flights/00c0ffee
        0
        47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
    """

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a checkpoint; lines of others' making may follow the three.

        Raises:
            SignatureError: if it is none.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise SignatureError("This is no checkpoint: it must be an origin, a size and a root hash, a line each.")
        size, root = _decimal(lines[1]), _root(lines[2])
        if size is None or root is None:
            raise SignatureError(f"This is no checkpoint: {lines[1]!r} is no size, or {lines[2]!r} no hash.")
        return cls(lines[0], size, root)

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, key: SigningKey) -> Note:
        """The checkpoint as a note, signed under its origin."""
        return key.sign(self.text, self.origin)


def origin(project: str, chain: str) -> str:
    """Name of a ledger in checkpoints, and of the key that signs for it."""
    return f"sterling/{project}/{chain}"


@dataclass(frozen=True, slots=True)
class Proof:
    """That one entry is in a ledger, for somebody who does not have the ledger (c2sp.org/tlog-proof).

    Attributes:
        content: Canonical bytes of the entry; the document carries them as its extra data.
        index: Its place in the tree, 0 for the entry at position 1.
        path: Hashes from the entry's sibling to the root's child.
        note: The checkpoint, with whoever signed it.
    """

    content: bytes
    index: int
    path: tuple[bytes, ...]
    note: Note

    @classmethod
    def parse(cls, document: str) -> Self:
        """Read a proof as ``str`` writes it.

        Raises:
            SignatureError: if it is none, or its entry is not in it.
        """
        head, blank, note = document.partition("\n\n")
        title, extra, index, *path = [*head.split("\n"), "", ""]
        content = from_base64(extra.removeprefix("extra ")) if extra.startswith("extra ") else None
        at = _decimal(index.removeprefix("index ")) if index.startswith("index ") else None
        nodes = [_root(node) for node in path[:-2]]
        if title != _PROOF or not blank or content is None or at is None or None in nodes:
            raise SignatureError(f"This is no proof of an entry: it must begin with {_PROOF}, and hold the entry.")
        proof = cls(content, at, tuple(node for node in nodes if node), Note.parse(note))
        Checkpoint.parse(proof.note.text)
        return proof

    def __str__(self) -> str:
        lines = [_PROOF, f"extra {base64.b64encode(self.content).decode()}", f"index {self.index}"]
        lines += [base64.b64encode(node).decode() for node in self.path]
        return "\n".join([*lines, "", str(self.note)])

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that the note holds."""
        return Checkpoint.parse(self.note.text)

    def entry(self) -> dict[str, Any]:
        """The entry, as JSON; only what :meth:`fault` finds no fault with was recorded so."""
        entry: dict[str, Any] = json.loads(self.content)
        return entry

    def fault(self) -> str | None:
        """Why the proof does not hold, as a sentence; None where it does."""
        checkpoint = self.checkpoint
        if not verify_inclusion(self.content, self.index, checkpoint.size, self.path, checkpoint.root):
            return "The entry is not in the tree of the checkpoint: one of the two was changed."
        try:
            position = self.entry()["position"]
        except (ValueError, TypeError, KeyError):
            return "What stands in the tree is no entry of a ledger."
        if position != self.index + 1:
            return f"The entry says that it stands at position {position}, and was proven to stand at {self.index + 1}."
        return None


def prove(contents: Iterable[bytes], position: int, size: int, vouch: Callable[[bytes], Note]) -> Proof:
    """Prove that the entry at a position is in a ledger, in one pass over it.

    Args:
        contents: Canonical bytes of the ledger's entries from the first.
        position: Position of the entry.
        size: How many entries the checkpoint is over.
        vouch: Gives the checkpoint for the root hash that was found, or refuses.

    Raises:
        ValueError: if there is no such entry, or there are fewer entries.
    """
    index, kept = position - 1, list[bytes]()

    def leaves() -> Iterator[bytes]:
        for at, content in enumerate(contents):
            if at == index:
                kept.append(content)
            yield content

    path, whole = inclusion_spans(index, size), (0, size)
    found = heads(leaves(), [*path, whole])
    if whole not in found:
        raise ValueError(f"There are fewer entries than {size}.")
    return Proof(kept[0], index, tuple(found[span] for span in path), vouch(found[whole]))


def _decimal(text: str) -> int | None:
    """A number as the specification writes it, without signs and leading zeros."""
    return int(text) if _NUMBER.fullmatch(text) else None


def _root(text: str) -> bytes | None:
    value = from_base64(text)
    return value if value is not None and len(value) == _DIGEST else None
