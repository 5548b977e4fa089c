"""Decisions of a run as tables: what each policy does and is worth, groups side by side, and calibration taken apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sterling.core.evidence import Entry
from sterling.project.metrics import DECISIONS, label
from sterling.views.report import Comparison, Measure, Report
from sterling.views.tables import Row, Table
from sterling.views.text import cite, interval, number, percent

_LEFT_OUT = {"nobody": 0.0, "everybody": 1.0}
RATES = {
    "selection_rate": "selection rate",
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
    "precision": "precision",
    "calibration_gap": "calibration gap",
}


def decision_tables(report: Report) -> tuple[Table, ...]:
    """What the terminal shows of decisions and groups; nothing where nothing is decided and no attribute is sensitive."""
    decided = [decisions_table(report), policy_table(report)] if report.fact("decisions.evaluated") else []
    fair = [gaps_table(report)] if report.fact("fairness.measured") else []
    return (*decided, *fair)


def decisions_table(report: Report) -> Table:
    """Every model under its policy, and acting on nobody and on everybody, on the same rows."""
    rows = []
    for entry in sorted(report.run.of("decisions.evaluated"), key=lambda e: e.body["role"] != "candidate"):
        body = entry.body
        own = body["role"] == "candidate"
        count, total = body["confusion"], body["rows"]
        precision = _share(count["true_positive"], body["acted"])
        recall = _share(count["true_positive"], count["true_positive"] + count["false_negative"])
        worth = _measured(report, "value", body["model"], body["role"])
        shown = interval(worth.value, worth.low, worth.high) if worth and worth.value is not None else "–"
        name = f"{'▸' if own else ' '} {body['name']}"
        cells = name, percent(_share(body["acted"], total)), number(precision), number(recall), shown
        rows.append(Row((*cells, cite(entry.position)), strong=own))
    rows += list(_without_model(report))
    columns = "", ">acted on", ">precision", ">recall", ">value", ""
    return Table(
        "Decisions",
        columns,
        tuple(rows),
        empty="Nothing is decided: the project has no policy.",
        note=policy_note(report),
    )


def policy_table(report: Report) -> Table:
    """The candidate's metrics at its policy, and how they differ from others on the same rows."""
    rows = []
    for metric in DECISIONS:
        own = _measured(report, metric, report.run.candidate, "candidate")
        if own is None:
            continue
        shown = "undefined" if own.value is None else interval(own.value, own.low, own.high)
        rivals = [c for c in report.decided_against if c.metric == metric and _is_shown(report, c)]
        rows.append(Row((_named(metric), shown, "", cite(own.position)), strong=True))
        rows += [Row((f"  against {rival.against_name}", *_gained(rival), cite(rival.position))) for rival in rivals]
    note = (
        "Below each metric: the candidate minus the other, on the same rows, and the one-sided bound on the worse side. In "
        "brackets: 95 % intervals."
    )
    return Table("Metrics of the decisions", ("", ">estimate", ">bound", ""), tuple(rows), note=note)


def policy_note(report: Report) -> str | None:
    """How the candidate decides, and how far the best threshold of the holdout is from it."""
    entry = next((e for e in report.run.of("decisions.evaluated") if e.body["role"] == "candidate"), None)
    if entry is None:
        return None
    policy = entry.body["policy"]
    chosen = next((e for e in report.run.of("policy.chosen") if e.body["model"] == report.run.candidate), None)
    where = f" {cite(chosen.position)}" if chosen else ""
    if policy["type"] == "top":
        said = f"▸ acts on the {policy['k']:,} highest scores of each {policy['per'] or 'moment of prediction'}{where}."
    else:
        said = f"▸ acts from a score of {number(policy['threshold'])} on: {policy['why']}{where}."
    if entry.body["unit"]:
        said += f" Value in {entry.body['unit']}."
    if curve := entry.body["curve"]:
        best = curve["best"]
        found = interval(best["value"], best["low"], best["high"])
        said += (
            f" On the holdout itself the value would have been highest from {number(min(best['threshold'], 1.0))} on, {found}: "
            "an interval that allows for the choice."
        )
    return said


def gaps_table(report: Report) -> Table:
    """The largest difference between two groups of each attribute, rate by rate."""
    rows, notes = [], []
    for entry in report.run.of("fairness.measured"):
        rows.append(Row((f"by {entry.body['attribute']}", "", "", "", cite(entry.position)), strong=True))
        rows += [Row((f"  {RATES[rate['rate']]}", *_apart(rate), "")) for rate in entry.body["rates"]]
        notes.append(_sizes(entry.body))
        notes += [entry.body["warning"]] if entry.body["warning"] else []
    notes.append(
        "The pair of groups with the highest and the lowest rate; in brackets: 95 % intervals that allow for picking it, and "
        "the one-sided bound of the ratio of the lowest to the highest."
    )
    columns = "", "groups", ">difference", ">ratio", ""
    return Table(
        "Groups that differ most", columns, tuple(rows), empty="No attribute is sensitive.", note=" ".join(notes)
    )


def groups_tables(report: Report) -> tuple[Table, ...]:
    """Every rate of every group, a table for each attribute."""
    return tuple(_groups(entry) for entry in report.run.of("fairness.measured"))


