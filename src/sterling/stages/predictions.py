"""Predictions as a table of unit, moment and score, which may be personal and so stands behind a ref."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.engine.tables import put_table
from sterling.models.frame import Frame


def put_predictions(store: Store, frame: Frame, scores: NDArray[np.float64]) -> Ref:
    """Keep the scores of a frame's rows.

    Args:
        store: Where they are kept.
        frame: The rows.
        scores: Shape (rows,).
    """
    table = frame.table.select(["unit", "predict_at"]).append_column("score", pa.array(scores))
    return put_table(store, table)
