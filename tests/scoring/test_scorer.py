"""What becomes of the rows of a partition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.models import Column, Linear, Model, NumberTerm
from sterling.models.several import Constants
from sterling.project.checks import InRange
from sterling.scoring.encoded import check_columns, encode
from sterling.scoring.scorer import Scorer, Tally, layout_of
from sterling.scoring.spool import AT, ROW, Part, Spool
from sterling.serving.released import ServedModel
from sterling.tasks.policies import Decider

MODEL = Model((Column("n", "number"),), Linear(0.0, (NumberTerm(0.0, 1.0, 1.0, 0.0),)))


def part(folder: Path, numbers: list[Any], moments: list[int], *, batch: int = 3) -> Part:
    spool = Spool(folder)
    for start in range(0, len(numbers), batch):
        some, at = numbers[start : start + batch], moments[start : start + batch]
        rows = {
            "id": [str(n) for n in some],
            "n": pa.array(some, pa.float64()),
            AT: at,
            ROW: list(range(start, start + len(some))),
        }
        spool.add(pa.table(rows), pa.repeat("all", len(some)))
    [found] = spool.parts()
    return found


def scored(served: ServedModel, rows: Part, **said: Any) -> tuple[pa.Table, pa.Table, Tally]:
    tally = Tally()
    written = list(Scorer(served, layout_of(served, ["id", "n"], ["id"]), **said).written(rows, "r", tally))
    return pa.concat_tables(w.scored for w in written), pa.concat_tables(w.refused for w in written), tally


def served(decider: Decider | None = None) -> ServedModel:
    return ServedModel(MODEL, Ref(MODEL.ref), 1, 1, decider=decider)


def test_a_capacity_ranks_the_rows_of_a_moment_whatever_batch_they_came_in(tmp_path: Path) -> None:
    numbers, moments = [1.0, 5.0, 3.0, 9.0, 2.0, 7.0, 4.0], [0, 0, 0, 1, 1, 0, 1]
    table, _, tally = scored(served(Decider(None, "a capacity", k=2)), part(tmp_path, numbers, moments))
    acted = table.filter(table["decision"])["id"].to_pylist()
    assert acted == ["5.0", "9.0", "7.0", "4.0"]
    assert tally.acted == 4


def test_refused_rows_take_no_place_of_a_capacity(tmp_path: Path) -> None:
    checks = [InRange("n", 0, 8)]
    rows = part(tmp_path, [1.0, 5.0, 9.0, 7.0], [0, 0, 0, 0])
    table, refused, tally = scored(served(Decider(None, "a capacity", k=2)), rows, checks=checks)
    assert table.filter(table["decision"])["id"].to_pylist() == ["5.0", "7.0"]
    assert refused.select(["id", "row", "problem"]).to_pylist() == [{"id": "9.0", "row": 2, "problem": "out-of-range"}]
    assert tally.first_refusal == "row 2, 'n' (out-of-range)"


def test_scores_are_those_of_the_model_and_a_threshold_decides(tmp_path: Path) -> None:
    numbers = [-2.0, 0.0, 2.0, 4.0]
    table, _, _ = scored(served(Decider(0.5, "given")), part(tmp_path, numbers, [0] * 4))
    assert table["score"].to_pylist() == MODEL.predict(np.array([[n] for n in numbers])).tolist()
    assert table["decision"].to_pylist() == [False, True, True, True]


def test_a_model_of_several_answers_has_a_column_for_each_and_the_likeliest_label(tmp_path: Path) -> None:
    model = Model((Column("n", "number"),), Constants((0.25, 0.75)), ("late", "early"))
    table, _, tally = scored(ServedModel(model, Ref(model.ref), 1, 1), part(tmp_path, [1.0, None], [0, 0]))
    assert table.select(["label", "score:late", "score:early"]).to_pylist()[0] == {
        "label": "early", "score:late": 0.25, "score:early": 0.75
    }  # fmt: skip
    assert tally.scores is None


def test_cells_of_any_type_are_what_a_request_would_bring() -> None:
    columns = [Column("n", "number"), Column("c", "category", ("a", "b"))]
    table = pa.table(
        {"n": ["1.5", "", None, "x", "inf"], "c": pa.array(["a", "b", None, "z", "a"]).dictionary_encode()}
    )
    found = encode(columns, table, {}, "null")
    np.testing.assert_array_equal(found.matrix[:3], [[1.5, 0.0], [np.nan, 1.0], [np.nan, np.nan]])
    assert [(one.row, one.problem) for one in found.refused] == [(3, "wrong-type"), (4, "wrong-type")]
    assert found.nulled == 1
    whole = pa.table({"n": pa.array([2**53 + 1, True, None][0:1]), "c": ["a"]})
    assert encode(columns, whole, {}, "refuse").matrix[0, 0] == float(2**53 + 1)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"n": pa.float64()}, "no column 'c'"),
        ({"n": pa.timestamp("us"), "c": pa.string()}, "'n' is timestamp"),
        ({"n": pa.float64(), "c": pa.int64()}, "'c' is int64"),
    ],
)
def test_a_table_of_other_columns_is_refused_at_once(schema: dict[str, pa.DataType], said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_columns([Column("n", "number"), Column("c", "category", ("a",))], pa.schema(schema.items()))
