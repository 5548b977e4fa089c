"""The store contract on Google Cloud Storage and Azure Blob, where somebody has started an emulator and asks for it.

``TEST_CLOUDS="gs abfs"`` asks for it, beside the emulator's own variables (``STORAGE_EMULATOR_HOST``,
``AZURE_STORAGE_CONNECTION_STRING``); `docs/stores.md` says which emulators were used so.
"""

from __future__ import annotations

import io
import os
from itertools import count
from pathlib import Path

import pytest

from sterling.adapters.cloud_store import CloudStore
from sterling.core.errors import StorageError, TamperedLedgerError
from sterling.core.refs import Ref, ref_of
from sterling.core.store import Store
from sterling.testing import StoreContract

CLOUDS = os.environ.get("TEST_CLOUDS", "").split()
NUMBERS = count()

if not CLOUDS:
    pytest.skip("Other clouds are tried only where TEST_CLOUDS asks for it.", allow_module_level=True)

# gcsfs and adlfs hand aiohttp their bytes in one piece
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


class TestOtherClouds(StoreContract):
    @pytest.fixture(params=CLOUDS)
    def url(self, request: pytest.FixtureRequest) -> str:
        from fsspec import filesystem

        bucket = f"sterling-{os.getpid()}-{next(NUMBERS)}"
        filesystem(request.param, skip_instance_cache=True).mkdir(bucket)
        return f"{request.param}://{bucket}/team/store"

    @pytest.fixture
    def store(self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        monkeypatch.setenv("STERLING_CACHE", str(tmp_path / "cache"))
        return CloudStore(url)

    def alter(self, store: Store, ref: Ref, data: bytes) -> None:
        assert isinstance(store, CloudStore)
        store._remote.pipe_file(store._key(ref), data)

    def test_large_blobs_come_back_checked(
        self, store: Store, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = os.urandom(40 << 20)
        ref = store.put(io.BytesIO(data))
        assert store.intact(ref)
        monkeypatch.setenv("STERLING_CACHE", str(tmp_path / "cold"))
        assert CloudStore(url).open(ref).read_bytes() == data
        self.alter(store, ref, b"other")
        monkeypatch.setenv("STERLING_CACHE", str(tmp_path / "colder"))
        with pytest.raises(TamperedLedgerError, match="has other bytes than its name says"):
            CloudStore(url).open(ref)

    def test_more_objects_than_one_answer_holds_are_listed(self, store: CloudStore) -> None:
        refs = {ref_of(n.to_bytes(4, "big")) for n in range(1100)}
        store._remote.pipe({store._key(ref): b"" for ref in refs})
        assert set(store.list()) == refs

    def test_a_bucket_that_does_not_exist_is_named(self, store: Store, url: str) -> None:
        with pytest.raises(StorageError, match="There is no bucket 'sterling-none' at"):
            CloudStore(f"{url.partition(':')[0]}://sterling-none/prefix")
