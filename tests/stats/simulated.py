"""Days of correlated rows with a known truth, for error rates of bounds; `python -m tests.stats.simulated` prints the tables of docs/statistics.md."""

from __future__ import annotations

import sys
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import expon, norm

from sterling.stats.intervals import ClusteredInterval, difference_interval, metric_interval, slice_intervals
from sterling.stats.metrics import METRICS

Floats = NDArray[np.float64]


class Scenario(NamedTuple):
    """How days differ: the model knows one effect of the day, and not the other."""

    unknown: str
    """Distribution of the day's unknown effect on the log odds: `normal`, `exponential` or `none`."""
    size_spread: float
    """Standard deviation of the logarithm of a day's rows."""
    shift: float
    """Miscalibration of the candidate, in log odds."""


SCENARIOS = {
    "normal": Scenario("normal", 0.3, 0.1),
    "skewed": Scenario("exponential", 0.3, -0.25),
    "uneven": Scenario("normal", 0.9, 0.1),
    "calibrated": Scenario("normal", 0.3, 0.0),
    "independent": Scenario("none", 0.0, 0.0),
}
SPREAD = 0.4
UNKNOWN = {"normal": norm(0, SPREAD), "exponential": expon(-SPREAD, SPREAD)}


class Sample(NamedTuple):
    y: Floats
    candidate: Floats
    reference: Floats
    day: NDArray[np.int64]


def draw(rng: np.random.Generator, scenario: Scenario, days: int, rows_a_day: int) -> Sample:
    """Draw days; sizes depend on the unknown effect, so that they are informative."""
    known = rng.normal(0, 0.5, days)
    unknown = np.zeros(days) if scenario.unknown == "none" else UNKNOWN[scenario.unknown].rvs(days, random_state=rng)
    sizes = np.exp(scenario.size_spread * (rng.normal(size=days) - scenario.size_spread / 2) - 0.15 * unknown)
    day = np.repeat(np.arange(days), np.maximum(3, np.round(rows_a_day * sizes)).astype(np.int64))
    x, z = rng.normal(size=len(day)), rng.normal(size=len(day))
    odds = -1.4 + known[day] + 0.9 * x + 0.5 * z
    y = (rng.random(len(day)) < expit(odds + unknown[day])).astype(np.float64)
    candidate = expit(logit(calibrated(odds, scenario.unknown)) + scenario.shift)
    return Sample(y, candidate, expit(-1.3 + 0.8 * known[day] + 0.85 * x), day)


def calibrated(odds: Floats, unknown: str) -> Floats:
    """Probability of label 1 with the unknown effect averaged out, by a rule of 50 quantiles."""
    if unknown == "none":
        return np.asarray(expit(odds))
    grid = np.linspace(odds.min(), odds.max(), 400)
    effects = UNKNOWN[unknown].ppf((np.arange(50) + 0.5) / 50)
    return np.asarray(np.interp(odds, grid, expit(grid[:, None] + effects).mean(axis=1)))


@cache
def truths(name: str, draws: int = 8) -> dict[str, tuple[float, float]]:
    """Each metric over 10,000 days a draw: of the candidate, and the candidate's minus the reference's."""
    rng = np.random.default_rng(20130901)
    values = np.empty((draws, len(METRICS), 2))
    for number in range(draws):
        rows = draw(rng, SCENARIOS[name], 10_000, 60)
        for row, metric in enumerate(METRICS.values()):
            ours, theirs = metric.function(rows.y, rows.candidate), metric.function(rows.y, rows.reference)
            values[number, row] = ours, ours - theirs
    return {
        metric: (float(one), float(other)) for metric, (one, other) in zip(METRICS, values.mean(axis=0), strict=True)
    }


class ErrorRates(NamedTuple):
    """Shares of repetitions in which a bound lies on the wrong side of the truth."""

    lower: float
    upper: float
    two_sided: float
    width: float
    """Mean distance of the one-sided bounds from the truth, half of their distance from each other."""


