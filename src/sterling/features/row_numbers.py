"""Arithmetic of row expressions as DuckDB computes it: overflow refused, doubles by IEEE 754, decimals as whole numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from sterling.core.errors import DataError
from sterling.features.row_types import DOUBLE, TINYINT, Kind, as_decimal, bounds

_SYMBOLS: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_LARGEST = 10**18
NAN = math.nan


def checked(symbol: str, width: int) -> Callable[[int, int], int]:
    """A whole-number operation that refuses what has more bits."""
    compute, (low, high) = _SYMBOLS[symbol], bounds(width)

    def run(left: int, right: int) -> int:
        found: int = compute(left, right)
        if low <= found <= high:
            return found
        raise DataError(f"{left} {symbol} {right} has more than {width} bits. Cast to BIGINT or DOUBLE before.")

    return run


def plain(symbol: str) -> Callable[[float, float], float]:
    """An operation on doubles."""
    return _SYMBOLS[symbol]


def decimal_result(symbol: str, left: Kind, right: Kind) -> tuple[Kind, bool] | None:
    """The type of a sum, difference or product of decimals, and whether it may overflow; None if it has no type."""
    left, right = as_decimal(left), as_decimal(right)
    if symbol == "*":
        scale, width = left.scale + right.scale, left.width + right.width
    else:
        scale = max(left.scale, right.scale)
        width = max(left.width - left.scale, right.width - right.scale) + scale + 1
    if symbol == "*" and width > 18 and max(left.width, right.width) <= 18 and scale < 18:
        return Kind("decimal", 18, scale), True
    return None if width > 38 else (Kind("decimal", width, scale), False)


def decimal(symbol: str, *, may_overflow: bool) -> Callable[[int, int], int]:
    """A decimal operation on scaled whole numbers."""
    compute = _SYMBOLS[symbol]

    def run(left: int, right: int) -> int:
        found: int = compute(left, right)
        if -_LARGEST < found < _LARGEST:
            return found
        raise DataError(f"A decimal {symbol} has more than 18 digits. Cast to DOUBLE, or to DECIMAL(19, …), before.")

    return run if may_overflow else compute


def divided(left: float, right: float) -> float:
    """A quotient of doubles; by zero it is infinite, or NaN."""
    try:
        return left / right
    except ZeroDivisionError:
        return math.copysign(math.inf, left) * math.copysign(1.0, right) if left and not math.isnan(left) else NAN


def quotient(left: int, right: int) -> int:
    """A whole quotient, towards zero."""
    if not right:
        raise DataError(f"{left} // 0: division by zero. Write // nullif(…, 0).")
    found = abs(left) // abs(right)
    return found if (left < 0) == (right < 0) else -found


def bounded_quotient(width: int) -> Callable[[int, int], int]:
    """A whole quotient, towards zero; the smallest number by −1 is refused."""
    high = bounds(width)[1]

    def run(left: int, right: int) -> int:
        found = quotient(left, right)
        if found > high:
            raise DataError(f"{left} // {right} has more than {width} bits.")
        return found

    return run


def remainder(left: int, right: int) -> int:
    """What a division towards zero leaves; it has the sign of what is divided."""
    if not right:
        raise DataError(f"{left} % 0: division by zero. Write % nullif(…, 0).")
    found = abs(left) % abs(right)
    return -found if left < 0 else found


def float_remainder(left: float, right: float) -> float:
    """What a division of doubles towards zero leaves."""
    try:
        return math.fmod(left, right)
    except ValueError:
        return NAN


def safe(function: Callable[[float], float], at_error: Callable[[float], float] = lambda _: NAN) -> Any:
    """A function of `math` that answers where Python raises."""

    def run(value: float) -> float:
        try:
            return function(value)
        except (ValueError, OverflowError):
            return at_error(value)

    return run


square_root = safe(math.sqrt)
exponential = safe(math.exp, lambda _: math.inf)
logarithm = safe(math.log, lambda value: -math.inf if value == 0 else NAN)
logarithm_10 = safe(math.log10, lambda value: -math.inf if value == 0 else NAN)
sine, cosine, tangent = safe(math.sin), safe(math.cos), safe(math.tan)


def power(base: float, exponent: float) -> float:
    """A power of doubles."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf
    except ValueError:
        if base == 0:
            return math.copysign(math.inf, base) if exponent % 2 == 1 else math.inf
        return NAN


def sign(value: float) -> int:
    """−1, 0 or 1; 0 for NaN."""
    return (value > 0) - (value < 0)


def whole(function: Callable[[float], int]) -> Callable[[float], float]:
    """`math.ceil` and its like for doubles, with the sign of a zero kept."""

    def run(value: float) -> float:
        return math.copysign(float(function(value)), value) if math.isfinite(value) else value

    return run


