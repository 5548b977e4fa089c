"""Evaluate predictions that anybody made: the measurements, comparisons and verdicts of a project's run, on a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from sterling.core.canonical import digest
from sterling.core.clock import EPOCH, iso
from sterling.core.errors import InvalidDefinitionError
from sterling.core.evidence import GENESIS, Entry, Evidence, Writer, entry_of
from sterling.core.refs import Ref, ref_of
from sterling.decisions.gate import judge, title
from sterling.models.blas import one_blas_thread
from sterling.project.definition import to_json
from sterling.project.gates import EverySlice, Gate, Improves, NonInferior
from sterling.project.tasks import CONDITION, METRICS_OF, Binary, Task
from sterling.project.tasks import Multiclass as OfClasses
from sterling.standalone.table import Predictions, predictions_of, predictions_of_classes
from sterling.tasks.multiclass import Multiclass
from sterling.tasks.of import task_of
from sterling.tasks.task import Measured
from sterling.tasks.task import Task as Measuring
from sterling.views.report import Report, run_report

Answer = Literal["passed", "failed", "ungated"]
_KEY = digest("evaluate")
_SUBJECT, _DECISION = f"key:{_KEY}", f"decision:{digest('decision')}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be evaluated.

    Attributes:
        label: Column of what happened, 0 and 1; how much it was; or which class it was.
        score: Column of the probability of 1, or of what was expected; of several classes what their columns begin with, such
            as ``p`` for ``p:late``.
        champion: Column of another model's, or None.
        slices: Columns whose values make slices.
        cluster: Column whose values name rows that are not independent, or None.
        gates: What the evidence must show.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        task: What kind of problem it is.
    """

    label: str
    score: str
    champion: str | None = None
    slices: Sequence[str] = ()
    cluster: str | None = None
    gates: Sequence[Gate] = ()
    error_rate: float = 0.05
    task: Task = CONDITION

    def __post_init__(self) -> None:
        if not 0 < self.error_rate < 0.5:
            raise InvalidDefinitionError(f"The error rate is {self.error_rate}. It lies between 0 and 0.5.")
        if self.champion == self.score:
            raise InvalidDefinitionError(f"Score and champion are both {self.score!r}. Name another column.")
        metrics = METRICS_OF[type(self.task)]
        for gate in self.gates:
            if (metric := getattr(gate, "metric", None)) not in metrics:
                raise InvalidDefinitionError(
                    f"{title(gate)}: {metric} is not measured under this task. Use one of {', '.join(metrics)}."
                )
        rivals = [gate for gate in self.gates if isinstance(gate, Improves | NonInferior)]
        if rivals and self.champion is None:
            raise InvalidDefinitionError(f"{title(rivals[0])}: there is no champion. Name its column with --champion.")

    @property
    def sliced(self) -> tuple[str, ...]:
        """Columns that make slices: those named, and those that gates slice by."""
        named = [column for gate in self.gates if isinstance(gate, EverySlice) for column in gate.by]
        return tuple(dict.fromkeys((*self.slices, *named)))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found, as a project's run would have it on record.

    Attributes:
        wanted: What was asked for.
        rows: Rows that were judged.
        positives: How many of them are 1; None where labels are numbers or classes.
        clusters: How many clusters they form; None where all are independent.
        left_out: Rows that have no label.
        entries: The evidence, each at the position that tables name.
        report: Its tables.
        verdict: ``passed``, ``failed``, or ``ungated``.
    """

    wanted: Wanted
    rows: int
    positives: int | None
    clusters: int | None
    left_out: int
    entries: tuple[Entry, ...] = field(repr=False)
    report: Report = field(repr=False)
    verdict: Answer

    def _repr_html_(self) -> str:
        """The evaluation in a notebook."""
        from sterling.views.fragments import report_fragment

        return report_fragment(self.report, positions=False)


def evaluate_scores(table: pa.Table, wanted: Wanted) -> Evaluation:
    """Evaluate the predictions of a table, by the functions that a run's Evaluate uses.

    Args:
        table: A row for each prediction.
        wanted: What to evaluate.

    Raises:
        DataError: if a column is missing or cannot be judged.

    Example:
        >>> table = pa.table({"late": [0, 0, 1, 1] * 30, "p": [0.1, 0.4, 0.35, 0.8] * 30})
        >>> found = evaluate_scores(table, Wanted("late", "p"))
        >>> found.report.of_metric("roc_auc")[0].value, found.verdict
        (0.75, 'ungated')
    """
    models = [wanted.score, *([wanted.champion] if wanted.champion else [])]
    rows = _rows(table, wanted, models)
    judged = _Judged(
        wanted,
        task_of(wanted.task, rows.classes),
        {name: ref_of(np.ascontiguousarray(rows.scores[name]).tobytes()) for name in models},
    )
    with one_blas_thread():
        facts = (*judged.facts(rows), _stage(rows, judged.refs[wanted.score]))
    entries = _placed(facts)
    verdicts = tuple(_verdict(gate, entries, judged.refs[wanted.score]) for gate in wanted.gates)
    passed = all(verdict.body["passed"] for verdict in verdicts)
    verdict: Answer = ("passed" if passed else "failed") if verdicts else "ungated"
    entries = _placed((*facts, *verdicts, _completed(wanted, judged.refs[wanted.score], verdict)))
    clusters = len(np.unique(rows.clusters)) if wanted.cluster else None
    positives = int(rows.label.sum()) if isinstance(wanted.task, Binary) else None
    return Evaluation(
        wanted,
        len(rows.label),
        positives,
        clusters,
        rows.left_out,
        entries,
        replace(run_report(entries), looks=None, name=wanted.score),
        verdict,
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is judged: the wish, what is measured under its task, and the names of the models by their columns."""

    wanted: Wanted
    measuring: Measuring
    refs: Mapping[str, Ref]

    def facts(self, rows: Predictions) -> Iterator[Evidence]:
        """What a run's evaluation records, of these columns."""
        wanted = self.wanted
        ours, rate = rows.scores[wanted.score], wanted.error_rate
        yield self._resolved()
        yield from self._measured(rows, wanted.score, "candidate", self.measuring.metrics)
        if wanted.champion:
            theirs = rows.scores[wanted.champion]
            yield from self._measured(rows, wanted.champion, "champion", self.measuring.metrics)
            for metric in self.measuring.metrics:
                found = self.measuring.compare(metric, rows.label, ours, theirs, rows.clusters, error_rate=rate)
                yield self._compared(metric, found)
        of_gates = [gate.metric for gate in wanted.gates if isinstance(gate, EverySlice)]
        for column, values in rows.slices.items():
            for value, inside in _parts(rows, values):
                metrics = tuple(dict.fromkeys((*self.measuring.slice_metrics, *of_gates)))
                yield from self._measured(inside, wanted.score, "candidate", metrics, {column: value})
        yield self._fact(
            "calibration.measured", wanted.score, self.measuring.calibration(rows.label, ours, rows.clusters)
        )

        if isinstance(self.measuring, Multiclass):
            by_class = self.measuring.by_class(rows.label, ours, rows.clusters, error_rate=rate)
            yield self._fact("classes.measured", wanted.score, by_class | {"unknown": dict(rows.unknown)})

    def _resolved(self) -> Evidence:
        champion = self.wanted.champion
        reason = f"the column {champion}" if champion else "no column was named"
        body = {"champion": self.refs[champion] if champion else None, "comparable": bool(champion), "reason": reason}
        return self._fact("champion.resolved", self.wanted.score, body)

    def _measured(
        self,
        rows: Predictions,
        name: str,
        role: str,
        metrics: Sequence[str],
        part: Mapping[str, Any] | None = None,
    ) -> Iterator[Evidence]:
        rate = self.wanted.error_rate
        for metric in metrics:
            found = self.measuring.measure(metric, rows.label, rows.scores[name], rows.clusters, error_rate=rate)
            body = {"metric": metric, "role": role, "slice": dict(part or {}), "value": found.value}
            yield self._fact("metric.measured", name, body | _bounds(found))

    def _compared(self, metric: str, found: Measured) -> Evidence:
        champion = self.wanted.champion
        assert champion is not None
        against = {"against": self.refs[champion], "against_name": champion, "against_role": "champion"}
        body = {"metric": metric, **against, "difference": found.value}
        return self._fact("metric.compared", self.wanted.score, body | _bounds(found))

    def _fact(self, kind: str, name: str, body: dict[str, Any]) -> Evidence:
        model = self.refs[name]
        return Evidence(kind, (f"model:{model}", _SUBJECT), {"model": model, "name": name} | body)


