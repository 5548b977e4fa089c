"""What a client may send: rows of named values, checked one by one, and refused with one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from sterling.core.errors import DataError


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask.

    Attributes:
        rows: Rows of a request at most.
        body_bytes: Size of a request's body at most.
    """

    rows: int = 1_000
    body_bytes: int = 4_000_000


class RefusedRequestError(DataError):
    """A request that cannot be answered.

    Args:
        status: HTTP status, 400 to 499.
        message: What is wrong and what would work, as a sentence.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


_decode = msgspec.json.Decoder().decode


def read_rows(body: bytes, limits: Limits) -> list[Mapping[str, Any]]:
    """The rows of a request: ``{"rows": [{feature: value, …}, …]}``, or one row by itself.

    Raises:
        RefusedRequestError: if the body is no JSON, holds no rows or too many.

    Example:
        >>> read_rows(b'{"distance": 95, "carrier": null}', Limits())
        [{'distance': 95, 'carrier': None}]
    """
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedRequestError(400, f"The body is no JSON: {error}. (NaN is none either: send null.)") from error
    if not isinstance(document, dict):
        raise RefusedRequestError(400, 'The body is no object. Send {"rows": [{…}]}, or one row as an object.')
    rows = document["rows"] if isinstance(document.get("rows"), list) else [document]
    if len(rows) > limits.rows:
        raise RefusedRequestError(413, f"{len(rows):,} rows in one request. Send {limits.rows:,} at most.")
    if not rows:
        raise RefusedRequestError(400, "No rows. Send at least one.")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RefusedRequestError(400, f"Row {number} is no object. A row is an object of features.")
    return rows
