"""Leakage: what of the features tells the label as it should not, before anything is trained and after.

| stage | inputs | outputs |
|---|---|---|
| `Leakage` | ``frame`` | none |
| `ModelLeakage` | ``frame``, ``candidate``, ``baseline:<name>`` | none |

Both look at a sample that is spread evenly over time, at rows by their hashes at all of them. What a check asks, and from
where on it speaks, stands at its thresholds (`leak_columns`, `leak_rows`, `leak_models`); how often it is wrong in
docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models import Model, Trees
from sterling.models.calibrated import innermost
from sterling.models.frame import Frame
from sterling.models.quick import quick_scores
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.leak_columns import check_columns
from sterling.stages.leak_models import check_model, optimism, shift
from sterling.stages.leak_rows import check_rows
from sterling.stages.leak_sample import CHECKS, FEWEST, Finding, Sample, each_class, sample_of, sides
from sterling.stats.concordance import agreement

BEFORE = (
    "future", "identifier", "date", "target", "level", "missingness", "collapse", "units", "groups", "duplicates",
    "near_duplicates",
)  # fmt: skip
AFTER = ("ladder", "importance")
_CLASSES = 10
"""Classes that are each held against the rest, the most frequent ones."""
MOST_FOR_DATES = 120_000
"""Training rows for what a random split would claim with a date: it learns single days, and needs many rows of each."""


class Leakage(Stage, frozen=True):
    """Look for leaks in the features.

    Attributes:
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        error_rate: Of all tests together, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        groups: Columns whose values must not stand on both sides.
        personal: Features whose values must not be named.
    """

    start_us: int
    end_us: int
    error_rate: float = 0.05
    clustered: bool = False
    groups: Sequence[str] = ()
    personal: Sequence[str] = ()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("lightgbm", "numpy", "scipy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Check every column and every row."""
        frame = Frame.read(context.store, inputs["frame"])
        train, judged = sides(frame, self.start_us, self.end_us)
        body: dict[str, Any] = _looked_at("before", BEFORE, train, judged)
        sample = sample_of(
            frame, self.start_us, self.end_us, clustered=self.clustered, error_rate=self.error_rate, seed=context.seed
        )
        if sample is None:
            body |= {"reason": _why_not(frame, train, judged)}
            return Outcome({}, (Evidence("leakage.checked", (), body),))
        found = list(_of_every_class(sample))
        found += check_rows(frame, train, judged, self.groups, self.error_rate / CHECKS)
        if dates := [finding.column for finding in found if finding.check == "date"]:
            split = body["split"] = _of_dates(frame, train, judged, dates, context.seed)
            found = [_with_split(finding, split, sample.measure) for finding in found]
        first = next(each_class(sample))
        body |= {
            "findings": [self._without_names(finding).body() for finding in found], "optimism": optimism(first),
            "shift": shift(first), "sampled": len(sample.label),
        }  # fmt: skip
        return Outcome({}, (Evidence("leakage.checked", (), body),))

    def _without_names(self, finding: Finding) -> Finding:
        """A finding that names no value of a personal column."""
        if finding.check != "level" or finding.column not in self.personal:
            return finding
        level = str(finding.evidence["level"])
        evidence = {**finding.evidence, "level": "one value"}
        return finding._replace(evidence=evidence, said=finding.said.replace(level, "one value"))


