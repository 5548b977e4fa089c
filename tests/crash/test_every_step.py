"""A small run is killed at every step that changes its workspace, one after the other: the next run makes the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.shim import Crasher, Mode

RUN = ("run", "--release-now", "--no-studies", "--json")
KILLS = (Mode.KILL_BEFORE, Mode.KILL_TORN, Mode.KILL_AFTER)
SHARDS = 4  # for the processes of pytest-xdist
KILLED = -9

pytestmark = pytest.mark.slow


def check(crasher: Crasher, folder: Path, undisturbed: dict[str, Any], where: str) -> None:
    answer = crasher.run("tests.crash.tasks:run_and_judge", folder)
    assert answer.status == 0, f"{where}: {answer.errors}"
    assert answer.returned == undisturbed, f"{where}: {answer.errors}"


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_run_that_is_killed_at_any_step_goes_on_and_makes_the_same(
    crasher: Crasher, fresh: Callable[[], Path], undisturbed: dict[str, Any], record_property: Any, shard: int
) -> None:
    step, tried = 1 + shard, 0
    while True:
        folder, how = fresh(), KILLS[step // SHARDS % len(KILLS)]
        stopped = crasher.run("tests.crash.tasks:sterling", folder, *RUN, root=folder, mode=how, at=step)
        if stopped.status == 0:
            assert stopped.steps is not None
            assert stopped.steps < step
            break
        assert stopped.status == KILLED, stopped.errors
        check(crasher, folder, undisturbed, f"{how.name} at step {step}")
        step, tried = step + SHARDS, tried + 1
    assert tried > 100
    record_property("tried: steps of a run, killed at each", tried)


def test_a_run_that_is_killed_again_and_again_gets_there(
    crasher: Crasher, fresh: Callable[[], Path], undisturbed: dict[str, Any], record_property: Any
) -> None:
    chance, kills = random.Random(3), 0
    for _ in range(12):
        folder, status = fresh(), KILLED
        while status == KILLED:
            how, step = chance.choice(KILLS), chance.randrange(1, 120)
            stopped = crasher.run("tests.crash.tasks:sterling", folder, *RUN, root=folder, mode=how, at=step)
            assert stopped.status in {0, KILLED}, stopped.errors
            status, kills = stopped.status, kills + (stopped.status == KILLED)
        check(crasher, folder, undisturbed, f"after {kills} kills")
    record_property("tried: kills of runs that were killed before", kills)
