"""Events that do not fit into memory: dealt out to files by their keys, each of which is computed by itself.

The answers of a key depend on its own events alone, so each file is the same exact plan as the whole, and the answers go
back to the rows of their moments. What has to fit is the spine with its features, and the events of any single key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sterling.engine import memory
from sterling.engine.tables import AnyTable, HeldTable, StoredTable
from sterling.features.exact import Ints

_BESIDE = 48  # bytes an event takes beside its columns: its key, its place in its part, and conditions
_ANSWER = 24  # bytes a cell takes until it is written
_WORK = 256 << 20  # bytes that the parts that are computed at a time take
_MOST = 256  # files that are open at a time


class Batch(NamedTuple):
    """Events whose keys no other batch has, and their moments.

    Attributes:
        table: Reads the events.
        moments: Rows of the moments; None for all of them.
    """

    table: Callable[[], AnyTable]
    moments: Ints | None


@contextmanager
def batched(
    table: StoredTable, names: Sequence[str], find: Callable[[pa.Table], Ints], asked: Ints, features: int
) -> Iterator[list[Batch]]:
    """The events in as few batches as there is memory for.

    Args:
        table: The events.
        names: The columns that are read.
        find: Gives the key of each event of a segment; -1 where no moment has it.
        asked: The key of each moment.
        features: How many features are computed.
    """
    size = _batches(table, names, len(asked), features)
    if size == 1:
        yield [Batch(lambda: table, None)]
        return
    with TemporaryDirectory(prefix="sterling-") as folder:
        files = [Path(folder) / f"{number}.arrow" for number in range(size)]
        _spill(table, names, find, files)
        yield [Batch(lambda file=file: _held(file), np.flatnonzero(asked % size == n)) for n, file in enumerate(files)]  # type: ignore[misc]


def _batches(table: StoredTable, names: Sequence[str], moments: int, features: int) -> int:
    """How many batches there have to be, by what the first segment takes."""
    if not table.num_rows:
        return 1
    first = next(table.segments(names))
    row = first.nbytes / max(first.num_rows, 1)
    events = int(table.num_rows * (1.5 * row + _BESIDE))
    room = memory.available() - _WORK - moments * features * _ANSWER
    return 1 if events <= room else min(max(-(-events // max(room // 2, 1)), 2), _MOST)


def _spill(table: StoredTable, names: Sequence[str], find: Callable[[pa.Table], Ints], files: Sequence[Path]) -> None:
    """Write the events of each key into the file that its number says, in their order."""
    schema = pa.schema([table.schema.field(name) for name in names])
    writers = [pa.ipc.new_file(str(file), schema) for file in files]
    for segment in table.segments(names):
        codes = find(segment)
        kept = np.flatnonzero(codes >= 0)
        number = codes[kept] % len(files)
        order = np.argsort(number, kind="stable")
        rows = segment.take(pa.array(kept[order]))
        ends = np.cumsum(np.bincount(number, minlength=len(files)))
        for writer, start, end in zip(writers, [0, *ends[:-1]], ends, strict=True):
            writer.write_table(rows.slice(start, end - start))
    for writer in writers:
        writer.close()


def _held(file: Path) -> HeldTable:
    with pa.OSFile(str(file)) as source:
        return HeldTable(pa.ipc.open_file(source).read_all().combine_chunks())
