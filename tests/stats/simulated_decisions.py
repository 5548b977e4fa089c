"""Error rates of the intervals around decisions, with known truths; `python -m tests.stats.simulated_decisions` prints the
tables of docs/statistics.md."""

from __future__ import annotations

import sys
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from sterling.stats.decisions import DECISION_METRICS, Amounts, value_metric
from sterling.stats.groups import group_rates
from sterling.stats.intervals import ClusteredInterval, difference_interval, metric_interval
from sterling.stats.recalibration import Reached, mean_gap, recalibration
from sterling.stats.value_curve import NOBODY, curve, objective_of
from tests.stats.simulated import SCENARIOS, Sample, draw, truths

Floats = NDArray[np.float64]
AMOUNTS = Amounts(true_positive=40, false_positive=-5)
VALUE = objective_of("value", AMOUNTS)
METRICS = {**DECISION_METRICS, "value": value_metric(AMOUNTS)}
CUT = 0.2
GRID = np.concatenate([[0.0], np.linspace(0.05, 0.6, 40), [NOBODY]])


class Truth(NamedTuple):
    """What intervals are to hold."""

    metrics: dict[str, tuple[float, float]]
    """Of the candidate's decisions, and minus the reference's."""
    values: Floats
    """At each threshold of the grid."""
    moved: tuple[float, float, float]
    """Intercept, slope, mean gap."""


def decisions(rows: Sample) -> tuple[Floats, Floats]:
    """What the candidate and the reference act on."""
    return (rows.candidate >= CUT).astype(np.float64), (rows.reference >= CUT).astype(np.float64)


@cache
def truth(name: str, draws: int = 6) -> Truth:
    """Over 10,000 days a draw."""
    rng = np.random.default_rng(20130901)
    metrics, values, moved = [], [], []
    for _ in range(draws):
        rows = draw(rng, SCENARIOS[name], 10_000, 60)
        ours, theirs = decisions(rows)
        pairs = [(m.function(rows.y, ours), m.function(rows.y, theirs)) for m in METRICS.values()]
        metrics.append([(a, a - b) for a, b in pairs])
        values.append(
            [p.value for p in curve(rows.y, rows.candidate, np.zeros(len(ours)), VALUE, thresholds=GRID).points]
        )
        found = recalibration(rows.y, rows.candidate, rows.day)
        moved.append((found.intercept.value, found.slope.value, mean_gap(rows.y, rows.candidate, rows.day).value))
    means = np.mean(metrics, axis=0)
    of_metrics = {metric: (float(a), float(b)) for metric, (a, b) in zip(METRICS, means, strict=True)}
    intercept, slope, gap = map(float, np.mean(moved, axis=0))
    return Truth(of_metrics, np.mean(values, axis=0), (intercept, slope, gap))


def errors(name: str, days: int, repetitions: int, seed: int = 7) -> dict[str, list[float]]:
    """Shares of evaluations in which the lower bound, the upper bound and the two-sided interval miss the truth."""
    rng, true = np.random.default_rng(seed), truth(name)
    missed: dict[str, list[list[bool]]] = {}
    for _ in range(repetitions):
        rows = draw(rng, SCENARIOS[name], days, 60)
        ours, theirs = decisions(rows)
        for metric, chosen in METRICS.items():
            own, apart = true.metrics[metric]
            missed.setdefault(metric, []).append(_sides(metric_interval(chosen, rows.y, ours, rows.day), own))
            paired = difference_interval(chosen, rows.y, ours, theirs, rows.day)
            missed.setdefault(f"Δ {metric}", []).append(_sides(paired, apart))
        found = curve(rows.y, rows.candidate, rows.day, VALUE, thresholds=GRID)
        held = [
            p.low <= t <= p.high for p, t in zip(found.points, true.values, strict=True) if p.low is not None and p.high
        ]
        missed.setdefault("value curve, all points", []).append([not all(held)])
        best = found.points.index(found.best)
        missed.setdefault("value at its best threshold", []).append([not held[best]])
        moved = recalibration(rows.y, rows.candidate, rows.day)
        gap = mean_gap(rows.y, rows.candidate, rows.day)
        for what, reached, value in zip(
            ("intercept", "slope", "mean gap"), (moved.intercept, moved.slope, gap), true.moved, strict=True
        ):
            missed.setdefault(what, []).append([_outside(reached, value)])
    return {what: np.mean(found, axis=0).tolist() for what, found in missed.items()}


