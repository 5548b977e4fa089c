"""Several server processes on one port: each has a socket of its own that the system shares connections out to.

The sockets belong to the process that watches the others, so that connections to one that died wait for its successor.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from sterling.core.errors import SterlingError, StorageError
from sterling.serving.sockets import listen

_log = logging.getLogger("sterling.serving")
_SHARED = "PROMETHEUS_MULTIPROC_DIR"
_SHORT_LIFE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 10.0

Work = Callable[[int, socket.socket, Callable[[str], None]], None]
"""What a process does, given its number, its socket, and whom to tell that it serves."""


def run_workers(count: int, host: str, port: int, work: Work, say: Callable[[str], None]) -> int:
    """Run several processes until Ctrl-C or SIGTERM; one that ends is started again.

    Nothing that owns threads or connections may exist yet: processes are forked.

    Args:
        count: How many.
        host: Address to listen on.
        port: Port; 0 for any that is free.
        work: What each does.
        say: Told what the first process says when all of them serve.

    Returns:
        The exit code: 0, or that of a process that could not start.

    Raises:
        StorageError: if the port is taken.
    """
    folder = Path(tempfile.mkdtemp(prefix="sterling-metrics-"))
    os.environ[_SHARED] = str(folder)
    try:
        return _Watch(_sockets(count, host, port), work, folder).run(say)
    finally:
        del os.environ[_SHARED]
        shutil.rmtree(folder, ignore_errors=True)


def _sockets(count: int, host: str, port: int) -> list[socket.socket]:
    listen(host, port).close() if port else None  # sockets are shared with ours alone, and not with another server's
    first = listen(host, port, shared=True)
    return [first, *(listen(host, first.getsockname()[1], shared=True) for _ in range(count - 1))]


class _Watch:
    def __init__(self, sockets: list[socket.socket], work: Work, metrics: Path) -> None:
        self._sockets, self._work, self._metrics = sockets, work, metrics
        self._numbers: dict[int, int] = {}
        self._started: dict[int, float] = {}
        self._pauses = [0.0] * len(sockets)
        self._ending = False

    def run(self, say: Callable[[str], None]) -> int:
        before = {number: signal.signal(number, self._end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            said = [self._start(number, wait=True) for number in range(len(self._sockets))]
            if None in said:
                self._end()
                return self._wait(failed=True)
            say(str(said[0]))
            return self._wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for listening in self._sockets:
                listening.close()

    def _end(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        self._ending = True
        for pid in self._numbers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _wait(self, *, failed: bool = False) -> int:
        code = 0
        while self._numbers:
            pid, status = os.waitpid(-1, 0)
            number = self._numbers.pop(pid, None)
            if number is None:
                continue
            self._forget(pid)
            ended = os.waitstatus_to_exitcode(status)
            code = code or (ended if failed and ended > 0 else 0)
            if not self._ending:
                _log.error("process %s ended with %s, and is started again", pid, ended)
                self._start_again(number, pid)
        return code

    def _start_again(self, number: int, pid: int) -> None:
        """Start a process again; after a pause where it did not live long."""
        lived = time.monotonic() - self._started.pop(pid)
        pause = min(_LONGEST_PAUSE_SECONDS, 2 * self._pauses[number] or 0.1) if lived < _SHORT_LIFE_SECONDS else 0.0
        self._pauses[number] = pause
        until = time.monotonic() + pause
        while not self._ending and time.monotonic() < until:
            time.sleep(0.05)
        if not self._ending:
            self._start(number)

    def _start(self, number: int, *, wait: bool = False) -> str | None:
        """Start a process; waits until it serves, where that is asked for, and gives what it said."""
        read, write = os.pipe()
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self._child(number, write, held)
        os.close(write)
        self._numbers[pid], self._started[pid] = number, time.monotonic()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        with os.fdopen(read) as told:
            return (told.readline().rstrip("\n") or None) if wait else None

    def _child(self, number: int, write: int, held: set[int]) -> None:
        """What a process does; it never returns."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)

        def tell(said: str) -> None:
            with suppress(OSError), os.fdopen(write, "w") as told:
                told.write(said + "\n")

        code = 0
        try:
            for other, listening in enumerate(self._sockets):
                if other != number:
                    listening.close()
            self._work(number, self._sockets[number], tell)
        except (SterlingError, StorageError) as error:
            print(f"sterling: {error}", file=sys.stderr, flush=True)  # noqa: T201  the process's last word
            code = 2
        except KeyboardInterrupt:
            pass
        except BaseException:  # noqa: BLE001  a forked process must not go on as its parent
            traceback.print_exc()
            code = 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _forget(self, pid: int) -> None:
        """Take what only lived processes tell, such as queues, out of the metrics; what they counted stays."""
        for path in self._metrics.glob(f"gauge_live*_{pid}.db"):
            path.unlink(missing_ok=True)
