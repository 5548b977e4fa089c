"""Compare two runs: what differs in the definition, the data, the metrics and the gates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sterling.core.errors import SterlingError
from sterling.core.evidence import Entry
from sterling.project.metrics import label
from sterling.views.differences import changes
from sterling.views.environments import places, versions
from sterling.views.facts import Run, runs
from sterling.views.registry import versions as registered_versions
from sterling.views.report import Measure, Report, run_report
from sterling.views.report_studies import champion_table
from sterling.views.tables import Row, Table, in_terminal
from sterling.views.text import cite, interval, number, percent

if TYPE_CHECKING:
    from rich.console import RenderableType


_NULLS = 0.01
"""A share of nulls that moves by less than this is no change worth a line."""


class UnknownRunError(SterlingError, ValueError):
    """A run that is to be compared is not in the ledger."""


@dataclass(frozen=True, slots=True)
class MetricChange:
    """A metric of both candidates.

    Attributes:
        metric: Its name.
        before: The old candidate's, or None.
        after: The new candidate's, or None.
        difference: New minus old, paired on the same rows, or None where no paired difference was recorded.
        low: Lower end of its interval, or None.
        high: Upper end of its interval, or None.
        position: Position of the paired difference, or None where it is not on record.
        rows: Rows that it was computed on just now, or None.
    """

    metric: str
    before: Measure | None
    after: Measure | None
    difference: float | None
    low: float | None
    high: float | None
    position: int | None
    rows: int | None = None


class Paired(NamedTuple):
    """A difference of a metric on the rows that both candidates were judged on, computed from their predictions.

    Attributes:
        difference: New minus old.
        low: Lower end of its interval, or None.
        high: Upper end of its interval, or None.
        rows: How many rows both were judged on.
    """

    difference: float
    low: float | None
    high: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class GateChange:
    """A gate of one run or both.

    Attributes:
        title: The gate.
        before: Old verdict, or None where there was no such gate.
        after: New verdict, or None where there is no such gate.
        positions: Where the verdicts stand.
    """

    title: str
    before: bool | None
    after: bool | None
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two runs.

    Attributes:
        before: Position of the old run.
        after: Position of the new run.
        definition: What changed in the definition, or None where the definitions were not given.
        data: What changed in the data, as sentences.
        features: What changed in the features, as sentences.
        environment: What changed in what the candidates were trained with, as sentences; None where it is not on record.
        metrics: Metrics of both candidates.
        gates: Gates of both.
        same_model: Whether both trained the very same model.
        flips: What was found row by row, or None where the old model was not the champion that the new one met.
    """

    before: int
    after: int
    definition: tuple[str, ...] | None
    data: tuple[str, ...]
    features: tuple[str, ...]
    environment: tuple[str, ...] | None
    metrics: tuple[MetricChange, ...]
    gates: tuple[GateChange, ...]
    same_model: bool
    flips: Entry | None = None


def find(entries: Iterable[Entry], name: str) -> Run:
    """A run by name.

    Args:
        entries: The ledger, oldest first.
        name: ``latest``, ``previous``, a version (``version:2``), or the position of a completed run (``#42``).

    Raises:
        UnknownRunError: if there is no such run; the message lists those there are.
    """
    chain = tuple(entries)
    found = runs(chain)
    wanted: list[Run]
    if name in {"latest", "previous"}:
        wanted = list(found[-1:] if name == "latest" else found[-2:-1])
    elif name.startswith("version:"):
        registered = {v.registered for v in registered_versions(chain) if f"version:{v.version}" == name}
        wanted = [run for run in found if registered & {e.position for e in run.of("model.registered")}]
    else:
        wanted = [run for run in found if name.lstrip("#") == str(run.position)]
    if not wanted:
        known = ", ".join(f"#{run.position}" for run in found) or "none yet; `sterling run` completes one"
        raise UnknownRunError(f"No completed run is {name!r}. Use latest, previous, version:N or a run: {known}.")
    return wanted[-1]


def compare(
    entries: Iterable[Entry],
    before: Run,
    after: Run,
    *,
    definitions: tuple[Any, Any] | None = None,
    locks: tuple[Any, Any] | None = None,
    paired: Mapping[str, Paired] | None = None,
) -> Changes:
    """What differs between two runs.

    Args:
        entries: The ledger, oldest first.
        before: The old run.
        after: The new run.
        definitions: The JSON of both definitions, old and new, as the blobs of ``project.defined`` hold it.
        locks: The locks of both candidates' environments, as the blobs of ``environment.recorded`` hold them.
        paired: Differences on the same rows by metric, for those that are not on record.
    """
    chain = tuple(entries)
    old, new = run_report(chain, before), run_report(chain, after)
    changed = None if definitions is None else changes(*definitions)
    return Changes(
        before.position, after.position, changed, tuple(_data(old, new)), tuple(_features(old, new)),
        _environment(before, after, locks), tuple(_metrics(old, new, paired or {})), tuple(_gates(old, new)),
        before.candidate == after.candidate, _flips(old, new),
    )  # fmt: skip


