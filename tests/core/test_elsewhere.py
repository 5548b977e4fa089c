from __future__ import annotations

import io
from pathlib import Path

import pytest

from sterling.core.elsewhere import Erasure, WithoutErased, erased_in, without_erased
from sterling.core.errors import ErasedError, MissingBlobError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref, ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.core.verify import verify

FIRST, SECOND, THIRD = b"with two people", b"with one of them", b"with neither"


@pytest.fixture
def ledger(tmp_path: Path) -> SQLiteLedger:
    return SQLiteLedger(tmp_path / "ledger.db", "people")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def put(store: LocalStore, data: bytes) -> Ref:
    return store.put(io.BytesIO(data))


def erase(ledger: SQLiteLedger, ref: Ref, by: Ref | None) -> int:
    return ledger.append([Evidence("data.erased", (), {"replaced": [{"ref": ref, "by": by}]})])


def test_a_store_stays_itself_as_long_as_nothing_was_erased(ledger: SQLiteLedger, store: LocalStore) -> None:
    assert without_erased(store, ledger) is store


def test_what_took_the_place_of_bytes_is_followed_to_its_end(ledger: SQLiteLedger, store: LocalStore) -> None:
    first, second, third = put(store, FIRST), put(store, SECOND), put(store, THIRD)
    erase(ledger, first, second)
    erase(ledger, second, third)
    assert erased_in(ledger) == {first: Erasure(1, second), second: Erasure(2, third)}
    now = without_erased(store, ledger)
    assert {now.open(ref).read_bytes() for ref in (first, second, third)} == {THIRD}
    assert now.has(first)
    assert now.intact(first)
    store.delete(third)
    assert not now.has(first)
    with pytest.raises(MissingBlobError, match=third):
        now.open(first)


def test_bytes_that_nothing_replaced_are_never_given_even_where_a_copy_lies(
    ledger: SQLiteLedger, store: LocalStore
) -> None:
    first = put(store, FIRST)
    position = erase(ledger, first, None)
    now = without_erased(store, ledger)
    assert store.has(first)
    assert not now.has(first)
    with pytest.raises(ErasedError, match=f"{first} was erased, since it held data of a person; entry {position} says"):
        now.open(first)


def test_everything_else_is_the_stores(store: LocalStore) -> None:
    now = WithoutErased(store, {ref_of(FIRST): Erasure(1, None)})
    ref = now.put(io.BytesIO(THIRD))
    assert (now.has(ref), list(now.list()), now.open(ref).read_bytes()) == (True, [ref], THIRD)
    now.delete(ref)
    assert not store.has(ref)


def test_verify_tells_erased_and_external_from_missing(ledger: SQLiteLedger, store: LocalStore) -> None:
    first, second, lingering = put(store, FIRST), put(store, SECOND), put(store, THIRD)
    outside, lost = ref_of(b"outside"), ref_of(b"lost")
    ledger.append([Evidence("data.prepared", (), {"refs": [first, second, lingering, outside, lost]})])
    ledger.append([Evidence("data.referenced", (), {"ref": outside})])
    erase(ledger, first, second)
    erase(ledger, lingering, None)
    store.delete(first)
    report = verify(ledger, store)
    assert report.intact
    assert [(cited.ref, cited.position) for cited in report.erased] == [(first, 3)]
    assert [(cited.ref, cited.position) for cited in report.unfinished] == [(lingering, 4)]
    assert [(cited.ref, cited.position) for cited in report.external] == [(outside, 2)]
    assert [(cited.ref, cited.position) for cited in report.missing] == [(lost, 1)]
