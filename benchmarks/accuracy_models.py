"""One training of `benchmarks.accuracy`, in whatever interpreter has the library: python accuracy_models.py MODEL CELL OUT THREADS.

It reads the cell's rows from a file, trains, predicts, and writes what it predicts, what it cost and a hash of the rows
that it was given. Sterling is imported by its own models alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import tempfile
import time
import warnings
from typing import Any

import numpy as np

FLAML_SECONDS = {"flights": 60}
AUTOGLUON_SECONDS = {"flights": 900}
"""By the clock, generous, since it stops adding models by it, and the machine may be busy."""


class Rows:
    """What a model is trained on, and judged by."""

    def __init__(self, path: str, threads: int) -> None:
        found: Any = np.load(path)
        self.train, self.label, self.test = found["train"], found["label"], found["test"]
        self.name, self.kind, self.seed = str(found["name"]), str(found["kind"]), int(found["seed"])
        self.ordered, self.categorical, self.threads = (
            bool(found["ordered"]),
            list(map(int, found["categorical"])),
            threads,
        )
        self.categories = json.loads(str(found["categories"]))

    def hash(self) -> str:
        """Of every number that the model is given."""
        parts = (self.train, self.label, self.test)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

    def tables(self) -> tuple[Any, Any]:
        """Both matrices as data frames, whose categories are such."""
        import pandas as pd  # type: ignore[import-untyped, unused-ignore]

        made = [
            pd.DataFrame(part, columns=[f"f{place}" for place in range(part.shape[1])])
            for part in (self.train, self.test)
        ]
        for place in self.categorical:
            known = [str(code) for code in range(len(self.categories[place]))]
            for table in made:
                codes = table[f"f{place}"].fillna(-1).astype(int)
                table[f"f{place}"] = pd.Categorical.from_codes(codes, known)
        return made[0], made[1]


def lightgbm(rows: Rows) -> Any:
    """LightGBM's defaults."""
    import lightgbm as lgb

    objective = {"binary": "binary", "regression": "regression", "multiclass": "multiclass"}[rows.kind]
    parameters = {"objective": objective, "verbosity": -1, "num_threads": rows.threads, "seed": rows.seed}
    if rows.kind == "multiclass":
        parameters["num_class"] = int(rows.label.max()) + 1
    booster = lgb.train(
        parameters, lgb.Dataset(rows.train, rows.label, categorical_feature=rows.categorical, params=parameters)
    )
    return lambda: booster.predict(rows.test, num_threads=rows.threads)


def histogram(rows: Rows) -> Any:
    """scikit-learn's histogram gradient boosting by its defaults."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if rows.kind == "regression" else HistGradientBoostingClassifier
    few = [place for place in rows.categorical if len(rows.categories[place]) <= 255]
    model = kind(categorical_features=few or None, random_state=rows.seed).fit(rows.train, rows.label)
    return lambda: _answers(rows, model, rows.test)


def catboost(rows: Rows) -> Any:
    """CatBoost's defaults."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    train, test = rows.tables()
    named = [f"f{place}" for place in rows.categorical]
    for table in (train, test):
        for name in named:
            table[name] = table[name].astype(object).where(table[name].notna(), "missing").astype(str)
    kind = CatBoostRegressor if rows.kind == "regression" else CatBoostClassifier
    model = kind(
        verbose=False, random_seed=rows.seed, thread_count=rows.threads, cat_features=named, allow_writing_files=False
    )
    model.fit(train, rows.label)
    return lambda: _answers(rows, model, test)


def flaml(rows: Rows) -> Any:
    """FLAML at a budget of seconds."""
    from flaml import AutoML

    train, test = rows.tables()
    model = AutoML()
    task = "regression" if rows.kind == "regression" else "classification"
    metric = {"binary": "roc_auc", "regression": "rmse", "multiclass": "log_loss"}[rows.kind]
    budget = FLAML_SECONDS.get(rows.name, 30)
    order = {"split_type": "time"} if rows.ordered else {}
    model.fit(
        train, rows.label, task=task, metric=metric, time_budget=budget, seed=rows.seed, n_jobs=rows.threads, verbose=0,
        **order,
    )  # fmt: skip
    return lambda: _answers(rows, model, test)


def autogluon(rows: Rows) -> Any:
    """AutoGluon's medium quality, without torch; where rows are in time's order, tuned on the last 15 %."""
    from autogluon.tabular import TabularPredictor

    train, test = rows.tables()
    train["label"] = rows.label if rows.kind == "regression" else rows.label.astype(int)
    metric = {"binary": "roc_auc", "regression": "root_mean_squared_error", "multiclass": "log_loss"}[rows.kind]
    count = round(len(train) * 0.85)
    parts = (
        {"train_data": train.iloc[:count], "tuning_data": train.iloc[count:]} if rows.ordered else {"train_data": train}
    )
    folder = tempfile.mkdtemp()
    model = TabularPredictor("label", problem_type=rows.kind, eval_metric=metric, path=folder, verbosity=1)
    model.fit(
        **parts, presets="medium_quality", time_limit=AUTOGLUON_SECONDS.get(rows.name, 300), num_cpus=rows.threads,
        num_gpus=0, raise_on_no_models_fitted=True,
    )  # fmt: skip
    print(model.leaderboard(silent=True)[["model", "score_val", "fit_time_marginal"]].to_string(), file=sys.stderr)
    return lambda: np.asarray(_answers(rows, model, test))


def _answers(rows: Rows, model: Any, test: Any) -> Any:
    if rows.kind == "regression":
        return model.predict(test)
    found = np.asarray(model.predict_proba(test))
    return found[:, 1] if rows.kind == "binary" else found


def main() -> None:
    """Train and predict once."""
    model, cell, out, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.filterwarnings("ignore")
    rows = Rows(cell, threads)
    seen = rows.hash()
    fit = globals().get(model) or _ours(model)
    began, began_cpu = time.perf_counter(), _cpu()
    predict = fit(rows)
    seconds, cpu = time.perf_counter() - began, _cpu() - began_cpu
    began = _cpu()
    predicted = np.asarray(predict(), dtype=np.float64)
    np.savez(out, predicted=predicted, seconds=seconds, cpu=cpu, cpu_predict=_cpu() - began, seen=seen)


def _ours(model: str) -> Any:
    from benchmarks.accuracy_ours import OURS

    return OURS[model]


def _cpu() -> float:
    own = time.process_time()
    return own + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


if __name__ == "__main__":
    main()
