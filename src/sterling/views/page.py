"""The page of a run: one HTML file that asks nothing of the network, for people who make no models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sterling.core.clock import from_micros, iso
from sterling.core.evidence import Entry
from sterling.project.metrics import METRICS, label
from sterling.project.times import moment_micros
from sterling.views.card import not_measured
from sterling.views.charts import (
    Chart,
    Span,
    calibration_chart,
    importance_chart,
    metric_chart,
    slices_chart,
    timeline_chart,
    value_chart,
)
from sterling.views.charts_studies import study_charts
from sterling.views.facts import Run
from sterling.views.fragments import environment
from sterling.views.log import Line, log
from sterling.views.parity import parity_table
from sterling.views.registry import live
from sterling.views.report import Report, run_report
from sterling.views.report_decisions import (
    decisions_table,
    gaps_table,
    groups_tables,
    months_table,
    parts_table,
    policy_table,
)
from sterling.views.report_leakage import folds_table, leakage_table
from sterling.views.report_studies import study_tables
from sterling.views.report_tables import (
    arrow,
    calibration_table,
    comparisons_table,
    data_table,
    features_table,
    leak_effect_table,
    metric_table,
    slices_table,
)
from sterling.views.status import headline, status
from sterling.views.tables import Table
from sterling.views.text import cite, day, number, percent, plural

_MILESTONES = frozenset({
    "project.defined", "as_of.resolved", "model.trained", "stage.failed", "stage.diverged", "model.registered",
    "model.refused", "version.approved", "rollout.started", "version.promoted", "version.paused", "version.rolled_back", "guardrails.judged",
    "version.released", "run.completed",
})  # fmt: skip
_EVENTS = 24


def report_page(entries: Iterable[Entry], definition: Mapping[str, Any], *, run: Run | None = None) -> str:
    """The page of a run.

    Args:
        entries: The ledger, oldest first.
        definition: JSON of the project's definition, the blob that :func:`sterling.views.card.definition_ref` names.
        run: The run; the newest where it is None.

    Returns:
        HTML with its style and its charts inside; no script, no reference to anything outside.

    Raises:
        NoRunError: if no run is completed.
    """
    chain = tuple(entries)
    report = run_report(chain, run)
    project = definition["project"]
    found = status(chain)
    template = environment().get_template("page.html.j2")
    return template.render(
        project=project,
        report=report,
        headline=headline(found.candidate, found.live, report.gates),
        live=live(chain),
        key_facts=tuple(_key_facts(project, report)),
        timeline=_timeline(project, report),
        metrics=tuple(_metrics(report)),
        comparisons=comparisons_table(report),
        calibration=calibration_chart(report.calibration, shares=report.shares) if report.calibration else None,
        calibration_rows=calibration_table(report),
        calibration_parts=parts_table(report),
        calibration_months=months_table(report),
        decided=bool(report.fact("decisions.evaluated")),
        value_curve=value_chart(report),
        decisions=decisions_table(report),
        policy_metrics=policy_table(report),
        gaps=gaps_table(report) if report.fact("fairness.measured") else None,
        groups=groups_tables(report),
        slices=tuple(_slices(report)),
        studies=study_tables(report),
        study_charts=study_charts(report),
        importance=importance_chart(report.features) if _weighed(report) else None,
        features=_narrow(features_table(report)),
        leakage=leakage_table(report),
        folds=folds_table(report),
        data=data_table(report),
        failures=tuple((source, failure) for source in report.sources for failure in source.failures),
        leaks=leak_effect_table(report),
        parity=parity_table(report.run.of("parity.measured")),
        parity_said=_parity(report),
        warnings=report.warnings(),
        not_measured=not_measured(report),
        events=_events(chain),
        earlier=max(0, sum(entry.kind in _MILESTONES for entry in chain) - _EVENTS),
    )


def _key_facts(project: Mapping[str, Any], report: Report) -> Iterator[tuple[str, str, str]]:
    """What a reader asks first: name, value, position."""
    if trained := report.fact("model.trained"):
        body = trained.body
        yield (
            "Trained on",
            plural(body["rows"], "row"),
            f"{day(body['from'])} to {day(body['to'])} {cite(trained.position)}",
        )
    judged = next((m for m in report.measures if m.model == report.run.candidate), None)
    if judged and judged.rows is not None:
        span = f"{project['holdout']['start']} to {project['holdout']['end']} {cite(judged.position)}"
        yield "Judged on", plural(judged.rows, "row"), span
    if report.looks:
        planned = f"of {report.looks.declared} planned {cite(report.looks.positions[-1])}"
        yield "Judged on these rows so far", plural(report.looks.models, "model"), planned
    if spine := report.fact("spine.built"):
        body, said = spine.body, f"of {number(spine.body['matured'])} labels {cite(spine.position)}"
        if "positives" in body:
            yield "Positive", percent(body["positives"] / body["matured"] if body["matured"] else None), said
        elif "classes" in body:
            yield "Classes", number(body["class_count"]), said
        else:
            yield "Mean", number(body["mean"]), said
    if report.features:
        yield "Features", number(len(report.features)), f"from {plural(len(report.sources), 'source')}"


def _timeline(project: Mapping[str, Any], report: Report) -> Chart | None:
    spans = [Span(s.source, s.first, s.last, own=False) for s in report.sources if s.first and s.last]
    if trained := report.fact("model.trained"):
        spans.append(Span("training", trained.body["from"], trained.body["to"], own=True))
    block = project["holdout"]
    start, end = (iso(from_micros(moment_micros(block[side], block["tz"]))) for side in ("start", "end"))
    return timeline_chart([*spans, Span("holdout", start, end, own=True)], report.as_of) if spans else None


def _metrics(report: Report) -> Iterator[dict[str, Any]]:
    for metric in report.metrics:
        yield {
            "label": f"{label(metric)} {arrow(metric)}",
            "meaning": METRICS[metric].meaning if metric in METRICS else "",
            "chart": metric_chart(report, metric),
            "table": metric_table(report, metric),
        }


def _slices(report: Report) -> Iterator[dict[str, Any]]:
    pairs = dict.fromkeys((m.metric, m.slice[0]) for m in report.slices if m.slice)
    for metric, column in pairs:
        yield {
            "title": f"{label(metric)} by {column}",
            "chart": slices_chart(report, metric, column),
            "table": slices_table(report, metric=metric, column=column),
        }


def _parity(report: Report) -> str:
    """Parity in one sentence, so that the table need not be read where every cell is equal."""
    features = [feature for entry in report.run.of("parity.measured") for feature in entry.body["features"]]
    cells, different = (sum(feature[what] for feature in features) for what in ("cells", "different"))
    said = f"{number(different)} of {number(cells)} cells of {plural(len(features), 'feature')} differ"
    return f"{said} between training and what is served."


def _narrow(features: Table) -> Table:
    """Features without what a screen has no room for: what a view reads stands in its rows, its hash in the card."""
    keep = [place for place, name in enumerate(features.columns) if name != "definition"]
    view = features.columns.index("view")
    rows = tuple(
        replace(row, cells=tuple(row.cells[p].partition("[")[0] if p == view else row.cells[p] for p in keep))
        for row in features.rows
    )
    return replace(features, columns=tuple(features.columns[place] for place in keep), rows=rows)


def _weighed(report: Report) -> bool:
    return any(feature.importance is not None for feature in report.features)


def _events(chain: tuple[Entry, ...]) -> tuple[Line, ...]:
    return log(tuple(entry for entry in chain if entry.kind in _MILESTONES)[-_EVENTS:])
