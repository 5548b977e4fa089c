"""What a client may send: rows of named values, checked one by one, and refused with one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from sterling.core.clock import to_micros
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


class Asked(NamedTuple):
    """A request.

    Attributes:
        rows: Its rows of named values.
        predict_at: The moment that it is about, in microseconds; None for now.
        features: Whether the answer is to hold the vector of each row.
    """

    rows: Sequence[Mapping[str, Any]]
    predict_at: int | None = None
    features: bool = False


_decode = msgspec.json.Decoder().decode


def read_request(body: bytes, limits: Limits) -> Asked:
    """A request: ``{"rows": [{name: value, …}, …]}`` with what else it says, or one row by itself.

    Raises:
        RefusedRequestError: if the body is no JSON, holds no rows or too many, or says what cannot be meant.

    Example:
        >>> read_request(b'{"distance": 95, "carrier": null}', Limits())
        Asked(rows=[{'distance': 95, 'carrier': None}], predict_at=None, features=False)
        >>> read_request(b'{"rows": [{}], "predict_at": "1970-01-01T00:00:01Z", "features": true}', Limits())
        Asked(rows=[{}], predict_at=1000000, features=True)
    """
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedRequestError(400, f"The body is no JSON: {error}. (NaN is none either: send null.)") from error
    if not isinstance(document, dict):
        raise RefusedRequestError(400, 'The body is no object. Send {"rows": [{…}]}, or one row as an object.')
    if not isinstance(document.get("rows"), list):
        return Asked(_checked([document], limits))
    return Asked(
        _checked(document["rows"], limits), _moment(document.get("predict_at")), _flag(document.get("features"))
    )


def _checked(rows: list[Any], limits: Limits) -> list[Mapping[str, Any]]:
    if len(rows) > limits.rows:
        raise RefusedRequestError(413, f"{len(rows):,} rows in one request. Send {limits.rows:,} at most.")
    if not rows:
        raise RefusedRequestError(400, "No rows. Send at least one.")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RefusedRequestError(400, f"Row {number} is no object. A row is an object of features.")
    return rows


def _moment(said: Any) -> int | None:
    if said is None:
        return None
    try:
        return to_micros(datetime.fromisoformat(said))
    except (TypeError, ValueError) as error:
        raise RefusedRequestError(
            400, f"predict_at is {said!r}. It is a time with its zone, such as 2013-09-01T06:00:00Z."
        ) from error


def _flag(said: Any) -> bool:
    if said not in (None, True, False) or (isinstance(said, int) and not isinstance(said, bool)):
        raise RefusedRequestError(400, f"features is {said!r}. It is true or false.")
    return bool(said)
