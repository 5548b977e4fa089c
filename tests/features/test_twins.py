"""Equal and nearly equal rows are found by their hashes, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.features.twins import row_hashes, twins


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, -0.0, 1.0, np.nan]), st.sampled_from([0.0, 2.0, np.nan])),
        min_size=2,
        max_size=30,
    )
)
def test_equal_rows_have_equal_hashes_and_unequal_ones_do_not(rows: list[tuple[float, float]]) -> None:
    columns = [np.array(values) for values in zip(*rows, strict=True)]
    exact = row_hashes([(values, False) for values in columns], len(rows))[0]
    plain = [tuple("nan" if np.isnan(cell) else cell + 0.0 for cell in row) for row in rows]
    assert [[one == other for other in plain] for one in plain] == [[bool(a == b) for b in exact] for a in exact]


def test_columns_that_trade_places_are_not_equal() -> None:
    one, other = np.array([1.0, 2.0]), np.array([2.0, 1.0])
    exact = row_hashes([(one, False), (other, False)], 2)[0]
    assert exact[0] != exact[1]


@pytest.mark.parametrize("columns", [20, 70])
def test_a_thousandth_of_the_spread_leaves_most_rows_in_one_cell_of_some_grid(columns: int) -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(400, columns))
    again = matrix + 0.001 * random.normal(size=matrix.shape)
    both = np.concatenate([matrix, again])
    _, *grids = row_hashes([(both[:, place], False) for place in range(columns)], 800)
    near = np.logical_or.reduce([grid[:400] == grid[400:] for grid in grids])
    assert near.mean() > 0.9
    assert not any(np.isin(grid[:200], grid[200:400]).any() for grid in grids)


def test_twins_name_the_row_that_trained_and_how_many_are_like_no_other() -> None:
    found = twins(np.array([9, 5, 9, 7], np.uint64), np.array([1, 9, 7], np.uint64))
    assert found.judged.tolist() == [1, 2]
    assert found.trained.tolist() == [0, 3]
    assert found.unique == 0.5


def test_no_rows_have_no_twins() -> None:
    assert len(twins(np.empty(0, np.uint64), np.array([1], np.uint64)).judged) == 0
