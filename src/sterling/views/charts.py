"""Charts of a run as SVG that takes its colours from the page around it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sterling.project.metrics import label
from sterling.views.report import Bin, FeatureRow, Measure, Report
from sterling.views.text import day, interval, moment, number, percent

WIDTH = 340
MUTED, GRID, ACCENT, OTHER, LIMIT = "#5f6873", "#d8dce1", "#1d5fb4", "#87909b", "#b3541e"
_ROW = 26
_TOP_FEATURES = 15
_WORST = 16


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        svg: The picture, as SVG for a page whose style sheet gives the colours.
        description: What it shows, in words.
    """

    svg: str
    description: str


def metric_chart(report: Report, metric: str) -> Chart:
    """A metric of every model: a dot with its interval."""
    measures = [m for m in report.of_metric(metric) if m.value is not None]
    rows = [_dot(m, m.name, own=m.model == report.run.candidate) for m in measures]
    said = "; ".join(f"{m.name} {interval(m.value, m.low, m.high)}" for m in measures)
    return Chart(dots(rows), f"{label(metric)} of each model with its interval: {said}.")


def slices_chart(report: Report, metric: str, column: str) -> Chart:
    """The candidate's metric on the worst slices of a column, with the floor that a gate asks for."""
    found = [m for m in report.slices if m.metric == metric and m.slice and m.slice[0] == column]
    shown = [m for m in found if m.value is not None][:_WORST]
    floor = _floor(report, metric, column)
    rows = [_dot(m, m.slice[1] if m.slice else "", own=True) for m in shown]
    said = "; ".join(f"{m.slice[1] if m.slice else ''} {number(m.value)}" for m in shown)
    asked = "" if floor is None else f" The gate asks for {number(floor)}."
    return Chart(dots(rows, rule=floor), f"{label(metric)} by {column}, the worst first: {said}.{asked}")


def calibration_chart(bins: Iterable[Bin], *, shares: bool = True) -> Chart:
    """Observed against predicted shares, or numbers, beside the diagonal where both agree."""
    import altair as alt

    found = list(bins)
    top = max([0.0, *(max(b.predicted, b.observed, b.high or 0) for b in found)])
    least = 0.0 if shares else min([top, *(min(b.predicted, b.observed) for b in found)])
    what, words = ("share", percent) if shares else ("mean", number)
    axis = alt.Axis(format="%", tickCount=5) if shares else alt.Axis(tickCount=5)
    rows = [{"predicted": b.predicted, "observed": b.observed, "low": b.low, "high": b.high} for b in found]
    scale = alt.Scale(domain=[least, top], nice=True)
    x = alt.X("predicted:Q", title=f"predicted {what}", scale=scale, axis=axis)
    y = alt.Y("observed:Q", title=f"observed {what}", scale=scale, axis=axis)
    base = alt.Chart(inline(rows))
    ends = [{"predicted": at, "observed": at} for at in (least, top)]
    diagonal = alt.Chart(inline(ends)).mark_line(color=OTHER, strokeDash=[4, 4], strokeWidth=1).encode(x=x, y=y)
    whisker = base.mark_rule(color=ACCENT, strokeWidth=1.5).encode(
        x=x, y=alt.Y("low:Q", title=f"observed {what}"), y2="high:Q"
    )
    dot = base.mark_circle(color=ACCENT, size=55, opacity=1).encode(x=x, y=y)
    said = "; ".join(f"{words(b.predicted)} predicted, {words(b.observed)} observed" for b in found)
    return Chart(as_svg(alt.layer(diagonal, whisker, dot), 300), f"Calibration, bin by bin: {said}.")


def value_chart(report: Report) -> Chart | None:
    """The value of acting from each threshold on, with its band and the threshold of the policy; None without a value."""
    import altair as alt

    fact = next((e for e in report.run.of("decisions.evaluated") if e.body["curve"]), None)
    if fact is None:
        return None
    points = [point for point in fact.body["curve"]["points"] if point["threshold"] <= 1]
    x = alt.X("threshold:Q", title="act from this score on", axis=alt.Axis(tickCount=5))
    title = f"value, {fact.body['unit']}"
    base = alt.Chart(inline(points))
    band = base.mark_area(color=ACCENT, opacity=0.18).encode(x, alt.Y("low:Q", title=title), y2="high:Q")
    line = base.mark_line(color=ACCENT, strokeWidth=2).encode(x, alt.Y("value:Q", title=title))
    layers = [*([band] if points[0]["low"] is not None else []), line]
    threshold = fact.body["policy"].get("threshold")
    asked = ""
    if threshold is not None and threshold <= 1:
        rule = alt.Chart(inline([{"at": threshold}])).mark_rule(color=LIMIT, strokeDash=[3, 3], strokeWidth=1.5)
        layers.append(rule.encode(alt.X("at:Q", title="act from this score on")))
        asked = f" The dashed line is the policy's, {number(threshold)}."
    best = fact.body["curve"]["best"]
    said = (
        f"highest from {number(min(best['threshold'], 1.0))} on, {interval(best['value'], best['low'], best['high'])}"
    )
    return Chart(as_svg(alt.layer(*layers), 260), f"Value of 1,000 decisions by threshold: {said}.{asked}")


