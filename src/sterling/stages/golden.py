"""Golden examples: rows whose score a project has fixed bounds for, one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from sterling.core.errors import DataError, nearest
from sterling.models import Model

_FIELDS = ("name", "features", "at_least", "at_most")


class Golden(NamedTuple):
    """An example and how a model answers it."""

    name: str
    """What the example is called."""
    score: float
    """The model's answer."""
    at_least: float | None
    """Smallest score that is right."""
    at_most: float | None
    """Largest score that is right."""

    @property
    def failed(self) -> bool:
        """Whether the answer is out of bounds."""
        low, high = self.at_least, self.at_most
        return (low is not None and self.score < low) or (high is not None and self.score > high)


def answer_golden(model: Model, path: Path) -> tuple[Golden, ...]:
    """How a model answers every example of a file; a feature that is left out is null.

    Raises:
        DataError: if the file holds no example, or one is not as it should be; the message names the line.
    """
    answers = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                answers.append(_answer(model, _example(line)))
            except DataError as error:
                raise DataError(f"Golden examples, line {number}: {error}") from error
    if not answers:
        raise DataError("The file of golden examples holds none. Write a JSON object a line, or drop the gate.")
    return tuple(answers)


def _example(line: str) -> dict[str, Any]:
    try:
        example = json.loads(line)
    except ValueError as error:
        raise DataError(f"it is no JSON: {error}.") from error
    if not isinstance(example, dict):
        raise DataError('it is no object. Write {"name": "…", "features": {…}, "at_least": 0.5}.')
    if unknown := sorted(set(example) - set(_FIELDS)):
        raise DataError(f"it has a field {unknown[0]!r}. {nearest(unknown[0], _FIELDS)}")
    if not isinstance(example.get("name"), str) or not isinstance(example.get("features"), dict):
        raise DataError("it needs a name, which is text, and features, which is an object.")
    bounds = [example.get(side) for side in ("at_least", "at_most")]
    if all(bound is None for bound in bounds):
        raise DataError(f"{example['name']!r} has neither at_least nor at_most, so every answer would be right.")
    if any(bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)) for bound in bounds):
        raise DataError(f"the bounds of {example['name']!r} are {bounds[0]!r} and {bounds[1]!r}. They are numbers.")
    return example


def _answer(model: Model, example: dict[str, Any]) -> Golden:
    row = dict.fromkeys(model.names) | example["features"]
    score = float(model.predict_rows([row])[0])
    return Golden(example["name"], score, example.get("at_least"), example.get("at_most"))
