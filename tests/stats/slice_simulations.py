"""How often a search names a segment where none is bad, and how often one that is; `python -m tests.stats.slice_simulations`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import expon

from sterling.stats.axes import Axis, category_axis, number_axis
from sterling.stats.rows import Floats, Ints
from sterling.stats.slices import Search, find_slices


class World(NamedTuple):
    """How rows depend on each other, and how rare positives are."""

    days: int = 30
    """Clusters; 0 where every row is independent."""
    effect: str = "none"
    """Distribution of a day's effect that no model knows: `none`, `normal` or `exponential`."""
    intercept: float = -1.4
    rows: int = 6_000


WORLDS = {
    "independent": World(days=0),
    "30 days": World(effect="normal"),
    "30 days, a few bad ones": World(effect="exponential"),
    "12 days": World(days=12, effect="normal"),
    "rare, 2 % positive": World(effect="normal", intercept=-4.3, rows=20_000),
    "150 customers": World(days=150, effect="exponential"),
}
SPREAD = 0.4


class Drawn(NamedTuple):
    y: Floats
    p: Floats
    clusters: Ints
    axes: dict[str, Axis]
    inside: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Rows of the segment that can be made bad: one of 16 values."""


def draw(rng: np.random.Generator, world: World, shift: float = 0.0, features: int = 10) -> Drawn:
    """Rows whose scores are calibrated in every segment but one, where log odds are off by a shift.

    Half of the features are numbers; one of them is the same for a whole day. Two are categories, one of 16 values.
    """
    day = np.sort(rng.integers(0, world.days or world.rows, world.rows))
    effects = {"none": 0 * day, "normal": rng.normal(0, SPREAD, len(day)), "exponential": expon(-SPREAD, SPREAD).rvs(len(day), random_state=rng)}  # fmt: skip
    unknown = effects[world.effect][day]
    numbers = rng.normal(size=(features - 2, world.rows))
    numbers[0] = rng.normal(size=len(day))[day]
    wide, narrow = rng.integers(0, 16, world.rows), rng.integers(0, 4, world.rows)
    odds = world.intercept + 0.6 * numbers[0] + 0.6 * numbers[1] + 0.3 * (narrow - 1.5)
    inside = wide == 3
    y = (rng.random(world.rows) < expit(odds + unknown + shift * inside)).astype(np.float64)
    axes = {f"n{place}": number_axis(values) for place, values in enumerate(numbers)}
    axes |= {"wide": category_axis(wide, [f"w{k}" for k in range(16)]), "narrow": category_axis(narrow, list("abcd"))}
    return Drawn(y, expit(odds), day, axes, inside)


def searched(rng: np.random.Generator, world: World, shift: float = 0.0, features: int = 10) -> Search:
    drawn = draw(rng, world, shift, features)
    clusters = drawn.clusters if world.days else np.arange(world.rows)
    return find_slices(drawn.y, drawn.p, clusters, drawn.axes, seed=int(rng.integers(1 << 30)))


def main(runs: int = 500) -> None:
    for name, world in WORLDS.items():
        rng = np.random.default_rng(20260101)
        false = np.mean([bool(searched(rng, world).found) for _ in range(runs)])
        powers = []
        for shift in (0.4, 0.7, 1.0):
            hits = [
                any(("wide", "w3") in one.where for one in searched(rng, world, shift).found) for _ in range(runs // 5)
            ]
            powers.append(f"{np.mean(hits):.2f}")
        print(f"| {name} | {false:.3f} | {' | '.join(powers)} |")


if __name__ == "__main__":
    main()
