"""Canonical JSON (RFC 8785): the same value has the same bytes on every machine and in every language."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

_LARGEST_EXACT = 2**53 - 1
_encode_text = json.JSONEncoder(ensure_ascii=False).encode


def canonical(value: Any) -> bytes:  # noqa: ANN401  JSON is a tree of unlike values
    """The canonical bytes of a JSON value.

    Keys are sorted by their UTF-16 code units, numbers are written as ECMAScript writes them, nothing is padded.

    Args:
        value: Mappings with text keys, lists or tuples, text, booleans, None, floats, and integers of at most 2**53 - 1.

    Raises:
        ValueError: for NaN, infinities, integers that a double cannot hold and lone surrogates.
        TypeError: for anything that is not JSON.

    References:
        RFC 8785 (2020), sections 3.2.2 and 3.2.3; ECMA-262, Number::toString.

    Example:
        >>> canonical({"b": 1e21, "a": [1.0, -0.0, 1e-7, True, None]}).decode()
        '{"a":[1,0,1e-7,true,null],"b":1e+21}'
    """
    return "".join(_write(value)).encode()


def digest(value: Any) -> str:  # noqa: ANN401  JSON is a tree of unlike values
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _write(value: Any) -> Iterator[str]:  # noqa: ANN401, C901  one branch for each kind of JSON value
    match value:
        case None:
            yield "null"
        case bool():
            yield "true" if value else "false"
        case str():
            yield _encode_text(value)
        case int():
            if abs(value) > _LARGEST_EXACT:
                raise ValueError(f"{value} is larger than 2**53 - 1, which JSON cannot hold exactly. Write it as text.")
            yield str(value)
        case float():
            yield _number(value)
        case Mapping():
            yield "{"
            for n, key in enumerate(sorted(value, key=_utf16)):
                yield f"{',' if n else ''}{_encode_text(key)}:"
                yield from _write(value[key])
            yield "}"
        case list() | tuple():
            yield "["
            for n, item in enumerate(value):
                if n:
                    yield ","
                yield from _write(item)
            yield "]"
        case _:
            raise TypeError(
                f"{value!r} of type {type(value).__name__} is not JSON. Use text, numbers, lists and mappings."
            )


def _utf16(key: object) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"{key!r} is no key of a JSON object: keys are text.")
    return key.encode("utf-16-be")


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number. Leave it out, or write null.")
    if value == 0:
        return "0"
    sign, digits, point = _decimal(value)
    n = len(digits)
    if n <= point <= 21:
        text = digits + "0" * (point - n)
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        tail = f".{digits[1:]}" if n > 1 else ""
        text = f"{digits[0]}{tail}e{point - 1:+d}"
    return sign + text


def _decimal(value: float) -> tuple[str, str, int]:
    """Sign, shortest digits, and where the point stands: value = 0.digits * 10**point."""
    mantissa, _, exponent = f"{value!r}".lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    return ("-" if value < 0 else ""), stripped.rstrip("0"), point
