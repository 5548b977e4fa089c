"""Exact sums of floats: numbers as digits of 27 bits, whose sums are whole numbers, rounded once at the end.

A sum does not depend on the order of its terms, and the difference of two running sums loses nothing: a running sum in
double precision loses ``1e17, 1, 2``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BITS = 27
_MASK = np.uint64((1 << _BITS) - 1)
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


def digits(values: Floats | Ints) -> Digits:
    """Finite floats or integers as digits, exactly.

    Example:
        >>> rounded(digits(np.array([0.1, -3.0]))).tolist()
        [0.1, -3.0]
    """
    negative = values < 0
    if values.dtype.kind == "f":
        mantissa, power = np.frexp(np.abs(values))
        whole = (mantissa * 2.0**53).astype(np.uint64)
        power = power.astype(np.int64) - 53
    else:
        whole = np.where(negative, -values.astype(np.int64), values).astype(np.uint64)
        power = np.zeros(len(values), np.int64)
    present = whole > 0
    lowest = int(power[present].min()) if present.any() else 0
    offset = np.where(present, power - lowest, 0)
    place, shift = offset // _BITS, (offset % _BITS).astype(np.uint64)
    sign = np.where(negative, -1, 1)
    pieces = [sign * piece.astype(np.int64) for piece in _pieces(whole, shift)]
    top = int(place.max(initial=0)) + len(pieces)
    places = tuple(
        sum(
            (np.where(place == low - index, piece, 0) for index, piece in enumerate(pieces)),
            np.zeros(len(values), np.int64),
        )
        for low in range(top)
    )
    return Digits(places, lowest)


def rounded(numbers: Digits) -> Floats:
    """The floats nearest to some numbers, ties to even; digits may be sums of digits, of either sign."""
    places = _carried(list(numbers.places))
    negative = places[-1] < 0
    places = _carried([np.where(negative, -place, place) for place in places])
    leading = np.zeros_like(places[0])
    dropped, rest = np.zeros_like(leading), np.zeros(len(leading), bool)
    for place in reversed(places):
        room = 62 - np.frexp(leading.astype(np.float64))[1].astype(np.int64)
        taken = np.clip(room, 0, _BITS)
        left = _BITS - taken
        leading = (leading << taken) | (place >> left)
        rest |= (place & ((1 << left) - 1)) != 0
        dropped += left
    nearest = np.ldexp((leading | rest).astype(np.float64), (dropped + numbers.exponent).astype(np.intc))
    return np.where(negative, -nearest, nearest)


def _pieces(whole: NDArray[np.uint64], shift: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """The digits of numbers below 2**64 that are moved up by less than one place."""
    carry = np.zeros_like(whole)
    pieces = []
    for index in range(3):
        moved = (((whole >> np.uint64(index * _BITS)) & _MASK) << shift) + carry
        pieces.append(moved & _MASK)
        carry = moved >> np.uint64(_BITS)
    return [*pieces, carry]


def _carried(places: list[Ints]) -> list[Ints]:
    """The same numbers with every digit in [0, 2**27) but a further one on top, which has the sign."""
    carry = np.zeros_like(places[0])
    done = []
    for place in places:
        total = place + carry
        done.append(total & int(_MASK))
        carry = total >> _BITS
    return [*done, carry]
