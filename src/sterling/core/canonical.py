"""Canonical JSON (RFC 8785): the same value has the same bytes on every machine and in every language."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

import msgspec

_LARGEST_EXACT = 2**53 - 1
_WRITTEN_WITH_EXPONENT = 10**21
_OBJECTS, _ARRAYS = (dict, Mapping), (list, tuple)
_compiled = msgspec.json.Encoder(order="sorted").encode


class _UnusualError(Exception):
    """A value that the compiled encoder would write in another way than RFC 8785, or not at all."""


def canonical(value: Any) -> bytes:
    """The canonical bytes of a JSON value.

    Keys are sorted by their UTF-16 code units, numbers are written as ECMAScript writes them, nothing is padded.
    Reading the bytes with :func:`json.loads` and writing them again gives the same bytes.

    Args:
        value: Mappings with text keys, lists or tuples, text, booleans, None, floats, and integers whose digits a
            double prints too: all up to 2**53 - 1, and beyond them those that such a float was written as.

    Raises:
        ValueError: for NaN, infinities, integers that a double cannot hold and lone surrogates.
        TypeError: for anything that is not JSON.

    References:
        RFC 8785 (2020), sections 3.2.2 and 3.2.3; ECMA-262, Number::toString.

    Example:
        >>> canonical({"b": 1e21, "a": [1.0, -0.0, 1e-7, True, None]}).decode()
        '{"a":[1,0,1e-7,true,null],"b":1e+21}'
    """
    try:
        return _compiled(_plain(value))
    except _UnusualError:
        return _written(value)
    except UnicodeEncodeError as error:
        raise ValueError(_lone_surrogate(error.object)) from None


def digest(value: Any) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _written(value: Any) -> bytes:
    parts: list[str] = []
    _write(value, parts)
    try:
        return "".join(parts).encode()
    except UnicodeEncodeError as error:
        raise ValueError(_lone_surrogate(error.object)) from None


def _plain(value: Any) -> Any:
    """The value with its numbers as the compiled encoder has to see them; itself where nothing changes.

    Raises:
        _UnusualError: where that encoder would err: numbers with an exponent, keys that are not ASCII text, other types.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int and -_LARGEST_EXACT <= value <= _LARGEST_EXACT:
        return value
    if kind is float and (1e-4 <= value < 1e15 or -1e15 < value <= -1e-4 or value == 0):
        return int(value) if value.is_integer() else value
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    if kind is dict:
        return _plain_object(value)
    raise _UnusualError


def _plain_object(value: dict[Any, Any]) -> dict[str, Any]:
    try:
        if not "".join(value).isascii():
            raise _UnusualError
    except TypeError:
        raise _UnusualError from None
    changed: dict[str, Any] | None = None
    for key, item in value.items():
        kind = type(item)
        if kind is str or (kind is float and 1e-4 <= item < 1e15 and not item.is_integer()):
            continue  # most of what is recorded, decided without a call
        plain = _plain(item)
        if plain is not item:
            changed = dict(value) if changed is None else changed
            changed[key] = plain
    return value if changed is None else changed


def _write(value: Any, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(encode_basestring(value))
    elif value is None:
        parts.append("null")
    elif isinstance(value, bool):
        parts.append("true" if value else "false")
    elif isinstance(value, int):
        parts.append(_integer(value))
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, _OBJECTS):
        _write_object(value, parts)
    elif isinstance(value, _ARRAYS):
        separator = "["
        for item in value:
            parts.append(separator)
            _write(item, parts)
            separator = ","
        parts.append("]" if value else "[]")
    else:
        raise TypeError(f"{value!r} of type {type(value).__name__} is not JSON. Use text, numbers, lists and mappings.")


def _write_object(value: Mapping[Any, Any], parts: list[str]) -> None:
    separator = "{"
    for key in _sorted_keys(value):
        parts.append(f"{separator}{encode_basestring(key)}:")
        _write(value[key], parts)
        separator = ","
    parts.append("}" if value else "{}")


def _sorted_keys(value: Mapping[Any, Any]) -> list[str]:
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{key!r} is no key of a JSON object: keys are text.")
    if all(map(str.isascii, value)):
        return sorted(value)  # for ASCII, code points and UTF-16 code units sort alike
    try:
        return sorted(value, key=lambda key: key.encode("utf-16-be"))
    except UnicodeEncodeError as error:
        raise ValueError(_lone_surrogate(error.object)) from None


def _lone_surrogate(text: str) -> str:
    return (
        f"{text[:80]!r} holds half of a surrogate pair, which UTF-8 cannot say. Replace it in the source of the text."
    )


def _integer(value: int) -> str:
    text = int.__repr__(value)
    if abs(value) > _LARGEST_EXACT and (abs(value) >= _WRITTEN_WITH_EXPONENT or text != _number(float(value))):
        raise ValueError(f"{value} is an integer that JSON cannot hold exactly, beyond 2**53 - 1. Write it as text.")
    return text


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number. Leave it out, or write null.")
    if value == 0:
        return "0"
    text = float.__repr__(value)  # a subclass, such as NumPy's, prints itself otherwise
    if "e" not in text:
        return text.removesuffix(".0")
    mantissa, _, tail = text.partition("e")
    exponent = int(tail)
    if not -7 < exponent < 21:
        return f"{mantissa}e{exponent:+d}"
    sign, digits = "-" if value < 0 else "", mantissa.lstrip("-").replace(".", "")
    return sign + (digits.ljust(exponent + 1, "0") if exponent > 0 else f"0.{'0' * (-exponent - 1)}{digits}")