def group_errors(groups: int, days: int, repetitions: int, *, apart: float, seed: int = 11) -> dict[str, list[float]]:
    """How often the bound, the lower end and the upper end of the largest gap between groups err.

    Groups differ in log odds by `apart` from the first to the last; days share an effect, and each group has one of its own
    on each day.
    """
    rng, missed = (
        np.random.default_rng(seed),
        {rate: list[list[bool]]() for rate in ("selection_rate", "true_positive_rate")},
    )
    true = {rate: _gaps(groups, apart, rate) for rate in missed}
    for _ in range(repetitions):
        y, p, group, day = grouped(rng, groups, days, 40, apart)
        for rate, found in missed.items():
            gap = group_rates(rate, y, p, p >= CUT, group, day, min_rows=30).difference
            if gap.low is not None and gap.high is not None and gap.bound is not None:
                found.append([gap.bound < true[rate], gap.low > true[rate], gap.high < true[rate]])
    return {rate: np.mean(found, axis=0).tolist() for rate, found in missed.items()}


MARGINS = {"roc_auc": 0.02, "precision": 0.02, "recall": 0.05, "value": 250.0}
"""Losses that matter, of which `NonInferior` has to find out."""


def not_worse(days: int, repetitions: int, seed: int = 13) -> dict[str, tuple[float, float]]:
    """How often a candidate passes as not worse than the champion: at the margin itself, and where both are as good.

    The difference of the two models is what it is; the margin is laid where the difference stands at it, or at no loss.
    """
    rng, passed = np.random.default_rng(seed), {metric: list[tuple[bool, bool]]() for metric in MARGINS}
    scenario, true = SCENARIOS["normal"], dict(truth("normal").metrics)
    own = truths("normal")["roc_auc"]
    true["roc_auc"] = own
    for _ in range(repetitions):
        rows = draw(rng, scenario, days, 60)
        ours, theirs = decisions(rows)
        for metric, margin in MARGINS.items():
            pair = (rows.candidate, rows.reference) if metric == "roc_auc" else (ours, theirs)
            found = difference_interval(METRICS.get(metric, metric), rows.y, *pair, rows.day)
            error = found.lower - true[metric][1]
            passed[metric].append((error > 0, error > -margin))
    return {metric: tuple(np.mean(found, axis=0).tolist()) for metric, found in passed.items()}


def grouped(
    rng: np.random.Generator, groups: int, days: int, rows_a_day: int, apart: float
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Labels, predictions, groups and days."""
    day = np.repeat(np.arange(days), rows_a_day * groups)
    group = np.tile(np.arange(groups), days * rows_a_day)
    shared, own = rng.normal(0, 0.4, days), rng.normal(0, 0.2, (days, groups))
    place = group / max(1, groups - 1) - 0.5
    odds = -1.4 + apart * place + 0.9 * rng.normal(size=len(day)) + shared[day] + own[day, group]
    y = (rng.random(len(day)) < expit(odds)).astype(np.float64)
    return y, np.asarray(expit(logit(expit(odds)) - own[day, group] * 0.5)), group, day


@cache
def _gaps(groups: int, apart: float, rate: str) -> float:
    y, p, group, _ = grouped(np.random.default_rng(5), groups, 20_000, 20, apart)
    rows = y == 1 if rate == "true_positive_rate" else np.ones(len(y), dtype=np.bool_)
    rates = [float((p >= CUT)[rows & (group == one)].mean()) for one in range(groups)]
    return max(rates) - min(rates) if apart else 0.0


def _sides(interval: ClusteredInterval, value: float) -> list[bool]:
    return [interval.lower > value, interval.upper < value, not interval.low <= value <= interval.high]


def _outside(reached: Reached, value: float) -> bool:
    return not reached.low <= value <= reached.high


def main(repetitions: int) -> None:
    """Print the tables."""
    for name in ("normal", "skewed", "uneven"):
        table = {days: errors(name, days, repetitions) for days in (8, 15, 30)}
        print(f"\n| {name} | 8 days | 15 days | 30 days |\n|---|---|---|---|")
        for what in table[8]:
            print(
                f"| {what} | " + " | ".join(" / ".join(f"{e:.3f}" for e in table[d][what]) for d in table) + " |",
                flush=True,
            )
    print("\n| not worse than the champion | at the margin | as good |\n|---|---|---|")
    for days in (15, 30, 90):
        for metric, (at, equal) in not_worse(days, repetitions).items():
            print(f"| {metric}, margin {MARGINS[metric]:g}, {days} days | {at:.3f} | {equal:.3f} |", flush=True)
    print("\n| groups, difference | rate | 10 days | 30 days |\n|---|---|---|---|")
    for groups, apart in ((2, 0.0), (2, 0.6), (6, 0.0), (6, 0.6)):
        cells = {days: group_errors(groups, days, repetitions, apart=apart) for days in (10, 30)}
        for rate in cells[10]:
            said = " | ".join(" / ".join(f"{e:.3f}" for e in cells[days][rate]) for days in cells)
            print(f"| {groups} groups, {apart:g} | {rate} | {said} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
