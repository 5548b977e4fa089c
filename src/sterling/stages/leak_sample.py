"""What leakage checks look at: a sample of a frame's rows on both sides of the split, and what each column tells alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.models.columns import Column, Matrix
from sterling.models.frame import Frame
from sterling.models.quick import quick_scores
from sterling.stats.concordance import Agreement, Bins, agreement, bin_column, bin_means, explained

MOST_TRAINING_ROWS = 30_000
MOST_HOLDOUT_ROWS = 15_000
FEWEST = 30
"""Rows with a label that each side needs; fewer tell nothing."""
CHECKS = 10
"""Checks that test every column; each is judged at a tenth of the error rate, divided by the number of columns."""

Rows = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Finding(NamedTuple):
    """A leak, or what looks like one."""

    check: str
    """Which check found it."""
    column: str
    """The column, or what else it is about."""
    evidence: Mapping[str, Any]
    """The numbers."""
    said: str
    """What was seen, in a sentence."""
    todo: str
    """What to do, in a sentence."""

    @property
    def name(self) -> str:
        """What a project acknowledges it by."""
        return f"{self.check}:{self.column}"

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, **self._asdict(), "evidence": dict(self.evidence)}


class Told(NamedTuple):
    """What one column tells of the label."""

    place: int
    random: Agreement
    """Where a random half of the training rows scores the other half."""
    later: Agreement
    """Where the training rows score the holdout."""
    clock: float
    """Share of the variance of the moment of prediction, in training, that the column explains."""


@dataclass(frozen=True)
class Sample:
    """Rows on both sides of the split.

    Attributes:
        columns: The features.
        matrix: Shape (rows, columns).
        label: Shape (rows,): 0 and 1, or numbers.
        at: Moments of prediction, microseconds.
        clusters: Whole numbers from 0.
        holdout: Which rows are of the holdout; the others train.
        error_rate: Of all tests of the run together.
        seed: Seed of the random halves.
        rows: The rows as a frame.
    """

    columns: tuple[Column, ...]
    matrix: Matrix
    label: Floats
    at: NDArray[np.int64]
    clusters: NDArray[np.int64]
    holdout: Rows
    error_rate: float = 0.05
    seed: int = 0
    rows: Frame | None = None

    @property
    def each(self) -> float:
        """Error rate of one test (Bonferroni: Dunn 1961, JASA 56, 52–64)."""
        return self.error_rate / (CHECKS * max(1, len(self.columns)))

    @property
    def binary(self) -> bool:
        """Whether the label is 0 or 1."""
        return set(np.unique(self.label).tolist()) <= {0.0, 1.0}

    @property
    def measure(self) -> str:
        """The name of what agreement is measured by."""
        return "ROC AUC" if self.binary else "concordance"

    @cached_property
    def half(self) -> Rows:
        """A random half of the training rows."""
        train = np.flatnonzero(~self.holdout)
        chosen = np.zeros(len(self.label), bool)
        chosen[np.random.default_rng(self.seed).permutation(train)[: len(train) // 2]] = True
        return chosen

    @cached_property
    def bins(self) -> tuple[Bins, ...]:
        """Every column, cut into bins."""
        return tuple(
            bin_column(self.matrix[:, place], category=column.kind == "category", reference=~self.holdout)
            for place, column in enumerate(self.columns)
        )

    @cached_property
    def told(self) -> tuple[Told, ...]:
        """What every column tells alone."""
        return tuple(self._told(place) for place in range(len(self.columns)))

    def _told(self, place: int) -> Told:
        bins, train = self.bins[place], ~self.holdout
        clock = explained(Bins(bins.code[train], bins.size), self.at[train].astype(np.float64))
        return Told(
            place, self._across_halves(bins), self.judged(bin_means(bins, self.label, train)[self.holdout]), clock
        )

    def _across_halves(self, bins: Bins) -> Agreement:
        """Each half scored by the other; rows count as independent, as a random split has them."""
        train, half = ~self.holdout, self.half
        scores = np.where(half, bin_means(bins, self.label, train & ~half), bin_means(bins, self.label, half))[train]
        return agreement(self.label[train], scores, np.arange(len(scores)), error_rate=self.each)

    def judged(self, scores: Floats) -> Agreement:
        """How well scores of the holdout agree with its labels."""
        clusters = np.unique(self.clusters[self.holdout], return_inverse=True)[1]
        return agreement(self.label[self.holdout], scores, clusters, error_rate=self.each)

    def together(self, places: Sequence[int], *, additive: bool = False) -> Agreement:
        """What some columns tell together: trained on the training rows, judged on the holdout."""
        return self.judged(self.scores(places, ~self.holdout, self.holdout, additive=additive))

    def by_chance(self, places: Sequence[int]) -> Agreement:
        """What some columns seem to tell together where a random half of the training rows judges."""
        judged = ~self.holdout & ~self.half
        scores = self.scores(places, self.half, judged)
        return agreement(self.label[judged], scores, np.arange(len(scores)), error_rate=self.each)

    def scores(self, places: Sequence[int], fit: Rows, judged: Rows, *, additive: bool = False) -> Floats:
        """Scores of a quick model of some columns."""
        categorical = [at for at, place in enumerate(places) if self.columns[place].kind == "category"]
        matrix = np.ascontiguousarray(self.matrix[:, list(places)])
        return quick_scores(matrix, self.label, fit, judged, categorical=categorical, additive=additive, seed=self.seed)

    def without(self, *left_out: int) -> list[int]:
        """Places of the other columns."""
        return [place for place in range(len(self.columns)) if place not in left_out]

    def of_class(self, value: float) -> Sample:
        """The same rows, asked whether their label is this one."""
        return replace(self, label=(self.label == value).astype(np.float64))


def spread(mask: Rows, most: int) -> Rows:
    """At most so many of the rows where a mask is true, evenly spaced in the frame's order, which is that of time.

    Example:
        >>> spread(np.ones(6, bool), 3).tolist()
        [True, False, True, False, False, True]
    """
    places = np.flatnonzero(mask)
    if len(places) > most:
        places = places[np.linspace(0, len(places) - 1, most).round().astype(np.int64)]
    chosen = np.zeros(len(mask), bool)
    chosen[places] = True
    return chosen


def sides(frame: Frame, start_us: int, end_us: int) -> tuple[Rows, Rows]:
    """The rows that train and those that are judged: labels known, before the holdout and in it."""
    judged = (frame.predict_at >= start_us) & (frame.predict_at < end_us) & frame.known
    return frame.known_before(start_us), judged


def sample_of(
    frame: Frame, start_us: int, end_us: int, *, clustered: bool, error_rate: float, seed: int
) -> Sample | None:
    """A sample of a frame; None where a side has too few rows, or labels of one kind alone."""
    train, judged = sides(frame, start_us, end_us)
    if min(train.sum(), judged.sum()) < FEWEST:
        return None
    chosen = spread(train, MOST_TRAINING_ROWS) | spread(judged, MOST_HOLDOUT_ROWS)
    rows = frame.take(chosen)
    if any(len(np.unique(rows.label[side])) < 2 for side in (train[chosen], judged[chosen])):
        return None
    clusters = np.arange(len(rows))
    if clustered:
        named = rows.table["cluster"].combine_chunks().dictionary_encode()
        clusters = named.indices.fill_null(len(named.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
    columns = rows.columns()
    return Sample(
        columns, rows.encode(columns), rows.label, rows.predict_at, clusters, judged[chosen], error_rate, seed, rows
    )


def each_class(sample: Sample) -> Iterator[Sample]:
    """The sample as a question of yes or no for each class, where the label has few values; itself else."""
    values, counts = np.unique(sample.label, return_counts=True)
    if sample.binary or len(values) > 20 or not (values == np.floor(values)).all():
        yield sample
        return
    yield from (sample.of_class(value) for value in values[np.argsort(-counts, kind="stable")[:10]])