def half_away(value: float) -> float:
    """The nearest whole number; a half away from zero."""
    if not math.isfinite(value) or abs(value) >= 2**52:
        return value
    down = math.floor(abs(value))
    return math.copysign(down + (abs(value) - down >= 0.5), value)


def rescaled(value: int, places: int) -> int:
    """A decimal with so many more places, or fewer: a half away from zero."""
    if places >= 0:
        raised: int = value * 10**places
        return raised
    unit: int = 10**-places
    found = (abs(value) + unit // 2) // unit
    return found if value >= 0 else -found


def converter(source: Kind, target: Kind) -> Callable[[Any], Any] | None:  # noqa: PLR0911  a line for each pair of types
    """How DuckDB casts a number or condition to another type; None where it is not computed here.

    The function raises `DataError` for what the type does not hold.
    """
    match source.name, target.name:
        case "int", "int":
            return _into_int(target, int) if target.width < source.width else _same
        case "bool", "int":
            return int
        case "bool", "double":
            return float
        case (("int" | "double" | "decimal" | "float"), "bool"):
            return bool
        case (("int" | "float"), "double"):
            return float
        case "double", "int":
            return _double_to_int(target)
        case "decimal", "double":
            return _to_double(source)
        case "decimal", "int":
            return _into_int(target, lambda value: rescaled(value, -source.scale))
        case (("int" | "decimal"), "decimal"):
            return _to_decimal(source, target)
    return None


def absolute(width: int) -> Callable[[int], int]:
    """The amount of a whole number; the smallest one has none."""
    high = bounds(width)[1]

    def run(value: int) -> int:
        found = abs(value)
        if found > high:
            raise DataError(f"abs({value}) has more than {width} bits.")
        return found

    return run


def negated(width: int) -> Callable[[int], int]:
    """A whole number with the other sign; the smallest one has none."""
    high = bounds(width)[1]

    def run(value: int) -> int:
        if -value > high:
            raise DataError(f"-({value}) has more than {width} bits.")
        return -value

    return run


def _same(value: Any) -> Any:
    return value


def _into_int(target: Kind, convert: Callable[[Any], int]) -> Callable[[Any], int]:
    low, high = bounds(target.width)

    def run(value: Any) -> int:
        found = convert(value)
        if low <= found <= high:
            return found
        raise DataError(f"{found} is no {target}: it has more than {target.width} bits.")

    return run


def _double_to_int(target: Kind) -> Callable[[float], int]:
    low, high = bounds(target.width)

    def run(value: float) -> int:
        found = round(value) if math.isfinite(value) else high + 1
        if low <= found <= high:
            return found
        raise DataError(f"{value} is no {target}.")

    return run


def _to_double(source: Kind) -> Callable[[int], float]:
    unit = 10**source.scale
    return lambda value: value / unit


def _to_decimal(source: Kind, target: Kind) -> Callable[[int], int]:
    places, limit = target.scale - source.scale, 10**target.width

    def run(value: int) -> int:
        found = rescaled(value, places)
        if -limit < found < limit:
            return found
        raise DataError(f"A value has too many digits for {target}.")

    return run


def rounded(kind: Kind, places: int = 0) -> tuple[Kind, Callable[[Any], Any]] | None:
    """`round` to so many places; of doubles to whole numbers only, where DuckDB's own steps can be followed."""
    if kind.name == "double":
        return (DOUBLE, half_away) if places == 0 else None
    if kind.name == "int" and places == 0:
        return kind, _same
    if kind.name == "decimal" and places >= 0:
        if places >= kind.scale:
            return kind, _same
        return Kind("decimal", kind.width, places), lambda value: rescaled(value, places - kind.scale)
    return None


def stepped(name: str, kind: Kind) -> tuple[Kind, Callable[[Any], Any]] | None:
    """`ceil`, `floor` or `trunc` of a number."""
    if kind.name == "double":
        return DOUBLE, whole(_STEPS[name])
    if kind.name == "int":
        return (kind, _same) if name == "trunc" else (DOUBLE, float)
    if kind.name == "decimal":
        unit = 10**kind.scale
        step = {"floor": lambda v: v // unit, "ceil": lambda v: -(-v // unit), "trunc": lambda v: quotient(v, unit)}
        return Kind("decimal", kind.width, 0), step[name]
    return None


def amount(name: str, kind: Kind) -> tuple[Kind, Callable[[Any], Any]] | None:
    """`abs`, `sign`, or the other sign of a number."""
    if kind.name not in ("int", "double", "decimal"):
        return None
    if name == "sign":
        return TINYINT, sign
    if kind.name == "int":
        return kind, (absolute if name == "abs" else negated)(kind.width)
    return kind, abs if name == "abs" else operator.neg


_STEPS: dict[str, Callable[[float], int]] = {"ceil": math.ceil, "floor": math.floor, "trunc": math.trunc}
