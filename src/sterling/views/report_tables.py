"""The tables of a run that a friend would look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sterling.core.evidence import Entry
from sterling.project.metrics import in_order, label, more_is_better
from sterling.views.report import Comparison, GateRow, Measure, Report, SourceRow
from sterling.views.report_decisions import decision_tables, parts_table
from sterling.views.report_leakage import checked, folds_table, leakage_table
from sterling.views.report_studies import study_tables
from sterling.views.tables import Row, Table, in_terminal
from sterling.views.text import cite, day, decimals_for, interval, listed, number, percent

if TYPE_CHECKING:
    from rich.console import RenderableType

_WORST = 12
_DECIDING = (
    "Models",
    "Paired differences",
    "Decisions",
    "Gates",
    "Leakage",
    "Slices, the worst first",
    "Classes",
    "Confusion of classes",
)


def render_report(report: Report, *, details: bool = False) -> RenderableType:
    """A run's tables for a terminal of 80 columns.

    Args:
        report: The run.
        details: Whether every table is shown, instead of those that decide, with the names of the others.
    """
    from rich.console import Group
    from rich.text import Text

    every = (*all_tables(report), *study_tables(report, brief=True))
    if details:
        return Group(*map(in_terminal, every))
    shown = [table for table in every if table.title in _DECIDING]
    others = listed(dict.fromkeys(table.title[0].lower() + table.title[1:] for table in every if table not in shown))
    more = f"On record too: {others}. `sterling run --details` shows them, and so does the card.\n" if others else ""
    return Group(*map(in_terminal, shown), Text(more))


def all_tables(report: Report) -> tuple[Table, ...]:
    """Models, their differences, decisions, gates, leakage, slices, folds, data, and what leaks would claim where that was measured."""
    slices = slices_table(report, worst=_WORST)
    leaks = [leak_effect_table(report)] if report.fact("leaks.evaluated") else []
    decided = decision_tables(report)
    parts = [parts_table(report)] if report.fact("calibration.analysed") else []
    first = models_table(report), comparisons_table(report), *parts, *decided
    folds = [folds_table(report)] if report.run.of("model.validated") else []
    leakage = [leakage_table(report)] if checked(report) else []
    return *first, gates_table(report), *leakage, slices, *folds, data_table(report), *leaks


def models_table(report: Report) -> Table:
    """Every model's metrics on the whole holdout, the candidate's in bold."""
    rows = []
    for metric in report.metrics:
        for place, measure in enumerate(report.of_metric(metric)):
            name = f"{label(metric)} {arrow(metric)}" if place == 0 else ""
            own = measure.model == report.run.candidate
            model = f"▸ {measure.name}" if own else f"  {measure.name}"
            cells = name, model, estimate(measure), number(measure.rows), cite(measure.position)
            rows.append(Row(cells, strong=own))
    return Table("Models", ("", "model", ">estimate", ">rows", ""), tuple(rows), note=_under_models(report))


def comparisons_table(report: Report) -> Table:
    """The candidate against the best baseline and the champion, on the same rows."""
    rows = []
    for metric in report.metrics:
        best = report.against_best(metric)
        rivals = [c for c in report.comparisons if c.metric == metric and (c == best or c.against_role != "baseline")]
        for place, rival in enumerate(rivals):
            name = f"{label(metric)} {arrow(metric)}" if place == 0 else ""
            cells = name, f"{rival.against_name} ({rival.against_role})", *gained(rival), cite(rival.position)
            rows.append(Row(cells))
    columns = "", f"{report.name} against", ">difference", ">bound", ""
    return Table("Paired differences", columns, tuple(rows), note=_error_rate(report))


def metric_table(report: Report, metric: str) -> Table:
    """One metric of every model."""
    measures = report.of_metric(metric)
    rows = (Row((m.name, estimate(m), cite(m.position)), strong=m.model == report.run.candidate) for m in measures)
    return Table(label(metric), ("model", ">value", ""), tuple(rows))


def gates_table(report: Report) -> Table:
    """Gates with verdicts and reasons."""
    return verdicts_table(report.gates)


def verdicts_table(gates: Iterable[GateRow]) -> Table:
    """The same of any gates that were judged."""
    rows = (
        Row(("✓ passed" if gate.passed else "✗ failed", gate.title, gate.reason, cite(gate.position))) for gate in gates
    )
    return Table("Gates", ("verdict", "gate", "why", ""), tuple(rows), empty="The project has no gates.")


def slices_table(
    report: Report, *, worst: int | None = None, metric: str | None = None, column: str | None = None
) -> Table:
    """The candidate's metrics on slices, the worst first.

    Args:
        report: The run.
        worst: How many rows of each metric and column to show; all where it is None.
        metric: The metric; all where it is None.
        column: The column; all where it is None.
    """
    found: dict[tuple[str, str], list[Row]] = {}
    for measure in report.slices:
        by, value = measure.slice or ("", "")
        if metric in {None, measure.metric} and column in {None, by}:
            cells = label(measure.metric), by, value, number(measure.rows), estimate(measure), cite(measure.position)
            found.setdefault((measure.metric, by), []).append(Row(cells))
    rows = tuple(row for group in found.values() for row in group[:worst])
    left = sum(map(len, found.values())) - len(rows)
    note = f"The worst of each column; {left} more are not shown." if left else None
    columns: tuple[str, ...] = ("metric", "slice", "value", ">rows", ">estimate", "")
    if metric is not None and column is not None:
        columns, rows = (column, *columns[3:]), tuple(Row(row.cells[2:]) for row in rows)
    return Table("Slices, the worst first", columns, rows, empty="No slices: no gate asks for any.", note=note)


def data_table(report: Report) -> Table:
    """Sources, their rows, and what was set aside."""
    rows = (
        Row(
            (
                source.source, number(source.rows), day(source.last), number(source.quarantined),
                number(source.nulled), number(source.hidden), cite(*_positions(source)),
            )
        )
        for source in report.sources
    )  # fmt: skip
    note = "Quarantined are rows. Nulled are cells; so are hidden ones, not yet known when the data were counted."
    if (leaks := report.fact("leaks.measured")) and leaks.body["changed"] is not None:
        note += (
            f" Without the times at which they were known, {percent(leaks.body['changed'])} of the rows with a label would "
            f"have other features {cite(leaks.position)}."
        )
    columns = "source", ">rows", "last event", ">quarantined", ">nulled", ">hidden", ""
    return Table("Data", columns, tuple(rows), empty="no snapshot is on record", note=note)


def features_table(report: Report) -> Table:
    """The vector's features: nulls, how much of their windows was known, and what ignoring availability would change."""
    rows = (
        Row(
            (
                f.name, f.view, f.kind, percent(f.nulls), percent(f.known), percent(f.leaks), percent(f.importance),
                f.definition[:12], cite(f.position),
            )
        )
        for f in report.features
    )  # fmt: skip
    columns = "feature", "view", "kind", ">nulls", ">known", ">leaks", ">importance", "definition", ""
    return Table("Features", columns, tuple(rows), empty="no features are on record", note=leaks_note(report))


