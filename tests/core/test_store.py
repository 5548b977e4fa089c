"""The local store: the contract, and what only real processes and real disks show."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sterling.core.errors import StorageError
from sterling.core.refs import ref_of
from sterling.core.store import LocalStore
from sterling.testing import StoreContract

PUT = """
import io, sys
from pathlib import Path
from sterling.core.store import LocalStore
store = LocalStore(Path(sys.argv[1]))
print("ready", flush=True)
for n in range(int(sys.argv[2])):
    store.put(io.BytesIO(n.to_bytes(4, "big") * 50_000))
"""


def start(program: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, args)], stdout=subprocess.PIPE, text=True)


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "store")


def test_processes_that_put_the_same_bytes_at_once_agree(tmp_path: Path) -> None:
    processes = [start(PUT, tmp_path, 20) for _ in range(3)]
    for process in processes:
        process.communicate()
    store = LocalStore(tmp_path)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(store.list()) == sorted(ref_of(n.to_bytes(4, "big") * 50_000) for n in range(20))
    assert all(store.intact(ref) for ref in store.list())
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_kill_while_putting_leaves_no_bytes_under_a_wrong_name(tmp_path: Path) -> None:
    for n in range(8):
        process = start(PUT, tmp_path, 10_000)
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.01 * n)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    store = LocalStore(tmp_path)
    assert all(store.intact(ref) for ref in store.list())


def test_what_a_killed_process_left_is_cleared_after_a_day(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    old, fresh = tmp_path / "incoming" / "old", tmp_path / "incoming" / "fresh"
    old.write_bytes(b"a")
    fresh.write_bytes(b"b")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    LocalStore(tmp_path)
    assert (old.exists(), fresh.exists(), list(store.list())) == (False, True, [])


def test_bytes_that_are_there_are_not_written_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for data in (b"small", b"large" * 500_000):
        path = store.open(store.put(io.BytesIO(data)))
        before = path.stat()
        store.put(io.BytesIO(data))
        assert path.stat() == before


def test_a_blob_that_was_cut_short_is_healed_by_putting_it_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    path = store.open(store.put(io.BytesIO(b"weights")))
    path.chmod(0o644)
    path.write_bytes(b"wei")
    assert store.open(store.put(io.BytesIO(b"weights"))).read_bytes() == b"weights"


def test_blobs_are_read_only(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert store.open(store.put(io.BytesIO(b"weights"))).stat().st_mode & 0o222 == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/store cannot be written: Not a directory.*STERLING_STORE"):
        LocalStore(tmp_path / "file" / "store")


def test_a_read_only_folder_is_named(read_only_folder: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written: Permission denied"):
        LocalStore(read_only_folder / "store")


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    program = """
import io, resource, signal, sys
from pathlib import Path
from sterling.core.errors import StorageError
from sterling.core.store import LocalStore
store = LocalStore(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.put(io.BytesIO(bytes(3_000_000)))
except StorageError as error:
    print(error)
"""
    said, _ = start(program, tmp_path).communicate()
    assert "cannot be written: File too large. Make room" in said
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
