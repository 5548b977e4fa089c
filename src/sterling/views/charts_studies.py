"""Charts of what was looked at after the headline metric: what the candidate loses, and how that grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sterling.core.evidence import Entry
from sterling.project.metrics import label, more_is_better
from sterling.project.times import micros
from sterling.views.charts import ACCENT, LIMIT, Chart, as_svg, dots, inline
from sterling.views.report import Report
from sterling.views.text import interval

_MOST = 16
_DAY = 86_400_000_000
Body = Mapping[str, Any]


def study_charts(report: Report) -> dict[str, Chart]:
    """A chart for each study that has something to draw, by the title of its table."""
    found: dict[str, Chart | None] = {}
    for kind, (title, draw) in _DRAWN.items():
        if fact := report.fact(kind):
            found[title] = draw(fact)
    return {title: chart for title, chart in found.items() if chart is not None}


def importance_lost_chart(fact: Entry) -> Chart | None:
    """What is lost when a feature, or all of a view, is shuffled."""
    body = fact.body
    lost = [{**one, "title": f"all of {one['name']}", "own": False} for one in body["views"]]
    lost += [{**one, "title": one["name"], "own": True} for one in body["features"]]
    named = label(body["metric"])
    return _lost(lost[:_MOST], f"{named} lost when shuffled", "value")


def robustness_chart(fact: Entry) -> Chart | None:
    """What is lost when the input goes wrong, the worst first."""
    return _of_metric(fact.body["perturbations"], "when the input goes wrong")


def ablation_chart(fact: Entry) -> Chart | None:
    """What is lost without a view, the worst first."""
    return _of_metric(fact.body["variants"], "when the recipe is trained again without it")


def learning_chart(fact: Entry) -> Chart | None:
    """The metric by how much of the time before the holdout is trained on."""
    return _curve(fact, lambda one: 100 * float(one["share"]), "newest share of the time trained on, %", whole=100.0)


def staleness_chart(fact: Entry) -> Chart | None:
    """The metric by how long before the holdout the training ends."""
    return _curve(fact, lambda one: micros(one["age"]) / _DAY, "days between training and holdout", whole=0.0)


_DRAWN: dict[str, tuple[str, Callable[[Entry], Chart | None]]] = {
    "importance.permuted": ("Importance on the holdout", importance_lost_chart),
    "robustness.measured": ("Robustness", robustness_chart),
    "ablation.measured": ("Ablation", ablation_chart),
    "learning.measured": ("Learning curve", learning_chart),
    "staleness.measured": ("Staleness", staleness_chart),
}


def _of_metric(found: Sequence[Body], when: str) -> Chart | None:
    """Changes of the first metric of the first that has any, so that they share an axis; a loss points to the right."""
    metric = _first(found)
    if metric is None:
        return None
    sign = -1.0 if more_is_better(metric) else 1.0
    rows = []
    for one in found:
        for change in one["metrics"]:
            if change["metric"] == metric and change["difference"] is not None:
                low, high = (None if change[side] is None else sign * change[side] for side in ("low", "high"))
                ends = (high, low) if sign < 0 else (low, high)
                rows.append(
                    {
                        "title": one["title"],
                        "value": sign * change["difference"],
                        "low": ends[0],
                        "high": ends[1],
                        "own": True,
                    }
                )
    rows.sort(key=lambda row: -row["value"])
    return _lost(rows[:_MOST], f"{label(metric)} lost {when}", "value")


def _lost(rows: Sequence[Body], what: str, value: str) -> Chart | None:
    """A dot with its interval for each, beside a line where nothing is lost."""
    shown = [row for row in rows if row[value] is not None]
    if not shown:
        return None
    marks = [
        {"name": row["title"], "value": row[value], "low": row["low"], "high": row["high"], "own": row["own"]}
        for row in shown
    ]
    said = "; ".join(f"{row['title']} {interval(row[value], row['low'], row['high'], signed=True)}" for row in shown)
    return Chart(dots(marks, rule=0.0), f"{what}; right of the dashed line is worse: {said}.")


def _curve(fact: Entry, place: Callable[[Body], float], title: str, *, whole: float) -> Chart | None:
    """How a metric changes against the candidate, which stands at one end of the axis with no change."""
    import altair as alt

    metric = _first(fact.body["variants"])
    if metric is None:
        return None
    points = [{"at": whole, "change": 0.0, "low": 0.0, "high": 0.0}]
    points += [
        {"at": place(one), "change": change["difference"], "low": change["low"], "high": change["high"]}
        for one in fact.body["variants"]
        for change in one["metrics"]
        if change["metric"] == metric and change["difference"] is not None
    ]
    points.sort(key=lambda point: point["at"])
    named = f"change of {label(metric)}"
    x = alt.X("at:Q", title=title, axis=alt.Axis(tickCount=5, grid=False))
    base = alt.Chart(inline(points))
    rule = alt.Chart(inline([{"at": 0.0}])).mark_rule(color=LIMIT, strokeDash=[3, 3], strokeWidth=1.5)
    band = base.mark_area(color=ACCENT, opacity=0.18).encode(x, alt.Y("low:Q", title=named), y2="high:Q")
    line = base.mark_line(color=ACCENT, strokeWidth=2).encode(x, alt.Y("change:Q", title=named))
    dot = base.mark_circle(color=ACCENT, size=60, opacity=1).encode(x, alt.Y("change:Q", title=named))
    bounded = [band] if all(point["low"] is not None for point in points) else []
    layers = [*bounded, rule.encode(alt.Y("at:Q", title=named)), line, dot]
    said = "; ".join(
        f"at {point['at']:g} {interval(point['change'], point['low'], point['high'], signed=True)}" for point in points
    )
    better = "higher" if more_is_better(metric) else "lower"
    return Chart(
        as_svg(alt.layer(*layers), 220), f"{named} against the candidate, {better} is better, by {title}: {said}."
    )


def _first(found: Sequence[Body]) -> str | None:
    """The metric that is drawn: log loss, or the first."""
    names = [change["metric"] for one in found for change in one["metrics"]]
    return "log_loss" if "log_loss" in names else next(iter(names), None)
