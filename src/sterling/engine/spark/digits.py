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


def normalized(sums: Sequence[str], negative: str | None = None) -> list[str]:
    """The digits of a number without its sign, each in [0, 2**26), from sums of its digits.

    Args:
        sums: The sums of its digits, lowest first, as BIGINT.
        negative: Whether it is below zero; None for a number that never is.
    """
    if negative is not None:
        sums = [f"(CASE WHEN {negative} THEN -{term} ELSE {term} END)" for term in sums]
    return [f"({carry} & {_MASK})" for carry in _carries(sums, len(sums) + _GROWN)]


def _carries(sums: Sequence[str], places: int) -> list[str]:
    found = [sums[0]]
    for place in range(1, places):
        carry = f"shiftright({found[-1]}, {BITS})"
        found.append(f"({sums[place]} + {carry})" if place < len(sums) else carry)
    return found


def spread(count: str, digits: Sequence[str], squared: Sequence[str]) -> list[str]:
    """Count times the sum of squares, less the square of the sum: digits before anything is carried.

    Args:
        count: How many values there are.
        digits: Digits of the sum.
        squared: Digits of the sum of squares.
    """
    products, size = _products(digits), max(len(squared), 2 * len(digits) - 1)
    terms = []
    for place in range(size):
        plus = f"{count} * {squared[place]}" if place < len(squared) else "0L"
        terms.append(f"({plus} - ({products[place]}))" if place < len(products) else f"({plus})")
    return terms


def padded(divisors: int) -> int:
    """How many zeros are put below the digits of a number, so that its quotient has enough of them."""
    return 3 + 2 * divisors if divisors else 0


def quotient(digits: Sequence[str], divisor: str) -> tuple[list[str], str]:
    """Long division by a whole number below 2**36: digits of the quotient, and what is left over."""
    left, found = "0L", []
    for digit in reversed(digits):
        number = f"({left} * {BASE}L + {digit})" if left != "0L" else digit
        found.append(f"({number} div {divisor})")
        left = f"({number} % {divisor})"
    return found[::-1], left


def rounded(digits: Sequence[str], exponent: int, rest: str = "FALSE", negative: str = "FALSE") -> str:
    """The double nearest to a number, ties to even.

    The four highest digits are two whole numbers of 52 bits; half a unit stands for what lies below them, and one
    addition of doubles rounds.

    Args:
        digits: Digits in [0, 2**26), lowest first.
        exponent: A digit 1 in the lowest place is worth 2**exponent.
        rest: Whether something lies below the digits.
        negative: Whether the number is below zero.
    """
    cases = []
    for top in range(len(digits) - 1, -1, -1):
        a, b, c, d = (digits[top - i] if top >= i else "0L" for i in range(4))
        below = " OR ".join([rest, *(f"{digit} <> 0" for digit in digits[: max(top - 3, 0)])])
        half = f"CASE WHEN {below} THEN 0.5D ELSE 0.0D END"
        high, low = (f"CAST({x} * {BASE}L + {y} AS DOUBLE)" for x, y in ((a, b), (c, d)))
        worth = double(2.0 ** (exponent + BITS * (top - 3)))
        cases.append(f"WHEN {digits[top]} <> 0 THEN ({high} * {double(2.0**52)} + ({low} + {half})) * {worth}")
    found = f"(CASE {' '.join(cases)} ELSE 0.0D END)"
    return found if negative == "FALSE" else f"(CASE WHEN {negative} THEN -{found} ELSE {found} END)"


def whole(sums: Sequence[str]) -> str:
    """A whole number of 64 bits, from sums of its digits; more is an error of the query."""
    if len(sums) == 1:
        return sums[0]
    terms = [
        f"CAST(CAST({term} AS DECIMAL(20, 0)) * CAST({1 << BITS * i}L AS DECIMAL(17, 0)) AS DECIMAL(38, 0))"
        for i, term in enumerate(sums)
    ]
    return f"CAST({' + '.join(terms)} AS BIGINT)"
