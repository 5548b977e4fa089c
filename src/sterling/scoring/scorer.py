"""The rows of a partition with their scores, batch by batch: what goes to the destination, and what is refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sterling.core.destination import Written
from sterling.core.errors import DataError, FieldError
from sterling.models.answers import score_columns
from sterling.models.attributions import attributions
from sterling.models.columns import Column, Matrix, encode_rows
from sterling.project.checks import Check, InRange
from sterling.scoring.digest import RowsDigest
from sterling.scoring.encoded import Bools, Encoded, Refusal, check_columns, encode
from sterling.scoring.spool import AT, PERIOD, ROW, Part
from sterling.serving.inputs import Inputs
from sterling.serving.released import ServedModel
from sterling.tasks.policies import Decider

MICROS = pa.timestamp("us", tz="UTC")
REFUSED = pa.schema([("row", pa.int64()), ("field", pa.string()), ("problem", pa.string()), ("reason", pa.string())])
OWN = ("predict_at", "score", "label", "decision", "reasons", "version", "model", "run", "partition")
"""Columns that every row has behind its keys, ``reasons`` where they were asked for."""
Scores = NDArray[np.float64]


class Layout(NamedTuple):
    """What the columns of rows on their way are.

    Attributes:
        keys: Columns that name a row, which go to the destination.
        brings: Whether rows bring the features of the model, or the raw columns that these are computed from.
        reads: The columns that are read for the score.
    """

    keys: tuple[str, ...]
    brings: Literal["features", "raw"]
    reads: tuple[str, ...]


@dataclass
class Tally:
    """What was found of the rows of a partition.

    Attributes:
        scored: Rows that were scored.
        refused: Rows that were not, by problem.
        nulled: Values that training did not know and that were taken as null.
        acted: Rows that are acted on; None where nothing decides.
        total: Sum of the scores.
        low: Least score.
        high: Greatest score.
        first_refusal: Which one was the first, and why, without its values, which may be personal.
        digest: What went to the destination.
    """

    scored: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    nulled: int = 0
    acted: int | None = None
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    first_refusal: str | None = None
    digest: RowsDigest = field(default_factory=RowsDigest)

    @property
    def rows_refused(self) -> int:
        """How many rows were refused."""
        return sum(self.refused.values())

    @property
    def scores(self) -> dict[str, float] | None:
        """Mean, least and greatest score; None without any, and where each row has several."""
        return {"mean": self.total / self.scored, "min": self.low, "max": self.high} if self.high >= self.low else None


def layout_of(served: ServedModel, names: Sequence[str], keys: Sequence[str]) -> Layout:
    """How the columns of a table are read: as the features of a version, or else as what these are computed from.

    Raises:
        DataError: if they are neither, or a key has a name that the scores' own columns have.
    """
    if clash := [key for key in keys if key in OWN]:
        raise DataError(f"The key {clash[0]!r} has the name of a column of the scores. Rename it.")
    computed = {one.name for one in served.computed}
    features = tuple(name for name in served.model.names if name not in computed)
    absent = [name for name in features if name not in names]
    if not absent:
        return Layout(tuple(keys), "features", features)
    if served.vector is None:
        why = f" Raw columns will not do: {served.why_not}" if served.why_not else ""
        raise DataError(f"The table has no column {absent[0]!r}, which the model reads.{why}")
    if lacking := [name for name in served.vector.raw.needed if name not in names]:
        raise DataError(
            f"The table has neither the feature {absent[0]!r} nor the raw column {lacking[0]!r}. It brings all features "
            f"({', '.join(features[:8])}…) or all raw columns ({', '.join(served.vector.raw.needed[:8])})."
        )
    return Layout(tuple(keys), "raw", tuple(served.vector.raw.needed))


@dataclass(frozen=True)
class Scorer:
    """Scores the rows of partitions.

    Attributes:
        served: The version.
        layout: What the columns of the rows are.
        checks: Checks of the source that rows are of.
        beyond: What becomes of values that training did not know.
        explain: How many reasons each row brings.
    """

    served: ServedModel
    layout: Layout
    checks: Sequence[Check] = ()
    beyond: Literal["refuse", "null"] = "refuse"
    explain: int = 0

    def written(self, part: Part, run: str, tally: Tally) -> Iterator[Written]:
        """The rows of a partition as they go to the destination.

        Args:
            part: The partition.
            run: Name of what writes them.
            tally: Is told what was found.

        Raises:
            DataError: if a row of features cannot be read at all.
        """
        decider = self.served.decider
        decisions = self._ranked(part, decider) if decider and decider.k is not None else None
        for table in part.batches():
            encoded, moments = self._encoded(table)
            good = _good(table.num_rows, encoded.refused)
            matrix = encoded.matrix if good.all() else encoded.matrix[good]
            scores = self._scores(matrix)
            acted = next(decisions) if decisions else decider.acts(scores) if decider else None
            written = self._table(table, good, moments, scores, acted, matrix, run)
            _count(tally, encoded, scores, acted, written, table)
            yield Written(written, self._refused(table, encoded.refused, run))

    def _scores(self, matrix: Matrix) -> Scores:
        several = self.served.model.outputs
        return self.served.model.predict(matrix) if len(matrix) else np.empty((0, len(several)) if several else 0)

    def _ranked(self, part: Part, decider: Decider) -> Iterator[Bools]:
        """What a capacity decides, batch by batch, once all rows of the partition have been scored."""
        scores, moments, periods, sizes = list[Scores](), list[NDArray[np.int64]](), list[Any](), list[int]()
        for table in part.batches():
            encoded, at = self._encoded(table)
            good = _good(table.num_rows, encoded.refused)
            scores.append(self._scores(encoded.matrix[good]))
            moments.append(at[good])
            sizes.append(int(good.sum()))
            if PERIOD in table.column_names:
                periods += table.column(PERIOD).filter(pa.array(good)).to_pylist()
        together = decider.periods(np.concatenate(moments), lambda _: periods)
        yield from np.split(decider.acts(np.concatenate(scores), together), np.cumsum(sizes)[:-1])

    def _encoded(self, table: pa.Table) -> tuple[Encoded, NDArray[np.int64]]:
        """The rows as the model reads them, and the moment of each in microseconds, -1 where there is none."""
        moments: NDArray[np.int64] = table.column(AT).fill_null(_NEVER).to_numpy()
        if self.layout.brings == "raw":
            return self._from_raw(table, moments)
        computed = {one.name for one in self.served.computed}
        columns = self.served.model.columns
        ranges = {check.column: check for check in self.checks if isinstance(check, InRange)}
        brought = [column for column in columns if column.name not in computed]
        encoded = encode(brought, table, ranges, self.beyond)
        return (self._completed(brought, encoded, table) if computed else encoded), moments

    def _completed(self, brought: Sequence[Column], encoded: Encoded, table: pa.Table) -> Encoded:
        """With the features that functions of the project compute."""
        names = [column.name for column in self.served.model.columns]
        matrix = np.full((table.num_rows, len(names)), math.nan)
        matrix[:, [names.index(column.name) for column in brought]] = encoded.matrix
        refused = {one.row: one for one in encoded.refused}
        for item in self.served.computed:
            place, column = names.index(item.name), self.served.model.columns[names.index(item.name)]
            for number, row in enumerate(table.select(list(item.inputs)).to_pylist()):
                if number not in refused:
                    try:
                        matrix[number, place] = column.encode(item.of(_plain_row(row)))
                    except DataError as error:
                        refused[number] = _refusal(number, error)
        return Encoded(matrix, [refused[row] for row in sorted(refused)], encoded.nulled)

    def _from_raw(self, table: pa.Table, moments: NDArray[np.int64]) -> tuple[Encoded, NDArray[np.int64]]:
        """By the code that answers requests, row by row."""
        vector = self.served.vector
        assert vector is not None
        inputs = Inputs(self.served.model.columns, self.checks, self.beyond)
        matrix = np.full((table.num_rows, len(self.served.model.columns)), math.nan)
        refused, nulled, at = list[Refusal](), 0, moments.copy()
        for number, brought in enumerate(table.select(list(self.layout.reads)).to_pylist()):
            try:
                row = _plain_row(brought)
                nulled += len(inputs.check([row]))
                found = vector.of([row], None if moments[number] == _NEVER else int(moments[number]))
                matrix[number], at[number] = encode_rows(self.served.model.columns, found.rows)[0], found.at
            except DataError as error:
                refused.append(_refusal(number, error))
        return Encoded(matrix, refused, nulled), at

    def _table(
        self, table: pa.Table, good: Bools, moments: NDArray[np.int64], scores: Scores, acted: Bools | None,
        matrix: Matrix, run: str,
    ) -> pa.Table:  # fmt: skip
        rows = len(scores)
        at, kept = moments[good], table if good.all() else table.filter(pa.array(good))
        columns: dict[str, Any] = {name: kept.column(name) for name in self.layout.keys}
        columns["predict_at"] = pa.array(at, mask=at == _NEVER).cast(MICROS)
        columns |= self._answers(scores)
        columns["decision"] = pa.nulls(rows, pa.bool_()) if acted is None else pa.array(acted)
        if self.explain:
            columns["reasons"] = pa.array(self._reasons(matrix), pa.string())
        columns["version"] = pa.repeat(pa.scalar(self.served.version, pa.int64()), rows)
        columns["model"], columns["run"] = pa.repeat(str(self.served.ref), rows), pa.repeat(run, rows)
        return pa.table(columns)

    def _answers(self, scores: Scores) -> dict[str, Any]:
        """The score of each row; of a model with several outputs the label, where there is one, and a column for each."""
        labels = self.served.labels(scores)
        said = {} if labels is None else {"label": pa.array(labels, pa.string())}
        names = score_columns(self.served.model.outputs)
        columns = scores.reshape(len(scores), len(names)).T
        return said | {
            name: pa.array(np.ascontiguousarray(column)) for name, column in zip(names, columns, strict=True)
        }

    def _reasons(self, matrix: Matrix) -> list[str]:
        """What added most to each score, in either direction, the most first: JSON."""
        if not len(matrix):
            return []
        columns, found = self.served.model.columns, attributions(self.served.model, matrix).values
        most = np.argsort(-np.abs(found), axis=1, kind="stable")[:, : self.explain]
        return [
            json.dumps(
                [
                    {
                        "feature": columns[place].name,
                        "value": _decoded(columns[place], matrix[row, place]),
                        "contribution": float(found[row, place]),
                    }
                    for place in places.tolist()
                ],
                ensure_ascii=False,
            )
            for row, places in enumerate(most)
        ]

    def _refused(self, table: pa.Table, refused: Sequence[Refusal], run: str) -> pa.Table:
        places = pa.array([one.row for one in refused], pa.int64())
        rows = table.select([*self.layout.keys, ROW]).take(places)
        said: dict[str, Any] = {name: rows.column(name) for name in self.layout.keys}
        said["row"] = rows.column(ROW)
        for name in REFUSED.names[1:]:
            said[name] = pa.array([getattr(one, name) for one in refused], pa.string())
        said["run"] = pa.repeat(run, len(refused))
        return pa.table(said)


_NEVER = np.iinfo(np.int64).min


def check_layout(served: ServedModel, layout: Layout, schema: pa.Schema) -> None:
    """Refuse features of types that no value of is right.

    Raises:
        DataError: naming the column.
    """
    if layout.brings == "features":
        check_columns([column for column in served.model.columns if column.name in layout.reads], schema)


def _good(rows: int, refused: Sequence[Refusal]) -> Bools:
    good = np.ones(rows, np.bool_)
    good[[one.row for one in refused]] = False
    return good


def _count(
    tally: Tally, encoded: Encoded, scores: Scores, acted: Bools | None, written: pa.Table, table: pa.Table
) -> None:
    tally.scored += len(scores)
    tally.nulled += encoded.nulled
    tally.refused.update(one.problem for one in encoded.refused)
    tally.digest.add(written)
    if encoded.refused and tally.first_refusal is None:
        first = encoded.refused[0]
        about = f", {first.field!r}" if first.field else ""
        tally.first_refusal = f"row {table.column(ROW)[first.row].as_py()}{about} ({first.problem})"
    if acted is not None:
        tally.acted = (tally.acted or 0) + int(acted.sum())
    if len(scores) and scores.ndim == 1:
        tally.total += float(scores.sum())
        tally.low, tally.high = min(tally.low, float(scores.min())), max(tally.high, float(scores.max()))


def _refusal(row: int, error: DataError) -> Refusal:
    if isinstance(error, FieldError):
        return Refusal(row, error.field, error.problem, str(error))
    return Refusal(row, None, "not-computed", str(error))


def _decoded(column: Column, value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return column.categories[int(value)] if column.kind == "category" else float(value)


def _plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Values as a request brings them."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    match value:
        case float() if math.isnan(value):
            return None
        case bool():
            return value
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case _:
            return value
