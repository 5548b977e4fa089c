"""What became of predictions: outcomes and complaints, durable before they are answered, each said as often as it likes.

An outcome is about a request, by its id and the place of the row, or about a unit at a time. The same again changes
nothing; another one of the same prediction stands beside the earlier one, and the one that came last counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sterling.core.clock import Clock, utcnow
from sterling.core.errors import DataError, StorageError
from sterling.features.arriving import RowReader
from sterling.features.event_log import EventLog, Pushed, Refusal
from sterling.project.sources import Delay, EventSource
from sterling.serving.requests import RefusedRequestError

OUTCOMES, FEEDBACK = "outcomes", "feedback"
_ABOUT = {"request_id": "string", "row": "int32", "unit": "string", "at": "timestamp[us, tz=UTC]"}
TYPES: Mapping[str, Mapping[str, str]] = {
    OUTCOMES: _ABOUT | {"outcome": "double", "label": "string"},
    FEEDBACK: _ABOUT | {"kind": "string", "text": "string"},
}
"""Columns of either, as they lie in their tables."""
_TEXT_SIGNS = 10_000
_NAME_SIGNS = 256


class Outcomes:
    """Takes outcomes and complaints.

    Args:
        path: Their file, such as ``.sterling/outcomes.db``.
        clock: Says when they come.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     taken = Outcomes(Path(folder) / "outcomes.db")
        ...     said = {"request_id": "r1", "outcome": True}
        ...     [taken.push("outcomes", [said]).taken for _ in range(2)]
        [1, 0]
    """

    def __init__(self, path: Path, *, clock: Clock = utcnow) -> None:
        readers = [
            RowReader(EventSource(name, f"{name}.parquet", event_time="at", available_at=Delay("0m")), TYPES[name])
            for name in TYPES
        ]
        self._log = EventLog(path, readers, clock=clock)

    def push(self, kind: str, rows: Sequence[Any]) -> Pushed:
        """Take rows; those that are taken lie on the disk when the call returns.

        Args:
            kind: ``outcomes`` or ``feedback``.
            rows: The rows, each as JSON is read into Python.

        Raises:
            RefusedRequestError: if they cannot be written.
        """
        refused, read, places = list[Refusal](), list[Mapping[str, Any]](), list[int]()
        for number, row in enumerate(rows):
            try:
                read.append(_outcome(row) if kind == OUTCOMES else _complaint(row))
                places.append(number)
            except DataError as error:
                refused.append(Refusal(number, str(error)))
        try:
            pushed = self._log.push(kind, read)
        except StorageError as error:
            raise RefusedRequestError(503, str(error), headers={"Retry-After": "1"}) from error
        more = (Refusal(places[one.row], one.reason) for one in pushed.refused)
        return pushed._replace(refused=tuple(sorted([*refused, *more])))

    def rows(self, kind: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Every row that was taken with the time at which it came, in microseconds, in that order."""
        return self._log.rows(kind)

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def _outcome(row: Any) -> Mapping[str, Any]:
    """An outcome as it is kept: a number, or the name of a class."""
    found = _about(row)
    said = found.pop("outcome", None)
    if "label" in found:
        raise DataError("outcomes has no column 'label'. Did you mean 'outcome'?")
    if said is None or not isinstance(said, bool | int | float | str):
        raise DataError("'outcome' is missing. It is a number, true or false, or the name of a class.")
    if isinstance(said, str):
        return found | {"label": said}
    try:
        return found | {"outcome": float(said)}
    except OverflowError:
        raise DataError("'outcome' is larger than any float.") from None


def _complaint(row: Any) -> Mapping[str, Any]:
    found = _about(row)
    if not isinstance(found.get("text"), str):
        raise DataError("'text' is missing. It says what is wrong.")
    if any(len(str(found.get(name, ""))) > _TEXT_SIGNS for name in ("kind", "text")):
        raise DataError(f"'text' or 'kind' is longer than {_TEXT_SIGNS:,} signs.")
    return found


def _about(row: Any) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise DataError(f"A row is a JSON object, and this is none: {str(row)[:80]!r}.")
    by_request, by_unit = row.get("request_id") is not None, row.get("unit") is not None
    if by_request == by_unit:
        raise DataError("A row is about a request_id (and its row, from 0), or about a unit at a time.")
    if by_unit and row.get("at") is None:
        raise DataError("'at' is missing: with unit, it says which prediction is meant, the last one until then.")
    place = row.get("row")
    if place is not None and by_unit:
        raise DataError("'row' goes with a request_id, and not with a unit.")
    if isinstance(place, float) and place.is_integer():
        place = int(place)
    if isinstance(place, int) and place < 0:
        raise DataError(f"'row' is {place}. The rows of a request count from 0.")
    named = row["request_id" if by_request else "unit"]
    if isinstance(named, str) and not 0 < len(named) <= _NAME_SIGNS:
        raise DataError(f"'{'request_id' if by_request else 'unit'}' is a text of 1 to {_NAME_SIGNS} signs.")
    return {**row, "row": 0 if place is None else place} if by_request else dict(row)