def parts_table(report: Report) -> Table:
    """The candidate's calibration taken apart."""
    fact = report.fact("calibration.analysed")
    rows = (
        tuple(Row((name, shown, said, cite(fact.position))) for name, shown, said in _parts(fact.body)) if fact else ()
    )
    note = (
        "The Brier score is reliability − resolution + uncertainty, and what bins hide; each without the bias of finitely many "
        "rows. Intercept and slope: of the log odds. In brackets: 95 % intervals."
    )
    return Table("Calibration taken apart", ("", ">estimate", "", ""), rows, empty="not measured", note=note)


def months_table(report: Report) -> Table:
    """Predicted and observed shares, month by month."""
    fact = report.fact("calibration.analysed")
    rows = tuple(
        Row((
            one["month"], number(one["rows"]), percent(one["predicted"]), percent(one["observed"]),
            interval(one["gap"]["value"], one["gap"]["low"], one["gap"]["high"], signed=True), cite(fact.position),
        ))
        for one in (fact.body["months"] if fact else ())
        if fact
    )  # fmt: skip
    columns = "month", ">rows", ">predicted", ">observed", ">predicted − observed", ""
    return Table("Calibration by month", columns, rows, empty="not measured")


def _parts(body: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    brier, squared = body["brier"], body["squared_error"]
    yield "Brier score ↓", number(brier["brier"]), ""
    yield "  reliability ↓", number(brier["reliability"]), "squared gap to what happened"
    yield "  resolution ↑", number(brier["resolution"]), "what the model tells apart"
    yield "  uncertainty", number(brier["uncertainty"]), "score of the overall share"
    if squared is not None:
        yield "calibration error ↓", number(max(0.0, squared) ** 0.5), "root of the squared gap"
    if body["slope"] is None:
        yield "slope", "undefined", body["reason"]
        return
    yield "intercept", _reached(body["intercept"]), "0 is right on average"
    yield "slope", _reached(body["slope"]), "1 is right, less overconfident"


def _reached(found: Mapping[str, Any]) -> str:
    return interval(found["value"], found["low"], found["high"])


def _without_model(report: Report) -> Iterator[Row]:
    own = _measured(report, "value", report.run.candidate, "candidate")
    for rival in report.decided_against:
        if rival.against_role in _LEFT_OUT and own and own.value is not None and rival.difference is not None:
            acted, worth = _LEFT_OUT[rival.against_role], own.value - rival.difference
            exact = 0.0 if abs(worth) < 1e-9 * max(1.0, abs(own.value)) else worth
            yield Row((f"  {rival.against_role}", percent(acted), "", "", number(exact), cite(rival.position)))


def _measured(report: Report, metric: str, model: str, role: str) -> Measure | None:
    return next((m for m in report.decided if (m.metric, m.model, m.role) == (metric, model, role)), None)


def _is_shown(report: Report, rival: Comparison) -> bool:
    """Of baselines only the one that is hardest to beat."""
    if rival.against_role != "baseline":
        return True
    own = [c for c in report.decided_against if c.metric == rival.metric and c.against_role == "baseline"]
    better = DECISIONS[rival.metric].more_is_better
    return rival == min(own, key=lambda c: (c.difference is None, (c.difference or 0.0) * (1 if better else -1)))


def _gained(rival: Comparison) -> tuple[str, str]:
    if rival.difference is None:
        return "undefined", ""
    shown = interval(rival.difference, rival.low, rival.high, signed=True)
    if rival.metric == "selection_rate" or rival.bound is None:
        return shown, ""
    side = "≥" if DECISIONS[rival.metric].more_is_better else "≤"
    return shown, f"{side} {number(rival.bound, signed=True)}"


def _named(metric: str) -> str:
    arrow = "" if metric == "selection_rate" else " ↑" if DECISIONS[metric].more_is_better else " ↓"
    return f"{label(metric)}{arrow}"


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _apart(rate: Mapping[str, Any]) -> tuple[str, str, str]:
    gap, ratio = rate["difference"], rate["ratio"]
    if gap["value"] is None:
        return gap["reason"], "undefined", ""
    value, low, high = (number(gap[end], decimals=3) for end in ("value", "low", "high"))
    shown = "–"
    if ratio is not None and ratio["value"] is not None:
        shown = f"{number(ratio['value'], decimals=2)} (≥ {number(ratio['bound'], decimals=2)})"
    return f"{_value(gap['most'])} – {_value(gap['least'])}", f"{value} ({low}–{high})", shown


def _sizes(body: Mapping[str, Any]) -> str:
    least = min(body["groups"], key=lambda group: group["rows"])
    held = ", which no feature reads," if body["held_out"] else ""
    return (
        f"The smallest group of {body['attribute']}{held} is {_value(least['value'])} with {least['rows']:,} rows; a group counts "
        f"where {body['min_rows']:,} rows enter its rate."
    )


def _groups(entry: Entry) -> Table:
    body = entry.body
    rates = body["rates"]
    rows = []
    for place, group in enumerate(body["groups"]):
        cells = [_of_group(rate["groups"][place]) for rate in rates]
        rows.append(Row((_value(group["value"]), number(group["rows"]), *cells, cite(entry.position))))
    columns = (body["attribute"], ">rows", *(f">{RATES[rate['rate']]}" for rate in rates), "")
    note = f"* fewer than {body['min_rows']:,} rows or 8 clusters enter: too few to compare."
    return Table(f"By {body['attribute']}", columns, tuple(rows), note=note)


def _of_group(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "–"
    if found["reason"] is not None:
        return f"{number(found['value'])} *"
    return interval(found["value"], found["low"], found["high"])


def _value(group: object) -> str:
    return "missing" if group is None else str(group)
