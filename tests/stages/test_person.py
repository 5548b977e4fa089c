from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.errors import InvalidDefinitionError
from sterling.stages.person import Person, Subject, having, telling


def person(*values: str, ids: set[str] | None = None) -> Person:
    made = Person([Subject("customer", value) for value in values])
    made.ids |= ids or set()
    return made


def cells(*values: Any, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize("text", ["customer", "=C123", "customer=", " =C123", ""])
def test_a_subject_needs_a_column_and_a_value(text: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=r"names nobody\. Write COLUMN=VALUE, such as customer=C123"):
        Subject.parse(text)


def test_a_value_may_hold_an_equals_sign() -> None:
    assert Subject.parse("token=a=b") == Subject("token", "a=b")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (cells("C123", "C1234", None), "C123"),
        (cells("C123", "c123", None, kind=pa.large_string()), "C123"),
        (cells("C123", "x", None).dictionary_encode(), "C123"),
        (cells(123, 1230, None), "00123"),
        (cells(2**63 - 1, 2**63 - 2, None), str(2**63 - 1)),
        (cells(7.0, 7.5, None), "7"),
        (cells(Decimal("7.00"), Decimal("7.10"), None), "7"),
        (cells(b"C123", b"x", None), "C123"),
        (cells(date(1990, 1, 2), date(1990, 1, 3), None), "1990-01-02"),
        (cells(True, False, None), "true"),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_a_value_is_found_whatever_the_type_of_its_column(column: pa.ChunkedArray, value: str) -> None:
    assert having(column, [value]).tolist() == [True, False, False]


@pytest.mark.parametrize("column", [cells(1, 2), cells(1.5, None), cells([1], [2]), cells(None, None)])
def test_a_value_that_no_cell_can_have_is_in_none(column: pa.ChunkedArray) -> None:
    assert not having(column, ["C123"]).any()


def test_a_row_that_names_somebody_else_is_told_from_one_that_names_nobody() -> None:
    theirs, others = person("C123").rows({"Customer": cells("C123", "C999", None)}, 3)
    assert (theirs.tolist(), others.tolist()) == ([True, False, False], [False, True, False])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("C123", True), ("paid by C123.", True), ("(c123)", True), ("C123-2", True), ("xC123", False), ("C1234", False),
        ("C123_2", False), ("", False), (None, False),
    ],
)  # fmt: skip
def test_a_text_mentions_whom_it_names_as_a_whole_word(text: str | None, found: bool) -> None:
    assert person("C123").mentioned(cells(text, kind=pa.string())).tolist() == [found]
    assert person("C123").count_in(text or "") == int(found)


@pytest.mark.parametrize(
    "value", ["ada@example.org", "O'Neil + Söhne (Köln)", "+49 170/1234567", "a|b.c*d", "Иван Петров"]
)
def test_names_of_any_signs_are_found(value: str) -> None:
    texts = cells(f"a note on {value}, by phone", value, value.upper(), value[:-1])
    assert person(value).mentioned(texts).tolist() == [True, True, True, False]
    assert person(value).count_in(f"«{value}» and {value}") == 2


@given(st.text(min_size=6, max_size=12).filter(lambda text: text.strip() == text and text.isprintable()))
def test_any_telling_value_is_found_in_a_cell_that_is_it(value: str) -> None:
    assert person(value).mentioned(cells(value)).all()
    assert person(value).count_in(value)


def test_nested_and_binary_cells_are_looked_into() -> None:
    nested = cells([{"who": ["x", "C123"]}], [{"who": ["y"]}])
    assert person("C123").mentioned(nested).tolist() == [True, False]
    assert person("C123").mentioned(cells(b"C123", b"\xff")).tolist() == [True, False]


def test_names_of_events_are_found_alone_in_cells_and_as_words_in_texts() -> None:
    theirs = person("C123", ids={"order-00017", "4711"})
    assert theirs.mentioned(cells("order-00017", "see order-00017", "4711")).tolist() == [True, False, False]
    assert theirs.count_in("order-00017 failed; order-000171 did not, nor 4711") == 1
    theirs.ids.add("order-00099")
    assert theirs.count_in_json({"failed": ["order-00099", 1], "order-00017": None}) == 2


def test_what_is_too_short_is_looked_for_in_columns_only() -> None:
    short = person("17")
    assert short.plain == ("customer",)
    assert short.rows({"customer": cells(17, 18)}, 2)[0].tolist() == [True, False]
    assert not short.mentioned(cells("17 days")).any()
    assert not short.count_in("17")
    assert not telling("4711")
    assert telling("471100")
