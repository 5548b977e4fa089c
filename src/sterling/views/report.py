"""What a run found: models against baselines, gates, slices, data and features, each with its position."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sterling.core.evidence import Entry
from sterling.project.metrics import DECISIONS, in_order, more_is_better, rank
from sterling.views.facts import NoRunError, Run, latest_run
from sterling.views.looks import Looks, looks


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric of a model, on the holdout or on a slice of it.

    Attributes:
        metric: Name of the metric.
        model: Ref of the model.
        name: Name of the model.
        role: ``candidate``, ``baseline`` or ``champion``.
        slice: Column and value, or None for the whole holdout.
        value: The estimate, or None where it is undefined.
        low: Lower end of the two-sided interval, or None.
        high: Upper end of the two-sided interval, or None.
        confidence: Confidence of the interval, or None.
        rows: Rows that it was measured on.
        reason: Why it is undefined, or None.
        position: Position in the ledger.
    """

    metric: str
    model: str
    name: str
    role: str
    slice: tuple[str, str] | None
    value: float | None
    low: float | None
    high: float | None
    confidence: float | None
    rows: int | None
    reason: str | None
    position: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The candidate against another model on the same rows.

    Attributes:
        metric: Name of the metric.
        against: Ref of the other model.
        against_name: Its name.
        against_role: ``baseline`` or ``champion``.
        difference: Candidate minus other, or None where it is undefined.
        low: Lower end of the two-sided interval.
        high: Upper end of the two-sided interval.
        bound: One-sided bound on the worse side: the least that was gained, at ``error_rate``.
        error_rate: Chance that the bound is wrong.
        position: Position in the ledger.
    """

    metric: str
    against: str
    against_name: str
    against_role: str
    difference: float | None
    low: float | None
    high: float | None
    bound: float | None
    error_rate: float | None
    position: int


@dataclass(frozen=True, slots=True)
class GateRow:
    """A gate and its verdict.

    Attributes:
        title: The gate as people read it.
        type: Its type, such as ``AtMost``.
        definition: The gate as the project defines it, as JSON.
        passed: The verdict.
        reason: Why.
        margin: How far the bound lies on the good side, or None.
        seen: Positions of what it looked at.
        position: Position in the ledger.
    """

    title: str
    type: str
    definition: Mapping[str, Any]
    passed: bool
    reason: str
    margin: float | None
    seen: tuple[int, ...]
    position: int


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source as it was read.

    Attributes:
        source: Its name.
        rows: Rows of the snapshot.
        first: Oldest event, ISO 8601, or None.
        last: Newest event, ISO 8601, or None.
        newest: Newest availability, ISO 8601, or None.
        snapshot: Position of the snapshot.
        quarantined: Rows that failed a check and were set aside, or None where nothing was validated.
        nulled: Cells out of range that were nulled, or None.
        hidden: Cells that were not known at as_of, or None.
        failures: Checks that found something, as sentences.
        validated: Position of the validation, or None.
    """

    source: str
    rows: int
    first: str | None
    last: str | None
    newest: str | None
    snapshot: int
    quarantined: int | None
    nulled: int | None
    hidden: int | None
    failures: tuple[str, ...]
    validated: int | None


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A feature of the vector.

    Attributes:
        name: Its name.
        view: The view that it belongs to.
        kind: ``number`` or ``category``.
        nulls: Share of rows without a value.
        definition: Hash of its definition.
        position: Position in the ledger.
        importance: Share of the model's gain, or None where it was not measured.
        known: Share of the windows' events that were known at prediction, or None for what has no windows.
        leaks: Share of rows with a label in which ignoring availability would give another value, or None where it was
            not measured.
    """

    name: str
    view: str
    kind: str
    nulls: float | None
    definition: str
    position: int
    importance: float | None
    known: float | None = None
    leaks: float | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin of the calibration curve.

    Attributes:
        predicted: Mean prediction.
        observed: Share of positives, or mean of what was measured.
        low: Lower end of its interval, or None.
        high: Upper end of its interval, or None.
        rows: Rows in the bin.
    """

    predicted: float
    observed: float
    low: float | None
    high: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class Report:
    """The tables of one run.

    Attributes:
        run: The run.
        name: Name of the candidate.
        version: Version that the candidate was registered as by this run, or None.
        as_of: Time as of which the data count, ISO 8601, or None.
        measures: Metrics on the whole holdout, the candidate's first.
        slices: The candidate's metrics on slices, the worst first.
        comparisons: The candidate against others.
        gates: Gates, in the project's order.
        sources: Sources, in the order of their snapshots.
        features: Features, in the vector's order where it is known.
        calibration: Bins of the candidate's calibration curve; none where it answers with several classes.
        positions: Where single facts stand, by kind: the newest of each.
        looks: How many models were judged on the holdout's rows, or None where nothing was judged.
        decided: Metrics of what the models' policies decide, on the whole holdout.
        decided_against: What the candidate's policy decides against others.
    """

    run: Run
    name: str
    version: int | None
    as_of: str | None
    measures: tuple[Measure, ...]
    slices: tuple[Measure, ...]
    comparisons: tuple[Comparison, ...]
    gates: tuple[GateRow, ...]
    sources: tuple[SourceRow, ...]
    features: tuple[FeatureRow, ...]
    calibration: tuple[Bin, ...]
    positions: Mapping[str, int]
    looks: Looks | None = None
    decided: tuple[Measure, ...] = ()
    decided_against: tuple[Comparison, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that were measured on the whole holdout, in the order of every table."""
        return in_order(measure.metric for measure in self.measures)

    @property
    def shares(self) -> bool:
        """Whether predictions are probabilities, and what is observed are shares."""
        return "rmse" not in self.metrics

    def of_metric(self, metric: str) -> tuple[Measure, ...]:
        """One metric of every model."""
        return tuple(measure for measure in self.measures if measure.metric == metric)

    def best_baseline(self, metric: str) -> Measure | None:
        """The baseline that is hardest to beat."""
        found = [m for m in self.of_metric(metric) if m.role == "baseline" and m.value is not None]
        return min(found, key=_worst_last, default=None)

    def against_best(self, metric: str) -> Comparison | None:
        """The candidate against the baseline that is hardest to beat."""
        best = self.best_baseline(metric)
        return next((c for c in self.comparisons if best and c.metric == metric and c.against == best.model), None)

    def warnings(self) -> tuple[tuple[str, int], ...]:
        """What the run warns of, and where it says so: doubtful clocks, features little known in time, looks."""
        facts = self.run.of("lateness.measured", "censoring.measured")
        said = ((entry.body.get("feature") or entry.body["source"], entry) for entry in facts if entry.body["warning"])
        over = self.looks.warning if self.looks else None
        return (
            *(((f"Holdout: {over}", self.looks.positions[-1]),) if self.looks and over else ()),
            *((f"{name}: {entry.body['warning']}", entry.position) for name, entry in said),
        )

    def _repr_html_(self) -> str:
        """The report in a notebook."""
        from sterling.views.fragments import report_fragment

        return report_fragment(self)

    def fact(self, kind: str) -> Entry | None:
        """The newest fact of a kind, of the candidate where the kind is about models."""
        facts = self.run.of(kind)
        own = [entry for entry in facts if entry.body.get("model", self.run.candidate) == self.run.candidate]
        return own[-1] if own else None


def run_report(entries: Iterable[Entry], run: Run | None = None) -> Report:
    """The tables of a run.

    Args:
        entries: The ledger, oldest first.
        run: The run; the newest where it is None.

    Raises:
        NoRunError: if no run is completed.
    """
    chain = tuple(entries)
    run = run or latest_run(chain)
    if run is None:
        raise NoRunError("No run is completed yet. `sterling run` completes one.")
    measured = _measures(run)
    registered = run.newest("model.registered")
    as_of = run.newest("as_of.resolved")
    whole = [measure for measure in measured if measure.slice is None and measure.metric not in DECISIONS]
    comparisons = _comparisons(run)
    parts = [m for m in measured if m.slice is not None and m.model == run.candidate]
    return Report(
        run=run,
        name=candidate_name(run),
        version=registered.body["version"] if registered else None,
        as_of=as_of.body["as_of"] if as_of else None,
        measures=tuple(sorted(whole, key=lambda m: (rank(m.metric), m.model != run.candidate))),
        slices=tuple(sorted(parts, key=_worst_first)),
        comparisons=tuple(c for c in comparisons if c.metric not in DECISIONS),
        gates=gate_rows(run.of("gate.judged")),
        sources=tuple(_source(run, entry) for entry in _newest(run, "data.snapshotted", "source")),
        features=_features(run),
        calibration=_calibration(run),
        positions={entry.kind: entry.position for entry in run.facts},
        looks=looks(chain, run),
        decided=tuple(measure for measure in measured if measure.slice is None and measure.metric in DECISIONS),
        decided_against=tuple(c for c in comparisons if c.metric in DECISIONS),
    )


def gate_rows(entries: Iterable[Entry]) -> tuple[GateRow, ...]:
    """Gates and verdicts, in the order in which they were judged."""
    return tuple(
        GateRow(
            e.body["title"], e.body["gate"].get("type", ""), e.body["gate"], e.body["passed"], e.body["reason"],
            e.body["margin"], tuple(e.body["seen"]), e.position,
        )
        for e in entries
    )  # fmt: skip


def candidate_name(run: Run) -> str:
    """Name of a run's candidate, such as ``lightgbm``."""
    trained = (e for e in reversed(run.of("model.trained")) if e.body["model"] == run.candidate)
    return next((str(e.body["name"]) for e in trained), "candidate")


def _measures(run: Run) -> tuple[Measure, ...]:
    found: dict[Any, Measure] = {}
    for entry in run.of("metric.measured"):
        body = entry.body
        part = next(((str(k), "missing" if v is None else str(v)) for k, v in body["slice"].items()), None)
        found[body["metric"], body["model"], part] = Measure(
            body["metric"], body["model"], body["name"], body["role"], part, body["value"], body.get("low"),
            body.get("high"), body.get("confidence"), body.get("rows"), body.get("reason"), entry.position,
        )  # fmt: skip
    return tuple(found.values())


def _comparisons(run: Run) -> tuple[Comparison, ...]:
    found: dict[tuple[str, str], Comparison] = {}
    for entry in run.of("metric.compared"):
        body = entry.body
        if body["model"] != run.candidate:
            continue
        bound = body.get("lower" if more_is_better(body["metric"]) else "upper")
        found[body["metric"], body["against"]] = Comparison(
            body["metric"], body["against"], body["against_name"], body["against_role"], body["difference"],
            body.get("low"), body.get("high"), bound, body.get("error_rate"), entry.position,
        )  # fmt: skip
    return tuple(found.values())


def _source(run: Run, snapshot: Entry) -> SourceRow:
    body = snapshot.body
    validated = [e for e in run.of("data.validated") if e.body["source"] == body["source"]]
    valid = validated[-1] if validated else None
    checks = valid.body["checks"] if valid else []
    first, last = body["event_time"] or (None, None)
    return SourceRow(
        body["source"], body["rows"], first, last, body["newest_available"], snapshot.position,
        quarantined=valid.body["quarantined"] if valid else None,
        nulled=sum(check["failed"] for check in checks if check["action"] == "nulled") if valid else None,
        hidden=valid.body["hidden_cells"] if valid else None,
        failures=tuple(_failure(check) for check in checks if check["failed"]),
        validated=valid.position if valid else None,
    )  # fmt: skip


def _failure(check: Mapping[str, Any]) -> str:
    about = "" if check["column"] in {None, *_words(check["check"])} else f" of {check['column']}"
    return f"{check['check']}{about}: {check['failed']:,} of {check['rows']:,} {check['action']}"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _features(run: Run) -> tuple[FeatureRow, ...]:
    shares = next(
        ({f["name"]: f["share"] for f in e.body["features"]} for e in reversed(run.of("importance.measured"))
         if e.body["model"] == run.candidate), {},
    )  # fmt: skip
    leaks = run.newest("leaks.measured")
    leaking = {f["name"]: f["changed"] for f in leaks.body["features"]} if leaks else {}
    found = {
        feature["name"]: FeatureRow(
            feature["name"], entry.body["view"], feature["kind"], feature["nulls"], feature["definition"],
            entry.position, shares.get(feature["name"]), feature.get("known_events"), leaking.get(feature["name"]),
        )
        for entry in run.of("features.built")
        for feature in entry.body["features"]
    }  # fmt: skip
    frame = run.newest("frame.assembled")
    order = frame.body["features"] if frame else list(found)
    return tuple(found[name] for name in order if name in found)


def _calibration(run: Run) -> tuple[Bin, ...]:
    curves = [e for e in run.of("calibration.measured") if e.body["model"] == run.candidate]
    bins = curves[-1].body.get("bins", ()) if curves else ()
    return tuple(Bin(b["predicted"], b["observed"], b.get("low"), b.get("high"), b["rows"]) for b in bins)


def _newest(run: Run, kind: str, field: str) -> tuple[Entry, ...]:
    return tuple({entry.body[field]: entry for entry in run.of(kind)}.values())


def _worst_first(measure: Measure) -> tuple[Any, ...]:
    column = measure.slice[0] if measure.slice else ""
    return rank(measure.metric), column, measure.value is None, -_worst_last(measure)


def _worst_last(measure: Measure) -> float:
    value = measure.value if measure.value is not None else 0.0
    return -value if more_is_better(measure.metric) else value
