"""Ask a model behind a URL for scores, over HTTP, and read them strictly."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from numpy.typing import NDArray

from sterling.core.clock import iso
from sterling.core.errors import DataError
from sterling.models.outside import SAID, headers, question, scores_in
from sterling.project.external import ExternalModel
from sterling.project.times import micros

_LARGEST = 256 << 20
_ATTEMPTS = 3
_WAIT_SECONDS = 0.5
_AGAIN = frozenset({429, 502, 503, 504})


class Answered(NamedTuple):
    """What a model answered.

    Attributes:
        scores: Shape (rows,), in [0, 1].
        requests: How many requests were answered.
        answered_at: The time of the last answer by the server's own clock, ISO 8601; None where it tells none.
    """

    scores: NDArray[np.float64]
    requests: int
    answered_at: str | None


def ask(
    model: ExternalModel, columns: Mapping[str, Sequence[Any]], rows: int, *, probabilities: bool = True
) -> Answered:
    """Ask a model for the scores of rows, one batch after the other.

    Args:
        model: Where it lives and how it speaks.
        columns: Values by feature, None where one is not known.
        rows: How many rows there are.
        probabilities: Whether a score is the probability of 1; else it is any number.

    Raises:
        DataError: if it cannot be reached, refuses, or answers with something else than one such number a row.
        MissingExtraError: if the environment variable of its token is not set.
    """
    sent = headers(model)
    found: list[NDArray[np.float64]] = []
    answered_at = None
    for start in range(0, rows, model.batch_rows):
        some = range(start, min(start + model.batch_rows, rows))
        batch = [{name: values[row] for name, values in columns.items()} for row in some]
        body, answered_at = _post(model, json.dumps(question(model, list(columns), batch)).encode(), sent)
        found.append(scores_in(model, body, len(batch), start=start, probabilities=probabilities))
    return Answered(np.concatenate(found) if found else np.empty(0), len(found), answered_at)


def _post(model: ExternalModel, data: bytes, headers: Mapping[str, str]) -> tuple[bytes, str | None]:
    """One request, made again where the server says that it may be."""
    opener, seconds = build_opener(_NoRedirect), micros(model.timeout) / 1e6
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with opener.open(Request(model.url, data, dict(headers)), timeout=seconds) as response:  # noqa: S310  checked in ExternalModel
                body: bytes = response.read(_LARGEST + 1)
                if len(body) > _LARGEST:
                    raise DataError(
                        f"The model {model.name!r} answers with more than 256 MB. Ask for fewer with batch_rows=."
                    )
                return body, _date(response.headers.get("Date"))
        except HTTPError as error:
            said = error.read(SAID).decode(errors="replace").strip()
            if error.code not in _AGAIN or attempt == _ATTEMPTS:
                raise DataError(
                    f"The model {model.name!r} refuses with {error.code} {error.reason}{f': {said}' if said else ''}."
                ) from None
        except TimeoutError:
            raise DataError(f"The model {model.name!r} did not answer within {model.timeout}.") from None
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                raise DataError(f"The model {model.name!r} did not answer within {model.timeout}.") from None
            if attempt == _ATTEMPTS:
                raise DataError(f"The model {model.name!r} cannot be reached at {model.url}: {reason}.") from None
        time.sleep(_WAIT_SECONDS * attempt)
    raise AssertionError("unreachable")


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is a refusal: a token must not follow it to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _date(header: str | None) -> str | None:
    try:
        return iso(parsedate_to_datetime(header)) if header else None
    except ValueError:
        return None
