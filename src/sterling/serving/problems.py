"""What is said to a client whose request is not answered: a problem document that names the field.

References:
    Nottingham, Wilde and Dalal (2023), RFC 9457: Problem Details for HTTP APIs.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from sterling.core.errors import DataError, FieldError, StorageError
from sterling.features.on_demand import FunctionFailedError
from sterling.serving.requests import RefusedRequestError

MEDIA_TYPE = b"application/problem+json"
FAILED = "The server failed on this request; its log says why."
_log = logging.getLogger("sterling.serving")
_encode = msgspec.json.Encoder().encode


class Problem(NamedTuple):
    """Why a request is not answered.

    Attributes:
        status: HTTP status.
        type: What kind of problem it is; the last part of its URN.
        detail: What is wrong and what would work, as a sentence.
        field: Name of the field that it is about, or None.
        row: Place of its row, or None.
        headers: Headers of the answer.
    """

    status: int
    type: str
    detail: str
    field: str | None = None
    row: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def document(self, request_id: str) -> bytes:
        """The problem as JSON.

        Example:
            >>> Problem(422, "wrong-type", "It is a number.", "distance").document("r1").decode()
            '{"type":"urn:sterling:problem:wrong-type","title":"Unprocessable Entity","status":422,"detail":"It is a number.","request_id":"r1","field":"distance"}'
        """
        said: dict[str, Any] = {
            "type": f"urn:sterling:problem:{self.type}", "title": _title(self.status), "status": self.status,
            "detail": self.detail, "request_id": request_id,
        }  # fmt: skip
        said |= {} if self.field is None else {"field": self.field}
        return _encode(said | ({} if self.row is None else {"row": self.row}))


def problem_of(error: Exception) -> Problem:
    """What a client is told of an error; what it is no business of is logged instead."""
    match error:
        case RefusedRequestError():
            headers = tuple((name.lower().encode(), value.encode()) for name, value in error.headers.items())
            return Problem(error.status, _type(error.status), str(error), error.field, error.row, headers)
        case FieldError():
            return Problem(422, error.problem, str(error), error.field, error.row)
        case FunctionFailedError():
            _log.error("%s", error)
            return Problem(500, "function-failed", str(error))
        case DataError():
            return Problem(422, _type(422), str(error))
        case StorageError():
            _log.error("%s", error)
            return Problem(503, "unreachable", str(error), headers=((b"retry-after", b"1"),))
        case _:
            _log.error("%s", FAILED, exc_info=error)
            return Problem(500, _type(500), FAILED)


def is_clients(error: Exception) -> bool:
    """Whether an error is the client's, and none of the version that was asked."""
    if isinstance(error, RefusedRequestError):
        return error.status < 500
    return isinstance(error, DataError) and not isinstance(error, FunctionFailedError)


def _title(status: int) -> str:
    return "Unprocessable Entity" if status == 422 else HTTPStatus(status).phrase


def _type(status: int) -> str:
    return _title(status).lower().replace(" ", "-")
