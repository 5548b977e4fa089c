"""Behaviour: tests of what the candidate must do, on every row of the holdout that they speak of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.core.refs import Ref
from sterling.engine.tables import put_table
from sterling.models.columns import Column, Matrix
from sterling.project.behaviour import BehaviourTest, Falls, Invariant, Rises, Scores, behaviour_title
from sterling.project.definition import to_json
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.holdout import LIBRARIES, Floats, Scored, scored
from sterling.stats.intervals import NoVariationError, TooFewClustersError, metric_interval

EXAMPLES = 5
"""Violations of a test that are kept: the largest."""
_ROW = "_sterling_row"


class CheckBehaviour(Stage, frozen=True):
    """Hold the candidate against what it must do.

    Inputs ``holdout``, ``candidate`` and, where there is a file of tests, ``tests``; output ``violations``: the rows of the
    largest ones, which may be personal and so stand in no fact.

    Attributes:
        candidate: Name of the candidate in tables.
        tests: The tests that the project names.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    candidate: str
    tests: Sequence[BehaviourTest]
    error_rate: float
    clustered: bool

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "behaviour"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return (*LIBRARIES, "duckdb")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Test.

        Raises:
            DataError: if a line of the file is no test, or a test does not fit the model.
        """
        found = scored(inputs, context, clustered=self.clustered)
        filed = read_tests(context.store.open(inputs["tests"])) if "tests" in inputs else ()
        if not (tests := (*self.tests, *filed)):
            raise DataError("The file of behavioural tests holds none. Write a JSON object a line.")
        results, kept = [], []
        for number, test in enumerate(tests):
            tried = _tried(test, found, context)
            results.append(_described(test, tried, found, self.error_rate))
            worst = np.flatnonzero(tried.violation > 0)
            worst = worst[np.argsort(-tried.violation[worst], kind="stable")][:EXAMPLES]
            rows = found.rows.table.take(pa.array(tried.rows[worst]))
            for name, values in (("score", tried.before), ("score_then", tried.after)):
                rows = rows.append_column(name, pa.array(values[worst]))
            kept.append(rows.append_column("test", pa.array([number] * len(worst), pa.int64())))
        ref = put_table(context.store, pa.concat_tables(kept))
        body = {"tests": results, "ref": ref}
        return Outcome({"violations": ref}, (found.fact("behaviour.tested", self.candidate, body),))


class _Tried(NamedTuple):
    """A test on the rows that it speaks of."""

    rows: NDArray[np.int64]
    """Places in the holdout."""
    before: Floats
    """Their scores."""
    after: Floats
    """Their scores after the change, the furthest off; the same where a test changes nothing."""
    violation: Floats
    """How far beyond what is allowed; 0 where it is kept."""


def read_tests(path: Path) -> tuple[BehaviourTest, ...]:
    """The tests of a file, a JSON object a line.

    Raises:
        DataError: if a line is none; the message names it.
    """
    tests = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                tests.append(msgspec.json.decode(line, type=BehaviourTest))
            except (msgspec.DecodeError, InvalidDefinitionError) as error:
                raise DataError(
                    f'Behavioural tests, line {number}: {error}. Write {{"type": "Rises", "feature": "…", "by": 1}}.'
                ) from error
    return tuple(tests)


def _tried(test: BehaviourTest, found: Scored, context: Context) -> _Tried:
    match test:
        case Scores():
            return _bounded(test, found, context)
        case Rises() | Falls():
            place = _column(test.feature, found, "number")[0]
            rows = np.flatnonzero(~np.isnan(found.matrix[:, place]))
            changed = found.matrix[rows]
            changed[:, place] += test.by
            before, after = found.scores[rows], found.model.predict(changed)
            wrong = before - after if isinstance(test, Rises) else after - before
            return _Tried(rows, before, after, np.maximum(wrong - test.within, 0.0))
        case Invariant():
            return _invariant(test, found)


def _invariant(test: Invariant, found: Scored) -> _Tried:
    place, column = _column(test.feature, found, None)
    if column.kind == "number" and not test.to:
        raise DataError(f"Invariant: {test.feature!r} is a number. Name the values that it is given, to=[…].")
    values = test.to or column.categories
    furthest, violation = found.scores.copy(), np.zeros(len(found))
    for value in values:
        changed = found.matrix.copy()
        changed[:, place] = column.encode(value)
        after = found.model.predict(changed)
        further = np.abs(after - found.scores) > np.abs(furthest - found.scores)
        furthest[further] = after[further]
    np.maximum(np.abs(furthest - found.scores) - test.within, 0.0, out=violation)
    return _Tried(np.arange(len(found)), found.scores, furthest, violation)


def _bounded(test: Scores, found: Scored, context: Context) -> _Tried:
    """The rows where a condition holds; features alone can be named."""
    table = found.rows.table.select(found.rows.features).append_column(_ROW, pa.array(np.arange(len(found))))
    asked = context.engine.query(f"SELECT {_ROW} FROM rows WHERE {test.where} ORDER BY {_ROW}", {"rows": table})  # noqa: S608  the project's own condition
    rows: NDArray[np.int64] = asked.column(_ROW).to_numpy()
    if not len(rows):
        raise DataError(f"Scores: no row of the holdout has {test.where}.")
    scores = found.scores[rows]
    low, high = (
        bound if bound is not None else other for bound, other in ((test.at_least, -np.inf), (test.at_most, np.inf))
    )
    return _Tried(rows, scores, scores, np.maximum(np.maximum(low - scores, scores - high), 0.0))


def _column(name: str, found: Scored, kind: str | None) -> tuple[int, Column]:
    names = found.model.names
    if name not in names:
        raise DataError(f"Behaviour: {name!r} is no feature of the model. {nearest(name, names)}")
    column = found.model.columns[names.index(name)]
    if kind not in {None, column.kind}:
        raise DataError(f"Behaviour: {name!r} is a {column.kind}. Rises and Falls speak of a number.")
    return names.index(name), column


def _described(test: BehaviourTest, tried: _Tried, found: Scored, error_rate: float) -> dict[str, Any]:
    broken = tried.violation > 0
    worst = np.argsort(-tried.violation, kind="stable")[: min(EXAMPLES, int(broken.sum()))]
    return {
        "title": behaviour_title(test), "definition": to_json(test), "rows": len(tried.rows),
        "violations": int(broken.sum()), "share": float(broken.mean()) if len(broken) else None,
        **dict(_bounds(broken, found.clusters[tried.rows], error_rate)),
        "examples": [{"score": float(tried.before[row]), "then": float(tried.after[row])} for row in worst],
    }  # fmt: skip


def _bounds(
    broken: NDArray[np.bool_], clusters: NDArray[np.int64], error_rate: float
) -> Iterator[tuple[str, float | None]]:
    """Interval and upper bound of the share of violations; None where nothing tells how uncertain it is."""
    try:
        found = metric_interval("base_rate", broken.astype(np.float64), _zeros(broken), clusters, error_rate=error_rate)
    except (TooFewClustersError, NoVariationError, ValueError):
        found = None
    for name in ("low", "high", "upper"):
        yield name, None if found is None else getattr(found, name)


def _zeros(broken: NDArray[np.bool_]) -> Matrix:
    return np.zeros(len(broken))
