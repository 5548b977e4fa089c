from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, environment, first_run, folder, released

__all__ = ["first_run", "folder", "released"]


@pytest.fixture
def serving(released: Path) -> Iterator[str]:
    """Where a released version is served."""
    command = [*COMMAND, "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=released, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"on (http://127\.0\.0\.1:\d+)/v1/predict", process.stdout.readline())
            assert found
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)
