"""Predictions as a blob: Parquet of unit, moment and score, which may be personal and so stands behind a ref."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.models.frame import Frame
from sterling.stages.contract import put_bytes


def put_predictions(store: Store, frame: Frame, scores: NDArray[np.float64]) -> Ref:
    """Keep the scores of a frame's rows.

    Args:
        store: Where they are kept.
        frame: The rows.
        scores: Shape (rows,).
    """
    table = frame.table.select(["unit", "predict_at"]).append_column("score", pa.array(scores))
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), stream, compression="zstd")
    return put_bytes(store, stream.getvalue())
