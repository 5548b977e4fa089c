"""Exact arithmetic on numbers as digits of 27 bits: sums, squares and quotients that are rounded once, at the end.

A sum does not depend on the order of its terms, and the difference of two running sums loses nothing: a running sum in
double precision loses ``1e17, 1, 2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BITS = 27
"""Bits of a digit; 2**25 such digits still add up exactly in a double."""
_MASK = (1 << BITS) - 1
_ROWS = 1 << 16
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Digits(NamedTuple):
    """Numbers in base 2**27.

    Attributes:
        places: For each place, lowest first, the signed digit of each number.
        exponent: A digit 1 in the lowest place is worth 2**exponent.
    """

    places: tuple[Ints, ...]
    exponent: int


def digits(values: Floats | Ints, exponent: int | None = None) -> Digits:
    """Finite floats or integers as digits, exactly.

    Args:
        values: The numbers.
        exponent: For floats, what a digit of the lowest place is worth, low enough for all; None for the highest such.

    Example:
        >>> rounded(digits(np.array([0.1, -3.0]))).tolist()
        [0.1, -3.0]
    """
    if values.dtype.kind != "f":
        return Digits(_whole(values.astype(np.int64)), 0)
    mantissa, power = np.frexp(values)
    whole = (mantissa * 2.0**53).astype(np.int64)
    power = np.where(whole == 0, 0, power.astype(np.int64) - 53)
    given = power[whole != 0]
    lowest = exponent if exponent is not None else int(given.min()) if len(given) else 0
    offset = np.where(whole == 0, 0, power - lowest)
    place, shift = offset // BITS, offset % BITS
    pieces = _moved(whole, shift)
    if not place.any():
        return Digits(pieces, lowest)
    nothing = np.int64(0)
    return Digits(
        tuple(
            sum((np.where(place == low - i, piece, nothing) for i, piece in enumerate(pieces)), np.zeros_like(whole))
            for low in range(int(place.max()) + len(pieces))
        ),
        lowest,
    )


def decimal_digits(low: NDArray[np.uint64], high: Ints) -> Digits:
    """Whole numbers of 128 bits as digits.

    Args:
        low: The lower 64 bits.
        high: The upper 64 bits, with the sign.
    """
    mask, upper = np.uint64(_MASK), high.view(np.uint64)
    pieces = (
        low & mask,
        (low >> np.uint64(27)) & mask,
        ((low >> np.uint64(54)) | (upper << np.uint64(10))) & mask,
        (upper >> np.uint64(17)) & mask,
    )
    return Digits((*(piece.astype(np.int64) for piece in pieces), high >> 44), 0)


def squares(numbers: Digits) -> Digits:
    """The squares of some numbers.

    Example:
        >>> rounded(squares(digits(np.array([3.0, -0.5])))).tolist()
        [9.0, 0.25]
    """
    places = _unsigned(numbers)[1]
    found = [np.zeros_like(places[0]) for _ in range(2 * len(places) - 1)]
    for i, a in enumerate(places):
        for j, b in enumerate(places[i:], start=i):
            found[i + j] += (a * b) << (i != j)
    return Digits(tuple(carried(found)), 2 * numbers.exponent)


def scaled(numbers: Digits, factors: Ints) -> Digits:
    """Each number times a whole number below 2**35."""
    return Digits(tuple(carried([place * factors for place in carried(numbers.places)])), numbers.exponent)


def difference(a: Digits, b: Digits) -> Digits:
    """The first numbers minus the second, where both were made of the same ones."""
    size = max(len(a.places), len(b.places))
    nothing = np.zeros_like(a.places[0])
    pairs = ((p[i] if i < len(p) else nothing for p in (a.places, b.places)) for i in range(size))
    return Digits(tuple(x - y for x, y in pairs), a.exponent)


def rounded(numbers: Digits, divisors: Sequence[Ints | int] = ()) -> Floats:
    """The floats nearest to some numbers, ties to even; digits may be sums of digits, of either sign.

    Args:
        numbers: The numbers.
        divisors: Whole numbers, above 0 and below 2**35, that each number is divided by first.

    Example:
        >>> rounded(digits(np.array([1.0, 10.0])), [np.array([3, 4])]).tolist()
        [0.3333333333333333, 2.5]
    """
    negative, places = _unsigned(numbers)
    rest, exponent = np.zeros(len(negative), bool), numbers.exponent
    if divisors:
        longer = 3 + 2 * len(divisors)
        places = [np.zeros_like(places[0])] * longer + places
        exponent -= BITS * longer
        for divisor in divisors:
            places, left = _divided(places, divisor)
            rest |= left != 0
    leading = np.zeros_like(places[0])
    dropped = np.zeros_like(leading)
    for place in reversed(places):
        room = 62 - np.frexp(leading.astype(np.float64))[1].astype(np.int64)
        taken = np.clip(room, 0, BITS)
        left = BITS - taken
        leading = (leading << taken) | (place >> left)
        rest |= (place & ((1 << left) - 1)) != 0
        dropped += left
    nearest = np.ldexp((leading | rest).astype(np.float64), (dropped + exponent).astype(np.intc))
    return np.where(negative, -nearest, nearest)


def weighted(values: Floats, weights: Ints) -> tuple[Fraction, Fraction]:
    """The exact sums of finite floats and of their squares, each as often as its weight says.

    Args:
        values: The numbers.
        weights: Whole numbers in [0, 2**32).

    Example:
        >>> weighted(np.array([0.5, 1e17]), np.array([3, 1]))
        (Fraction(200000000000000003, 2), Fraction(40000000000000000000000000000000003, 4))
    """
    largest = float(np.abs(values).max(initial=0.0))
    if largest * max(largest, 1.0) * float(weights.sum()) < 2.0**53 and (np.rint(values) == values).all():
        sums = values * weights
        return Fraction(float(sums.sum())), Fraction(float((sums * values).sum()))
    totals = [Fraction(0), Fraction(0)]
    for start in range(0, len(values), _ROWS):
        numbers = digits(values[start : start + _ROWS])
        times = weights[start : start + _ROWS]
        for index, made in enumerate((numbers, squares(numbers))):
            worth = Fraction(2) ** made.exponent
            for place in made.places:
                some = int((place * (times & 0xFFFF)).sum()) + (int((place * (times >> 16)).sum()) << 16)
                totals[index] += some * worth
                worth *= 1 << BITS
    return totals[0], totals[1]


def carried(places: Sequence[Ints]) -> list[Ints]:
    """The same numbers with every digit in [0, 2**27) but a further one on top, which has the sign."""
    carry = np.zeros_like(places[0])
    done = []
    for place in places:
        total = place + carry
        done.append(total & _MASK)
        carry = total >> BITS
    return [*done, carry]


def _unsigned(numbers: Digits) -> tuple[NDArray[np.bool_], list[Ints]]:
    """Which numbers are negative, and the digits, in [0, 2**27), of all without their signs."""
    places = carried(numbers.places)
    while ((places[-1] != 0) & (places[-1] != -1)).any():
        places = carried(places)
    negative = places[-1] < 0
    if negative.any():
        places = carried([np.where(negative, -place, place) for place in places])
    while len(places) > 1 and not places[-1].any():
        places.pop()
    return negative, places


def _divided(places: list[Ints], divisor: Ints | int) -> tuple[list[Ints], Ints]:
    """Long division: the digits of the whole quotients, and what is left over."""
    left = np.zeros_like(places[0])
    done = []
    for place in reversed(places):
        left = (left << BITS) | place
        quotient = left // divisor
        left -= quotient * divisor
        done.append(quotient)
    return done[::-1], left


def _whole(values: Ints) -> tuple[Ints, ...]:
    return values & _MASK, (values >> BITS) & _MASK, values >> 2 * BITS


def _moved(whole: Ints, shift: Ints) -> tuple[Ints, ...]:
    """The digits of numbers below 2**54 that are moved up by less than one place; the highest has the sign."""
    low = (whole & _MASK) << shift
    high = ((whole >> BITS) << shift) + (low >> BITS)
    return low & _MASK, high & _MASK, high >> BITS
