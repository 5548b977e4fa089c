"""Canonical JSON against the vectors of RFC 8785 and against an independent encoder."""

from __future__ import annotations

import json
import struct
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.canonical import canonical, digest

APPENDIX_B = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}
SORTED_BY_UTF16 = {
    "€": "Euro Sign",
    "\r": "Carriage Return",
    "\ufb33": "Hebrew Letter Dalet With Dagesh",
    "1": "One",
    "😀": "Emoji: Grinning Face",
    "\x80": "Control",
    "ö": "Latin Small Letter O With Diaeresis",
}

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=5),
    max_leaves=20,
)
bit_patterns = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0])


@pytest.mark.parametrize(("bits", "text"), APPENDIX_B.items())
def test_numbers_are_written_as_appendix_b_of_the_rfc_prints_them(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number).decode() == text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_json_number_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="no JSON number"):
        canonical({"x": number})


def test_the_sample_of_section_3_2_2_has_the_bytes_of_the_rfc() -> None:
    sample = r"""{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        r'"string":"€$\u000f\nA'
        "'"
        r'B\"\\\\\"/"}'
    )
    assert canonical(json.loads(sample)) == expected.encode()


def test_keys_are_sorted_by_utf_16_code_units_as_in_section_3_2_3() -> None:
    assert list(json.loads(canonical(SORTED_BY_UTF16)).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


@settings(max_examples=300)
@given(documents)
def test_any_document_has_the_bytes_that_the_independent_encoder_gives(document: Any) -> None:
    assert canonical(document) == rfc8785.dumps(document)


@settings(max_examples=500)
@given(bit_patterns.filter(lambda number: number - number == 0))
def test_floats_of_every_magnitude_are_written_as_the_independent_encoder_writes_them(number: float) -> None:
    assert canonical(number) == rfc8785.dumps(number)
    assert float(json.loads(canonical(number))) == number  # 2**55 is written 36028797018963970, as ECMAScript does


@settings(max_examples=200)
@given(documents | bit_patterns.filter(lambda number: number - number == 0))
def test_what_was_read_back_is_written_with_the_same_bytes(document: Any) -> None:
    assert canonical(json.loads(canonical(document))) == canonical(document)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**60), 10**21, 10**400])
def test_an_integer_that_json_cannot_hold_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=r"beyond 2\*\*53 - 1. Write it as text"):
        canonical(number)


def test_kinds_of_numbers_and_mappings_that_only_look_unlike_have_the_same_bytes() -> None:
    assert canonical([1, 1.0, np.float64(0.1)]) == b"[1,1,0.1]"
    assert digest(MappingProxyType({"a": (1, 2)})) == digest({"a": [1, 2]})
    assert canonical([[], {}, ()]) == b"[[],{},[]]"


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, {"a": ["x\ud83d"]}])
def test_half_a_surrogate_pair_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        canonical(value)


@pytest.mark.parametrize("value", [{1: 2}, {"a": {1, 2}}, b"bytes", {None: 1}])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="is no"):
        canonical(value)
