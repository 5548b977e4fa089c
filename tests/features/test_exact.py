from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.features.exact import Digits, decimal_digits, difference, digits, rounded, scaled, squares, weighted

numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300).filter(
    lambda x: x == 0 or abs(x) > 1e-290
)


def total(values: np.ndarray) -> float:
    places, exponent = digits(values)
    return float(rounded(Digits(tuple(np.array([place.sum()]) for place in places), exponent))[0])


@given(st.lists(numbers, min_size=1, max_size=8))
def test_digits_say_the_number_exactly(values: list[float]) -> None:
    assert rounded(digits(np.array(values))).tolist() == [value + 0.0 for value in values]


@given(st.lists(numbers, min_size=1, max_size=30))
@settings(max_examples=60)
def test_a_sum_is_the_float_nearest_to_the_true_one(values: list[float]) -> None:
    assert total(np.array(values)) == math.fsum(values)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=30))
def test_whole_numbers_beyond_doubles_are_summed_exactly(values: list[int]) -> None:
    assert total(np.array(values, np.int64)) == float(sum(values))


def test_a_large_term_that_leaves_again_takes_nothing_with_it() -> None:
    assert total(np.array([1e17, 1.0, 2.0, -1e17])) == 3.0


@given(st.lists(numbers.filter(lambda x: abs(x) < 1e140 and (x == 0 or abs(x) > 1e-140)), min_size=1, max_size=12))
def test_sums_of_squares_and_quotients_are_the_floats_nearest_to_the_true_ones(values: list[float]) -> None:
    made = squares(digits(np.array(values)))
    whole = Digits(tuple(np.array([place.sum()]) for place in made.places), made.exponent)
    true = sum((Fraction(value) ** 2 for value in values), Fraction(0))
    assert rounded(whole, [7, 10**10])[0] == float(true / (7 * 10**10))
    less = difference(scaled(whole, np.array([3])), whole)
    assert rounded(less)[0] == float(2 * true)


@given(st.lists(st.integers(-(10**38) + 1, 10**38 - 1), min_size=1, max_size=12))
def test_decimals_are_their_own_digits(values: list[int]) -> None:
    words = np.array([(value >> shift) % 2**64 for value in values for shift in (0, 64)], np.uint64).reshape(-1, 2)
    made = decimal_digits(words[:, 0], words[:, 1].view(np.int64))
    assert rounded(made).tolist() == [float(value) for value in values]


@given(
    st.lists(
        st.tuples(numbers.filter(lambda x: x == 0 or 1e-100 < abs(x) < 1e100), st.integers(0, 2**32 - 1)), max_size=12
    )
)
@settings(deadline=None)
def test_weighted_sums_and_squares_are_exact(pairs: list[tuple[float, int]]) -> None:
    found = weighted(np.array([x for x, _ in pairs]), np.array([n for _, n in pairs], np.int64))
    assert found == tuple(sum((Fraction(x) ** power * n for x, n in pairs), Fraction(0)) for power in (1, 2))


def test_weighted_sums_of_small_whole_numbers_are_exact() -> None:
    assert weighted(np.array([2.0, -3.0]), np.array([5, 1])) == (Fraction(7), Fraction(29))
