"""Predictions as a table of unit, moment and score, which may be personal and so stands behind a ref."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.engine.tables import put_table
from sterling.models.answers import with_scores
from sterling.models.frame import Frame


def put_predictions(store: Store, frame: Frame, scores: NDArray[np.float64], outputs: Sequence[str] = ()) -> Ref:
    """Keep the scores of a frame's rows.

    Args:
        store: Where they are kept.
        frame: The rows.
        scores: Shape (rows,), or (rows, outputs).
        outputs: Names of the outputs where there are several; each gets a column.
    """
    return put_table(store, with_scores(frame.table.select(["unit", "predict_at"]), scores, outputs))
