"""Frames of a made-up airline: small, seeded, with nulls, unseen categories, late, pending and missing labels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sterling.core.refs import Ref
from sterling.core.store import LocalStore, Store
from sterling.engine.contract import Engine
from sterling.stages.contract import Context, put_bytes

DAY = 86_400_000_000
HOUR = DAY // 24


def frame(rows: int = 3_000, days: int = 60, seed: int = 0) -> pa.Table:
    """A frame with two numbers, an integer with nulls, two categories and a slice that is no feature."""
    rng = np.random.default_rng(seed)
    predict_at = np.sort(rng.integers(0, days * DAY, rows))
    distance, wind = rng.normal(1000, 300, rows), rng.normal(10, 5, rows)
    carrier = rng.integers(0, 4, rows)
    odds = (distance - 1000) / 600 + (wind - 10) / 5 + np.array([0.0, 0.5, -0.5, 1.0])[carrier] - 1
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    matured_at = predict_at + rng.integers(1, 40, rows) * HOUR
    status = np.where(rng.random(rows) < 0.03, "missing", "matured")
    status[matured_at > days * DAY] = "pending"
    known = status == "matured"
    units = pa.array([f"f{number:06d}" for number in range(rows)])
    return pa.table({
        "unit": units,
        "predict_at": pa.array(predict_at, pa.int64()),
        "label": pa.array(label, mask=~known),
        "matured_at": pa.array(matured_at, mask=~known),
        "status": pa.array(status).dictionary_encode(),
        "cluster": pa.array([f"day {day:03d}" for day in predict_at // DAY]),
        "distance": pa.array(distance),
        "wind": pa.array(wind, mask=rng.random(rows) < 0.1),
        "seats": pa.array(rng.integers(50, 300, rows), mask=rng.random(rows) < 0.2),
        "carrier": pa.array(np.array(["AA", "B6", "DL", "UA"])[carrier], mask=rng.random(rows) < 0.05).dictionary_encode(),
        "dest": pa.array(np.array(["BOS", "ATL", "LAX"])[rng.integers(0, 3, rows)]),
        "_slice_origin": pa.array(np.array(["EWR", "JFK"])[rng.integers(0, 2, rows)]),
    })  # fmt: skip


def context(folder: Path, seed: int = 7) -> Context:
    """A context on a store in a folder; the stages of this package need no engine."""
    return Context(LocalStore(folder / "store"), _NoEngine(), seed)


def put_table(store: Store, table: pa.Table) -> Ref:
    """Keep a table as Parquet."""
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return put_bytes(store, stream.getvalue())


class _NoEngine(Engine):
    def query(self, sql: str, tables: object) -> pa.Table:
        raise AssertionError(sql)

    def read(self, path: Path, name: str) -> pa.Table:
        raise AssertionError(name)
