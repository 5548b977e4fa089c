"""Errors of numbers: how large they are, the largest of them, and predicted against measured means by slice and in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sterling.core.refs import Ref
from sterling.engine.tables import put_table
from sterling.project.studies import Errors
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.errors import gap_of, parts_of_rows, worst_rows
from sterling.stages.holdout import LIBRARIES, Floats, scored

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Levels at which the distribution of the residuals is recorded."""


class AnalyseNumberErrors(Stage, frozen=True):
    """Look at what the candidate got wrong, where it answers with numbers.

    Inputs ``holdout`` and ``candidate``; output ``mistakes``: the rows of the largest residuals with their units, which may
    be personal and so stand in no fact.

    Attributes:
        candidate: Name of the candidate in tables.
        study: What to keep.
        slices: Features, or slices of the frame, whose values are looked at.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    candidate: str
    study: Errors
    slices: Sequence[str]
    error_rate: float
    clustered: bool

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "analyse errors"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Analyse."""
        found = scored(inputs, context, clustered=self.clustered)
        residual = found.label - found.scores
        table, mistakes = worst_rows(found, np.abs(residual), self.study.mistakes)
        ref = put_table(context.store, table)
        body = {
            "rows": len(found), "residuals": _distribution(residual), "mistakes": mistakes, "ref": ref,
            "calibration": [
                {"by": by, "value": value, **gap_of(found, mask, self.error_rate), **_sizes(residual[mask])}
                for by, value, mask in parts_of_rows(found, self.slices)
            ],
        }  # fmt: skip
        return Outcome({"mistakes": ref}, (found.fact("errors.analysed", self.candidate, body),))


def _distribution(residual: Floats) -> dict[str, Any]:
    """What was measured minus what was predicted: its quantiles, and how much of the squared error few rows make."""
    squares = np.sort(residual**2)[::-1]
    total, worst = float(squares.sum()), max(1, len(squares) // 100)
    share = float(squares[:worst].sum()) / total if total > 0 else 0.0
    quantiles = dict(zip(map(str, QUANTILES), np.quantile(residual, QUANTILES).tolist(), strict=True))
    return {"mean": float(residual.mean()), **_sizes(residual), "quantiles": quantiles, "share_of_worst": share}


def _sizes(residual: Floats) -> dict[str, float]:
    return {"rmse": float(np.sqrt(np.mean(residual**2))), "mae": float(np.abs(residual).mean())}
