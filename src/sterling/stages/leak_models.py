"""Leakage checks of models: too good for what simple models find, one feature that carries all, and what splits claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sterling.models.quick import quick_scores
from sterling.stages.leak_sample import Finding, Floats, Sample

CLOSED = 0.8
"""Share of the way from an additive model to perfection that no honest model goes in one step, where"""
SIMPLE = 0.85
"""the additive model is below this agreement. On the flights a tuned model closes a tenth of it."""
DOMINATES = 0.5
"""Share of the gain from which a feature carries the model, where"""
CARRIED = 0.9
"""the model agrees this well with the labels, and without the feature loses"""
LOST = 0.5
"""this share of what it has above chance."""


def optimism(sample: Sample) -> dict[str, Any]:
    """What a random split of the training rows would claim of all features, next to what the later holdout shows."""
    places = range(len(sample.columns))
    random, later = sample.by_chance(places), sample.together(places)
    return {
        "measure": "roc_auc" if sample.binary else "concordance", "random": random.value, "later": later.value,
        "gap": random.value - later.value, "later_lower": later.lower, "later_upper": later.upper,
    }  # fmt: skip


def shift(sample: Sample) -> dict[str, Any]:
    """How well rows of the holdout are told from training rows, and by which columns: adversarial validation.

    A difference in time is no leak; it says what will be unlike what was trained on.
    """
    train = ~sample.holdout
    asked = sample.half | (sample.holdout & (np.cumsum(sample.holdout) % 2 == 0))
    side = sample.holdout.astype(np.float64)
    scores = quick_scores(
        np.ascontiguousarray(sample.matrix), side, asked, ~asked,
        categorical=[place for place, column in enumerate(sample.columns) if column.kind == "category"], seed=sample.seed,
    )  # fmt: skip
    found = _auc(side[~asked], scores)
    unlike = []
    for place, column in enumerate(sample.columns):
        bins = sample.bins[place]
        shares = [np.bincount(bins.code[rows], minlength=bins.size) / rows.sum() for rows in (train, sample.holdout)]
        unlike.append((float(np.abs(shares[0] - shares[1]).sum() / 2), column.name))
    worst = sorted(unlike, reverse=True)[:5]
    return {"roc_auc": found, "columns": [{"name": name, "distance": distance} for distance, name in worst]}


def _auc(label: Floats, score: Floats) -> float:
    order = np.argsort(score, kind="stable")
    _, inverse, counts = np.unique(score[order], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ones = label[order] == 1
    return float((ranks[ones].sum() - ones.sum() * (ones.sum() + 1) / 2) / (ones.sum() * (~ones).sum()))


def check_model(
    sample: Sample, name: str, scores: Floats, simple: Mapping[str, Floats], shares: Mapping[str, float]
) -> Iterator[Finding]:
    """Every finding about a candidate.

    Args:
        sample: The rows.
        name: The candidate's name in tables.
        scores: What it answers, for the rows of the holdout.
        simple: What the baselines answer, by name; shown beside it.
        shares: Share of the gain of each feature, where the candidate has such.
    """
    reached = sample.together(range(len(sample.columns)), additive=True).value
    ladder = {"additive trees": reached} | {key: sample.judged(found).value for key, found in simple.items()}
    ours = sample.judged(scores)
    closed = (ours.lower - reached) / (1 - reached) if reached < 1 else 0.0
    if reached < SIMPLE and closed >= CLOSED:
        yield Finding(
            "ladder", name,
            {"measure": "roc_auc" if sample.binary else "concordance", "candidate": ours.value, "lower": ours.lower,
             "ladder": ladder, "closed": closed},
            f"It reaches a {sample.measure} of {ours.value:.3f}; a model that reads each feature by itself reaches {reached:.3f}. "
            f"That closes {closed:.0%} of what was left to gain.",
            "Look at what it reads together: columns that say little each, and all of the label together, were made from it.",
        )  # fmt: skip
    yield from _dominating(sample, name, ours.value, shares)


def _dominating(sample: Sample, name: str, ours: float, shares: Mapping[str, float]) -> Iterator[Finding]:
    top, share = max(shares.items(), key=lambda pair: pair[1], default=("", 0.0))
    if share < DOMINATES or ours < CARRIED or len(sample.columns) < 2:
        return
    place = [column.name for column in sample.columns].index(top)
    rest = sample.together(sample.without(place)).value
    if (ours - max(rest, 0.5)) < LOST * (ours - 0.5):
        return
    yield Finding(
        "importance", top,
        {"share": share, "candidate": ours, "without": rest},
        f"It has {share:.0%} of the gain of {name}; with it the model reaches a {sample.measure} of {ours:.3f}, the other "
        f"features reach {rest:.3f}.",
        "Look up when it is written: a feature that carries a model alone is more often a leak than a discovery.",
    )  # fmt: skip
