"""Holdout: the rows that the candidate is judged on, cut out of the frame once for every study that looks at them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import put_table
from sterling.models import Model
from sterling.models.columns import Matrix
from sterling.models.frame import Frame
from sterling.stages.contract import Context, Outcome, Stage, put_json
from sterling.stages.evaluate import clusters_of, holdout_of

LIBRARIES = ("lightgbm", "numpy", "pyarrow", "scipy")
"""Distributions that what a study finds depends on."""
Floats = NDArray[np.float64]


class CutHoldout(Stage, frozen=True):
    """Cut out the rows of the holdout whose labels are known.

    Input ``frame``; outputs ``holdout``, and ``before``: how many labels were known before it, how many were positive, which
    none of several classes is, and the deviation of numbers.

    Attributes:
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
    """

    start_us: int
    end_us: int

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "holdout"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("numpy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Cut.

        Raises:
            DataError: if no label of the holdout is known.
        """
        frame = Frame.read(context.store, inputs["frame"])
        first, last = np.searchsorted(frame.predict_at, [self.start_us, self.end_us])
        rows, _ = holdout_of(Frame(frame.table.slice(first, last - first)), self.start_us, self.end_us)
        known = frame.known_before(self.start_us)
        label = np.zeros(int(known.sum())) if frame.of_classes else frame.label[known]
        deviation = float(label.std()) if len(label) else 0.0
        before = {"rows": len(label), "positives": int(label.sum()), "deviation": deviation}
        return Outcome({"holdout": put_table(context.store, rows.table), "before": put_json(context.store, before)})


@dataclass(frozen=True)
class Scored:
    """The candidate on the rows of the holdout.

    Attributes:
        ref: Name of the model.
        rows: The rows.
        model: The candidate.
        matrix: The rows as its columns encode them, shape (rows, columns).
        scores: Its answers, shape (rows,), or (rows, outputs) where it has several.
        clusters: Cluster of each row, shape (rows,).
    """

    ref: Ref
    rows: Frame
    model: Model
    matrix: Matrix
    scores: Floats
    clusters: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def label(self) -> Floats:
        """Labels, shape (rows,)."""
        return self.rows.label

    def every(self, step: int) -> Scored:
        """Each row that a step comes to, in the order of prediction, so that every cluster keeps its share."""
        mask = np.arange(len(self)) % step == 0
        rows = self.rows.take(mask)
        return Scored(self.ref, rows, self.model, self.matrix[mask], self.scores[mask], self.clusters[mask])

    def fact(self, kind: str, name: str, body: Mapping[str, Any], *subjects: str) -> Evidence:
        """A fact about the candidate."""
        return Evidence(kind, (f"model:{self.ref}", *subjects), {"model": self.ref, "name": name, **body})


def scored(inputs: Mapping[str, Ref], context: Context, *, clustered: bool, model: str = "candidate") -> Scored:
    """A model on the holdout, which `CutHoldout` made.

    Raises:
        DataError: if a cluster is missing, or the model cannot read the rows.
    """
    found = Model.from_bytes(context.store.open(inputs[model]).read_bytes())
    rows = Frame.read(context.store, inputs["holdout"]).of(found.outputs)
    matrix = rows.encode(found.columns)
    clusters = clusters_of(rows, clustered=clustered)
    return Scored(inputs[model], rows, found, matrix, found.predict(matrix), clusters)


def label_rate(inputs: Mapping[str, Ref], context: Context) -> float:
    """Share of positives among the labels that were known before the holdout."""
    before = json.loads(context.store.open(inputs["before"]).read_bytes())
    return float(before["positives"] / before["rows"]) if before["rows"] else 0.5
