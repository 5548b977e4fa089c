"""Exact sums as SQL: numbers as digits of 26 bits in BIGINT columns, which are added up apart and rounded once.

It is the arithmetic of `sterling.features.exact` in the words of Spark, whose own sums of doubles depend on the order of
their terms. Digits of 26 bits, not of 27, since two of them fit into a double exactly: that is how they are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BITS = 26
"""Bits of a digit; 2**31 rows of squares still add up in 64 bits."""
BASE = 1 << BITS
_MASK = f"{BASE - 1}L"
_EMPTY = "CAST(array() AS ARRAY<BIGINT>)"
_GROWN = 2  # further digits of a sum, for 2**31 rows


class Number(NamedTuple):
    """How the values of a column become digits.

    Attributes:
        value: The column as SQL: BIGINT, DOUBLE or DECIMAL(38, 0).
        kind: Which of these.
        places: How many digits every value has at most.
        exponent: A digit 1 in the lowest place is worth 2**exponent.
        tens: The digits are those of the value times 10**tens.
    """

    value: str
    kind: str
    places: int
    exponent: int = 0
    tens: int = 0

    def digits(self) -> list[str]:
        """The digits of a value, lowest first; each has the sign of the value."""
        return [self._digit(place) for place in range(self.places)]

    def _digit(self, place: int) -> str:
        top = place == self.places - 1
        if self.kind == "float":
            low = self.exponent + BITS * place
            rest = self.value if top else f"({self.value} % {double(2.0 ** (low + BITS))})"
            return f"CAST({rest} * {double(2.0**-low)} AS BIGINT)"
        end = "BD" if self.kind == "decimal" else "L"
        rest = self.value if top else f"({self.value} % {1 << BITS * (place + 1)}{end})"
        if place == 0:
            return f"CAST({rest} AS BIGINT)"
        return f"CAST({rest} div {1 << BITS * place}{end} AS BIGINT)"


def double(value: float) -> str:
    """A float as a literal of Spark.

    Example:
        >>> double(0.5)
        '0.5D'
    """
    return f"{value!r}D"


def squares(digits: Sequence[str]) -> list[str]:
    """The digits of the square of a number, twice as many, each below 2**32."""
    size = len(digits)
    columns = _products(digits)
    low = [*(f"(({column}) & {_MASK})" for column in columns), "0L"]
    high = ["0L", *(f"shiftright({column}, {BITS})" for column in columns)]
    return [f"{a} + {b}" for a, b in zip(low, high, strict=True)][: 2 * size]


def _products(digits: Sequence[str]) -> list[str]:
    """What the square of a number has in each place, before anything is carried."""
    size, found = len(digits), []
    for place in range(2 * size - 1):
        pairs = [(i, place - i) for i in range(size) if i <= place - i < size]
        found.append(" + ".join(f"{digits[i]} * {digits[j]} * {1 if i == j else 2}" for i, j in pairs))
    return found


def negative(sums: Sequence[str]) -> str:
    """Whether a number is below zero, from sums of its digits."""
    return f"({_carries(sums, len(sums) + _GROWN)[-1]} < 0)"


def normalized(sums: Sequence[str], negative: str) -> list[str]:
    """The digits of a number without its sign, each in [0, 2**26), from sums of its digits.

    Args:
        sums: The sums of its digits, lowest first, as BIGINT.
        negative: Whether it is below zero.
    """
    sums = [f"(CASE WHEN {negative} THEN -{term} ELSE {term} END)" for term in sums]
    return [f"({carry} & {_MASK})" for carry in _carries(sums, len(sums) + _GROWN)]


def _carries(sums: Sequence[str], places: int) -> list[str]:
    found = [sums[0]]
    for place in range(1, places):
        carry = f"shiftright({found[-1]}, {BITS})"
        found.append(f"({sums[place]} + {carry})" if place < len(sums) else carry)
    return found


def carried(sums: str) -> str:
    """The digits of a number that is not below zero, each in [0, 2**26), from an array of sums of its digits."""
    return (
        f"aggregate(concat({sums}, array_repeat(0L, {_GROWN})), named_struct('over', 0L, 'made', {_EMPTY}), (at, sum) -> "
        f"named_struct('over', shiftright(at.over + sum, {BITS}), 'made', array_append(at.made, (at.over + sum) & {_MASK})), "
        "at -> at.made)"
    )


def spread(count: str, digits: str, squared: str) -> str:
    """Count times the sum of squares, less the square of the sum: an array of digits before anything is carried.

    Args:
        count: How many values there are.
        digits: Array of the digits of the sum.
        squared: Array of the digits of the sum of squares.
    """
    product = (
        f"aggregate(sequence(0, place), 0L, (sum, i) -> sum + coalesce(get({digits}, i), 0L) * "
        f"coalesce(get({digits}, place - i), 0L))"
    )
    return (
        f"transform(sequence(0, greatest(size({squared}), 2 * size({digits})) - 1), place -> "
        f"{count} * coalesce(get({squared}, place), 0L) - {product})"
    )


def padding(divisors: int) -> int:
    """How many zeros are put below the digits of a number, so that its quotient has enough of them."""
    return 3 + 2 * divisors if divisors else 0


def quotient(digits: str, divisor: str) -> str:
    """Long division of an array of digits by a whole number below 2**36: a struct of what is ``left`` and the ``made`` digits."""
    number = f"(at.left * {BASE}L + digit)"
    return (
        f"aggregate(reverse({digits}), named_struct('left', 0L, 'made', {_EMPTY}), (at, digit) -> "
        f"named_struct('left', {number} % {divisor}, 'made', array_append(at.made, {number} div {divisor})), "
        "at -> named_struct('left', at.left, 'made', reverse(at.made)))"
    )


def highest(digits: str) -> str:
    """The place of the highest digit of an array that is not zero; -1 where all are."""
    return f"array_max(transform({digits}, (digit, place) -> CASE WHEN digit <> 0 THEN place ELSE -1 END))"


def rounded_at(top: str, digits: str, places: int, exponent: int, rest: str) -> str:
    """The double nearest to a number, ties to even, as `rounded` has it, of an array of digits.

    Args:
        top: Its `highest` place.
        digits: The digits.
        places: How many there are at most.
        exponent: A digit 1 in the lowest place is worth 2**exponent.
        rest: Whether something lies below the digits.
    """
    a, b, c, d = (f"coalesce(get({digits}, {top} - {i}), 0L)" for i in range(4))
    below = f"exists(slice({digits}, 1, greatest({top} - 3, 0)), digit -> digit <> 0)"
    high, low = (f"CAST({x} * {BASE}L + {y} AS DOUBLE)" for x, y in ((a, b), (c, d)))
    worth = ", ".join(double(2.0 ** (exponent + BITS * (place - 3))) for place in range(places))
    half = f"CASE WHEN {rest} OR {below} THEN 0.5D ELSE 0.0D END"
    return f"CASE WHEN {top} < 0 THEN 0.0D ELSE ({high} * {double(2.0**52)} + ({low} + {half})) * get(array({worth}), {top}) END"


def rounded(digits: Sequence[str], exponent: int, negative: str) -> str:
    """The double nearest to a number, ties to even.

    The four highest digits are two whole numbers of 52 bits; half a unit stands for what lies below them, and one
    addition of doubles rounds.

    Args:
        digits: Digits in [0, 2**26), lowest first.
        exponent: A digit 1 in the lowest place is worth 2**exponent.
        negative: Whether the number is below zero.
    """
    cases = []
    for top in range(len(digits) - 1, -1, -1):
        a, b, c, d = (digits[top - i] if top >= i else "0L" for i in range(4))
        below = " OR ".join(f"{digit} <> 0" for digit in digits[: max(top - 3, 0)]) or "FALSE"
        half = f"CASE WHEN {below} THEN 0.5D ELSE 0.0D END"
        high, low = (f"CAST({x} * {BASE}L + {y} AS DOUBLE)" for x, y in ((a, b), (c, d)))
        worth = double(2.0 ** (exponent + BITS * (top - 3)))
        cases.append(f"WHEN {digits[top]} <> 0 THEN ({high} * {double(2.0**52)} + ({low} + {half})) * {worth}")
    found = f"(CASE {' '.join(cases)} ELSE 0.0D END)"
    return f"(CASE WHEN {negative} THEN -{found} ELSE {found} END)"


def whole(sums: Sequence[str]) -> str:
    """A whole number of 64 bits, from sums of its digits; more is an error of the query."""
    if len(sums) == 1:
        return sums[0]
    terms = [
        f"CAST(CAST({term} AS DECIMAL(20, 0)) * CAST({1 << BITS * i}L AS DECIMAL(17, 0)) AS DECIMAL(38, 0))"
        for i, term in enumerate(sums)
    ]
    return f"CAST({' + '.join(terms)} AS BIGINT)"
