"""Erase: record that a person's data are gone, without saying whose they were."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sterling.core.canonical import canonical
from sterling.core.elsewhere import ERASED
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref

_ROUNDS = 600_000


class Replaced(NamedTuple):
    """Bytes that held a person.

    Attributes:
        ref: Their name.
        by: The same without that person; None where they were deleted and nothing took their place.
        what: What they were, as people read it.
        rows: How many rows were that person's.
        cells: How many other cells, or places in a text, mentioned them.
    """

    ref: Ref
    by: Ref | None
    what: str
    rows: int
    cells: int


def erased(subjects: Sequence[tuple[str, str]], replaced: Sequence[Replaced], files: int, salt: bytes) -> Evidence:
    """The fact that a person was erased.

    Args:
        subjects: The columns and values that named them; the values are recorded only as salted hashes.
        replaced: What held them.
        files: How many other files of the workspace were deleted.
        salt: Random bytes, which are no secret.
    """
    body = {
        "subjects": [{"column": column, "hash": subject_hash(column, value, salt)} for column, value in subjects],
        "salt": salt.hex(),
        "rows": sum(one.rows for one in replaced),
        "cells": sum(one.cells for one in replaced),
        "files": files,
        "replaced": [one._asdict() for one in replaced],
    }
    return Evidence(ERASED, (), body)


def is_about(body: Mapping[str, Any], column: str, value: str) -> bool:
    """Whether a ``data.erased`` was about a person whom a column names.

    Example:
        >>> is_about(erased([("customer", "C123")], [], 0, b"salt").body, "customer", "C123")
        True
    """
    hashed = subject_hash(column, value, bytes.fromhex(body["salt"]))
    return {"column": column, "hash": hashed} in body["subjects"]


def subject_hash(column: str, value: str, salt: bytes) -> str:
    """PBKDF2-HMAC-SHA256 of a column and a value, slow, so that values are not guessed by the million."""
    return hashlib.pbkdf2_hmac("sha256", canonical([column, value]), salt, _ROUNDS).hex()
