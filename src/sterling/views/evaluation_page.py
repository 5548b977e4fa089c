"""The page of an evaluation of somebody's predictions: one HTML file that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Sequence

from sterling.project.metrics import METRICS, label
from sterling.views.charts import calibration_chart, metric_chart, slices_chart
from sterling.views.fragments import environment, verdict_of, without_positions
from sterling.views.report import Report
from sterling.views.report_classes import class_tables
from sterling.views.report_tables import arrow, calibration_table, comparisons_table, metric_table, slices_table


def evaluation_page(report: Report, *, title: str, facts: Sequence[tuple[str, str, str]]) -> str:
    """The page of an evaluation.

    Args:
        report: Its tables.
        title: What was evaluated.
        facts: What a reader asks first: name, value, and a word more.

    Returns:
        HTML with its style and its charts inside; no script, no reference to anything outside.
    """
    pairs = dict.fromkeys((m.metric, m.slice[0]) for m in report.slices if m.slice)
    return environment().get_template("evaluation.html.j2").render(
        title=title,
        report=report,
        headline=verdict_of(report.run.verdict, report.gates),
        facts=facts,
        metrics=[
            {
                "label": f"{label(metric)} {arrow(metric)}",
                "meaning": METRICS[metric].meaning if metric in METRICS else "",
                "chart": metric_chart(report, metric),
                "table": without_positions(metric_table(report, metric)),
            }
            for metric in report.metrics
        ],
        comparisons=without_positions(comparisons_table(report)) if report.comparisons else None,
        calibration=calibration_chart(report.calibration, shares=report.shares) if report.calibration else None,
        calibration_rows=without_positions(calibration_table(report)),
        classes=[without_positions(table) for table in class_tables(report)],
        slices=[
            {
                "title": f"{label(metric)} by {column}",
                "chart": slices_chart(report, metric, column),
                "table": without_positions(slices_table(report, metric=metric, column=column)),
            }
            for metric, column in pairs
        ],
    )  # fmt: skip
