"""The prediction log: every request and its answer, written off the request path and never read half.

A request waits in a bounded buffer until a thread writes it, a line of JSON each, within a quarter of a second. What was
written survives the end of the process, however it ends; a line that was cut short is passed over. A file that is full
or old is closed and becomes a segment, a Parquet file with a row for each row that was predicted, in a process of its
own (`sterling.serving.segments`), so that the server never loads what writes Parquet.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from sterling.core.clock import to_micros, utcnow
from sterling.core.durable import make_folder
from sterling.core.errors import StorageError
from sterling.project.bind import is_personal
from sterling.project.features import feature_names
from sterling.project.project import Project

_log = logging.getLogger("sterling.serving")
_encode = msgspec.json.Encoder().encode
OPEN, CLOSED = "open-", "closed-"


class Record(msgspec.Struct):
    """A request and its answer.

    Attributes:
        request_id: Its name.
        at_us: When it came, microseconds in UTC.
        version: The version that answered.
        model: Ref of its model.
        position: Position of the release, or of what else assigned the request.
        rows: The features of each row as they were served.
        scores: What the model said of each.
        unit: Whom or what it is about, or None.
        moment_us: The moment that features were computed for, or None where the request brought them.
        arm: What the request was assigned to, such as ``live``.
        probability: With which probability it was; None where nothing was drawn.
        fallback: What answered instead of the version that was asked, or None.
        fallback_reason: Why, or None.
        latency_us: Parts of the time from arrival to answer, in microseconds: ``wait``, ``read``, ``predict``.
        cpu_seconds: Processor time of the answer.
        extra: More of the answer, by name, such as decisions, a list of one a row each.
        numbers: The places of the rows in the request, where others of its rows are in another record; else None.
        units: Whom or what each row is about, where they differ; else None.
    """

    request_id: str
    at_us: int
    version: int
    model: str
    position: int
    rows: Sequence[Mapping[str, Any]]
    scores: Sequence[Any]
    unit: str | None = None
    moment_us: int | None = None
    arm: str = "live"
    probability: float | None = None
    fallback: str | None = None
    fallback_reason: str | None = None
    latency_us: dict[str, int] = {}
    cpu_seconds: float = 0.0
    extra: dict[str, Sequence[Any]] = {}
    numbers: Sequence[int] | None = None
    units: Sequence[str | None] | None = None


class PredictionLog:
    """Keeps what was predicted.

    Args:
        folder: Where segments lie, such as ``.sterling/predictions``.
        personal: Names of features that hold personal data, which are left out.
        bound: Requests at most that wait to be written; beyond it they are dropped and counted.
        every_seconds: How long a request waits at most.
        segment_bytes: Size of a file at which it is closed.
        segment_seconds: Age of a file at which it is closed.

    Raises:
        StorageError: if the folder cannot be made.
    """

    def __init__(
        self, folder: Path, personal: Sequence[str] = (), *, bound: int = 20_000, every_seconds: float = 0.25,
        segment_bytes: int = 64_000_000, segment_seconds: float = 3_600.0,
    ) -> None:  # fmt: skip
        try:
            make_folder(folder)
        except OSError as error:
            raise StorageError(f"{folder}: {error.strerror}. The prediction log needs a folder.") from error
        self._folder, self._personal = folder, frozenset(personal)
        self._bound, self._every_seconds = bound, every_seconds
        self._segment_bytes, self._segment_seconds = segment_bytes, segment_seconds
        self._waiting: deque[Record] = deque()
        self._lines = b""  # encoded, and not written since the disk does not take it
        self._file: _OpenFile | None = None
        self._stopped = threading.Event()
        self._children: list[subprocess.Popen[bytes]] = []
        self.dropped = 0
        """Requests that are not kept, since the disk took none for too long."""
        self.trouble: str | None = None
        """Why nothing is written now; None where it is."""

    @property
    def waiting(self) -> int:
        """Requests that wait to be written."""
        return len(self._waiting)

    def add(self, record: Record) -> None:
        """Keep a request; never waits."""
        if len(self._waiting) >= self._bound:
            self.dropped += 1
        else:
            self._waiting.append(record)

    @contextmanager
    def in_background(self) -> Any:
        """Write in a thread until the block ends; then everything is written and the file closed."""
        self._stopped.clear()
        thread = threading.Thread(target=self._run, name="prediction-log")
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join()

    def flush(self) -> None:
        """Write what waits; where that fails it waits on, and `trouble` says why."""
        if not self._lines:
            self._lines = b"".join(self._line(self._waiting.popleft()) for _ in range(len(self._waiting)))
        if not self._lines:
            return
        try:
            self._file = self._usable()
            self._file.write(self._lines)
        except OSError as error:
            said = f"Predictions are not logged: {error.strerror} ({self._folder})."
            if said != self.trouble:
                _log.warning("%s", said)
            self.trouble = said
            return
        self._lines, self.trouble = b"", None
        if self._waiting:
            self.flush()

    def close(self) -> None:
        """Write what waits, and close the file; it becomes a segment with the next `convert`."""
        self.flush()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _run(self) -> None:
        with suppress(OSError):
            if close_abandoned(self._folder):
                self._convert()
        while not self._stopped.wait(self._every_seconds):
            self.flush()
            if self._file is not None and self._is_full(self._file):
                self.close()
                self._convert()
        self.close()
        for child in self._children:
            child.poll()

    def _is_full(self, file: _OpenFile) -> bool:
        return file.size >= self._segment_bytes or time.monotonic() - file.opened >= self._segment_seconds

    def _usable(self) -> _OpenFile:
        """The file that is written, or a new one where somebody has removed it, as `sterling erase` may."""
        if self._file is not None and not self._file.is_there():
            self._file.leave()
            self._file = None
        return self._file or _OpenFile(self._folder)

    def _line(self, record: Record) -> bytes:
        if self._personal:
            record.rows = [{n: None if n in self._personal else v for n, v in row.items()} for row in record.rows]
        return _encode(record) + b"\n"

    def _convert(self) -> None:
        """Have closed files become segments, in a process of its own that gives way to the server."""
        self._children = [child for child in self._children if child.poll() is None]
        command = [sys.executable, "-m", "sterling.serving.segments", str(self._folder)]
        with suppress(OSError):  # they stay as they are, and are converted later
            self._children.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))


class _OpenFile:
    """A file that this process appends to; its lock says so as long as the process lives."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{OPEN}{to_micros(utcnow())}-{os.getpid()}.jsonl"
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.size, self.opened = 0, time.monotonic()

    def is_there(self) -> bool:
        try:
            return self._path.stat().st_ino == os.fstat(self._handle).st_ino
        except OSError:
            return False

    def write(self, lines: bytes) -> None:
        """Append whole lines, or nothing.

        Raises:
            OSError: if the disk does not take them.
        """
        done = 0
        try:
            while done < len(lines):
                done += os.write(self._handle, lines[done:])
        except OSError:
            os.ftruncate(self._handle, self.size)
            raise
        self.size += done

    def close(self) -> None:
        """Close the file durably, under a name that says so."""
        try:
            os.fsync(self._handle)
            self._path.rename(closed(self._path))
        finally:
            self.leave()

    def leave(self) -> None:
        os.close(self._handle)


def closed(path: Path) -> Path:
    """What an open file is called when it is closed."""
    return path.with_name(CLOSED + path.name.removeprefix(OPEN))


def close_abandoned(folder: Path) -> int:
    """Close the files of processes that have ended, and say how many."""
    found = 0
    for path in sorted(folder.glob(f"{OPEN}*.jsonl")):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.rename(closed(path))
            found += 1
    return found + len(list(folder.glob(f"{CLOSED}*.jsonl")))


def personal_features(project: Project) -> tuple[str, ...]:
    """Features that hold personal data, or are computed from such."""
    return tuple(name for name in feature_names(project.features) if is_personal(project, name))
