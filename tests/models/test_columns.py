"""How values become numbers."""

from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.models import Column
from sterling.models.columns import encode_rows
from sterling.models.frame import Frame
from tests.models.frames import frame

CARRIER = Column("carrier", "category", ("AA", "UA"))
DISTANCE = Column("distance", "number")


def test_an_unseen_category_is_missing_and_so_is_null() -> None:
    assert CARRIER.encode("UA") == 1.0
    assert math.isnan(CARRIER.encode("ZZ"))
    assert math.isnan(CARRIER.encode(None))
    assert math.isnan(DISTANCE.encode(None))


@pytest.mark.parametrize("value", [True, "far", float("inf"), float("nan"), 10**400, [1]])
def test_a_number_is_a_finite_number(value: object) -> None:
    with pytest.raises(DataError, match="'distance' is"):
        DISTANCE.encode(value)


def test_categories_are_sorted_and_each_is_there_once() -> None:
    for categories in (("UA", "AA"), ("AA", "AA")):
        with pytest.raises(InvalidDefinitionError, match="not sorted, or not each there once"):
            Column("carrier", "category", categories)


def test_a_row_that_leaves_a_feature_out_is_refused_by_its_name() -> None:
    with pytest.raises(DataError, match="Row 1: 'carrier' left out"):
        encode_rows([DISTANCE, CARRIER], [{"distance": 1, "carrier": None}, {"distance": 1}])


values = st.fixed_dictionaries({
    "distance": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "carrier": st.none() | st.sampled_from(["AA", "UA", "ZZ", ""]),
})  # fmt: skip


@given(st.lists(values, min_size=1, max_size=20), st.booleans())
def test_a_frame_and_single_rows_are_encoded_alike(rows: list[dict[str, object]], dictionary: bool) -> None:
    distance = pa.array(
        [None if row["distance"] is None else float(str(row["distance"])) for row in rows], pa.float64()
    )
    carrier = pa.array([row["carrier"] for row in rows], pa.string())
    spine = frame(rows=len(rows)).select(["unit", "predict_at", "label", "matured_at", "status", "cluster"])
    table = spine.append_column("distance", distance)
    table = table.append_column("carrier", carrier.dictionary_encode() if dictionary else carrier)
    columns = [DISTANCE, CARRIER]
    np.testing.assert_array_equal(Frame(table).encode(columns), encode_rows(columns, rows))


ROWS = st.lists(
    st.fixed_dictionaries(
        {"carrier": st.sampled_from(["AA", "UA", "ZZ", None, 7]), "distance": st.none() | st.floats() | st.integers() | st.booleans()},
        optional={"x": st.none()},
    ),
    min_size=8, max_size=10,
)  # fmt: skip


@given(ROWS)
def test_many_rows_at_once_are_encoded_or_refused_as_each_by_itself_is(rows: list[dict[str, object]]) -> None:
    def encoded(some: list[dict[str, object]]) -> object:
        try:
            return encode_rows([CARRIER, DISTANCE], some).tobytes()
        except DataError as error:
            return re.sub(r"^Row \d+: ", "", str(error))

    each = [encoded([row]) for row in rows]
    refused = [said for said in each if isinstance(said, str)]
    assert encoded(rows) == (refused[0] if refused else b"".join(each))  # type: ignore[arg-type]