def render(found: Changes) -> RenderableType:
    """What differs, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    same = " Both trained the same model." if found.same_model else ""
    unread = ("The definitions are no longer in the store.",)
    parts: list[RenderableType] = [Text(f"Run {cite(found.before)} → run {cite(found.after)}.{same}", style="bold"), ""]
    for title, lines in (
        ("Definition", unread if found.definition is None else found.definition),
        ("Data", found.data),
        ("Features", found.features),
        ("Environment", ("not on record",) if found.environment is None else found.environment),
    ):
        parts += [Text(title, style="bold"), *(Text(f"  {line}") for line in lines or ("no difference",)), ""]
    parts.append(in_terminal(_metrics_table(found)))
    parts += [in_terminal(champion_table(found.flips))] if found.flips else []
    parts.append(in_terminal(_gates_table(found)))
    return Group(*parts)


def _metrics_table(found: Changes) -> Table:
    rows = []
    for change in found.metrics:
        values = (number(m.value) if m else "–" for m in (change.before, change.after))
        paired = interval(change.difference, change.low, change.high, signed=True)
        unpaired = "the same model" if found.same_model else "not paired"
        place = "" if change.position is None else cite(change.position)
        known = change.position is not None or change.rows is not None
        rows.append(Row((label(change.metric), *values, paired if known else unpaired, place)))
    now = next((change.rows for change in found.metrics if change.rows is not None), None)
    note = f"Computed now, on the {number(now)} rows that both were judged on." if now else None
    return Table("Metrics", ("", ">before", ">after", ">difference on the same rows", ""), tuple(rows), note=note)


def _gates_table(found: Changes) -> Table:
    rows = (
        Row((_VERDICTS[gate.before], _VERDICTS[gate.after], gate.title, cite(*gate.positions))) for gate in found.gates
    )
    return Table("Gates", ("before", "after", "gate", ""), tuple(rows), empty="Neither run has gates.")


_VERDICTS = {None: "–", True: "✓ passed", False: "✗ failed"}


def _data(old: Report, new: Report) -> Iterator[str]:
    if old.as_of != new.as_of:
        yield f"as of: {old.as_of or '–'} → {new.as_of or '–'}"
    left, right = _snapshots(old), _snapshots(new)
    for source in sorted({*left, *right}):
        before, after = left.get(source), right.get(source)
        if before is None or after is None:
            yield f"{source}: {'added' if before is None else 'removed'}"
        elif before.body["ref"] != after.body["ref"]:
            rows = f"{number(before.body['rows'])} → {number(after.body['rows'])} rows"
            yield f"{source}: {rows} {cite(before.position)} → {cite(after.position)}"


def _snapshots(report: Report) -> Mapping[str, Entry]:
    return {entry.body["source"]: entry for entry in report.run.of("data.snapshotted")}


def _features(old: Report, new: Report) -> Iterator[str]:
    before, after = ({feature.name: feature for feature in report.features} for report in (old, new))
    for name in dict.fromkeys((*after, *before)):
        left, right = before.get(name), after.get(name)
        if left is None or right is None:
            where, what = (right, "added") if left is None else (left, "removed")
            yield f"{name}: {what} {cite(where.position)}" if where else ""
        elif left.definition != right.definition:
            hashes = f"{left.definition[:12]} → {right.definition[:12]}"
            yield f"{name}: another definition, {hashes} {cite(left.position)} → {cite(right.position)}"
        elif abs((left.nulls or 0.0) - (right.nulls or 0.0)) >= _NULLS:
            nulls = f"{percent(left.nulls)} → {percent(right.nulls)}"
            yield f"{name}: nulls {nulls} {cite(left.position)} → {cite(right.position)}"


def environment_of(run: Run) -> Mapping[str, Any] | None:
    """What a run's candidate was trained with; None where it is not on record."""
    trained = (entry for entry in reversed(run.of("stage.completed")) if entry.body["title"] == "train candidate")
    name = next((entry.body.get("environment") for entry in trained), None)
    found = (entry.body for entry in run.of("environment.recorded") if entry.body["environment"] == name)
    return next(found, None)


def _environment(before: Run, after: Run, locks: tuple[Any, Any] | None) -> tuple[str, ...] | None:
    left, right = environment_of(before), environment_of(after)
    if left is None or right is None:
        return None
    lines = [f"{kind}: {detail}" if kind == "threads" else detail for kind, detail in places(left, right)]
    if locks and all(locks):
        old, new = ({d["name"]: d["version"] for d in lock["distributions"] if d["needed"]} for lock in locks)
        lines += [text] if (text := versions(old, new)) else []
    if (left["commit"], left["dirty"]) != (right["commit"], right["dirty"]):
        lines.append(f"commit: {_commit(left)} → {_commit(right)}")
    return tuple(lines)


def _commit(environment: Mapping[str, Any]) -> str:
    commit = (environment["commit"] or "none")[:12]
    return f"{commit} with changes {environment['dirty'][:8]}" if environment["dirty"] else commit


def _metrics(old: Report, new: Report, now: Mapping[str, Paired]) -> Iterator[MetricChange]:
    for metric in dict.fromkeys((*new.metrics, *old.metrics)):
        before, after = _own(old, metric), _own(new, metric)
        recorded = (c for c in new.comparisons if c.metric == metric and c.against == old.run.candidate)
        found = next(recorded, None)
        if found is None and metric in now:
            pair = now[metric]
            yield MetricChange(metric, before, after, pair.difference, pair.low, pair.high, None, pair.rows)
            continue
        yield MetricChange(
            metric, before, after,
            found.difference if found else None, found.low if found else None, found.high if found else None,
            found.position if found else None,
        )  # fmt: skip


def _flips(old: Report, new: Report) -> Entry | None:
    """Rows that the new model decides otherwise than the old one, where that was looked at."""
    found = new.fact("predictions.compared")
    return found if found and found.body["champion"] == old.run.candidate else None


def _own(report: Report, metric: str) -> Measure | None:
    return next((m for m in report.of_metric(metric) if m.model == report.run.candidate), None)


def _gates(old: Report, new: Report) -> Iterator[GateChange]:
    left, right = ({gate.title: gate for gate in report.gates} for report in (old, new))
    for title in dict.fromkeys((*right, *left)):
        both = [gates[title] for gates in (left, right) if title in gates]
        yield GateChange(
            title,
            left[title].passed if title in left else None,
            right[title].passed if title in right else None,
            tuple(gate.position for gate in both),
        )
