from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from sterling.core.parts import is_whole, with_parts
from sterling.core.refs import Ref, ref_of
from sterling.core.store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def put(store: LocalStore, value: object) -> Ref:
    return store.put(io.BytesIO(json.dumps(value).encode()))


def test_manifests_are_followed_all_the_way_down(store: LocalStore) -> None:
    leaf = store.put(io.BytesIO(b"rows"))
    inner = put(store, {"segments": [{"ref": leaf, "rows": 1}]})
    outer = put(store, [inner])
    assert with_parts(store, [outer]) == {outer, inner, leaf}
    assert is_whole(store, outer)
    store.delete(leaf)
    assert with_parts(store, [outer]) == {outer, inner, leaf}
    assert not is_whole(store, outer)


def test_what_is_not_held_is_not_whole_and_has_no_parts(store: LocalStore) -> None:
    ref = ref_of(b"never put")
    assert not is_whole(store, ref)
    assert with_parts(store, [ref]) == {ref}


def test_a_text_that_mentions_a_ref_is_no_manifest(store: LocalStore) -> None:
    log = store.put(io.BytesIO(f"Traceback: {ref_of(b'gone')}".encode()))
    assert is_whole(store, log)


def test_what_is_left_out_is_not_followed_either(store: LocalStore) -> None:
    leaf = store.put(io.BytesIO(b"rows"))
    inner = put(store, [leaf])
    outer = put(store, [inner])
    assert with_parts(store, [outer], but={inner}) == {outer}
    assert with_parts(store, [inner], but={inner}) == frozenset()
