"""Ask a model behind a URL for scores, over HTTP, and read them strictly."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from numpy.typing import NDArray

from sterling.core.clock import iso
from sterling.core.errors import DataError, MissingExtraError
from sterling.project.external import ExternalModel
from sterling.project.times import micros

_LARGEST = 256 << 20
_ATTEMPTS = 3
_WAIT_SECONDS = 0.5
_AGAIN = frozenset({429, 502, 503, 504})
_SAID = 200


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
    headers = {"Content-Type": "application/json", "Accept": "application/json", **_token(model)}
    found: list[NDArray[np.float64]] = []
    answered_at = None
    for start in range(0, rows, model.batch_rows):
        batch = {name: values[start : start + model.batch_rows] for name, values in columns.items()}
        count = min(model.batch_rows, rows - start)
        body, answered_at = _post(model, json.dumps(_question(model, batch, count)).encode(), headers)
        found.append(_scores(model, body, start, count, probabilities=probabilities))
    return Answered(np.concatenate(found) if found else np.empty(0), len(found), answered_at)


def _token(model: ExternalModel) -> dict[str, str]:
    if model.token_env is None:
        return {}
    token = os.environ.get(model.token_env)
    if not token:
        raise MissingExtraError(
            f"The model {model.name!r} needs a token, and the environment variable {model.token_env} is not set."
        )
    return {"Authorization": f"Bearer {token}"}


def _question(model: ExternalModel, batch: Mapping[str, Sequence[Any]], rows: int) -> dict[str, Any]:
    names = list(batch)
    if model.protocol == "mlflow":
        data = [[batch[name][row] for name in names] for row in range(rows)]
        return {"dataframe_split": {"columns": names, "data": data}}
    return {"rows": [{name: batch[name][row] for name in names} for row in range(rows)]}


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
            said = error.read(_SAID).decode(errors="replace").strip()
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


def _scores(model: ExternalModel, body: bytes, start: int, rows: int, *, probabilities: bool) -> NDArray[np.float64]:
    key = "predictions" if model.protocol == "mlflow" else "scores"
    try:
        answer = json.loads(body)
    except ValueError:
        raise DataError(f"The model {model.name!r} answers with no JSON: {body[:_SAID]!r}.") from None
    found = answer.get(key) if isinstance(answer, dict) else answer
    if not isinstance(found, list):
        raise DataError(f"The model {model.name!r} answers without {key!r}, a list of a number a row.")
    if len(found) != rows:
        raise DataError(f"The model {model.name!r} answers with {len(found):,} scores for {rows:,} rows.")
    numbers = _probabilities(model, found, start) if probabilities else _numbers(model, found, start)
    return np.fromiter(numbers, dtype=np.float64, count=rows)


def _probabilities(model: ExternalModel, found: Sequence[Any], start: int) -> Iterator[float]:
    for number, value in enumerate(found, start + 1):
        one = value[1] if isinstance(value, list) and len(value) == 2 else value  # what predict_proba answers
        if not (_is_number(one) and 0 <= one <= 1):
            raise DataError(
                f"The model {model.name!r} answers {value!r} for row {number:,}. A score is the probability of 1, in [0, 1]; "
                "an MLflow model of scikit-learn gives it when it is logged with pyfunc_predict_fn='predict_proba'."
            )
        yield float(one)


def _numbers(model: ExternalModel, found: Sequence[Any], start: int) -> Iterator[float]:
    for number, value in enumerate(found, start + 1):
        if not _is_number(value):
            raise DataError(
                f"The model {model.name!r} answers {value!r} for row {number:,}, which is no finite number."
            )
        yield float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _date(header: str | None) -> str | None:
    try:
        return iso(parsedate_to_datetime(header)) if header else None
    except ValueError:
        return None
