"""What leakage checks found, and how folds before the holdout went, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sterling.core.evidence import Entry
from sterling.project.metrics import in_order, label
from sterling.views.report import Report
from sterling.views.tables import Row, Table
from sterling.views.text import cite, day, listed, number, percent, plural


def leakage_table(report: Report) -> Table:
    """Findings of leakage checks, each with what was seen and what to do, and whether it is acknowledged."""
    known = acknowledged(report)
    rows = []
    for entry in checked(report):
        for finding in entry.body["findings"]:
            reason = known.get(finding["name"])
            what = f"{finding['said']} {finding['todo'] if reason is None else f'Acknowledged: {reason}'}"
            mark = "✗" if reason is None else "✓"
            rows.append(Row((f"{mark} {finding['name']}", what, cite(entry.position)), strong=reason is None))
    note = " ".join(_notes(report))
    return Table(
        "Leakage", ("finding", "what was seen, and what to do", ""), tuple(rows), empty=note or "not checked", note=note
    )


def checked(report: Report) -> tuple[Entry, ...]:
    """What checks found, before training and after; of the candidate where it is about a model."""
    candidate = report.run.candidate
    return tuple(e for e in report.run.of("leakage.checked") if e.body.get("model", candidate) == candidate)


def acknowledged(report: Report) -> Mapping[str, str]:
    """Findings that the project acknowledges, and why."""
    gates = (gate.definition for gate in report.gates if gate.type == "NoLeakage")
    return {one["finding"]: one["reason"] for gate in gates for one in gate["acknowledged"]}


def _notes(report: Report) -> Iterator[str]:
    entries = checked(report)
    for entry in entries:
        if entry.body["reason"]:
            yield f"Not looked at {entry.body['when']} training: {entry.body['reason']} {cite(entry.position)}."
    looked = [entry for entry in entries if not entry.body["reason"]]
    if not looked:
        return
    checks = sum(len(entry.body["checks"]) for entry in looked)
    found = sum(len(entry.body["findings"]) for entry in looked)
    rows = max(entry.body["rows"] for entry in looked)
    where = cite(*(entry.position for entry in looked))
    yield f"{plural(checks, 'check')} of {plural(rows, 'row')}: {plural(found, 'finding') if found else 'no finding'} {where}."
    for entry in looked:
        yield from _splits(entry)
    if (leaks := report.fact("leaks.measured")) and leaks.body["changed"] is not None:
        yield (
            f"Availability is kept: without it {percent(leaks.body['changed'])} of rows would have other features "
            f"{cite(leaks.position)}."
        )


def _splits(entry: Entry) -> Iterator[str]:
    """What a random split would claim, and how unlike the holdout is."""
    gap, shift = entry.body.get("optimism"), entry.body.get("shift")
    if gap:
        name = label("roc_auc") if gap["measure"] == "roc_auc" else gap["measure"]
        yield (
            f"Optimism gap: a quick model of all features reaches a {name} of {number(gap['random'])} on a random half of the "
            f"training rows, {number(gap['later'])} on the holdout ({number(gap['gap'], signed=True)})."
        )
    if shift:
        worst = listed(column["name"] for column in shift["columns"][:3]) if shift["columns"] else "nothing"
        yield f"Holdout and training rows are told apart with a {label('roc_auc')} of {number(shift['roc_auc'])}, most by {worst}."


def folds_table(report: Report) -> Table:
    """Validation before the holdout, fold by fold, and why it ignores time where it does."""
    folds = [e for e in report.run.of("model.validated") if e.body["model"] == report.run.candidate]
    metrics = in_order({name for entry in folds for name in entry.body["metrics"]})[:2]
    rows = tuple(
        Row((
            str(e.body["fold"]), day(e.body["from"]), day(e.body["to"]), number(e.body["train_rows"]),
            number(e.body["rows"]), *(number(e.body["metrics"].get(name)) for name in metrics), cite(e.position),
        ))
        for e in folds
    )  # fmt: skip
    split = folds[-1].body.get("split") if folds else None
    note = f"{split['type']} ignores time, because: {split['why']}" if split and split["why"] else None
    columns = ("fold", "from", "to", ">trained on", ">judged on", *(f">{label(name)}" for name in metrics), "")
    return Table("Validation before the holdout", columns, rows, empty="The recipe has no folds.", note=note)