def error_rates(
    name: str, metrics: list[str], days: int, rows_a_day: int, repetitions: int, *, seed: int, truth_draws: int = 8
) -> dict[str, ErrorRates]:
    """Simulate the bounds of each metric, and of each difference under `Δ metric`, at the default levels."""
    rng = np.random.default_rng(seed)
    seen: dict[str, list[tuple[bool, bool, bool, float]]] = {}
    for _ in range(repetitions):
        rows = draw(rng, SCENARIOS[name], days, rows_a_day)
        for metric in metrics:
            single, difference = truths(name, truth_draws)[metric]
            alone = metric_interval(metric, rows.y, rows.candidate, rows.day)
            seen.setdefault(metric, []).append(_misses(alone, single))
            if metric != "base_rate":
                paired = difference_interval(metric, rows.y, rows.candidate, rows.reference, rows.day)
                seen.setdefault(f"Δ {metric}", []).append(_misses(paired, difference))
    return {what: ErrorRates(*np.mean(misses, axis=0).tolist()) for what, misses in seen.items()}


class Released(NamedTuple):
    """Shares of repetitions in which a release passed all of its gates, by number of gates."""

    bad: dict[int, float]
    """With one gate that the model truly fails by a hair, and the others kept with the margin."""
    good: dict[int, float]
    """With every gate kept with the margin."""


def upper_bounds_of_slices(slices: int, repetitions: int, *, seed: int) -> Floats:
    """Upper bounds of the log loss in slices of the same rows, less the truth; shape (repetitions, slices).

    Slices are drawn by chance, so that the true log loss of each is that of all rows; days correlate them.
    """
    rng, true = np.random.default_rng(seed), truths("normal")["log_loss"][0]
    upper = np.empty((repetitions, slices))
    for repetition in range(repetitions):
        rows = draw(rng, SCENARIOS["normal"], 30, 100)
        part = rng.integers(0, slices, len(rows.y))
        masks = {str(number): part == number for number in range(slices)}
        found = slice_intervals("log_loss", rows.y, rows.candidate, rows.day, masks)
        upper[repetition] = [
            bound.upper if isinstance(bound, ClusteredInterval) else np.inf for bound in found.values()
        ]
    return upper - true


def released(upper: Floats, margin: float, gates: list[int]) -> Released:
    """Judge `log loss in this slice at most a limit`, the margin above the truth, for each of the first slices.

    The bad model's first limit is its true log loss itself, so that it fails that gate by a hair.
    """
    limits = np.full(upper.shape[1], margin)
    good = np.logical_and.accumulate(upper < limits, axis=1).mean(axis=0)
    limits[0] = 0.0
    bad = np.logical_and.accumulate(upper < limits, axis=1).mean(axis=0)
    return Released(
        {count: float(bad[count - 1]) for count in gates}, {count: float(good[count - 1]) for count in gates}
    )


def _misses(interval: ClusteredInterval, true: float) -> tuple[bool, bool, bool, float]:
    outside = not interval.low <= true <= interval.high
    return interval.lower > true, interval.upper < true, outside, (interval.upper - interval.lower) / 2


def main(names: list[str]) -> None:
    """Print a Markdown table of error rates for each scenario, and one of releases for the name `gates`."""
    for name in names:
        if name == "gates":
            print_releases()
        else:
            print_error_rates(name)


def print_error_rates(name: str) -> None:
    """Each cell: lower / upper / two-sided misses, and half the mean distance of the one-sided bounds."""
    columns = {days: error_rates(name, list(METRICS), days, 60, 2000, seed=7 * days) for days in (8, 15, 30)}
    print(f"\n| {name} | " + " | ".join(f"{days} days" for days in columns) + " |\n|---|---|---|---|")
    for what in columns[30]:
        cells = [
            f"{r.lower:.3f} / {r.upper:.3f} / {r.two_sided:.3f}, ±{r.width:.4f}"
            for r in (c[what] for c in columns.values())
        ]
        print(f"| {what} | " + " | ".join(cells) + " |", flush=True)


def print_releases() -> None:
    """Each row: a number of gates, and the shares of bad and good models that were released."""
    upper, counts = upper_bounds_of_slices(20, 1000, seed=5), [1, 2, 5, 10, 20]
    found = {margin: released(upper, margin, counts) for margin in (0.05, 0.1, 0.15)}
    print("\n| gates | " + " | ".join(f"bad, good (margin {margin})" for margin in found) + " |\n|---|---|---|---|")
    for count in counts:
        print(f"| {count} | " + " | ".join(f"{r.bad[count]:.3f}, {r.good[count]:.3f}" for r in found.values()) + " |")


if __name__ == "__main__":
    main(sys.argv[1:] or [*SCENARIOS, "gates"])