def _rows(table: pa.Table, wanted: Wanted, models: Sequence[str]) -> Predictions:
    """The rows as the task has them."""
    if isinstance(wanted.task, OfClasses):
        return predictions_of_classes(
            table, label=wanted.label, scores=models, cluster=wanted.cluster, slices=wanted.sliced
        )
    return predictions_of(
        table, label=wanted.label, scores=models, cluster=wanted.cluster, slices=wanted.sliced,
        shares=isinstance(wanted.task, Binary),
    )  # fmt: skip


def _parts(rows: Predictions, values: Sequence[Any]) -> Iterator[tuple[Any, Predictions]]:
    """Each value of a column, the smallest first and null last, with the rows that have it."""
    names = sorted(set(values), key=lambda value: (value is None, value))
    place = {name: number for number, name in enumerate(names)}
    codes = np.fromiter((place[value] for value in values), dtype=np.int64, count=len(values))
    for name, number in place.items():
        inside = codes == number
        scores = {column: found[inside] for column, found in rows.scores.items()}
        value = name if name is None or isinstance(name, str | int | float | bool) else str(name)
        yield value, Predictions(rows.label[inside], scores, rows.clusters[inside], {}, 0)


def _bounds(found: Measured) -> dict[str, Any]:
    fields = found._asdict()
    del fields["value"]
    return {name: value for name, value in fields.items() if name != "reason" or value is not None}


