"""A disk that refuses: a run ends with one clear line and exit code 2, nothing is half recorded, and the next run works."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.shim import Answer, Crasher, Mode

RUN = ("run", "--release-now", "--json")
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
    """What a command that could not do its work said, which must be one line."""
    assert answer.status == 2, f"{answer.status}: {answer.out}{answer.errors}"
    (line,) = answer.errors.splitlines()
    assert line.startswith("sterling: ")
    assert answer.out == ""
    return line


def check_recovery(crasher: Crasher, folder: Path, undisturbed: dict[str, Any], where: str) -> None:
    """The next run makes the same; only failures of steps, with their logs, are on record besides."""
    found = crasher.run("tests.crash.tasks:run_and_judge", folder).returned
    failures = {ref for ref, kind in found["logs"].items() if kind == "stage.failed"}
    found["said"] = [fact for fact in found["said"] if not fact.startswith("stage.failed ")]
    found["blobs"] = [ref for ref in found["blobs"] if ref not in failures]
    assert found | {"logs": {}} == undisturbed, where


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