def importance_chart(features: Iterable[FeatureRow]) -> Chart:
    """How much the model leans on each feature, the strongest first."""
    import altair as alt

    measured = ((f.importance, f.name) for f in features if f.importance is not None)
    top = sorted(measured, reverse=True)[:_TOP_FEATURES]
    rows = [{"name": name, "share": share} for share, name in top]
    y = alt.Y("name:N", sort=None, axis=None)
    x = alt.X("share:Q", title="share of the model's gain", axis=alt.Axis(format="%", tickCount=5))
    base = alt.Chart(inline(rows))
    bars = base.mark_bar(color=ACCENT, height=7, yOffset=7).encode(x=x, y=y)
    names = base.mark_text(color=MUTED, align="left", dy=-4, fontSize=12).encode(x=alt.value(0), y=y, text="name:N")
    said = "; ".join(f"{name} {percent(share)}" for share, name in top)
    return Chart(as_svg(alt.layer(bars, names), 50 + 32 * len(rows)), f"Importance of features: {said}.")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time.

    Attributes:
        name: What it is.
        start: ISO 8601.
        end: ISO 8601.
        own: Whether it stands out.
    """

    name: str
    start: str
    end: str
    own: bool


def timeline_chart(spans: Iterable[Span], as_of: str | None) -> Chart:
    """Which times the sources, the training and the holdout cover, and the time as of which data count."""
    import altair as alt

    found = list(spans)
    rows = [{"name": s.name, "start": _utc(s.start), "end": _utc(s.end), "own": s.own} for s in found]
    y = alt.Y("name:N", sort=None, title=None, axis=_names())
    axis = alt.Axis(tickCount=4, format="%b %Y")
    x = alt.X("start:T", title=None, axis=axis, scale=alt.Scale(type="utc"))
    colour = alt.Color("own:N", scale=alt.Scale(domain=[True, False], range=[ACCENT, OTHER]), legend=None)
    layers = [alt.Chart(inline(rows)).mark_bar(height=9).encode(x, y, colour, x2="end:T")]
    if as_of is not None:
        line = alt.Chart(inline([{"at": _utc(as_of)}])).mark_rule(color=LIMIT, strokeDash=[3, 3], strokeWidth=1.5)
        layers.append(line.encode(alt.X("at:T", title=None, axis=axis, scale=alt.Scale(type="utc"))))
    said = "; ".join(f"{s.name} from {day(s.start)} to {day(s.end)}" for s in found)
    marked = f" The dashed line is the time as of which data count, {moment(as_of)}." if as_of else ""
    return Chart(as_svg(alt.layer(*layers), 30 + 22 * len(rows)), f"Times covered: {said}.{marked}")


def _utc(text: str) -> int:
    """Milliseconds since 1970, so that no machine's time zone moves a bar."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _dot(measure: Measure, name: str, *, own: bool) -> dict[str, Any]:
    return {"name": name, "value": measure.value, "low": measure.low, "high": measure.high, "own": own}


def dots(rows: list[dict[str, Any]], rule: float | None = None) -> str:
    """A dot and a whisker a row, the candidate's in the accent colour, and a dashed line where one is asked for."""
    import altair as alt

    base = alt.Chart(inline(rows))
    colour = alt.Color("own:N", scale=alt.Scale(domain=[True, False], range=[ACCENT, OTHER]), legend=None)
    y = alt.Y("name:N", sort=None, title=None, axis=_names())
    scale = alt.Scale(zero=False, nice=True)
    axis = alt.Axis(tickCount=4, labelOverlap=True, labelSeparation=6)
    x = alt.X("value:Q", title=None, scale=scale, axis=axis)
    whisker = base.mark_rule(strokeWidth=2).encode(
        alt.X("low:Q", title=None, scale=scale, axis=axis), y, colour, x2="high:Q"
    )
    dot = base.mark_circle(size=80, opacity=1).encode(x, y, colour)
    layers: list[Any] = [whisker, dot]
    if rule is not None:
        line = alt.Chart(inline([{"at": rule}])).mark_rule(color=LIMIT, strokeDash=[3, 3], strokeWidth=1.5)
        layers.insert(0, line.encode(alt.X("at:Q", title=None, scale=scale, axis=axis)))
    return as_svg(alt.layer(*layers), 30 + _ROW * len(rows))


def _floor(report: Report, metric: str, column: str) -> float | None:
    gates = (g.definition for g in report.gates if g.type == "EverySlice")
    limits = (
        g["at_least"] if g["at_least"] is not None else g["at_most"]
        for g in gates
        if g["metric"] == metric and column in g["by"]
    )
    floors = map(float, limits)
    return next(floors, None)


def _names() -> Any:
    import altair as alt

    return alt.Axis(labelLimit=215, ticks=False, domain=False, grid=False, labelPadding=8)


def inline(rows: Sequence[Mapping[str, object]]) -> Any:
    """Rows as a chart takes them, inside of its own description."""
    import altair as alt

    return alt.InlineData(values=list(rows))


def as_svg(chart: Any, height: int) -> str:
    """A chart drawn without a network, with colours that the page's style sheet replaces."""
    import altair as alt
    import vl_convert

    text = {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    lines = {"gridColor": GRID, "domainColor": GRID, "tickColor": GRID, "domain": False}
    drawn = (
        chart.properties(width=WIDTH, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"))
        .configure(background="transparent", font="sans-serif", padding={"left": 12, "right": 6, "top": 4, "bottom": 4})
        .configure_view(stroke=None)
        .configure_axis(**text, labelFlush=False, **lines)
    )
    spec = json.loads(drawn.to_json(validate=False))
    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=version)
    return svg
