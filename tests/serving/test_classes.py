"""Answers of several classes, also where versions of other classes answer rows of one request; and what the log keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from sterling.models import Model
from sterling.models.several import Constants
from sterling.serving.parts import Part, answer_said, records
from sterling.serving.prediction_log import Record
from sterling.serving.released import Predicted, ServedModel
from sterling.serving.requests import Asked
from sterling.serving.router import CANARY, LIVE, Assigned
from sterling.serving.segments import table_of
from sterling.serving.shadow import Shadowing

ROWS: list[dict[str, Any]] = [{}, {}, {}]


def served(version: int, values: tuple[float, ...], names: tuple[str, ...]) -> ServedModel:
    model = Model((), Constants(values), names)
    return ServedModel(model, model.ref, version, version)


def part(one: ServedModel, arm: str, numbers: list[int]) -> Part:
    rows = [ROWS[number] for number in numbers]
    found = Predicted(one.model.predict(np.empty((len(rows), 0))), rows, None)
    return Part(one, found, Assigned(one.version, arm, 1.0), [None] * len(rows), numbers)


OLD, NEW = served(1, (0.25, 0.75), ("a", "b")), served(2, (0.5, 0.25, 0.25), ("a", "b", "c"))


def test_an_answer_names_what_each_number_is_of() -> None:
    said = answer_said("r", Asked(ROWS), [part(OLD, LIVE, [0, 1, 2])], OLD)
    assert (said["outputs"], said["labels"], said["scores"]) == (["a", "b"], ["b"] * 3, [[0.25, 0.75]] * 3)


def test_versions_of_other_classes_name_them_row_by_row() -> None:
    parts = [part(OLD, LIVE, [0, 2]), part(NEW, CANARY, [1])]
    said = answer_said("r", Asked(ROWS), parts, OLD)
    assert said["outputs"] == [["a", "b"], ["a", "b", "c"], ["a", "b"]]
    assert said["scores"] == [[0.25, 0.75], [0.5, 0.25, 0.25], [0.25, 0.75]]
    assert said["labels"] == ["b", "a", "b"]


def test_the_log_keeps_the_probabilities_and_the_class_that_was_said() -> None:
    kept: list[Record] = records("r", [part(NEW, LIVE, [0, 1, 2])], {}, 0.0)
    table = table_of(iter(kept))
    assert table["_score"].to_pylist() == [[0.5, 0.25, 0.25]] * 3
    assert table["_label"].to_pylist() == ["a"] * 3


def test_a_shadow_of_other_classes_is_counted_as_failed_and_goes_on() -> None:
    shadow = Shadowing(NEW)
    for answered in (OLD, NEW):
        shadow.put(Asked(ROWS), part(answered, LIVE, [0, 1, 2]).found, None)
    assert shadow.wait()
    assert (shadow.counts.failed, shadow.counts.requests, shadow.counts.equal) == (1, 1, 3)
    shadow.close()
