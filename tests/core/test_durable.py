"""Files that are whole or not there, and locks that end with their holder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sterling.core.durable import locked, write_file

HOLD = """
import sys, time
from pathlib import Path
from sterling.core.durable import locked
with locked(Path(sys.argv[1]), 0):
    print("held", flush=True)
    time.sleep(60)
"""


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = list[str]()
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        steps.append("folder synced" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file synced")
        fsync(handle)

    def replaced(path: Path, target: Path) -> Path:
        steps.append("renamed")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    assert write_file(tmp_path / "new" / "head", b"whole")
    way, named = steps[:-3], steps[-3:]
    assert set(way) == {"folder synced"}
    assert named == ["file synced", "renamed", "folder synced"]
    steps.clear()
    assert write_file(tmp_path / "new" / "head", b"again")
    assert steps == ["file synced", "renamed", "folder synced"]


def test_a_file_gives_way_only_where_it_may(tmp_path: Path) -> None:
    path = tmp_path / "new" / "head"
    assert write_file(path, b"one", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not write_file(path, b"two", replace=False)
    assert path.read_bytes() == b"one"
    assert write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [found.name for found in path.parent.iterdir()] == ["head"]


def test_what_a_killed_process_left_is_cleared_a_day_later_by_the_next_file(tmp_path: Path) -> None:
    old, fresh, own = (tmp_path / name for name in (".head-a1b2c3d4.arriving", ".key-a1b2c3d4.arriving", ".old"))
    for path in (old, fresh, own):
        path.touch()
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    os.utime(own, (time.time() - 25 * 3600,) * 2)
    write_file(tmp_path / "head", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".key-a1b2c3d4.arriving", ".old", "head"]


def test_a_lock_is_waited_for_so_long_and_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError, match=r"another process has held it for 0\.02 seconds"), locked(path, 0.02):
            pass
        process.kill()
        with locked(path, 10.0):
            assert process.wait() < 0
    with locked(path, 0.0):
        pass
