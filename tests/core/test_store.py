"""The local store: the contract, and what only real processes and real disks show."""

from __future__ import annotations

import errno
import io
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sterling.core.errors import StorageError
from sterling.core.refs import Ref, ref_of
from sterling.core.store import LocalStore, Store
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


def spoil(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "store")

    def alter(self, store: Store, ref: Ref, data: bytes) -> None:
        spoil(store.open(ref), data)


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
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
            before.st_ino,
            before.st_mtime_ns,
            before.st_ctime_ns,
        )


@pytest.mark.parametrize("size", [7, 1_000_000])
@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_a_blob_that_was_spoiled_is_healed_by_putting_it_again(tmp_path: Path, size: int, kept: float) -> None:
    store, data = LocalStore(tmp_path), os.urandom(size)
    ref = store.put(io.BytesIO(data))
    spoil(store.open(ref), bytes(int(size * kept)))
    assert store.put(io.BytesIO(data)) == ref
    assert store.open(ref).read_bytes() == data
    assert store.open(ref).stat().st_mode & 0o222 == 0


def test_a_half_written_file_of_the_same_bytes_is_in_nobodys_way(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / "incoming" / "tmpkilled").write_bytes(b"wei")
    ref = store.put(io.BytesIO(b"weights"))
    assert store.open(ref).read_bytes() == b"weights"
    assert list(store.list()) == [ref]


def test_what_is_not_admitted_is_not_held(tmp_path: Path) -> None:
    store, seen = LocalStore(tmp_path), list[tuple[Ref, bytes]]()

    def refuse(ref: Ref, path: Path) -> None:
        seen.append((ref, path.read_bytes()))
        raise StorageError("not here")

    with pytest.raises(StorageError, match="not here"):
        store.put(io.BytesIO(b"weights"), admit=refuse)
    assert seen == [(ref_of(b"weights"), b"weights")]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_held_already_is_asked_about_too(tmp_path: Path) -> None:
    store, seen = LocalStore(tmp_path), list[bytes]()
    for _ in range(2):
        store.put(io.BytesIO(b"weights"), admit=lambda _, path: seen.append(path.read_bytes()))
    assert seen == [b"weights", b"weights"]


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


FULL_DISK = """
import io, os, sys
from pathlib import Path
from sterling.core.errors import StorageError
from sterling.core.store import LocalStore
store = LocalStore(Path(sys.argv[1]))
kept = store.put(io.BytesIO(b"kept"))
try:
    store.put(io.BytesIO(os.urandom(3_000_000)))
except StorageError as error:
    print(error)
assert list(store.list()) == [kept] and store.intact(kept)
assert list((Path(sys.argv[1]) / "incoming").iterdir()) == []
store.put(io.BytesIO(os.urandom(300_000)))
"""


def test_a_disk_that_is_really_full_is_named_and_has_room_again_afterwards(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("Mounting a small disk takes rights that this user does not have.")
    try:
        process = start(FULL_DISK, tmp_path / "store")
        said, _ = process.communicate()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert "cannot be written: No space left on device. Make room" in said
    assert process.returncode == 0


@pytest.mark.parametrize("data", [b"weights", b"weights" * 100_000])
def test_a_disk_that_fails_to_sync_a_blob_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    store, sync = LocalStore(tmp_path), os.fsync

    def fail(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        sync(handle)

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StorageError, match="cannot be written: Input/output error"):
        store.put(io.BytesIO(data))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert store.open(store.put(io.BytesIO(data))).read_bytes() == data


def test_every_name_is_on_the_disk_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another process may have done halfway: made the folder, or renamed and not yet synced."""
    first, synced = LocalStore(tmp_path), list[Path]()
    ref = first.put(io.BytesIO(b"weights"))
    store, sync = LocalStore(tmp_path), os.fsync

    def note(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        sync(handle)

    monkeypatch.setattr("os.fsync", note)
    store.put(io.BytesIO(b"weights"))
    assert synced == [store.path(ref).parent, tmp_path]
    store.delete(ref)
    assert synced[2:] == [store.path(ref).parent]


def test_a_blob_that_the_disk_cannot_read_any_more_is_not_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    ref = store.put(io.BytesIO(b"weights"))

    def fail(path: Path) -> Ref:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("sterling.core.store.ref_of_file", fail)
    assert not store.intact(ref)


@contextmanager
def only_reading(folder: Path) -> Iterator[None]:
    """A folder that the process may read and not write to, root's rights laid down for the time."""
    folders, user = [folder, *(path for path in folder.rglob("*") if path.is_dir())], os.geteuid()
    for path in folders:
        path.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path in folders:
            path.chmod(0o755)


def test_a_store_that_may_only_be_read_can_be_checked_and_says_why_it_takes_nothing() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ref = LocalStore(folder).put(io.BytesIO(b"weights"))
        abandoned = folder / "incoming" / "abandoned"
        abandoned.touch()
        os.utime(abandoned, (0, 0))
        with only_reading(folder):
            store = LocalStore(folder)
            assert (store.has(ref), store.intact(ref), list(store.list())) == (True, True, [ref])
            assert store.put(io.BytesIO(b"weights")) == ref
            for use in (lambda: store.put(io.BytesIO(b"new")), lambda: store.delete(ref)):
                with pytest.raises(StorageError, match="cannot be written: Permission denied"):
                    use()
            assert store.open(ref).read_bytes() == b"weights"
