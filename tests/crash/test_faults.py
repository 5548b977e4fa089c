"""A disk that refuses: a run ends with one clear line and exit code 2, nothing is half recorded, and the next run works."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.crash.shim import Answer, Crasher, Mode

RUN = ("run", "--release-now", "--no-studies", "--json")
FAULTS = (
    (Mode.FAIL_FROM, errno.ENOSPC),
    (Mode.FAIL_ONCE, errno.EIO),
    (Mode.FAIL_FROM, errno.EROFS),
    (Mode.FAIL_ONCE, errno.ENOSPC),
    (Mode.FAIL_FROM, errno.EIO),
)
EVERY = 3  # of the steps; the faults take turns

pytestmark = pytest.mark.slow


def told(answer: Answer) -> str:
    """What a command that could not do its work said: one line, beside a warning that the head could not be kept."""
    assert answer.status == 2, f"{answer.status}: {answer.out}{answer.errors}"
    (line,) = [line for line in answer.errors.splitlines() if "not yet witnessed" not in line]
    assert line.startswith("sterling: ")
    assert answer.out == ""
    return line


def check_recovery(crasher: Crasher, folder: Path, undisturbed: dict[str, Any], where: str) -> None:
    """The next run makes the same; only failures of steps, with their logs, are on record besides."""
    found = crasher.run("tests.crash.tasks:run_and_judge", folder).returned
    logs = found.pop("logs")
    wanted = {name: value for name, value in undisturbed.items() if name != "logs"}
    if logs:  # what cites positions says others then
        found["said"], wanted["said"] = _kinds(found["said"]), _kinds(wanted["said"])
    blobs, wanted_blobs = set(found.pop("blobs")), set(wanted.pop("blobs"))
    assert blobs >= wanted_blobs, where
    assert len(blobs - wanted_blobs) <= 1, where  # the log of a failure, which may have been kept and not been recorded
    assert found == wanted, where


def _kinds(said: list[str]) -> list[str]:
    return [kind for kind, _, _ in (fact.partition(" ") for fact in said) if kind != "stage.failed"]


@pytest.mark.parametrize("shard", range(2))
def test_a_disk_that_fails_at_any_step_is_told_in_one_line_and_the_next_run_works(
    crasher: Crasher, fresh: Callable[[], Path], undisturbed: dict[str, Any], record_property: Any, shard: int
) -> None:
    step, tried, borne = 1 + EVERY * shard, 0, 0
    while True:
        folder, (mode, error) = fresh(), FAULTS[step % len(FAULTS)]
        where = f"{mode.name} {errno.errorcode[error]} at step {step}"
        answer = crasher.run("tests.crash.tasks:sterling", folder, *RUN, root=folder, mode=mode, at=step, error=error)
        if answer.steps is not None and answer.steps < step:
            break
        if answer.status == 0:
            borne += 1
        else:
            told(answer)
        check_recovery(crasher, folder, undisturbed, where)
        step, tried = step + EVERY * 2, tried + 1
    record_property("tried: steps of a run at which the disk failed", tried)
    record_property("tried: of these failures harmless", borne)


@pytest.mark.parametrize("command", [RUN, ("check",), ("status",), ("log",), ("verify",), ("release", "1", "--now")])
@pytest.mark.parametrize("ran_before", [False, True])
def test_a_folder_that_may_not_be_written_is_told_in_one_line(
    crasher: Crasher, template: Path, seen_by_all: Path, command: tuple[str, ...], ran_before: bool
) -> None:
    folder = Path(shutil.copytree(template, seen_by_all / "project"))
    if ran_before:
        assert crasher.run("tests.crash.tasks:run_and_judge", folder).returned["code"] == 0
    writable = shutil.copytree(folder, seen_by_all / "writable")
    before = contents(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    answer = crasher.run("tests.crash.tasks:sterling_unprivileged", writable, folder, *command)
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    assert "Choose a folder that you may write to" in told(answer)
    assert contents(folder) == before


@pytest.fixture
def seen_by_all() -> Iterator[Path]:
    """A folder that every user may look into."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[Path, int], None]]:
    """Mounts a disk of so many kilobytes on a folder, or gives one that is mounted another size."""
    mounted: set[Path] = set()

    def resize(folder: Path, kilobytes: int) -> None:
        options = f"{'remount,' if folder in mounted else ''}size={kilobytes}k"
        folder.mkdir(exist_ok=True)
        ran = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True)
        if ran.returncode:
            pytest.skip(f"this needs the right to mount: {ran.stderr.decode().strip()}")
        mounted.add(folder)

    yield resize
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_full_is_told_in_one_line_and_the_next_run_works_once_there_is_room(
    crasher: Crasher,
    template: Path,
    tmp_path: Path,
    undisturbed: dict[str, Any],
    small_disk: Callable[[Path, int], None],
    record_property: Any,
) -> None:
    full = 0
    for kilobytes in range(8, 1000, 48):
        folder = Path(shutil.copytree(template, tmp_path / f"project-{kilobytes}"))
        small_disk(folder / ".sterling", kilobytes)
        answer = crasher.run("tests.crash.tasks:sterling", folder, *RUN)
        if answer.status:
            assert "Make room" in told(answer)
            full += 1
        small_disk(folder / ".sterling", 64_000)
        check_recovery(crasher, folder, undisturbed, f"after a disk of {kilobytes} kB was full")
    assert full > 5
    record_property("tried: runs on a full disk", full)
