"""Rows on their way, laid down on the disk by partition, so that a partition is seen as a whole whatever its size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sterling.scoring.digest import RowsDigest

BATCH_ROWS = 65_536
"""Rows that are looked at and scored at a time."""
_MOST_BYTES = 32 << 20
AT, PERIOD, ROW = "_at", "_period", "_row"
"""Columns that rows bring on their way: moment in microseconds, period of a capacity, place in the input."""


class Part(NamedTuple):
    """All rows of a partition.

    Attributes:
        name: Name of the partition.
        rows: How many.
        digest: What they hold.
        files: Where they lie, in order.
    """

    name: str
    rows: int
    digest: str
    files: tuple[Path, ...]

    def batches(self) -> Iterator[pa.Table]:
        """The rows, some at a time."""
        for file in self.files:
            with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as stream:
                for batch in stream:
                    yield pa.Table.from_batches([batch])

    def forget(self) -> None:
        """Remove the rows from the disk."""
        for file in self.files:
            file.unlink(missing_ok=True)


@dataclass
class _Open:
    """A partition whose rows are still coming."""

    digest: RowsDigest = field(default_factory=RowsDigest)
    waiting: list[pa.Table] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    rows: int = 0


class Spool:
    """Takes rows in any order, and gives them back by partition, each in the order in which they came.

    Args:
        folder: Where they lie meanwhile; its owner removes it.

    Example:
        >>> with TemporaryDirectory() as folder:
        ...     spool = Spool(Path(folder))
        ...     spool.add(pa.table({"n": [1, 2, 3]}), pa.array(["b", "a", "b"]))
        ...     [(part.name, part.rows, next(part.batches())["n"].to_pylist()) for part in spool.parts()]
        [('a', 1, [2]), ('b', 2, [1, 3])]
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _Open] = {}
        self._bytes = 0
        self._count = 0

    def add(self, table: pa.Table, partitions: pa.Array) -> None:
        """Take some more rows.

        Args:
            table: The rows; each time the same columns.
            partitions: The partition of each row, texts.
        """
        coded = partitions.dictionary_encode()
        codes = coded.indices.to_numpy(zero_copy_only=False)
        for code, name in enumerate(coded.dictionary.to_pylist()):
            rows = table if len(coded.dictionary) == 1 else table.take(pa.array(np.flatnonzero(codes == code)))
            self._take(str(name), rows)
        if self._bytes > _MOST_BYTES:
            self._flush()

    def parts(self) -> list[Part]:
        """Every partition, by name; nothing may be added afterwards."""
        self._flush()
        return [
            Part(name, one.rows, one.digest.hexdigest(), tuple(one.files)) for name, one in sorted(self._open.items())
        ]

    def _take(self, name: str, rows: pa.Table) -> None:
        one = self._open.setdefault(name, _Open())
        one.digest.add(
            rows.drop_columns([ROW]) if ROW in rows.column_names else rows
        )  # their place says nothing of them
        one.waiting.append(rows)
        one.rows += rows.num_rows
        self._bytes += rows.nbytes

    def _flush(self) -> None:
        for one in self._open.values():
            if one.waiting:
                self._count += 1
                path = self._folder / f"{self._count}.arrow"
                rows = pa.concat_tables(one.waiting)
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as stream:
                    for start in range(0, rows.num_rows, BATCH_ROWS):
                        stream.write_table(rows.slice(start, BATCH_ROWS).combine_chunks())
                one.files.append(path)
                one.waiting.clear()
        self._bytes = 0


@contextmanager
def spooling(home: Path) -> Iterator[Path]:
    """A folder for rows on their way; what a process that was killed left behind is removed."""
    home.mkdir(parents=True, exist_ok=True)
    for left in home.glob("*-*"):
        if not _is_alive(left.name.partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=f"{os.getpid()}-", dir=home) as folder:
        yield Path(folder)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        return True
    return True
