"""What every store must do: subclass :class:`StoreContract`, give it a store, run pytest."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, cast

import pytest

from sterling.core.errors import InvalidDefinitionError, MissingBlobError
from sterling.core.refs import Ref, ref_of
from sterling.core.store import Store


class StoreContract:
    """Behaviour that all stores share.

    Example:
        A subclass supplies an empty store, and a way to spoil what it holds::

            class TestS3Store(StoreContract):
                @pytest.fixture
                def store(self, bucket_url):
                    return connect_store(bucket_url)

                def alter(self, store, ref, data):
                    write_behind_its_back(key_of(ref), data)
    """

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture 'store' that gives an empty store.")

    def alter(self, store: Store, ref: Ref, data: bytes) -> None:
        """Put other bytes where those of a ref lie, as an accident or an intruder would."""
        raise NotImplementedError(f"{type(self).__name__} needs a method 'alter' that spoils what a store holds.")

    @pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 3 << 20])
    def test_bytes_come_back_under_the_name_that_their_content_gives(self, store: Store, size: int) -> None:
        data = os.urandom(size)
        ref = store.put(io.BytesIO(data))
        assert ref == ref_of(data)
        assert store.open(ref).read_bytes() == data

    def test_a_stream_may_give_less_than_it_is_asked_for(self, store: Store) -> None:
        data = os.urandom(5000)
        store.put(io.BytesIO(data[:1000]))
        assert store.open(store.put(cast("BinaryIO", _Trickle(data)))).read_bytes() == data

    def test_the_same_bytes_are_held_once(self, store: Store) -> None:
        assert store.put(io.BytesIO(b"same")) == store.put(io.BytesIO(b"same"))
        assert list(store.list()) == [ref_of(b"same")]

    def test_a_new_store_is_empty(self, store: Store) -> None:
        assert list(store.list()) == []
        assert not store.has(ref_of(b"a"))

    def test_it_lists_what_it_holds(self, store: Store) -> None:
        refs = {store.put(io.BytesIO(bytes([n]))) for n in range(20)}
        assert sorted(store.list()) == sorted(refs)

    def test_what_is_not_held_is_named(self, store: Store) -> None:
        ref = ref_of(b"never put")
        for use in (store.open, store.intact):
            with pytest.raises(MissingBlobError, match=f"does not hold {ref}"):
                use(ref)

    def test_what_was_deleted_is_gone_and_may_come_back(self, store: Store) -> None:
        ref, kept = store.put(io.BytesIO(b"a")), store.put(io.BytesIO(b"b"))
        store.delete(ref)
        store.delete(ref)
        assert (store.has(ref), store.has(kept)) == (False, True)
        assert store.put(io.BytesIO(b"a")) == ref
        assert store.open(ref).read_bytes() == b"a"

    @pytest.mark.parametrize("found", [b"weightz", b"wei", b"", b"weights and more"])
    def test_bytes_that_were_altered_where_they_lie_are_found(self, store: Store, found: bytes) -> None:
        ref, other = store.put(io.BytesIO(b"weights")), store.put(io.BytesIO(b"other"))
        store.open(ref)
        assert store.intact(ref)
        self.alter(store, ref, found)
        assert not store.intact(ref)
        assert store.intact(other)

    def test_altered_bytes_that_are_deleted_may_be_put_again(self, store: Store) -> None:
        ref = store.put(io.BytesIO(b"weights"))
        self.alter(store, ref, b"weightz")
        store.delete(ref)
        assert store.put(io.BytesIO(b"weights")) == ref
        assert store.intact(ref)
        assert store.open(ref).read_bytes() == b"weights"

    @pytest.mark.parametrize(
        "text", ["", "sha256:abc", "../../etc/passwd", "sha256:../" + "a" * 61, "sha256:" + "A" * 64]
    )
    def test_a_text_that_is_no_ref_is_refused(self, store: Store, text: str) -> None:
        for use in (store.open, store.has, store.delete, store.intact):
            with pytest.raises(InvalidDefinitionError, match="is no ref"):
                use(Ref(text))

    def test_a_stream_that_fails_leaves_nothing_behind(self, store: Store) -> None:
        with pytest.raises(OSError, match="the other end hung up"):
            store.put(cast("BinaryIO", _Trickle(os.urandom(5000), fails_after=3000)))
        assert list(store.list()) == []

    def test_threads_that_put_the_same_bytes_at_once_agree(self, store: Store) -> None:
        data = os.urandom(2 << 20)
        with ThreadPoolExecutor(4) as pool:
            refs = set(pool.map(lambda _: store.put(io.BytesIO(data)), range(8)))
        assert refs == {ref_of(data)}
        assert store.open(ref_of(data)).read_bytes() == data


class _Trickle:
    """A stream that gives at most a thousand bytes at a time, and may fail halfway."""

    def __init__(self, data: bytes, *, fails_after: int | None = None) -> None:
        self._stream, self._fails_after = io.BytesIO(data), fails_after

    def read(self, size: int) -> bytes:
        if self._fails_after is not None and self._stream.tell() >= self._fails_after:
            raise OSError("the other end hung up")
        return self._stream.read(min(size, 1000))
