"""The cache of remote blobs: bounded, and never taken from a process that reads it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sterling.adapters.cache import Cache, cache_folder, cache_limit
from sterling.core.errors import InvalidDefinitionError, StorageError
from sterling.core.refs import Ref, ref_of

READER = """
import sys
from pathlib import Path
from sterling.adapters.cache import Cache
path = Cache(Path(sys.argv[1]), "store", limit=1e9).open(sys.argv[2])
print("opened", flush=True)
sys.stdin.readline()
print(path.read_bytes() == sys.argv[3].encode())
"""


def put(cache: Cache, data: bytes, *, used: float | None = None) -> Ref:
    """Keep a copy, last used so many seconds after 1970, unless it is evicted at once."""
    found = list[tuple[Ref, Path]]()
    ref = cache.put(io.BytesIO(data), admit=lambda ref, path: found.append((ref, path)))
    assert [ref for ref, _ in found] == [ref]
    if used is not None and copy_of(ref, cache).exists():
        os.utime(copy_of(ref, cache), (used, used))
    return ref


def copy_of(ref: Ref, cache: Cache) -> Path:
    return cache._blobs.path(ref)


def read(cache: Cache, ref: Ref) -> bytes | None:
    path = cache.open(ref)
    return path.read_bytes() if path else None


def kept(root: Path) -> set[str]:
    return {path.read_text() for path in root.glob("*/??/*")}


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "store", limit=10)
    for used, data in enumerate([b"aaaa", b"bbbb", b"cccc", b"dddd"]):
        put(cache, data, used=used)
    assert kept(tmp_path) == {"cccc", "dddd"}


def test_stores_share_the_limit_and_not_the_copies(tmp_path: Path) -> None:
    one, two = Cache(tmp_path, "one", limit=10), Cache(tmp_path, "two", limit=10)
    ref = put(one, b"aaaa", used=1)
    assert two.open(ref) is None
    put(two, b"bbbb", used=2)
    put(two, b"cccc", used=3)
    assert kept(tmp_path) == {"bbbb", "cccc"}


def test_opening_counts_as_use_and_what_is_open_here_stays_beyond_the_limit(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "store", limit=10)
    refs = [put(cache, data, used=1) for data in (b"aaaa", b"bbbb")]
    assert [read(cache, ref) for ref in refs] == [b"aaaa", b"bbbb"]
    put(cache, b"cccc", used=2)
    put(cache, b"dddd", used=3)
    assert kept(tmp_path) == {"aaaa", "bbbb"}


def test_what_another_living_process_reads_stays_until_it_ends(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "store", limit=4)
    ref = put(cache, b"aaaa", used=1)
    with subprocess.Popen(
        [sys.executable, "-c", READER, tmp_path, ref, "aaaa"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as reader:  # fmt: skip
        assert reader.stdout
        assert reader.stdout.readline() == "opened\n"
        put(cache, b"bbbb", used=2)
        assert kept(tmp_path) == {"aaaa"}
        said, _ = reader.communicate("\n")
    assert said == "True\n"
    put(cache, b"cccc", used=3)
    assert kept(tmp_path) == {"cccc"}
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_copy_that_was_evicted_or_dropped_is_not_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "store", limit=100)
    ref = put(cache, b"aaaa")
    cache.drop(ref)
    assert cache.open(ref) is None
    assert cache.open(ref_of(b"never put")) is None


def test_threads_that_open_for_the_first_time_at_once_all_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "store", limit=10)
    refs = [put(cache, bytes([n]) * 4, used=1) for n in range(2)] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda ref: read(cache, ref), refs))
    assert found == [bytes([n]) * 4 for n in range(2)] * 8
    put(cache, b"cccc", used=2)
    assert [read(cache, ref) for ref in refs] == found


def test_what_is_not_admitted_is_not_kept(tmp_path: Path) -> None:
    def refuse(ref: Ref, path: Path) -> None:
        raise StorageError("the cloud is away")

    with pytest.raises(StorageError, match="the cloud is away"):
        Cache(tmp_path, "store", limit=100).put(io.BytesIO(b"aaaa"), admit=refuse)
    assert kept(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_named_with_what_chooses_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot be written: Not a directory.*another folder with STERLING_CACHE"):
        Cache(tmp_path / "file", "store", limit=100)


def test_a_folder_that_went_away_is_named_with_what_chooses_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", "store", limit=100)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(StorageError, match=r"cache cannot be used: No such file.*STERLING_CACHE"):
        cache.open(ref_of(b"aaaa"))


def test_the_environment_says_where_it_is_and_how_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("STERLING_CACHE", "STERLING_CACHE_GB"):
        monkeypatch.delenv(name, raising=False)
    assert (cache_folder(), cache_limit()) == (tmp_path / ".cache" / "sterling", 20e9)
    monkeypatch.setenv("STERLING_CACHE", "/fast/disk")
    monkeypatch.setenv("STERLING_CACHE_GB", "0.5")
    assert (cache_folder(), cache_limit()) == (Path("/fast/disk"), 5e8)
    for wrong in ("20 GB", "0", "-1", "nan"):
        monkeypatch.setenv("STERLING_CACHE_GB", wrong)
        with pytest.raises(InvalidDefinitionError, match=f"STERLING_CACHE_GB is '{wrong}', which is no number above 0"):
            cache_limit()
