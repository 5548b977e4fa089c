"""What a client may send: rows of named values, checked one by one, and refused with one sentence that names the field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from os import urandom
from typing import Any, NamedTuple

import msgspec

from sterling.core.clock import to_micros
from sterling.core.errors import DataError

_ID = re.compile(rb"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask, and how many may wait.

    Attributes:
        rows: Rows of a request at most.
        body_bytes: Size of a request's body at most.
        body_seconds: How long a body may take to come.
        queue: Requests at most that wait in a process; the next one is shed with 503.
    """

    rows: int = 1_000
    body_bytes: int = 4_000_000
    body_seconds: float = 10.0
    queue: int = 128


class RefusedRequestError(DataError):
    """A request that is not answered.

    Args:
        status: HTTP status, 400 to 599.
        message: What is wrong and what would work, as a sentence.
        field: Name of the field that it is about, if it is about one.
        row: Place of its row, if it is about one.
        headers: Headers of the answer.
    """

    def __init__(
        self, status: int, message: str, field: str | None = None, row: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.field, self.row, self.headers = status, field, row, headers or {}


class Asked(NamedTuple):
    """A request.

    Attributes:
        rows: Its rows of named values.
        predict_at: The moment that it is about, in microseconds; None for now.
        features: Whether the answer is to hold the vector of each row.
        unit: Whom or what it is about, such as a customer; None where it does not say.
        explain: How many features the explanation of each row is to name, 0 for all; None where none is asked for.
    """

    rows: Sequence[Mapping[str, Any]]
    predict_at: int | None = None
    features: bool = False
    unit: str | None = None
    explain: int | None = None


class RequestIds:
    """Names for requests that come without one: unlike those of any other process."""

    def __init__(self) -> None:
        self._prefix, self._numbers = urandom(8).hex(), count(1)

    def of(self, said: bytes | None) -> str:
        """The client's own id, or a new one.

        Raises:
            RefusedRequestError: if the client's is no printable ASCII of 1 to 128 signs.

        Example:
            >>> RequestIds().of(b"order-4711")
            'order-4711'
        """
        if said is None:
            return f"{self._prefix}-{next(self._numbers):x}"
        if _ID.fullmatch(said) is None:
            raise RefusedRequestError(
                400, "X-Request-Id is 1 to 128 printable signs of ASCII without spaces.", "X-Request-Id"
            )
        return said.decode()


_decode = msgspec.json.Decoder().decode
_UNIT_SIGNS = 256
MOST_NAMED = 10_000
"""Features that an explanation may be asked to name."""
_NAMES = frozenset({"rows", "predict_at", "features", "unit", "explain"})


def read_json(body: bytes) -> Any:
    """A body as JSON.

    Raises:
        RefusedRequestError: if it is none, or nested more deeply than any request is.
    """
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedRequestError(400, f"The body is no JSON: {error}. (NaN is none either: send null.)") from error


def read_request(body: bytes, limits: Limits) -> Asked:
    """A request: ``{"rows": [{name: value, …}, …]}`` with what else it says, or one row by itself.

    Raises:
        RefusedRequestError: if the body is no JSON, holds no rows or too many, or says what cannot be meant.

    Example:
        >>> read_request(b'{"distance": 95, "carrier": null}', Limits())
        Asked(rows=[{'distance': 95, 'carrier': None}], predict_at=None, features=False, unit=None, explain=None)
        >>> read_request(b'{"rows": [{}], "predict_at": "1970-01-01T00:00:01Z", "features": true}', Limits())
        Asked(rows=[{}], predict_at=1000000, features=True, unit=None, explain=None)
    """
    document = read_json(body)
    if not isinstance(document, dict):
        raise RefusedRequestError(400, 'The body is no object. Send {"rows": [{…}]}, or one row as an object.')
    if not isinstance(document.get("rows"), list):
        return Asked(_checked([document], limits))
    if unknown := document.keys() - _NAMES:
        name = min(unknown)[:80]
        raise RefusedRequestError(
            400, f"A request says nothing about {name!r}. Beside rows it may say {', '.join(sorted(_NAMES - {'rows'}))}.", name
        )  # fmt: skip
    rows = _checked(document["rows"], limits)
    return Asked(
        rows, _moment(document.get("predict_at")), _flag(document.get("features")), _unit(document.get("unit")),
        _explain(document.get("explain")),
    )  # fmt: skip


def _checked(rows: list[Any], limits: Limits) -> list[Mapping[str, Any]]:
    if len(rows) > limits.rows:
        raise RefusedRequestError(422, f"{len(rows):,} rows in one request. Send {limits.rows:,} at most.", "rows")
    if not rows:
        raise RefusedRequestError(400, "No rows. Send at least one.", "rows")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RefusedRequestError(
                400, f"Row {number} is no object. A row is an object of named values.", "rows", number
            )
    return rows


def _moment(said: Any) -> int | None:
    if said is None:
        return None
    try:
        return to_micros(datetime.fromisoformat(said))
    except (TypeError, ValueError, OverflowError) as error:
        raise RefusedRequestError(
            400, f"predict_at is {repr(said)[:80]}. It is a time with its zone, such as 2013-09-01T06:00:00Z.", "predict_at"
        ) from error  # fmt: skip


def _flag(said: Any) -> bool:
    if said not in (None, True, False) or (isinstance(said, int) and not isinstance(said, bool)):
        raise RefusedRequestError(400, f"features is {repr(said)[:80]}. It is true or false.", "features")
    return bool(said)


def _unit(said: Any) -> str | None:
    if said is not None and not (isinstance(said, str) and 0 < len(said) <= _UNIT_SIGNS):
        raise RefusedRequestError(400, f"unit is a text of 1 to {_UNIT_SIGNS} signs.", "unit")
    return said


def _explain(said: Any) -> int | None:
    if said is None or said is False:
        return None
    if said is True:
        return 0
    if isinstance(said, int | float) and 1 <= said <= MOST_NAMED and int(said) == said:
        return int(said)
    raise RefusedRequestError(
        400, f"explain is {repr(said)[:80]}. It is true, false, or how many features are to be named, 1 to {MOST_NAMED:,}.", "explain"
    )  # fmt: skip
