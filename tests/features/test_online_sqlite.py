"""The online store in a SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterling.core.errors import StorageError, UnknownBackendError
from sterling.features.online_store import OnlineStore, connect_online
from sterling.testing import OnlineStoreContract


class TestSQLiteOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> OnlineStore:
        return connect_online(f"sqlite:{tmp_path}/deep/state.db")

    @pytest.fixture
    def beside(self, tmp_path: Path, store: OnlineStore) -> OnlineStore:
        return connect_online(f"sqlite:{tmp_path}/deep/state.db")


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("no database, but long enough to be looked at as if it were one" * 20)
    with pytest.raises(StorageError, match="it is no SQLite file"):
        connect_online(f"sqlite:{tmp_path}/state.db").get([b"a"])


def test_a_scheme_that_nothing_answers_to_is_refused_with_those_that_work() -> None:
    with pytest.raises(UnknownBackendError, match=r"No adapter for 'mongodb'. Known: .*sqlite.*valkey"):
        connect_online("mongodb://localhost")


def test_a_url_without_a_path_is_refused() -> None:
    with pytest.raises(UnknownBackendError, match="names no path"):
        connect_online("sqlite:")