def leaks_note(report: Report) -> str | None:
    """What a join that knows nothing of availability would have let in."""
    leaks = report.fact("leaks.measured")
    if leaks is None or leaks.body["changed"] is None:
        return None
    return (
        "Known is the share of the windows' events that were known at prediction. Leaks is the share of rows that a join on "
        f"the time of the event alone would have filled with what nobody knew: {percent(leaks.body['changed'])} of all rows in "
        f"some feature {cite(leaks.position)}."
    )


def leak_effect_table(report: Report) -> Table:
    """What an evaluation with a one-clock join would claim of the same recipe, and what would be left of it."""
    fact = report.fact("leaks.evaluated")
    rows, note = [], None
    for one in in_order_of(fact):
        difference = interval(one["difference"], one["low"], one["high"], signed=True)
        said = "undefined" if one["difference"] is None else difference
        cells = (
            f"{label(one['metric'])} {arrow(one['metric'])}",
            *(number(one[key]) for key in ("claimed", "had")),
            said,
        )
        rows.append(Row((*cells, number(one["candidate"]), cite(fact.position) if fact else "")))
    if fact:
        note = (
            f"The recipe of {fact.body['name']}, trained as if every event were known when it happens. Claimed: judged on such "
            "features too. Had: the same model on what was known. Candidate: trained and judged on what was known. In "
            "brackets: 95 % intervals of the paired difference."
        )
    return Table(
        "What leaks would claim", ("", ">claimed", ">had", ">claimed − had", ">candidate", ""), tuple(rows), note=note
    )


def in_order_of(fact: Entry | None) -> tuple[Mapping[str, Any], ...]:
    """The metrics of a fact, in the order of every table."""
    metrics = {one["metric"]: one for one in fact.body["metrics"]} if fact else {}
    return tuple(metrics[name] for name in in_order(metrics))


def calibration_table(report: Report) -> Table:
    """Predicted and observed shares, bin by bin."""
    rows = (Row((number(b.predicted), interval(b.observed, b.low, b.high), number(b.rows))) for b in report.calibration)
    return Table("Calibration", (">predicted", ">observed", ">rows"), tuple(rows))


def estimate(measure: Measure) -> str:
    """A measured value with its interval, or that it is undefined."""
    if measure.value is None:
        return "undefined"
    return interval(measure.value, measure.low, measure.high)


def gained(rival: Comparison) -> tuple[str, str]:
    """A difference to another model, and the bound on its worse side."""
    if rival.difference is None:
        return "undefined", ""
    side = "≥" if more_is_better(rival.metric) else "≤"
    places = decimals_for(rival.difference, rival.bound)
    bound = "" if rival.bound is None else f"{side} {number(rival.bound, decimals=places, signed=True)}"
    return number(rival.difference, decimals=places, signed=True), bound


def arrow(metric: str) -> str:
    """Which way is better.

    Example:
        >>> arrow("roc_auc"), arrow("log_loss")
        ('↑', '↓')
    """
    return "↑" if more_is_better(metric) else "↓"


def _positions(source: SourceRow) -> tuple[int, ...]:
    return (source.snapshot,) if source.validated is None else (source.snapshot, source.validated)


def _confidence(report: Report) -> str | None:
    shares = sorted({m.confidence for m in report.measures if m.confidence is not None})
    return (
        f"▸ the candidate. In brackets: {100 * shares[0]:g} % intervals. ↑ more is better, ↓ less is better."
        if shares
        else None
    )


def _under_models(report: Report) -> str | None:
    """How to read the table of models, and how often its rows were looked at."""
    looks = report.looks
    beware = f" Beware: {looks.warning}." if looks and looks.warning else ""
    return " ".join(filter(None, (_confidence(report), f"{looks.said}{beware}" if looks else None))) or None


def _error_rate(report: Report) -> str | None:
    rates = sorted({c.error_rate for c in report.comparisons if c.error_rate is not None})
    champion = any(c.against_role == "champion" for c in report.comparisons)
    baseline = any(c.against_role == "baseline" for c in report.comparisons)
    rivals = " and ".join(["the champion"] * champion + ["the best baseline of each metric"] * baseline)
    return (
        f"Against {rivals}. Each bound is one-sided and errs with a chance of {100 * rates[0]:g} %." if rates else None
    )