class ModelLeakage(Stage, frozen=True):
    """Look for leaks in what the candidate reaches.

    Attributes:
        name: The candidate's name in tables.
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        error_rate: Of all tests together, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    candidate: str
    start_us: int
    end_us: int
    error_rate: float = 0.05
    clustered: bool = False

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "leakage of candidate"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("lightgbm", "numpy", "scipy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Hold the candidate against simple models, and its features against each other."""
        candidate = Model.from_bytes(context.store.open(inputs["candidate"]).read_bytes())
        frame = Frame.read(context.store, inputs["frame"]).of(candidate.outputs)
        train, judged = sides(frame, self.start_us, self.end_us)
        body: dict[str, Any] = _looked_at("after", AFTER, train, judged) | {
            "model": inputs["candidate"],
            "name": self.candidate,
        }
        sample = sample_of(
            frame, self.start_us, self.end_us, clustered=self.clustered, error_rate=self.error_rate, seed=context.seed
        )
        if sample is None:
            body |= {"reason": _why_not(frame, train, judged)}
        else:
            body |= {
                "findings": [one.body() for one in self._findings(sample, inputs, context)],
                "sampled": len(sample.label),
            }
        return Outcome({}, (Evidence("leakage.checked", (f"model:{inputs['candidate']}",), body),))

    def _findings(self, sample: Sample, inputs: Mapping[str, Ref], context: Context) -> list[Finding]:
        assert sample.rows is not None
        rows = sample.rows.take(sample.holdout)
        models = {
            key: Model.from_bytes(context.store.open(ref).read_bytes()) for key, ref in inputs.items() if key != "frame"
        }
        scores = {key: model.predict(rows.encode(model.columns)) for key, model in models.items()}
        candidate = models["candidate"]
        shares: dict[str, float] = {}
        bare = innermost(candidate.predictor)
        if isinstance(bare, Trees):
            shares = dict(zip(candidate.names, bare.gain_shares(), strict=True))
        simple = {key.removeprefix("baseline:"): found for key, found in scores.items() if key != "candidate"}
        if candidate.predictor.answers == "numbers":  # of quantiles the one in the middle
            middle = len(candidate.outputs) // 2
            simple = {key: found[:, middle] for key, found in simple.items()}
            return list(check_model(sample, self.candidate, scores["candidate"][:, middle], simple, shares))
        if not candidate.outputs:
            return list(check_model(sample, self.candidate, scores["candidate"], simple, shares))
        found: dict[str, Finding] = {}
        for place in _frequent(sample):
            asked, ours = sample.of_class(place), scores["candidate"][:, place]
            theirs = {key: of_all[:, place] for key, of_all in simple.items()}
            for finding in check_model(asked, self.candidate, ours, theirs, shares):
                found.setdefault(finding.name, finding)
        return list(found.values())


def _frequent(sample: Sample) -> list[int]:
    """Places of the most frequent classes of the holdout that training has as well."""
    places, counts = np.unique(sample.label[sample.holdout], return_counts=True)
    both = (places >= 0) & np.isin(places, sample.label[~sample.holdout])
    found: list[int] = places[both][np.argsort(-counts[both], kind="stable")][:_CLASSES].astype(int).tolist()
    return found


def _of_every_class(sample: Sample) -> list[Finding]:
    found: dict[str, Finding] = {}
    for asked in each_class(sample):
        for finding in check_columns(asked):
            found.setdefault(finding.name, finding)
    return list(found.values())


def _looked_at(when: str, checks: Sequence[str], train: Any, judged: Any) -> dict[str, Any]:
    return {
        "when": when, "checks": list(checks), "rows": int(train.sum() + judged.sum()), "train_rows": int(train.sum()),
        "holdout_rows": int(judged.sum()), "sampled": 0, "findings": [], "reason": None,
    }  # fmt: skip


def _why_not(frame: Frame, train: Any, judged: Any) -> str:
    sizes = {"before the holdout": train, "in the holdout": judged}
    for where, side in sizes.items():
        if side.sum() < FEWEST:
            return f"{int(side.sum()):,} labels are known {where}, and checks need {FEWEST}"
    where = next(where for where, side in sizes.items() if len(np.unique(frame.label[side])) < 2)
    return f"all labels known {where} are alike"


def _with_split(finding: Finding, split: Mapping[str, Any], measure: str) -> Finding:
    """A finding of a date, with what all features claim with it."""
    if finding.check != "date":
        return finding
    more = (
        f" With it all features reach {split['random']:.3f} at random and {split['time']:.3f} in time: a random split claims "
        f"{split['random'] - split['time']:+.3f} {measure} that will not come."
    )
    return finding._replace(said=finding.said + more)


def _of_dates(frame: Frame, train: Any, judged: Any, dates: Sequence[str], seed: int) -> dict[str, Any]:
    """What a random split of the training rows claims with columns that tell the day, and what a split in time leaves."""
    keep = np.flatnonzero(train)
    keep = keep[np.linspace(0, len(keep) - 1, min(len(keep), MOST_FOR_DATES)).round().astype(np.int64)]
    chosen = judged.copy()
    chosen[keep] = True
    rows, later = frame.take(chosen), judged[chosen]
    columns = rows.columns()
    matrix, label = rows.encode(columns), rows.label
    tenth = ~later & (np.random.default_rng(seed).random(len(later)) < 0.1)
    categorical = [place for place, column in enumerate(columns) if column.kind == "category"]
    found: dict[str, Any] = {"columns": list(dates), "rows": int((~later).sum())}
    for split, fit, asked in (("random", ~later & ~tenth, tenth), ("time", ~later, later)):
        scores = quick_scores(matrix, label, fit, asked, categorical=categorical, thorough=True, seed=seed)
        found[split] = agreement(label[asked], scores, np.arange(len(scores)), error_rate=0.05).value
    return found
