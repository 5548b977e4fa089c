"""Evaluation with every interval, against a loop of scikit-learn's metrics over bootstrap draws of whole days.

Equality first: point estimates on all rows and in each slice, then the widths of the intervals on a table that is small
enough to draw 200 times. The time of 200 draws on the large one is that of a few, times 200 over the few: the draws are
alike. The floor is one sort of the scores.
Run: .venv/bin/python benchmarks/evaluation.py [ROWS] [DRAWS]
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as peer

from sterling.stats.decisions import DECISION_METRICS
from sterling.stats.intervals import ClusteredInterval, metric_interval, slice_intervals
from sterling.stats.metrics import METRICS

SLICES, DAYS, DRAWS, THRESHOLD = 20, 100, 200, 0.3
Floats = NDArray[np.float64]
PEER: dict[str, Callable[..., float]] = {
    "roc_auc": peer.roc_auc_score,
    "average_precision": peer.average_precision_score,
    "log_loss": peer.log_loss,
    "brier": peer.brier_score_loss,
    "precision": lambda y, p: peer.precision_score(y, p >= THRESHOLD),
    "recall": lambda y, p: peer.recall_score(y, p >= THRESHOLD),
}
OURS = {name: METRICS.get(name) or DECISION_METRICS[name] for name in PEER}


class Scored(NamedTuple):
    """Predictions of days, in slices."""

    y: Floats
    p: Floats
    day: NDArray[np.int64]
    slice: NDArray[np.int64]


def scored(rows: int) -> Scored:
    """Rows of one day are alike: the model does not know the day's effect."""
    rng = np.random.default_rng(20130901)
    day = rng.integers(0, DAYS, rows)
    odds = rng.normal(-1.4, 1.0, rows)
    p = 1 / (1 + np.exp(-odds))
    y = rng.random(rows) < 1 / (1 + np.exp(-odds - rng.normal(0, 0.3, DAYS)[day]))
    return Scored(y.astype(np.float64), p, day, rng.integers(0, SLICES, rows))


def parts(rows: Scored) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for number in range(SLICES):
        yield f"slice {number}", rows.slice == number


def ours(rows: Scored) -> dict[tuple[str, str], ClusteredInterval]:
    """Every metric with its interval and bounds, on all rows and in each slice."""
    acted = (rows.p >= THRESHOLD).astype(np.float64)
    found: dict[tuple[str, str], ClusteredInterval] = {}
    for name, metric in OURS.items():
        shown = acted if name in DECISION_METRICS else rows.p
        found[name, "all"] = metric_interval(metric, rows.y, shown, rows.day)
        inside = slice_intervals(metric, rows.y, shown, rows.day, dict(parts(rows)))
        for part, interval in inside.items():
            assert isinstance(interval, ClusteredInterval)
            found[name, part] = interval
    return found


def theirs(y: Floats, p: Floats, part: NDArray[np.int64]) -> dict[tuple[str, str], float]:
    """Every metric by scikit-learn, on all rows and in each slice."""
    found = {}
    for name, function in PEER.items():
        found[name, "all"] = function(y, p)
        for number in range(SLICES):
            inside = part == number
            found[name, f"slice {number}"] = function(y[inside], p[inside])
    return found


def draws(rows: Scored, count: int) -> Iterator[dict[tuple[str, str], float]]:
    """The metrics of days drawn with replacement."""
    rng = np.random.default_rng(1)
    order = np.argsort(rows.day, kind="stable")
    bounds = np.searchsorted(rows.day[order], np.arange(DAYS + 1))
    for _ in range(count):
        chosen = rng.integers(0, DAYS, DAYS)
        taken = np.concatenate([order[bounds[day] : bounds[day + 1]] for day in chosen])
        yield theirs(rows.y[taken], rows.p[taken], rows.slice[taken])


def same_estimates(rows: Scored, found: dict[tuple[str, str], ClusteredInterval]) -> float:
    """The largest difference of an estimate to scikit-learn's."""
    wanted = theirs(rows.y, rows.p, rows.slice)
    return max(abs(found[key].estimate - wanted[key]) for key in wanted)


def widths() -> float:
    """Median width of our 95 % intervals over those of 200 draws, on 60,000 rows."""
    rows = scored(60_000)
    found = ours(rows)
    drawn = list(draws(rows, DRAWS))
    ratios = []
    for key, interval in found.items():
        low, high = np.quantile([draw[key] for draw in drawn], [0.025, 0.975])
        ratios.append((interval.high - interval.low) / (high - low))
    return float(np.median(ratios))


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main(rows_count: int, few: int) -> None:
    rows = scored(rows_count)
    found: dict[tuple[str, str], ClusteredInterval] = {}
    took = min(seconds(lambda: found.update(ours(rows))) for _ in range(2))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    floor = min(seconds(lambda: np.sort(rows.p)) for _ in range(3))
    print(f"{len(found)} figures with intervals and bounds: {rows_count:,} rows, {SLICES} slices, {DAYS} days")
    print(f"largest difference of an estimate to scikit-learn's: {same_estimates(rows, found):.1e}")
    print(f"median width of an interval, over that of {DRAWS} draws of days (60,000 rows): {widths():.2f}")
    peer_took = seconds(lambda: list(draws(rows, few))) * DRAWS / few
    print(f"ours          {took:9.2f} s, {took / floor:7.1f} x the floor, {peak:.2f} GB at most")
    print(f"scikit-learn  {peer_took:9.1f} s for {DRAWS} draws ({few} timed), {peer_took / took:.0f} x ours")
    print(f"floor         {floor:9.3f} s, one sort of the scores")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, int(sys.argv[2]) if len(sys.argv) > 2 else 4)
