"""What training and batch prediction cost beside bare LightGBM; `python -m benchmarks.training`. How good it is, `benchmarks.accuracy` says.

    OMP_NUM_THREADS=1 python -m benchmarks.training FRAME.parquet    a frame of the flights, as the step `frame` of the demo keeps it

Overhead: `models.training.fit` (rows to the model's bytes) against `lightgbm.train` (matrix to text) of the same settings
and rows, in turns, CPU seconds of the process, the median of three; peak memory by Linux's high-water mark. Prediction:
`Model.predict` of 120,000 encoded rows, rows by CPU second of one thread, beside `Booster.predict`, whose answers are
compared first. The figures stand in docs/statistics.md, "What the recipe is worth".
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as pq

from sterling.core.cost import measured
from sterling.models import Model, Trees
from sterling.models.columns import Matrix
from sterling.models.frame import Frame
from sterling.models.rows import TrainingRows
from sterling.models.training import fit
from sterling.project.recipe import Ensemble, LightGBM

THREADS = 1
ROWS = 120_000


def overhead(rows: TrainingRows) -> None:
    """CPU seconds and memory of our training over bare LightGBM's, at the same settings."""
    import lightgbm as lgb

    settings = LightGBM(trees=100)
    parameters = {
        "objective": "binary", "deterministic": True, "force_col_wise": True, "seed": 0, "num_threads": THREADS,
        "verbosity": -1, "num_leaves": 63, "learning_rate": 0.05, "min_data_in_leaf": 100, "feature_fraction": 0.6,
        "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "cat_smooth": 50.0,
    }  # fmt: skip

    def bare() -> None:
        data = lgb.Dataset(rows.matrix, rows.label, categorical_feature=list(rows.categorical), params=parameters)
        lgb.train(parameters, data, 100).model_to_string()

    ours, theirs, peak = [], [], 0
    for _ in range(3):
        with measured() as cost:
            fit(settings, rows, threads=THREADS).to_bytes()
        ours.append(cost.seconds_cpu)
        peak = max(peak, (cost.peak_bytes or 0) - (cost.before_bytes or 0))
        theirs.append(_seconds(bare))
    share = peak / rows.matrix.nbytes
    print(
        f"100 trees: ours {median(ours):.2f} s of CPU, bare {median(theirs):.2f}: {median(ours) / median(theirs) - 1:+.1%}"
    )
    print(
        f"memory: the matrix has {rows.matrix.nbytes / 1e6:.0f} MB, training adds {peak / 1e6:.0f} MB: {1 + share:.2f}x in all"
    )


def prediction(name: str, model: Model, matrix: Matrix) -> None:
    """Rows a second of a model and of the library's own prediction, after their answers were found equal."""
    import lightgbm as lgb

    assert isinstance(model.predictor, Trees)
    booster = lgb.Booster(model_str=model.predictor.text)

    def theirs() -> object:
        return booster.predict(matrix, num_threads=THREADS)

    if model.predict(matrix).tolist() != np.asarray(theirs()).tolist():
        raise SystemExit(f"{name} answers otherwise than LightGBM does.")
    ours, bare = (
        len(matrix) / median(_seconds(call) for _ in range(3)) for call in (lambda: model.predict(matrix), theirs)
    )
    print(f"{name}, {booster.num_trees()} trees: {ours:,.0f} rows by CPU second, Booster.predict {bare:,.0f}")


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure on the flights, January to August."""
    frame = Frame(pq.read_table(Path(sys.argv[1])))
    start = int(datetime.fromisoformat("2013-09-01T00:00:00-04:00").timestamp() * 1e6)
    train, later = frame.take(frame.known_before(start)), frame.take(frame.known & (frame.predict_at >= start))
    rows = train.training_rows(0)
    overhead(rows)
    matrix = later.encode(rows.columns)[:ROWS]
    for name, trainer in (("LightGBM", LightGBM()), ("Ensemble", Ensemble())):
        prediction(name, fit(trainer, rows, threads=THREADS), matrix)


if __name__ == "__main__":
    main()
