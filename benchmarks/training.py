"""Training: what it costs beside bare LightGBM, and how good `sl.Recipe()` is beside other defaults; `python -m benchmarks.training`.

    OMP_NUM_THREADS=1 python -m benchmarks.training FRAME.parquet    a frame of the flights, as the step `frame` of the demo keeps it

Overhead: `models.training.fit` (rows to the model's bytes) against `lightgbm.train` (matrix to text) of the same settings
and rows, in turns, CPU seconds of the process, the median of three; peak memory by Linux's high-water mark. Accuracy:
trained on what was known before September, judged on September and on October to December, by local day; two data sets
that packages ship, by five folds. Differences are means over three seeds of the candidate's ROC AUC minus the other's on
the same rows, with the jackknife interval of the clusters where there are such.

Measured on 2026-11-25, LightGBM 4.7.0, scikit-learn 1.9.1, XGBoost 3.2.0, numpy 2.4.6, two cores that other work kept busy
(so CPU seconds alone are given): see docs/statistics.md, "What the recipe is worth".
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sterling.core.cost import measured
from sterling.models.columns import Column
from sterling.models.frame import Frame
from sterling.models.rows import TrainingRows
from sterling.models.training import fit
from sterling.project.recipe import LightGBM
from sterling.stats.intervals import difference_interval
from sterling.stats.metrics import METRICS

Floats = NDArray[np.float64]
Predict = Callable[[Floats], Floats]
SEEDS = (0, 1, 2)
THREADS = 1


def recipe(rows: TrainingRows) -> Predict:
    """What `sl.Recipe()` trains."""
    return fit(LightGBM(), rows, threads=THREADS).predict


def lightgbm(rows: TrainingRows) -> Predict:
    """LightGBM's defaults."""
    import lightgbm as lgb

    parameters = {"objective": "binary", "verbosity": -1, "num_threads": THREADS, "seed": rows.seed}
    data = lgb.Dataset(rows.matrix, rows.label, categorical_feature=list(rows.categorical), params=parameters)
    booster = lgb.train(parameters, data)
    return lambda matrix: np.asarray(booster.predict(matrix, num_threads=THREADS))


def histogram(rows: TrainingRows) -> Predict:
    """scikit-learn's HistGradientBoostingClassifier by its defaults, which stops early on random rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(categorical_features=list(rows.categorical) or None, random_state=rows.seed)
    model.fit(rows.matrix, rows.label)
    return lambda matrix: model.predict_proba(matrix)[:, 1]


def xgboost(rows: TrainingRows) -> Predict:
    """XGBoost's defaults."""
    import xgboost as xgb

    kinds = ["c" if column.kind == "category" else "q" for column in rows.columns]

    def table(matrix: Floats, label: Any = None) -> Any:
        return xgb.DMatrix(matrix, label, feature_types=kinds, enable_categorical=True, nthread=THREADS)

    parameters = {"objective": "binary:logistic", "tree_method": "hist", "nthread": THREADS, "seed": rows.seed}
    booster = xgb.train(parameters, table(rows.matrix, rows.label), 100)
    return lambda matrix: booster.predict(table(matrix)).astype(np.float64)


OTHERS = {"LightGBM": lightgbm, "HistGradientBoosting": histogram, "XGBoost": xgboost}


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
        began = time.process_time()
        bare()
        theirs.append(time.process_time() - began)
    share = peak / rows.matrix.nbytes
    print(
        f"100 trees: ours {median(ours):.2f} s of CPU, bare {median(theirs):.2f}: {median(ours) / median(theirs) - 1:+.1%}"
    )
    print(
        f"memory: the matrix has {rows.matrix.nbytes / 1e6:.0f} MB, training adds {peak / 1e6:.0f} MB: {1 + share:.2f}x in all"
    )


def flights(path: Path) -> None:
    """The flights, September and October to December."""
    frame = Frame(pq.read_table(path))
    start, october = (
        int(datetime.fromisoformat(f"2013-{month}-01T00:00:00-04:00").timestamp() * 1e6) for month in ("09", "10")
    )
    train = frame.take(frame.known_before(start))
    later = frame.take(frame.known & (frame.predict_at >= start))
    rows = train.training_rows(0)
    overhead(rows)
    matrix, day = later.encode(rows.columns), np.array(later.table["cluster"].to_pylist())
    scored, seconds = _scored(train.training_rows, matrix)
    parts = {"September": later.predict_at < october, "October to December": later.predict_at >= october}
    for part, chosen in parts.items():
        _compared(f"flights, {part}", later.label, scored, seconds, day, chosen)


def shipped(name: str) -> None:
    """A data set that scikit-learn ships, five folds, each row its own cluster."""
    from sklearn import datasets
    from sklearn.model_selection import StratifiedKFold

    data = getattr(datasets, f"load_{name}")()
    matrix, label = (
        data.data.astype(float),
        (data.target == 1 if name == "breast_cancer" else data.target % 2 == 1).astype(float),
    )
    columns = tuple(Column(f"x{place}", "number") for place in range(matrix.shape[1]))
    scored = {model: [np.empty(len(label)) for _ in SEEDS] for model in ("recipe", *OTHERS)}
    seconds = dict.fromkeys(scored, 0.0)
    for place, seed in enumerate(SEEDS):
        for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(matrix, label):
            rows = TrainingRows(columns, matrix[train], label[train], seed)
            for model, trainer in {"recipe": recipe, **OTHERS}.items():
                began = time.process_time()
                scored[model][place][test] = trainer(rows)(matrix[test])
                seconds[model] += time.process_time() - began
    _compared(name, label, scored, seconds, np.arange(len(label)), np.ones(len(label), dtype=np.bool_))


def _scored(rows: Callable[[int], TrainingRows], matrix: Floats) -> tuple[dict[str, list[Floats]], dict[str, float]]:
    scored: dict[str, list[Floats]] = {}
    seconds: dict[str, float] = {}
    for name, trainer in {"recipe": recipe, **OTHERS}.items():
        scored[name], began = [], time.process_time()
        for seed in SEEDS:
            scored[name].append(trainer(rows(seed))(matrix))
        seconds[name] = time.process_time() - began
    return scored, seconds


def _compared(
    title: str, label: Floats, scored: dict[str, list[Floats]], seconds: dict[str, float], clusters: NDArray[Any],
    chosen: NDArray[np.bool_],
) -> None:  # fmt: skip
    area, loss = METRICS["roc_auc"].function, METRICS["log_loss"].function
    print(f"\n{title}: {int(chosen.sum()):,} rows")
    for name, found in scored.items():
        areas = [area(label[chosen], one[chosen]) for one in found]
        losses = [loss(label[chosen], one[chosen]) for one in found]
        line = f"{name:22} ROC AUC {np.mean(areas):.4f} ({min(areas):.4f}–{max(areas):.4f}), log loss {np.mean(losses):.4f}, {seconds[name] / len(SEEDS):6.1f} s of CPU"
        if name != "recipe":
            pairs = [
                difference_interval("roc_auc", label[chosen], ours[chosen], theirs[chosen], clusters[chosen])
                for ours, theirs in zip(scored["recipe"], found, strict=True)
            ]
            low, mid, high = (np.mean([getattr(pair, side) for pair in pairs]) for side in ("low", "estimate", "high"))
            line += f", recipe minus it {mid:+.4f} [{low:+.4f}, {high:+.4f}]"
        print(line, flush=True)


if __name__ == "__main__":
    for named in ("breast_cancer", "digits"):
        shipped(named)
    flights(Path(sys.argv[1]))