def _stage(rows: Predictions, candidate: Ref) -> Evidence:
    identity = {
        "stage": "evaluate", "parameters": {"type": "Scores", "rows": len(rows.label)}, "inputs": {"candidate": candidate},
        "seed": 0, "source": "", "libraries": {},
    }  # fmt: skip
    body = {"stage": "evaluate", "title": "evaluate", "key": _KEY, "identity": identity, "outputs": {}, "seconds": 0.0}
    return Evidence("stage.completed", (_SUBJECT, "stage:evaluate"), body)


def _verdict(gate: Gate, entries: Sequence[Entry], candidate: Ref) -> Evidence:
    body = {"gate": to_json(gate), "title": title(gate), **asdict(judge(gate, entries))}
    return Evidence("gate.judged", (f"model:{candidate}", _DECISION), body)


def _completed(wanted: Wanted, candidate: Ref, verdict: str) -> Evidence:
    body = {
        "definition": digest({"label": wanted.label, "score": wanted.score}), "candidate": candidate, "verdict": verdict,
        "keys": [{"title": "evaluate", "key": _KEY}], "decision": _DECISION.partition(":")[2],
    }  # fmt: skip
    return Evidence("run.completed", ("run",), body)


def _placed(facts: Sequence[Evidence]) -> tuple[Entry, ...]:
    """Facts as entries of a chain that nobody keeps, so that tables and verdicts can name their places."""
    return tuple(map(entry_of, Writer("", "", iso(EPOCH)).records(facts, 0, GENESIS)))
