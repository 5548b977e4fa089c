"""Refs, and where they are cited."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.canonical import canonical
from sterling.core.errors import InvalidDefinitionError
from sterling.core.refs import parse_ref, ref_of, ref_of_file, refs_in, refs_in_file, short

refs = st.binary(max_size=3).map(ref_of)
documents = st.recursive(
    st.none() | st.integers(0, 9) | refs | st.just("sha256:abc"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(refs | st.text(max_size=2), inner, max_size=3),
)


def test_a_file_has_the_ref_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"weights" * 100_000)
    assert ref_of_file(tmp_path / "weights") == ref_of(b"weights" * 100_000)


@pytest.mark.parametrize(
    "text", ["", "sha256:", "a" * 64, "sha256:" + "A" * 64, "sha256:" + "a" * 65, "sha256:" + "a" * 64 + "\n"]
)
def test_a_text_that_is_no_ref_is_refused(text: str) -> None:
    with pytest.raises(InvalidDefinitionError, match="A ref is 'sha256:' and 64 hexadecimal digits"):
        parse_ref(text)


def test_a_short_ref_is_its_first_digits() -> None:
    assert short(parse_ref("sha256:" + "0123456789abcdef" * 4)) == "0123456789ab"


@given(document=st.lists(documents, max_size=4))
def test_a_manifest_cites_what_its_json_cites(document: list[object], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "manifest.json"
    path.write_bytes(canonical(document))
    assert set(refs_in_file(path)) == set(refs_in(document))


def test_a_file_that_is_no_manifest_cites_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text(f"tree {ref_of(b'a')}")
    (tmp_path / "empty").touch()
    assert [*refs_in_file(tmp_path / "model.txt"), *refs_in_file(tmp_path / "empty")] == []
