"""The tables of what was looked at after the headline metric: classes, segments, errors, importance, robustness, behaviour, flips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sterling.core.evidence import Entry
from sterling.core.refs import short
from sterling.project.metrics import label, more_is_better
from sterling.views.report import Report
from sterling.views.report_classes import class_tables
from sterling.views.report_quantiles import quantile_tables
from sterling.views.tables import Row, Table
from sterling.views.text import cite, interval, moment, number, percent, plural

_SHORT = 5
Body = Mapping[str, Any]


def study_tables(report: Report, *, brief: bool = False) -> tuple[Table, ...]:
    """The tables of classes and of each study of a run, and none for what was not studied.

    Args:
        report: The run.
        brief: Whether only the first rows of each table are shown.
    """
    return tuple(_tables(report, _SHORT if brief else None))


def _tables(report: Report, most: int | None) -> Iterator[Table]:
    yield from class_tables(report, most)
    yield from quantile_tables(report)
    if fact := report.fact("slices.discovered"):
        yield discovered_table(fact, most)
        if "larger" in fact.body:
            yield larger_table(fact, most)
    if fact := report.fact("errors.analysed"):
        yield confusion_table(fact) if "confusion" in fact.body else residuals_table(fact)
        yield calibration_by_table(fact, most)
        yield mistakes_table(fact, most)
    if fact := report.fact("importance.permuted"):
        yield permuted_table(fact, report.fact("attributions.measured"), most)
    if fact := report.fact("robustness.measured"):
        yield robustness_table(fact, most)
    if fact := report.fact("behaviour.tested"):
        yield behaviour_table(fact)
    for kind, title, column in _TRAINED_AGAIN:
        if fact := report.fact(kind):
            yield retrained_table(fact, title, column, most)
    if fact := report.fact("predictions.compared"):
        yield champion_table(fact, most)


_TRAINED_AGAIN = (
    ("ablation.measured", "Ablation", "trained"),
    ("learning.measured", "Learning curve", "trained on the"),
    ("staleness.measured", "Staleness", "training"),
)


def discovered_table(fact: Entry, most: int | None = None) -> Table:
    """Segments in which the candidate is wrong."""
    body, title = fact.body, "Discovered slices"
    if body["reason"]:
        return Table(title, ("",), (), empty=f"Not searched: {body['reason']} {cite(fact.position)}")
    rows = [
        Row((
            ", ".join(f"{name} {value}" for name, value in one["where"]), one["direction"], number(one["rows"]),
            number(one["predicted"]), number(one["observed"]), interval(one["gap"], one["low"], one["high"], signed=True),
            cite(fact.position),
        ))
        for one in body["slices"]
    ]  # fmt: skip
    rate = body["error_rate"] / (2 if "larger" in body else 1)
    chance = f"with a chance of {100 * rate:g} % that any is named where none is off"
    empty = f"None of {number(body['tried'])} segments is off by more than chance, {chance} {cite(fact.position)}."
    note = (
        f"Of {number(body['tried'])} segments, {chance}. Gap: observed minus predicted, once all scores are corrected together; "
        "its interval holds for all segments at once."
    )
    columns = "where", "scores are", ">rows", ">predicted", ">observed", ">gap", ""
    return _table(title, columns, rows, most, empty=empty, note=note)


def larger_table(fact: Entry, most: int | None = None) -> Table:
    """Segments in which errors are larger than elsewhere, which may lie in the label and not in the candidate."""
    body = fact.body
    rows = [
        Row((
            ", ".join(f"{name} {value}" for name, value in one["where"]), number(one["rows"]), number(one["rmse"]),
            number(one["mae"]), interval(one["gap"], one["low"], one["high"], signed=True), cite(fact.position),
        ))
        for one in body["larger"]
    ]  # fmt: skip
    chance = f"with a chance of {50 * body['error_rate']:g} % that any is named where none is"
    empty = (
        f"None of {number(body['tried'])} segments has larger errors than chance gives, {chance} {cite(fact.position)}."
    )
    note = (
        f"Of all rows RMSE is {number(body['rmse'])}, MAE {number(body['mae'])}; {chance}. More: mean absolute error minus that "
        "of all rows. It may lie in what is predicted, which varies more there, and not in the model."
    )
    return _table(
        "Where errors are larger", ("where", ">rows", ">RMSE", ">MAE", ">more", ""), rows, most, empty=empty, note=note
    )


def residuals_table(fact: Entry) -> Table:
    """How large errors are: quantiles of what was measured minus what was predicted."""
    body = fact.body["residuals"]
    rows = [
        Row((f"{100 * float(level):g} %", number(value, signed=True), cite(fact.position)))
        for level, value in body["quantiles"].items()
    ]
    note = (
        f"Measured minus predicted, on {number(fact.body['rows'])} rows: {number(body['mean'], signed=True)} in the mean, RMSE "
        f"{number(body['rmse'])}, MAE {number(body['mae'])}. One row in a hundred makes {percent(body['share_of_worst'])} of the "
        "squared error."
    )
    return Table("Residuals", ("share of rows at or below", ">residual", ""), tuple(rows), note=note)


def confusion_table(fact: Entry) -> Table:
    """Decisions at the threshold against what happened."""
    body = fact.body["confusion"]
    counts = [[body["true_positives"], body["false_negatives"]], [body["false_positives"], body["true_negatives"]]]
    names = "it happened", "it did not"
    rows = [
        Row((name, *map(number, row), f"{percent(row[place] / sum(row) if sum(row) else None)}", cite(fact.position)))
        for place, (name, row) in enumerate(zip(names, counts, strict=True))
    ]
    note = f"Predicted where {_decided(body)}."
    return Table("Confusion", ("", ">predicted", ">not predicted", ">right", ""), tuple(rows), note=note)


def _decided(body: Body) -> str:
    """What decides, in words; a capacity has no threshold."""
    if body["threshold"] is None:
        return f"the policy acts on a row: {body['chosen']}"
    return f"the score is {number(body['threshold'])} or more: {body['chosen']}"


def calibration_by_table(fact: Entry, most: int | None = None) -> Table:
    """Observed minus predicted share over time, and by the slices that gates name."""
    found = sorted(fact.body["calibration"], key=lambda one: one["by"] not in _PERIODS)
    by = list(dict.fromkeys(one["by"] for one in found))
    rows = []
    for column in by:
        parts = [one for one in found if one["by"] == column]
        if column not in _PERIODS:
            parts.sort(key=lambda one: -abs(one["gap"]))
        for one in parts[: most if column in _PERIODS else most and 3]:
            value = "missing" if one["value"] is None else str(one["value"])
            gap = interval(one["gap"], one["low"], one["high"], signed=True)
            cells = f"{column} {value}", number(one["rows"]), number(one["predicted"]), number(one["observed"]), gap
            rows.append(Row((*cells, number(one["log_loss" if "log_loss" in one else "rmse"]), cite(fact.position))))
    note = "Gap: observed minus predicted, with a 95 % interval; none where there are too few clusters for one."
    loss = ">RMSE" if "residuals" in fact.body else ">log loss"
    columns = "", ">rows", ">predicted", ">observed", ">gap", loss, ""
    return _table("Calibration over time and by slice", columns, rows, None, left=len(found) - len(rows), note=note)


_PERIODS = frozenset({"day", "week", "month"})


def mistakes_table(fact: Entry, most: int | None = None) -> Table:
    """The most confident mistakes; who they are stands behind a ref."""
    rows = [
        Row((moment(one["predict_at"]), number(one["score"]), number(one["label"]), cite(fact.position)))
        for one in fact.body["mistakes"]
    ]
    note = f"The rows with their units and features are {short(fact.body['ref'])}, a Parquet file in the store."
    columns = "predicted at", ">score", ">label", ""
    title = "Largest residuals" if "residuals" in fact.body else "Most confident mistakes"
    return _table(title, columns, rows, 5 if most else None, note=note)


def permuted_table(fact: Entry, attributed: Entry | None, most: int | None = None) -> Table:
    """What the candidate loses when a feature or a view is shuffled, beside what each adds to its scores."""
    body = fact.body
    sizes = {one["name"]: one["size"] for one in attributed.body["features"]} if attributed else {}
    rows = [
        Row((("all of " if several else "") + one["name"], interval(one["value"], one["low"], one["high"], signed=True),
             number(sizes.get(one["name"])), cite(fact.position, *([attributed.position] if attributed else []))))
        for several, one in [*((True, one) for one in body["views"][:most]), *((False, one) for one in body["features"][:most])]
    ]  # fmt: skip
    left = len(body["features"]) + len(body["views"]) - len(rows)
    metric = label(body["metric"]).replace("_", " ")
    raw = "the log odds" if body["metric"] == "log_loss" else "the answer"
    unused = f" {plural(len(body['unused']), 'feature')} not used at all." if body["unused"] else ""
    note = (
        f"Lost: {metric} when the values are shuffled over {number(body['rows'])} rows of the holdout, minus {metric} as it "
        f"is, with a 95 % interval. Adds: mean size of what the feature adds to {raw}.{unused}"
    )
    columns = "shuffled", ">lost", ">adds", ""
    empty = f"Not measured: {body['reason']}" if body["reason"] else "The model uses no feature."
    return _table("Importance on the holdout", columns, rows, None, left=left, empty=empty, note=note)


def robustness_table(fact: Entry, most: int | None = None) -> Table:
    """What the candidate loses when its input goes wrong, the worst first; where few are shown, the worst of each kind."""
    found = sorted(fact.body["perturbations"], key=lambda one: -_worst(one["metrics"]))
    metrics = [one["metric"] for one in found[0]["metrics"]] if found else []
    if most:  # of each kind the worst, since other units and ranges would hide what is likelier
        kinds = dict.fromkeys(one["definition"]["type"] for one in found)
        first = [next(one for one in found if one["definition"]["type"] == kind) for kind in kinds]
        found = first + [one for one in found if one not in first]
    rows = []
    for one in found:
        changes = (interval(m["difference"], m["low"], m["high"], signed=True) for m in one["metrics"])
        rows.append(Row((one["title"], *changes, cite(fact.position))))
    note = f"Changes on {number(fact.body['rows'])} rows of the holdout, with 95 % intervals."
    columns = "what goes wrong", *(f">{label(metric)} {_arrow(metric)}" for metric in metrics), ""
    return _table("Robustness", columns, rows, most, empty="Nothing that the model reads can go wrong.", note=note)


def behaviour_table(fact: Entry) -> Table:
    """Behavioural tests, each with the share of rows that break it."""
    rows = []
    for test in sorted(fact.body["tests"], key=lambda one: -(one["share"] or 0.0)):
        example = test["examples"][0] if test["examples"] else None
        worst = _changed(example["score"], example["then"]) if example else ""
        share = "no row" if test["share"] is None else percent(test["share"])
        cells = test["title"], number(test["rows"]), number(test["violations"]), share, worst, cite(fact.position)
        rows.append(Row(cells, strong=bool(test["violations"])))
    note = f"Worst: the score, before and after where the test changes the row. The rows are {short(fact.body['ref'])}, a Parquet file in the store."
    return _table("Behaviour", ("the score", ">rows", ">broken", ">share", ">worst", ""), rows, None, note=note)


def _changed(before: float, after: float) -> str:
    return number(before) if before == after else f"{number(before)} → {number(after)}"


def champion_table(fact: Entry, most: int | None = None) -> Table:
    """The candidate against the champion row by row: decisions that changed, or numbers that moved."""
    return moved_table(fact, most) if "moved" in fact.body else flips_table(fact, most)


def flips_table(fact: Entry, most: int | None = None) -> Table:
    """Decisions that changed against the champion, and the features that moved them."""
    body, at = fact.body, cite(fact.position)
    better = number(body["positive_flips"]), percent(body["positive_flips"] / body["rows"])
    rows = (
        Row(("right before, wrong now", number(body["negative_flips"]), _rate(body), at), strong=True),
        Row(("wrong before, right now", *better, at)),
    )
    decided = "by capacity" if body["threshold"] is None else f"at {number(body['threshold'])}"
    note = (
        f"Of {number(body['rows'])} rows, decided {decided}. Moved by: mean size of the change of the log odds that a feature "
        f"makes in rows whose decision changed. The rows that moved most are {short(body['ref'])}."
    )
    return _row_by_row(fact, rows, "mean change of the score", note, most)


def moved_table(fact: Entry, most: int | None = None) -> Table:
    """Numbers that moved against the champion, and the features that moved them."""
    body, at = fact.body, cite(fact.position)
    rows = (
        Row(("moved by more than the tolerance", number(body["moved"]), _rate(body), at), strong=True),
        Row(("error grew by more than that", number(body["worse"]), percent(body["worse"] / body["rows"]), at)),
        Row(("error shrank by more than that", number(body["better"]), percent(body["better"] / body["rows"]), at)),
    )
    note = (
        f"Of {number(body['rows'])} rows; the tolerance is {number(body['tolerance'])}, {body['chosen']}. Moved by: mean size of "
        f"the change that a feature makes in rows that moved. The rows that moved most are {short(body['ref'])}."
    )
    return _row_by_row(fact, rows, "mean change", note, most)


def _rate(body: Body) -> str:
    bounds = (None if body[side] is None else 100 * body[side] for side in ("low", "high"))
    return f"{interval(100 * body['rate'], *bounds)} %"


def _row_by_row(fact: Entry, rows: Sequence[Row], change: str, note: str, most: int | None) -> Table:
    body, at = fact.body, cite(fact.position)
    moved = (
        Row((f"moved by {one['name']}", number(one["size"]), f"{number(one['mean'], signed=True)} in the mean", at))
        for one in body["features"][: 3 if most else None]
    )
    size = Row((change, number(body["mean_change"]), f"{number(body['largest_change'])} at most", at))
    columns = ("what changed", ">rows or size", ">share", "")
    return Table("Against the champion, row by row", columns, (*rows, size, *moved), note=note)


def retrained_table(fact: Entry, title: str, column: str, most: int | None = None) -> Table:
    """What the candidate loses when it is trained on less: without a view, on less time, or earlier."""
    found: Sequence[Body] = fact.body["variants"]
    if fact.kind == "ablation.measured":
        found = sorted(found, key=lambda one: -_worst(one["metrics"]))
    shown = ("roc_auc", "log_loss", "rmse", "mae", "pinball", "coverage")
    metrics = [
        one["metric"] for one in next((one["metrics"] for one in found if one["metrics"]), ()) if one["metric"] in shown
    ]
    rows = []
    for one in found:
        by = {m["metric"]: m for m in one["metrics"]}
        changes = [
            interval(by[m]["difference"], by[m]["low"], by[m]["high"], signed=True) if m in by else "–" for m in metrics
        ]
        rows.append(Row((one["title"], number(one["train_rows"]), *changes, cite(fact.position))))
    note = "The recipe trained again, minus the candidate, on the same holdout, with 95 % intervals."
    columns = column, ">rows", *(f">{label(metric)} {_arrow(metric)}" for metric in metrics), ""
    return _table(title, columns, rows, most, note=note)


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Row], most: int | None, *, note: str, left: int = 0,
    empty: str = "not measured",
) -> Table:  # fmt: skip
    left += max(0, len(rows) - most) if most else 0
    more = f" {left} more are not shown." if left else ""
    return Table(title, tuple(columns), tuple(rows[:most]), empty=empty, note=note + more)


def _worst(metrics: Iterable[Body]) -> float:
    """How much log loss, or the first metric, is lost."""
    found = {one["metric"]: one["difference"] for one in metrics}
    metric = "log_loss" if found.get("log_loss") is not None else next(iter(found), "log_loss")
    lost = found.get(metric) or 0.0
    return float(-lost if more_is_better(metric) else lost)


def _arrow(metric: str) -> str:
    return "↑" if more_is_better(metric) else "↓"
