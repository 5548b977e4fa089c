"""Rows that are given, in a file or a table, on their way to be scored by partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from sterling.core.destination import Rows
from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.engine.files import read_file
from sterling.engine.tables import is_parquet
from sterling.project.project import Project
from sterling.project.spine import EventSpine
from sterling.scoring.scorer import MICROS, Layout, check_layout, layout_of
from sterling.scoring.spool import AT, BATCH_ROWS, PERIOD, ROW, Part, Spool
from sterling.serving.released import ServedModel

DAY, HOUR, NONE = "day", "hour", "none"
LENGTHS = {DAY: 86_400_000_000, HOUR: 3_600_000_000}
_WHOLE = "all"


class Lot(NamedTuple):
    """Some partitions, ready to be scored.

    Attributes:
        parts: The partitions.
        later: Names of those that come in later lots.
    """

    parts: Sequence[Part]
    later: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """Rows of a file or a table.

    Attributes:
        rows: Where they are.
        served: The version that is to score them.
        project: The project, whose spine says by which columns rows are known.
        keys: Columns that name a row; none for those of the spine.
        moment: Column that says when the prediction is made, or None.
        by: ``day``, ``hour``, ``none``, or a column: what partitions them.
    """

    rows: Rows | Path
    served: ServedModel
    project: Project
    keys: tuple[str, ...]
    moment: str | None
    by: str

    @property
    def said(self) -> Mapping[str, Any]:
        """Where the rows are, for the ledger."""
        return {"kind": "rows", "from": str(self.rows) if isinstance(self.rows, Path) else self.rows.name}

    def layout(self, names: Sequence[str]) -> Layout:
        """What the columns of the rows are.

        Raises:
            DataError: if they are not what the model reads, or a column that was named is not there.
        """
        for name in (*self.keys, *([self.moment] if self.moment else [])):
            if name not in names:
                raise DataError(f"The rows have no column {name!r}. {nearest(name, names)}")
        keys = self.keys or tuple(name for name in _names_a_row(self.project) if name in names)
        if not keys:
            raise DataError("Nothing in the rows says whom they are about. Name columns that do: --key COLUMN.")
        return layout_of(self.served, names, [key for key in keys if key != "predict_at"])

    def lots(self, folder: Path) -> Iterator[tuple[Layout, Lot]]:
        """All partitions, in one lot.

        Args:
            folder: Where rows lie meanwhile.
        """
        spool, layout, place = Spool(folder), None, 0
        for table in self._tables(folder):
            if layout is None:
                layout = self.layout(table.column_names)
                check_layout(self.served, layout, table.schema)
            ready = self._ready(table, layout, place)
            spool.add(ready, self._partitions(table, ready))
            place += table.num_rows
        if layout is not None:
            yield layout, Lot(spool.parts())

    def _tables(self, folder: Path) -> Iterator[pa.Table]:
        if not isinstance(self.rows, Path):
            return self.rows.batches(folder, BATCH_ROWS)
        return tables_in(self.rows, self._texts)

    def _texts(self, names: Sequence[str]) -> tuple[str, ...]:
        """Columns of a CSV that are read as texts, so that one wrong cell refuses its row and not the file."""
        layout = self.layout(names)
        return layout.reads if layout.brings == "features" else ()

    def _ready(self, table: pa.Table, layout: Layout, first: int) -> pa.Table:
        columns = {name: table.column(name) for name in dict.fromkeys((*layout.keys, *layout.reads))}
        columns[AT] = self._moments(table)
        decider = self.served.decider
        if decider is not None and decider.k is not None and decider.per and not decider.per[:1].isdigit():
            columns[PERIOD] = _column(table, decider.per, "the policy ranks by").cast(pa.string())
        columns[ROW] = pa.array(np.arange(first, first + table.num_rows))
        return pa.table(columns)

    def _moments(self, table: pa.Table) -> pa.ChunkedArray | pa.Array:
        moment = self.moment or ("predict_at" if "predict_at" in table.column_names else None)
        if moment is None:
            return pa.nulls(table.num_rows, pa.int64())
        column = table.column(moment)
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            return column.cast(MICROS, safe=False).cast(pa.int64())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            try:
                return column.cast(pa.string()).cast(MICROS).cast(pa.int64())
            except pa.ArrowInvalid as error:
                raise DataError(f"{moment!r} is no time with a zone: {error}. Example: 2024-05-01T06:00:00Z.") from None
        raise DataError(f"{moment!r} is {column.type}. A moment is a time with its zone, such as 2024-05-01T06:00:00Z.")

    def _partitions(self, table: pa.Table, ready: pa.Table) -> pa.Array:
        if self.by == NONE:
            return pa.repeat(_WHOLE, table.num_rows)
        if self.by in LENGTHS:
            if ready.column(AT).null_count:
                raise DataError(
                    f"--partition {self.by} divides rows by their moment, which some do not say. Name its column with "
                    "--predict-at, or say --partition none."
                )
            return named_by_time(ready.column(AT), self.by)
        return as_names(_column(table, self.by, "--partition names"))


def named_by_time(moments: pa.ChunkedArray, by: str) -> pa.Array:
    """The day or hour of each moment, in UTC, as a text.

    Example:
        >>> named_by_time(pa.chunked_array([[0, 90_000_000_000]]), "day").to_pylist(), named_by_time(pa.chunked_array([[0]]), "hour").to_pylist()
        (['1970-01-01', '1970-01-02'], ['1970-01-01T00'])
    """
    length = LENGTHS[by]
    starts, places = np.unique(moments.to_numpy() // length, return_inverse=True)
    at = np.array(starts * length, dtype="datetime64[us]")
    return pa.array(np.datetime_as_string(at, unit="D" if by == DAY else "h")).take(pa.array(places))


def as_names(column: pa.ChunkedArray) -> pa.Array:
    """Values as names of partitions."""
    return pc.fill_null(column.cast(pa.string()), "null").combine_chunks()


def check_partitions(served: ServedModel, project: Project, by: str) -> None:
    """Refuse partitions that would take apart what a capacity ranks together, or would put a person's name into the ledger.

    Raises:
        InvalidDefinitionError: if they do.
    """
    if by in project.spine.source.pii:
        raise InvalidDefinitionError(
            f"{by!r} is personal, and the ledger names partitions. Partition by another column."
        )
    decider = served.decider
    if decider is None or decider.k is None or by == NONE:
        return
    policy = f"The policy acts on the {decider.k:,} highest of each {decider.per or 'moment'}"
    within = LENGTHS.get(by, 0)
    if decider.per is None:
        together = within > 0
    elif decider.per[:1].isdigit():
        from sterling.project.times import micros

        together = within > 0 and within % micros(decider.per) == 0
    else:
        together = decider.per == by
    if not together:
        raise InvalidDefinitionError(
            f"{policy}, and --partition {by} would take such rows apart. Say --partition none, or one that keeps them together."
        )


def tables_in(path: Path, texts: Any) -> Iterator[pa.Table]:
    """The rows of a file, or of all files of a folder, some at a time.

    Args:
        path: Parquet, CSV, or a folder of either.
        texts: Given the columns of a CSV, those that are read as texts.

    Raises:
        InvalidDefinitionError: if nothing is there.
        DataError: if a file is not what its ending says.
    """
    files = (
        sorted(file for kind in ("*.parquet", "*.csv", "*.csv.gz") for file in path.rglob(kind))
        if path.is_dir()
        else [path]
    )
    if not files or not files[0].exists():
        raise InvalidDefinitionError(f"There is nothing to score at {path}: no Parquet or CSV file.")
    return chain.from_iterable(_tables_of(file, texts) for file in files)


def _tables_of(file: Path, texts: Any) -> Iterator[pa.Table]:
    name = file.name.lower()
    try:
        if name.endswith(".parquet") or is_parquet(file):
            with pq.ParquetFile(file, pre_buffer=False) as opened:  # which would keep all that was read
                for batch in opened.iter_batches(BATCH_ROWS):
                    yield pa.Table.from_batches([batch])
        elif name.endswith((".csv", ".csv.gz")):
            yield from csv_tables(file, texts)
        else:
            yield read_file(file, file.name)
    except pa.ArrowException as error:
        raise DataError(f"{file} is not what its ending says: {error}") from error


def csv_tables(file: Path, texts: Any, types: Mapping[str, pa.DataType] | None = None) -> Iterator[pa.Table]:
    """The rows of a CSV, some at a time; an empty cell is null, and nothing else is.

    Args:
        file: The file, whose name may end with ``.gz``.
        texts: Given its columns, those that are read as texts.
        types: Types of other columns; by what the first cells are where it is None.
    """
    wanted: dict[str, pa.DataType] = {**(types or {}), **dict.fromkeys(texts(_header(file)), pa.string())}
    options = pa.csv.ConvertOptions(
        null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False, column_types=wanted,
        true_values=["t", "true", "True", "1"], false_values=["f", "false", "False", "0"],
    )  # fmt: skip
    reading = pa.csv.ReadOptions(block_size=1 << 23)
    with _text(file) as stream, pa.csv.open_csv(stream, reading, convert_options=options) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _header(file: Path) -> list[str]:
    with _text(file) as stream, pa.csv.open_csv(stream) as reader:
        names: list[str] = reader.schema.names
        return names


def _text(file: Path) -> Any:
    return pa.input_stream(str(file), compression="gzip" if file.name.endswith(".gz") else None)


def _column(table: pa.Table, name: str, what: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(f"The rows have no column {name!r}, which {what}. {nearest(name, table.column_names)}")
    return table.column(name)


def _names_a_row(project: Project) -> tuple[str, ...]:
    """Columns by which the rows of the project's spine are known."""
    spine = project.spine
    own = (spine.source.event_id,) if isinstance(spine, EventSpine) else tuple(spine.source.entities)
    return ("unit", *(name for name in own if name))
