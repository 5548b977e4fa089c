"""What every online store must do: subclass :class:`OnlineStoreContract`, give it a store, run pytest."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from sterling.features.online_store import OnlineStore

A, B, OFFSET = b'flights/d1/["JFK"]', b'flights/d1/["LGA"]', b"flights/d1/offset"


class OnlineStoreContract:
    """Behaviour that all online stores share.

    Example:
        A subclass supplies an empty store, and another instance that sees the same::

            class TestValkeyStore(OnlineStoreContract):
                @pytest.fixture
                def store(self, url):
                    return connect_online(url)

                @pytest.fixture
                def beside(self, url):
                    return connect_online(url)
    """

    @pytest.fixture
    def store(self) -> OnlineStore:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture 'store' that gives an empty store.")

    @pytest.fixture
    def beside(self) -> OnlineStore:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture 'beside' that gives the same store again.")

    def test_it_is_an_online_store(self, store: OnlineStore) -> None:
        assert isinstance(store, OnlineStore)

    def test_a_new_store_holds_nothing(self, store: OnlineStore) -> None:
        assert store.get([A, B]) == [None, None]
        assert store.get([]) == []

    @pytest.mark.parametrize("size", [0, 1, 255, 8_000, 1 << 20])
    def test_bytes_come_back_as_they_were(self, store: OnlineStore, size: int) -> None:
        data = os.urandom(size)
        assert store.put({A: data})
        assert store.get([A]) == [data]

    def test_names_are_any_bytes(self, store: OnlineStore) -> None:
        names = [b"\x00", bytes(range(256)), 'é/["a b\\n"]'.encode(), b"*", b"$-1\r\n"]
        store.put({name: name for name in names})
        assert store.get(names) == names

    def test_answers_stand_in_the_order_of_the_question(self, store: OnlineStore) -> None:
        store.put({A: b"a", B: b"b"})
        assert store.get([B, OFFSET, A, B]) == [b"b", None, b"a", b"b"]

    def test_many_are_written_as_one(self, store: OnlineStore, beside: OnlineStore) -> None:
        items = {b"k%d" % number: b"v%d" % number for number in range(20_000)}
        assert store.put(items)
        assert beside.get(list(items)) == list(items.values())

    def test_what_is_put_is_seen_by_others(self, store: OnlineStore, beside: OnlineStore) -> None:
        assert beside.get([A]) == [None]
        store.put({A: b"1"})
        assert beside.get([A]) == [b"1"]
        beside.put({A: b"2"})
        assert store.get([A]) == [b"2"]

    def test_none_removes(self, store: OnlineStore) -> None:
        store.put({A: b"1", B: b"2"})
        assert store.put({A: None, B: b"3", OFFSET: None})
        assert store.get([A, B]) == [None, b"3"]

    def test_nothing_may_be_put(self, store: OnlineStore) -> None:
        assert store.put({})
        assert store.put({}, when=(A, None))
        assert not store.put({}, when=(A, b"1"))

    def test_it_writes_where_the_condition_holds(self, store: OnlineStore) -> None:
        assert store.put({A: b"1", OFFSET: b"7"}, when=(OFFSET, None))
        assert store.put({A: b"2", OFFSET: b"9"}, when=(OFFSET, b"7"))
        assert store.get([A, OFFSET]) == [b"2", b"9"]

    @pytest.mark.parametrize("expected", [None, b"", b"6", b"70", b"7\x00"])
    def test_it_writes_nothing_where_the_condition_does_not_hold(
        self, store: OnlineStore, expected: bytes | None
    ) -> None:
        store.put({A: b"1", OFFSET: b"7"})
        assert not store.put({A: b"2", B: b"2", OFFSET: None}, when=(OFFSET, expected))
        assert store.get([A, B, OFFSET]) == [b"1", None, b"7"]

    def test_an_empty_value_is_a_value(self, store: OnlineStore) -> None:
        store.put({OFFSET: b""})
        assert store.get([OFFSET]) == [b""]
        assert not store.put({A: b"1"}, when=(OFFSET, None))
        assert store.put({A: b"1"}, when=(OFFSET, b""))

    def test_the_condition_may_be_about_a_name_that_stays(self, store: OnlineStore) -> None:
        store.put({OFFSET: b"7"})
        assert store.put({A: b"1", B: None}, when=(OFFSET, b"7"))
        assert store.get([A, OFFSET]) == [b"1", b"7"]

    def test_of_those_who_go_on_from_the_same_offset_one_wins(self, store: OnlineStore, beside: OnlineStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            for turn in range(10):
                goes_on = partial(_goes_on, (store, beside), turn)
                won = list(pool.map(goes_on, range(8)))
                assert sum(won) == 1
                assert store.get([A, OFFSET]) == [b"%d" % won.index(True), b"%d" % (turn + 1)]

    def test_what_is_read_together_was_written_together(self, store: OnlineStore, beside: OnlineStore) -> None:
        store.put({A: b"0", B: b"0"})
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(lambda: [beside.put({A: b"%d" % n, B: b"%d" % n}) for n in range(200)])
            while not writing.done():
                a, b = store.get([A, B])
                assert a == b
            assert all(writing.result())

    def test_threads_may_share_it(self, store: OnlineStore) -> None:
        store.put({b"k%d" % number: b"v%d" % number for number in range(50)})
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda n: store.get([b"k%d" % (n % 50)]), range(1_000))
        assert list(found) == [[b"v%d" % (n % 50)] for n in range(1_000)]

    def test_a_forked_child_may_share_it(self, store: OnlineStore) -> None:
        store.put({A: b"1"})
        child = os.fork()
        if child == 0:
            os._exit(0 if store.get([A]) == [b"1"] and store.put({B: b"2"}) else 1)
        assert [store.get([A]) for _ in range(100)] == [[b"1"]] * 100
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.get([A, B]) == [b"1", b"2"]


def _goes_on(stores: tuple[OnlineStore, ...], turn: int, who: int) -> bool:
    """Whether one of several has gone on from an offset to the next."""
    old = b"%d" % turn if turn else None
    return stores[who % len(stores)].put({A: b"%d" % who, OFFSET: b"%d" % (turn + 1)}, when=(OFFSET, old))
