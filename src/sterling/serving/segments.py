"""Segments of the prediction log: closed files of lines become Parquet files, whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from sterling.core.durable import sync_folder
from sterling.serving.prediction_log import CLOSED, Record

_decode = msgspec.json.Decoder(Record).decode
_MICROS = pa.timestamp("us", tz="UTC")
FIXED = {
    "_request_id": pa.string(), "_row": pa.int32(), "_at": _MICROS, "_unit": pa.string(), "_version": pa.int32(),
    "_model": pa.string(), "_position": pa.int64(), "_arm": pa.string(), "_probability": pa.float64(),
    "_fallback": pa.string(), "_fallback_reason": pa.string(), "_moment": _MICROS, "_cpu_seconds": pa.float64(), "_wait_us": pa.int64(),
    "_read_us": pa.int64(), "_predict_us": pa.int64(),
}  # fmt: skip
"""Columns of every segment; ``_score``, what else was answered, and the features follow, these by their own names."""


def convert(folder: Path) -> list[Path]:
    """Make a segment of each closed file.

    Two processes may do it at once, and a kill may come between: the same lines make the same segment.

    Args:
        folder: Where the prediction log lies.

    Returns:
        The segments that were made.
    """
    made = []
    for path in sorted(folder.glob(f"{CLOSED}*.jsonl")):
        with suppress(FileNotFoundError):  # another process was faster
            table = table_of(_records(path))
            segment = folder / (path.name.removeprefix(CLOSED).removesuffix(".jsonl") + ".parquet")
            if table.num_rows:
                _write(table, segment)
                made.append(segment)
            path.unlink()
    return made


def segments(folder: Path) -> list[Path]:
    """The segments of a log, oldest first."""
    return sorted(folder.glob("[0-9]*.parquet"))


def table_of(records: Iterator[Record]) -> pa.Table:
    """Records as a table with a row for each row that was predicted."""
    fixed: dict[str, list[Any]] = {name: [] for name in FIXED}
    answers: dict[str, list[Any]] = {"_score": []}
    features: dict[str, list[Any]] = {}
    count = 0
    for record in records:
        latency = record.latency_us
        for number, row in enumerate(record.rows):
            said = (
                record.request_id, number if record.numbers is None else record.numbers[number], record.at_us,
                record.unit if record.units is None else record.units[number], record.version, record.model,
                record.position, record.arm, record.probability, record.fallback, record.fallback_reason, record.moment_us,
                record.cpu_seconds / len(record.rows), latency.get("wait"), latency.get("read"), latency.get("predict"),
            )  # fmt: skip
            for column, value in zip(fixed.values(), said, strict=True):
                column.append(value)
            _add(answers, {"_score": record.scores[number], **_of_row(record.extra, number)}, count)
            _add(features, row, count)
            count += 1
    columns = {name: pa.array(values, FIXED[name]) for name, values in fixed.items()}
    columns |= {name: _column(_filled(values, count)) for name, values in (answers | features).items()}
    return pa.table(columns)


def _of_row(extra: Mapping[str, Sequence[Any]], number: int) -> dict[str, Any]:
    return {f"_{name}": values[number] for name, values in extra.items()}


def _add(columns: dict[str, list[Any]], row: Mapping[str, Any], before: int) -> None:
    for name, value in row.items():
        column = columns.setdefault(name, [])
        _filled(column, before)
        column.append(value)


def _filled(column: list[Any], length: int) -> list[Any]:
    column += [None] * (length - len(column))
    return column


def _column(values: list[Any]) -> pa.Array:
    """Values as numbers, lists of numbers, or texts; JSON writes 95.0 as 95 at will, so that numbers are doubles."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float, bool}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {list}:
        return pa.array(values, pa.list_(pa.float64()))
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _records(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # what a kill cut short is passed over
                with suppress(msgspec.DecodeError):
                    yield _decode(line)


def _write(table: pa.Table, path: Path) -> None:
    arriving = path.with_name(f".{path.name}-{os.getpid()}.arriving")
    try:
        pq.write_table(table, arriving, compression="zstd")
        with arriving.open("rb") as file:
            os.fsync(file.fileno())
        arriving.replace(path)
    finally:
        arriving.unlink(missing_ok=True)
    sync_folder(path.parent)


if __name__ == "__main__":
    os.nice(10)
    convert(Path(sys.argv[1]))
