"""Refs: the names of bytes, made from the bytes alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NewType

from sterling.core.errors import InvalidDefinitionError

Ref = NewType("Ref", str)

_REF = re.compile(r"sha256:[0-9a-f]{64}")
_REF_IN_CONTENT = re.compile(b'"' + _REF.pattern.encode() + b'"')
_QUOTED_LENGTH = len("sha256:") + 64 + 2
_REF_IN_BYTES = re.compile(_REF.pattern.encode() + rb"(?![0-9a-f])")


def ref_of(data: bytes) -> Ref:
    """The ref of some bytes.

    Example:
        >>> ref_of(b"")
        'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    return Ref(f"sha256:{hashlib.sha256(data).hexdigest()}")


def ref_of_file(path: Path) -> Ref:
    """The ref of a file's bytes, read in one pass."""
    with path.open("rb") as file:
        return Ref(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def parse_ref(text: str) -> Ref:
    """A ref, checked.

    Raises:
        InvalidDefinitionError: if the text is no ref.
    """
    if not _REF.fullmatch(text):
        raise InvalidDefinitionError(f"{text!r} is no ref. A ref is 'sha256:' and 64 hexadecimal digits.")
    return Ref(text)


def short(ref: str) -> str:
    """A ref as people read it: its first 12 digits.

    Example:
        >>> short(ref_of(b""))
        'e3b0c44298fc'
    """
    return ref.removeprefix("sha256:")[:12]


def refs_in(value: Any) -> Iterator[Ref]:
    """Every ref that stands as a text of its own anywhere in a JSON value, keys included, in order of appearance.

    Example:
        >>> [short(ref) for ref in refs_in({"model": ref_of(b""), "parts": [ref_of(b"a"), "sha256:abc", 3]})]
        ['e3b0c44298fc', 'ca978112ca1b']
    """
    if isinstance(value, str):
        if _REF.fullmatch(value):
            yield Ref(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from refs_in(key)
            yield from refs_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs_in(item)


def note_refs(content: bytes, position: int, first_cited: dict[bytes, int]) -> None:
    """Note where refs are cited first: those that `refs_in` finds, in the bytes of a JSON value without blanks.

    Example:
        >>> note_refs(b'{"model":"%s"}' % ref_of(b"").encode(), 7, noted := {})
        >>> {short(ref.decode()): position for ref, position in noted.items()}
        {'e3b0c44298fc': 7}
    """
    start = content.find(b'"sha256:')
    while start >= 0:
        end = start + _QUOTED_LENGTH
        ref = content[start + 1 : end - 1]
        if ref not in first_cited and _REF_IN_CONTENT.fullmatch(content, start, end):
            first_cited[ref] = position
        start = content.find(b'"sha256:', start + 1)


def refs_in_file(path: Path) -> Iterator[Ref]:
    """Every ref that a manifest cites; none for a file that is no JSON object or list."""
    with path.open("rb") as file:
        if file.read(1) not in {b"{", b"["}:
            return
        for found in _REF_IN_BYTES.findall(file.read()):
            yield Ref(found.decode())
