from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.errors import DataError, MissingBlobError
from sterling.core.parts import is_whole
from sterling.core.refs import Ref, refs_in_file
from sterling.core.store import LocalStore
from sterling.engine import tables
from sterling.engine.tables import FORMAT, StoredTable, is_table, put_table, read_table, rewrite_table, size_of

ROWS = 10


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr(tables, "_MOST_ROWS", ROWS)
    return LocalStore(tmp_path / "store")


def numbered(rows: int, **columns: Any) -> pa.Table:
    return pa.table({"n": list(range(rows)), "name": [f"row {n}" for n in range(rows)], **columns})


def segments(store: LocalStore, ref: Ref) -> list[Ref]:
    return [part.ref for part in StoredTable(store, ref).parts]


def without(*gone: int) -> Any:
    """A change that leaves rows out by their number, and gives a segment that has none of them back as it is."""

    def change(segment: pa.Table, start: int) -> pa.Table:
        kept = pc.invert(pc.is_in(segment["n"], pa.array(gone)))
        return segment if pc.all(kept).as_py() else segment.filter(kept)

    return change


@pytest.mark.parametrize("rows", [0, 1, ROWS])
def test_a_small_table_is_one_blob(store: LocalStore, rows: int) -> None:
    ref = put_table(store, numbered(rows))
    assert segments(store, ref) == [ref]
    assert store.open(ref).read_bytes()[:4] == b"PAR1"
    assert read_table(store, ref).equals(numbered(rows))


@pytest.mark.parametrize("rows", [ROWS + 1, 3 * ROWS, 3 * ROWS + 7])
def test_a_large_table_is_a_manifest_of_segments(store: LocalStore, rows: int) -> None:
    ref = put_table(store, numbered(rows))
    manifest = json.loads(store.open(ref).read_bytes())
    assert (manifest["format"], manifest["rows"]) == (FORMAT, rows)
    assert manifest["columns"] == [{"name": "n", "type": "int64"}, {"name": "name", "type": "string"}]
    assert [part["rows"] for part in manifest["segments"]] == [min(ROWS, rows - n) for n in range(0, rows, ROWS)]
    assert list(refs_in_file(store.open(ref))) == segments(store, ref)
    assert read_table(store, ref).equals(numbered(rows))
    assert size_of(store, ref) == sum(store.open(held).stat().st_size for held in store.list())


def test_columns_are_read_in_the_order_that_is_asked_for(store: LocalStore) -> None:
    for rows in (5, 25):
        ref = put_table(store, numbered(rows))
        assert read_table(store, ref, ["name", "n"]).schema.names == ["name", "n"]
        stored = StoredTable(store, ref)
        assert (stored.names, stored.num_rows) == (["n", "name"], rows)
        assert stored.column("n").to_pylist() == list(range(rows))
        assert stored.column("n").num_chunks == 1


@settings(max_examples=40, deadline=None)
@given(
    cells=st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1, max_size=45),
    cuts=st.lists(st.integers(0, 45), max_size=5),
    ahead=st.integers(0, 3),
)
def test_the_same_rows_have_the_same_ref_however_they_lie_in_memory(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str | None], cuts: list[int], ahead: int
) -> None:
    store = LocalStore(tmp_path_factory.getbasetemp() / "same")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_MOST_ROWS", ROWS)
        whole = pa.table({"a": pa.array(cells, pa.string()), "b": pa.array([n % 3 == 0 for n in range(len(cells))])})
        longer = pa.concat_tables([whole.slice(0, min(ahead, len(whole))), whole]).combine_chunks()
        edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
        pieces = [whole.slice(start, end - start) for start, end in pairwise(edges)]
        coded = whole.set_column(0, "a", whole["a"].dictionary_encode()).replace_schema_metadata({"made": "elsewhere"})
        alike = [whole, longer.slice(len(longer) - len(whole)), pa.concat_tables(pieces), coded]
        assert len({put_table(store, table) for table in alike}) == 1
        assert read_table(store, put_table(store, coded)).equals(whole)


def test_a_table_that_grew_at_its_end_shares_the_segments_before(store: LocalStore) -> None:
    before = segments(store, put_table(store, numbered(25)))
    after = segments(store, put_table(store, numbered(33)))
    assert after[:2] == before[:2]
    assert len(after) == 4
    assert after[2] != before[2]


def test_wide_rows_make_segments_of_fewer_rows(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_ROWS", 4096)
    monkeypatch.setattr(tables, "_MOST_BYTES", 1 << 20)
    wide = numbered(4096, text=["x" * 500] * 4096, numbers=[[1.0] * 10] * 4096)
    assert [part.rows for part in StoredTable(store, put_table(store, wide)).parts] == [1024] * 4
    assert [part.rows for part in StoredTable(store, put_table(store, numbered(4096))).parts] == [4096]


def test_a_table_of_which_a_segment_is_gone_is_not_whole(store: LocalStore) -> None:
    ref = put_table(store, numbered(25))
    assert is_whole(store, ref)
    store.delete(segments(store, ref)[1])
    assert store.has(ref)
    assert not is_whole(store, ref)
    with pytest.raises(MissingBlobError, match=segments(store, ref)[1]):
        read_table(store, ref)


def test_what_is_no_table_is_named(store: LocalStore) -> None:
    for data in (b"", b"PA", b"a,b\n1,2\n", b'{"format":"sterling.model/1"}', b"{", b"[1]"):
        ref = store.put(io.BytesIO(data))
        assert not is_table(store.open(ref))
        with pytest.raises(DataError, match=f"{ref} is no table"):
            StoredTable(store, ref)
    assert is_table(store.open(put_table(store, numbered(3))))
    assert is_table(store.open(put_table(store, numbered(30))))


def test_changing_some_rows_writes_the_segments_that_hold_them(store: LocalStore) -> None:
    ref = put_table(store, numbered(40))
    changed = rewrite_table(store, ref, without(12, 17))
    assert read_table(store, changed)["n"].to_pylist() == [n for n in range(40) if n not in {12, 17}]
    before, after = segments(store, ref), segments(store, changed)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True, True]
    assert rewrite_table(store, ref, without(99)) == ref


def test_a_segment_that_loses_all_rows_is_left_out(store: LocalStore) -> None:
    ref = put_table(store, numbered(25))
    assert segments(store, rewrite_table(store, ref, without(*range(10)))) == segments(store, ref)[1:]
    one = rewrite_table(store, ref, without(*range(10, 25)))
    assert one == segments(store, ref)[0]
    none = rewrite_table(store, ref, without(*range(25)))
    assert read_table(store, none).equals(numbered(1).slice(1))


def test_a_value_that_is_left_out_stands_in_no_dictionary(store: LocalStore) -> None:
    coded = pa.table({"n": [0, 1, 2], "name": pa.array(["ada", "bob", "eve"]).dictionary_encode()})
    changed = rewrite_table(store, put_table(store, coded), without(1))
    parquet = store.open(changed).read_bytes()
    assert b"bob" not in parquet
    assert read_table(store, changed)["name"].to_pylist() == ["ada", "eve"]
