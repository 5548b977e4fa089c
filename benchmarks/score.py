"""Batch scoring beside bare LightGBM on the same rows; `python -m benchmarks.score [ROWS]`.

    OMP_NUM_THREADS=1 nice -n 15 python -m benchmarks.score 1000000

The model is that of `benchmarks.serving`: 300 trees of 63 leaves on 22 numbers and 3 categories. Each way runs in a process
of its own, in turns, three times; the processor's seconds are those of the process, the peak is Linux's high-water mark.

- bare: the Parquet file as one table, its columns as one matrix, `lightgbm.Booster.predict`, and the scores in memory.
- people: `pandas.read_parquet`, `Booster.predict` of the frame, `to_parquet`: what a job of ten lines does.
- floor: the Parquet file read and written again by pyarrow, without any score.
- sterling: `Given` to `ParquetFolder` with the digests of all rows, checks of every value, keys, and a partition put in place;
  to one partition, and to 30.

What was measured stands in docs/scoring.md. Before anything is timed every score is held against `Booster.predict`, bit for bit.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROUNDS, TREES, LEAVES, NUMBERS, CATEGORIES = 3, 300, 63, 22, 3
WAYS = ("floor", "bare", "people", "sterling", "sterling, 30 partitions")


def make(folder: Path, rows: int) -> None:
    """Train the model on 100,000 rows, and lay down the rows."""
    import lightgbm as lgb

    from sterling.models import Column, Model
    from sterling.models.trees import Trees

    random = np.random.default_rng(0)
    names = [f"n{place}" for place in range(NUMBERS)] + [f"c{place}" for place in range(CATEGORIES)]
    values = tuple(f"v{place:02}" for place in range(20))
    columns = tuple(
        Column(name, "number") if name.startswith("n") else Column(name, "category", values) for name in names
    )
    matrix = random.normal(size=(100_000, len(names)))
    matrix[:, NUMBERS:] = random.integers(0, len(values), (len(matrix), CATEGORIES))
    matrix[random.random(matrix.shape) < 0.02] = np.nan
    label = np.nan_to_num(matrix[:, :5]).sum(axis=1) + random.normal(size=len(matrix)) > 0
    said = {"objective": "binary", "verbosity": -1, "num_leaves": LEAVES, "seed": 0, "num_threads": 1}
    data = lgb.Dataset(matrix, label, categorical_feature=list(range(NUMBERS, len(names))))
    text = lgb.train(said, data, TREES).model_to_string()
    (folder / "model.txt").write_text(text)
    (folder / "model.json").write_bytes(Model(columns, Trees(text)).to_bytes())
    chosen = random.integers(0, len(matrix), rows)
    table: dict[str, Any] = {"id": np.arange(rows)}
    for place, column in enumerate(columns):
        cells = matrix[chosen, place]
        missing = np.isnan(cells)
        if column.kind == "number":
            table[column.name] = pa.array(cells + random.normal(0, 1e-3, rows), mask=missing)
        else:
            codes = np.where(missing, 0, cells).astype(int)
            table[column.name] = pa.array(np.array(values)[codes], mask=missing)
    table["part"] = pa.array([f"2024-05-{1 + n * 30 // rows:02}" for n in range(rows)])
    pq.write_table(pa.table(table), folder / "rows.parquet", row_group_size=131_072)


def floor(folder: Path) -> None:
    with (
        pq.ParquetFile(folder / "rows.parquet") as file,
        pq.ParquetWriter(folder / "floor.parquet", file.schema_arrow) as to,
    ):
        for batch in file.iter_batches(65_536):
            to.write_batch(batch)


def bare(folder: Path) -> np.ndarray[Any, Any]:
    import lightgbm as lgb

    from sterling.models import Model

    model = Model.from_bytes((folder / "model.json").read_bytes())
    table = pq.read_table(folder / "rows.parquet")
    matrix = np.empty((table.num_rows, len(model.columns)))
    for place, column in enumerate(model.columns):
        cells = table[column.name]
        if column.kind == "number":
            matrix[:, place] = cells.to_numpy()
        else:
            coded = cells.combine_chunks().dictionary_encode()
            codes = np.array([*(column.codes[name] for name in coded.dictionary.to_pylist()), np.nan])
            matrix[:, place] = codes[coded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)]
    booster = lgb.Booster(model_file=str(folder / "model.txt"))
    return np.asarray(booster.predict(matrix, num_threads=1))


def people(folder: Path) -> None:
    import lightgbm as lgb
    import pandas as pd  # type: ignore[import-untyped]

    frame = pd.read_parquet(folder / "rows.parquet")
    values = [f"v{place:02}" for place in range(20)]
    for name in [f"c{place}" for place in range(CATEGORIES)]:
        frame[name] = pd.Categorical(frame[name], values).codes
        frame[name] = frame[name].where(frame[name] >= 0)
    booster = lgb.Booster(model_file=str(folder / "model.txt"))
    features = frame.drop(columns=["id", "part"]).to_numpy(dtype=float)
    frame[["id", "part"]].assign(score=booster.predict(features, num_threads=1)).to_parquet(folder / "people.parquet")


def sterling(folder: Path, by: str) -> None:
    import shutil

    from sterling.core.ledger import Ledger
    from sterling.core.refs import ref_of
    from sterling.core.sqlite import SQLiteLedger
    from sterling.models import Model
    from sterling.project.project import Project
    from sterling.scoring.given import Given
    from sterling.scoring.job import Job, Scoring
    from sterling.scoring.places import ParquetFolder
    from sterling.serving.released import ServedModel

    model = (folder / "model.json").read_bytes()
    served = ServedModel(Model.from_bytes(model), ref_of(model), 1, 1)
    shutil.rmtree(folder / "out", ignore_errors=True)
    ledger: Ledger = SQLiteLedger(folder / f"ledger-{time.time_ns()}.db", "bench")
    project: Project = None  # type: ignore[assignment]  # the key is named, so nothing asks it
    rows = Given(folder / "rows.parquet", served, project, ("id",), None, by)
    Scoring(ledger, served, {}, ParquetFolder(folder / "out"), (), Job()).run(rows, folder / "spool")


def run(way: str, folder: Path) -> dict[str, float]:
    """One way, in this process."""
    started, began = time.perf_counter(), time.process_time()
    match way:
        case "floor":
            floor(folder)
        case "bare":
            bare(folder)
        case "people":
            people(folder)
        case _:
            sterling(folder, "part" if "30" in way else "none")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - began, "peak_mb": peak}


def check(folder: Path) -> None:
    """Every score is the booster's, bit for bit, however the rows are partitioned."""
    expected = bare(folder)
    for by in ("none", "part"):
        sterling(folder, by)
        files = sorted((folder / "out").glob("partition=*/*.parquet"))
        found = pa.concat_tables(pq.ParquetFile(file).read(["id", "score"]) for file in files).sort_by("id")
        assert np.array_equal(found["score"].to_numpy(), expected), by
    print(f"{len(expected):,} scores equal those of Booster.predict to the last bit, in 1 partition and in 30")


def main() -> None:
    if len(sys.argv) > 2:
        print(json.dumps(run(sys.argv[1], Path(sys.argv[2]))))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, rows)
        check(folder)
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                ran = subprocess.run(
                    [sys.executable, "-m", "benchmarks.score", way, name], capture_output=True, text=True, check=True
                )
                found[way].append(json.loads(ran.stdout))
    own = median(one["cpu"] for one in found["bare"])
    print(f"{rows:,} rows, medians of {ROUNDS}, in turns; processor seconds with those of starting")
    for way, runs in found.items():
        cpu = median(one["cpu"] for one in runs)
        print(
            f"{way:<26}{cpu:>8.2f} s of a processor {cpu / own:>6.2f}x bare {rows / cpu:>12,.0f} rows/s "
            f"{median(one['peak_mb'] for one in runs):>8,.0f} MB peak {median(one['seconds'] for one in runs):>7.2f} s"
        )


if __name__ == "__main__":
    main()
