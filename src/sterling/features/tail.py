"""Files that grow: lines of JSON that are appended to a file, or to the files of a folder, are followed into the log.

How far a file was read lies in the log, written with its rows, so that a kill loses none and reads none twice. A last
line without its end is still being written, and waits.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec

from sterling.core.errors import StorageError
from sterling.features.event_log import EventLog, Followed, Pushed

_log = logging.getLogger("sterling.features")
_CHUNK = 1 << 20
_LONGEST = 1 << 26
_decode = msgspec.json.Decoder().decode


class FileTail:
    """Follows a file of JSON lines, or all ``*.jsonl`` of a folder.

    Args:
        log: Where the rows go.
        source: Name of the source that they are rows of.
        path: The file or the folder; it need not be there yet.
    """

    def __init__(self, log: EventLog, source: str, path: Path) -> None:
        self._log, self._source, self._path = log, source, path
        log.reader(source)

    def step(self) -> int:
        """Take what was appended, up to a megabyte of each file.

        Returns:
            How many bytes were read; 0 where nothing is new.

        Raises:
            StorageError: if a file cannot be read, or has become shorter.
        """
        files = sorted(self._path.glob("*.jsonl")) if self._path.is_dir() else [self._path]
        return sum(self._follow(file) for file in files if file.exists())

    def _follow(self, file: Path) -> int:
        name = str(file.absolute())
        position = self._log.position(self._source, name)
        lines = _lines(file, position)
        if not lines:
            return 0
        pushed = self._log.push(self._source, _rows(lines), followed=Followed(name, position, position + len(lines)))
        self._say(file, pushed)
        return len(lines)

    def _say(self, file: Path, pushed: Pushed) -> None:
        for refusal in pushed.refused:
            _log.warning("%s: %s", file, refusal.reason)


def _lines(file: Path, position: int) -> bytes:
    """The whole lines that follow a position, some of them; at least one where there is one."""
    try:
        size = file.stat().st_size
        if size < position:
            raise StorageError(
                f"{file} has {size:,} bytes, and {position:,} were read from it: it was cut or replaced. Append to a "
                "file, and begin another one in a folder that is followed."
            )
        with file.open("rb") as stream:
            stream.seek(position)
            wanted = _CHUNK
            while (chunk := stream.read(wanted)) and b"\n" not in chunk and len(chunk) == wanted:
                if wanted >= _LONGEST:
                    raise StorageError(f"{file} has a line of more than {_LONGEST:,} bytes, which is no row.")
                wanted *= 2
                stream.seek(position)
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror}.") from error
    return chunk[: chunk.rfind(b"\n") + 1]


def _rows(lines: bytes) -> list[Any]:
    """The rows of lines; what is no row stays as it is, to be refused."""
    return [_row(line) for line in lines.split(b"\n") if line.strip()]


def _row(line: bytes) -> Any:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line.decode(errors="replace")
