"""The online store on a real Valkey server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sterling.adapters.valkey import ValkeyOnlineStore
from sterling.core.errors import InvalidDefinitionError, NotAllowedError, SterlingError, StorageError
from sterling.features.online_store import OnlineStore, connect_online
from sterling.testing import OnlineStoreContract
from tests.adapters.valkey import Server, running_valkey


class TestValkeyOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def store(self, valkey_url: str) -> OnlineStore:
        return connect_online(valkey_url)

    @pytest.fixture
    def beside(self, valkey_url: str, store: OnlineStore) -> OnlineStore:
        return connect_online(valkey_url.replace("valkey://", "redis://"))


@pytest.fixture
def store(valkey_url: str) -> Iterator[ValkeyOnlineStore]:
    opened = ValkeyOnlineStore(valkey_url)
    yield opened
    opened.close()


def test_what_was_put_is_there_after_a_crash_of_the_server(store: ValkeyOnlineStore, valkey: Server) -> None:
    store.put({b"a": b"1", b"offset": b"1"})
    valkey.kill()
    valkey.start()
    assert store.get([b"a", b"offset"]) == [b"1", b"1"]


def test_a_server_that_restarts_between_two_calls_is_not_noticed(store: ValkeyOnlineStore, valkey: Server) -> None:
    store.put({b"a": b"1"})
    valkey.kill()
    valkey.start()
    assert store.put({b"a": b"2"}, when=(b"a", b"1"))
    valkey.ask("SCRIPT", "FLUSH")
    assert store.put({b"a": b"3"}, when=(b"a", b"2"))
    assert store.get([b"a"]) == [b"3"]


def test_names_stay_for_ever_unless_told_otherwise(store: ValkeyOnlineStore, valkey: Server) -> None:
    store.put({b"a": b"1"})
    ValkeyOnlineStore(f"{valkey.url}?expire_seconds=1000").put({b"b": b"1"})
    assert valkey.ask("TTL", "a") == -1
    assert 900 < valkey.ask("TTL", "b") <= 1000


def test_a_server_that_is_away_is_named_and_its_password_is_not(valkey: Server) -> None:
    with running_valkey() as other:
        store = ValkeyOnlineStore(other.url)
        store.put({b"a": b"1"})
    for use in (lambda: store.get([b"a"]), lambda: store.put({b"a": b"2"})):
        with pytest.raises(
            StorageError, match=rf"valkey://127.0.0.1:{other.port}/0 cannot be reached: .*Start it"
        ) as told:
            use()
        assert_is_silent_about(other.password, told.value)


def test_a_wrong_password_is_said_and_not_shown(valkey: Server) -> None:
    store = ValkeyOnlineStore(valkey.url.replace(valkey.password, "wr0ng-secret"))
    with pytest.raises(NotAllowedError, match=r"does not let us in.*Give user and password") as told:
        store.get([b"a"])
    assert_is_silent_about("wr0ng-secret", told.value)


def test_a_password_that_is_missing_is_asked_for(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"valkey://127.0.0.1:{valkey.port}"
    with pytest.raises(NotAllowedError, match="VALKEYCLI_AUTH"):
        ValkeyOnlineStore(url).get([b"a"])
    monkeypatch.setenv("VALKEYCLI_AUTH", valkey.password)
    assert ValkeyOnlineStore(url).get([b"never put"]) == [None]


def test_a_user_who_may_not_write_is_told_what_is_needed(valkey: Server) -> None:
    valkey.ask("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+mget")
    store = ValkeyOnlineStore(f"valkey://reader:secret@127.0.0.1:{valkey.port}")
    assert store.get([b"never put"]) == [None]
    with pytest.raises(NotAllowedError, match=r"does not allow it.*EVALSHA"):
        store.put({b"a": b"1"})


def test_a_read_only_replica_is_told_from_its_primary(valkey: Server) -> None:
    with running_valkey() as other:
        other.ask("CONFIG", "SET", "primaryauth", valkey.password)
        other.ask("REPLICAOF", "127.0.0.1", str(valkey.port))
        with pytest.raises(StorageError, match=r"is a read-only replica. Name the primary"):
            ValkeyOnlineStore(other.url).put({b"a": b"1"})


def test_a_full_memory_is_said_and_nothing_is_written() -> None:
    with running_valkey(maxmemory="4mb") as other:
        store = ValkeyOnlineStore(other.url)
        store.put({b"offset": b"1", b"old": b"x"})
        with pytest.raises(StorageError, match=r"has no memory left, and nothing was written. Raise its maxmemory"):
            fill(store)
        (offset,) = store.get([b"offset"])
        assert offset is not None
        assert store.get([b"k%d" % (int(offset) - 1)]) == [None]


def test_a_server_that_would_forget_states_is_refused() -> None:
    with running_valkey(maxmemory="100mb", maxmemory_policy="allkeys-lru") as other:
        with pytest.raises(StorageError, match="CONFIG SET maxmemory-policy noeviction"):
            ValkeyOnlineStore(other.url).put({b"a": b"1"})
        other.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert ValkeyOnlineStore(other.url).put({b"a": b"1"})


def test_a_server_that_hangs_is_given_up() -> None:
    with running_valkey() as other:
        store = ValkeyOnlineStore(f"{other.url}?timeout_seconds=1")
        store.put({b"a": b"1"})
        other.ask("CLIENT", "PAUSE", "3000", "ALL")
        with pytest.raises(StorageError, match="has not answered in 1 seconds"):
            store.get([b"a"])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("valkey://ada:s3cret@host:port", "no URL"),
        ("valkey://ada:s3cret@host/first", "a database has a number, not 'first'"),
        ("valkey://ada:s3cret@host?expire=3", "Did you mean 'expire_seconds'"),
        ("valkey://ada:s3cret@host?expire_seconds=1h", "no number of seconds"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said) as told:
        connect_online(url)
    assert_is_silent_about("s3cret", told.value)


def assert_is_silent_about(secret: str, error: SterlingError) -> None:
    chain: BaseException | None = error
    while chain is not None:
        assert secret not in f"{chain}{chain!r}"
        chain = chain.__cause__ or chain.__context__


def fill(store: OnlineStore) -> None:
    for number in range(100):
        store.put({b"offset": b"%d" % (number + 2), b"old": None, b"k%d" % number: b"x" * 500_000})
