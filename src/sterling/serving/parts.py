"""An answer in its parts: rows of one request that one version, or one fallback, has answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sterling.core.clock import from_micros, iso, to_micros, utcnow
from sterling.core.errors import DataError, FieldError, in_row
from sterling.serving.fallback import Fell
from sterling.serving.inputs import Nulled
from sterling.serving.prediction_log import Record
from sterling.serving.released import Predicted, ServedModel
from sterling.serving.requests import Asked
from sterling.serving.router import SEVERAL, Assigned

_NUMBERED = re.compile(r"Row \d+: ")


class Part(NamedTuple):
    """Rows of a request, answered by one.

    Attributes:
        served: The version that answered, or that a link without a model answered for.
        found: What was said.
        assigned: What the rows were assigned to.
        units: The unit of each row, or None.
        numbers: The places of the rows in the request; None where they are all of it, in order.
        decisions: Whether each row is acted on; None where nothing decides.
        nulled: Values that were taken as null, by the places of rows in the request.
        fell: Why something else answered than was asked, or None.
        explanations: What each feature added, for each row; None where that was not asked for.
    """

    served: ServedModel
    found: Predicted
    assigned: Assigned
    units: Sequence[str | None]
    numbers: Sequence[int] | None = None
    decisions: Sequence[bool | None] | None = None
    nulled: Sequence[Nulled] = ()
    fell: Fell | None = None
    explanations: Sequence[Mapping[str, Any] | None] | None = None

    @property
    def labels(self) -> list[str] | None:
        """The most probable output of each row, where there are several."""
        return self.served.labels(self.found.scores)

    @property
    def by_model(self) -> bool:
        """Whether a version said it, and no link without a model."""
        return self.fell is None or self.fell.link in {"live", "previous"}

    @property
    def places(self) -> Sequence[int]:
        """The places of the rows in the request."""
        return range(len(self.units)) if self.numbers is None else self.numbers

    def cut(self, places: Sequence[int]) -> Part:
        """The same for some of its rows, by their places in the part."""
        if len(places) == len(self.units):
            return self
        numbers = [self.places[place] for place in places]
        found = self.found._replace(
            scores=self.found.scores[list(places)], rows=[self.found.rows[place] for place in places]
        )
        decisions = None if self.decisions is None else [self.decisions[place] for place in places]
        nulled = [one for one in self.nulled if one.row in numbers]
        return self._replace(
            found=found, units=[self.units[place] for place in places], numbers=numbers, decisions=decisions, nulled=nulled
        )  # fmt: skip


def numbered(error: DataError, numbers: Sequence[int], rows: int) -> DataError:
    """An error about some rows of a request, as one about the request.

    Example:
        >>> numbered(FieldError("Row 1: 'origin' left out.", "origin", 1), [4, 7], 10)
        FieldError("Row 7: 'origin' left out.")
    """
    said = str(error)
    place = int(said[4 : said.index(":")]) if _NUMBERED.match(said) else 0
    if isinstance(error, FieldError):
        bare: DataError = FieldError(_NUMBERED.sub("", said, count=1), error.field, problem=error.problem)
    elif type(error).__init__ is DataError.__init__:
        bare = type(error)(_NUMBERED.sub("", said, count=1))
    else:
        return error
    return in_row(bare, numbers[place], rows)


def release_said(served: ServedModel) -> dict[str, Any]:
    """Which version it is, and what it rests on."""
    return {"model": served.ref, "version": served.version, "position": served.position}


def answer_said(request_id: str, asked: Asked, parts: Sequence[Part], live: ServedModel) -> dict[str, Any]:
    """An answer as JSON; where its rows differ in version or arm, it says these row by row.

    Args:
        request_id: Name of the request.
        asked: The request.
        parts: What was answered, of which each row is in one.
        live: The live version, which stands for an answer of several.
    """
    first = parts[0]
    alike = all(
        (part.served.version, part.served.position, part.assigned.arm)
        == (first.served.version, first.served.position, first.assigned.arm)
        for part in parts[1:]
    )
    one = first.served if alike else live
    arms = {part.assigned.arm for part in parts} if not alike else {first.assigned.arm}
    answer = release_said(one) | {"request_id": request_id, "arm": arms.pop() if len(arms) == 1 else SEVERAL}
    if not alike:
        answer["versions"] = _by_row(parts, lambda part: [part.served.version] * len(part.units))
        answer["arms"] = _by_row(parts, lambda part: [part.assigned.arm] * len(part.units))
    answer["scores"] = _by_row(parts, lambda part: part.found.scores.tolist())
    outputs = {part.served.model.outputs for part in parts}
    if len(outputs) > 1:  # versions of other classes, such as a canary's
        answer["outputs"] = _by_row(parts, lambda part: [list(part.served.model.outputs)] * len(part.units))
    elif names := outputs.pop():
        answer["outputs"] = list(names)
    if any(part.labels for part in parts):
        answer["labels"] = _by_row(parts, lambda part: part.labels or [None] * len(part.units))
    if any(part.fell for part in parts):
        answer["fallback"] = sorted((one for part in parts for one in _fell(part)), key=lambda one: one["row"])
    if any(part.decisions is not None for part in parts):
        answer["decisions"] = _by_row(parts, lambda part: part.decisions or [None] * len(part.units))
    moments = [part.found.at for part in parts if part.found.at is not None]
    if moments:
        answer["moment"] = iso(from_micros(max(moments)))
    if asked.features:
        answer["features"] = _by_row(parts, _features)
    if asked.explain is not None:
        answer["explanations"] = _by_row(parts, lambda part: part.explanations or [None] * len(part.units))
    nulled = [one._asdict() for part in parts for one in part.nulled]
    return answer | ({"nulled": nulled} if nulled else {})


def records(request_id: str, parts: Sequence[Part], latency_us: dict[str, int], cpu_seconds: float) -> list[Record]:
    """A request as the prediction log keeps it, a record for each part."""
    rows = sum(len(part.units) for part in parts)
    return [
        _record(request_id, part, latency_us, cpu_seconds * len(part.units) / rows) for part in parts
    ]  # fmt: skip


def _record(request_id: str, part: Part, latency_us: dict[str, int], cpu_seconds: float) -> Record:
    served, found, assigned, fell = part.served, part.found, part.assigned, part.fell
    same, labels = len({*part.units}) == 1, part.labels
    extra: dict[str, Sequence[Any]] = {} if part.decisions is None else {"decision": part.decisions}
    if fell is not None and (fell.external or fell.tried):
        extra = extra | _outside(fell, len(part.units))
    return Record(
        request_id, to_micros(utcnow()), served.version, served.ref, served.position, found.rows, found.scores.tolist(),
        part.units[0] if same else None, found.at, assigned.arm, assigned.probability, fell and fell.link, fell and fell.reason,
        latency_us, cpu_seconds, extra if labels is None else extra | {"label": labels}, part.numbers,
        None if same else part.units,
    )  # fmt: skip


def _outside(fell: Fell, rows: int) -> dict[str, Sequence[Any]]:
    """Which model behind a URL answered, and which were asked and did not, for each row."""
    name, version = (fell.external.name, fell.external.version) if fell.external else (None, None)
    tried = ", ".join(f"{one.name}: {one.reason}" for one in fell.tried) or None
    said = {"external": name, "external_version": version, "tried": tried}
    return {column: [value] * rows for column, value in said.items()}


def _by_row(parts: Sequence[Part], of: Callable[[Part], Sequence[Any]]) -> list[Any]:
    if len(parts) == 1:
        return list(of(parts[0]))
    found = {number: value for part in parts for number, value in zip(part.places, of(part), strict=True)}
    return [found[number] for number in range(len(found))]


def _fell(part: Part) -> list[dict[str, Any]]:
    if part.fell is None:
        return []
    more: dict[str, Any] = {}
    if part.fell.external is not None:
        more |= {"name": part.fell.external.name, "version": part.fell.external.version}
    if part.fell.tried:
        more["tried"] = [one._asdict() for one in part.fell.tried]
    said: list[dict[str, Any]] = [
        {"row": number, "link": part.fell.link, "reason": part.fell.reason, **more} for number in part.places
    ]
    for one, age in zip(said, part.fell.ages or (), strict=False):
        one["age_seconds"] = round(age, 3)
    return said


def _features(part: Part) -> list[Mapping[str, Any]]:
    names = part.served.model.names
    return [{name: row.get(name) for name in names} for row in part.found.rows]
