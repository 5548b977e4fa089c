"""The model card: what the ledger knows about one model, as Markdown, each number with its position."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sterling.core.evidence import Entry
from sterling.core.refs import Ref, short
from sterling.project.metrics import label
from sterling.views.facts import NoRunError, Run, latest_run
from sterling.views.labels import labels
from sterling.views.registry import Version, live, versions
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
    calibration_table,
    comparisons_table,
    data_table,
    features_table,
    gates_table,
    leak_effect_table,
    models_table,
    slices_table,
)
from sterling.views.tables import Row, Table, escaped, in_markdown
from sterling.views.text import cite, day, interval, moment, number, plural

_NOT_MEASURED = {
    "calibration.measured": "calibration",
    "importance.measured": "feature importance",
    "golden.checked": "golden examples",
    "model.validated": "validation on blocks before the holdout",
    "availability.measured": "availability of features at prediction",
    "leakage.checked": "leakage checks",
    "leaks.measured": "what ignoring availability would change",
    "leaks.evaluated": "what leaks would do to the metrics",
    "decisions.evaluated": "what is decided from the scores, and what that is worth",
    "fairness.measured": "fairness between groups of people",
    "slices.discovered": "segments in which the model is wrong",
    "errors.analysed": "its mistakes",
    "importance.permuted": "what it loses without a feature on the holdout",
    "robustness.measured": "robustness against input that goes wrong",
    "behaviour.tested": "behavioural tests",
    "ablation.measured": "what it would lose if trained without a view",
    "learning.measured": "what more data would bring",
    "staleness.measured": "what an older training would cost",
}
_BEYOND = ("behaviour in production",)


def card_run(entries: Iterable[Entry], version_or_model: int | str | None = None) -> Run:
    """The run whose evidence a card shows: the newest of that candidate.

    Args:
        entries: The ledger, oldest first.
        version_or_model: Number of a version, ref of a model, or None for the live version, else the last candidate.

    Raises:
        NoRunError: if no completed run has that candidate.
    """
    chain = tuple(entries)
    run = latest_run(chain, candidate=_model(chain, version_or_model))
    if run is None:
        known = ", ".join(f"{v.version} ({short(v.model)})" for v in versions(chain)) or "none yet"
        raise NoRunError(
            f"No completed run made the model of {version_or_model or 'any version'}. Versions and models: {known}."
        )
    return run


def definition_ref(run: Run) -> Ref:
    """Ref of the definition's JSON that a run was made by.

    Raises:
        NoRunError: if the run's definition is not on record.
    """
    defined = run.newest("project.defined")
    if defined is None:
        raise NoRunError(f"The definition {run.definition[:12]} of the run at {run.position} is not on record.")
    return Ref(defined.body["ref"])


def model_card(entries: Iterable[Entry], version_or_model: int | str | None, definition: Mapping[str, Any]) -> str:
    """The card of a model.

    Args:
        entries: The ledger, oldest first.
        version_or_model: Number of a version, ref of a model, or None for the live version, else the last candidate.
        definition: JSON of the project's definition, the blob that :func:`definition_ref` names.

    Returns:
        Markdown with YAML front matter as model hubs read it.

    Raises:
        NoRunError: if no completed run has that candidate.
    """
    chain = tuple(entries)
    report = run_report(chain, card_run(chain, version_or_model))
    project = definition["project"]
    registered = [v.version for v in versions(chain) if v.model == report.run.candidate]
    title = f"{project['name']}, {f'version {registered[-1]}' if registered else 'not registered'}"
    sections = {
        "Problem": _problem(project, report),
        "Training data": _training(report),
        "Sources": in_markdown(data_table(report)),
        "Features": in_markdown(features_table(report)),
        "Metrics on the holdout": in_markdown(models_table(report)),
        "Against baselines and champion": in_markdown(comparisons_table(report)),
        "Decisions": _decisions(report),
        "Groups of people": _fairness(report),
        "Validation before the holdout": in_markdown(folds_table(report)),
        "Leakage checks": in_markdown(leakage_table(report)),
        "What leaks would claim": in_markdown(leak_effect_table(report)),
        "Slices": in_markdown(slices_table(report)),
        "Calibration": _calibration(report),
        **{table.title: in_markdown(table) for table in study_tables(report)},
        "Gates": in_markdown(gates_table(report)),
        "Release history": in_markdown(history_table(chain)),
        "Limits": _limits(project, report),
        "How to check this card": _checking(registered),
    }
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    return f"{_front_matter(project, report)}\n# {escaped(title)}\n\n{_summary(chain, report)}\n\n{body}\n"


_HISTORY = {
    "model.registered": "registered", "model.refused": "refused", "version.approved": "approved",
    "approval.revoked": "approval revoked", "rollout.started": "rollout started", "version.promoted": "promoted",
    "version.paused": "paused", "version.released": "released", "version.rolled_back": "rolled back",
    "version.retired": "retired",
}  # fmt: skip


def history_table(entries: Iterable[Entry]) -> Table:
    """Every version with its registration and its releases."""
    rows = []
    for entry in entries:
        if entry.kind not in _HISTORY:
            continue
        version = str(entry.body.get("version", "–"))
        what = _HISTORY[entry.kind]
        rows.append(
            Row(
                (
                    moment(entry.recorded_at),
                    version,
                    what,
                    short(entry.body["model"]),
                    entry.actor,
                    cite(entry.position),
                )
            )
        )
    return Table("Release history", ("time", "version", "", "model", "by", ""), tuple(rows), empty="nothing registered")


def not_measured(report: Report) -> tuple[str, ...]:
    """What the run did not measure."""
    kinds = {entry.kind for entry in report.run.facts}
    missing = [name for kind, name in _NOT_MEASURED.items() if kind not in kinds]
    return (*missing, *(["slices"] if not report.slices else []), *_BEYOND)


def _model(chain: tuple[Entry, ...], version_or_model: int | str | None) -> str | None:
    if isinstance(version_or_model, str):
        return version_or_model
    if version_or_model is None:
        current = live(chain)
        return current.model if current else None
    found = (v.model for v in versions(chain) if v.version == version_or_model)
    return next(found, f"version {version_or_model}")


def _front_matter(project: Mapping[str, Any], report: Report) -> str:
    """YAML as model hubs read it; JSON texts are YAML texts."""
    own = [m for m in report.measures if m.model == report.run.candidate and m.value is not None]
    lines = [
        "---", "library_name: sterling", f"model_name: {json.dumps(project['name'])}", "tags:", "- tabular-classification",
        "model-index:", f"- name: {json.dumps(project['name'])}", "  results:", "  - task:",
        "      type: tabular-classification", "    dataset:", f"      name: {json.dumps(_holdout(project))}",
        f"      type: {json.dumps(project['name'])}", "    metrics:",
        *(line for m in own for line in (f"    - type: {m.metric}", f"      value: {json.dumps(m.value)}")),
        "---", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _holdout(project: Mapping[str, Any]) -> str:
    return f"holdout {project['holdout']['start']} to {project['holdout']['end']}"


def _summary(chain: tuple[Entry, ...], report: Report) -> str:
    current = live(chain)
    model = report.run.candidate
    if current is None or current.model != model:
        state = "It is not live."
    else:
        state = f"It is live as version {current.version} {_released(current)}."
    return f"`{model}` ({escaped(report.name)}), from the run at {cite(report.run.position)}. {state}"


def _released(version: Version) -> str:
    return cite(version.released) if version.released else ""


def _problem(project: Mapping[str, Any], report: Report) -> str:
    problem = project["problem"]
    where = report.positions.get("project.defined")
    facts = {
        "Intended use": problem["decision"],
        "What it is to improve": problem["kpi"],
        "Out of scope": problem["out_of_scope"] or "not stated",
        "Owner": problem["owner"],
        "Risk": problem["risk"],
        "Prediction": _prediction(project["spine"]),
        "Label": _target(project["label"]),
    }
    lines = [f"- **{name}**: {escaped(str(value))}" for name, value in facts.items()]
    defined = f"From the definition {report.run.definition[:12]} {cite(where) if where else ''}".rstrip()
    return "\n".join([*lines, "", f"{defined}."])


def _prediction(spine: Mapping[str, Any]) -> str:
    source = spine["source"]["name"]
    if spine["type"] == "EventSpine":
        return f"for each event of {source}, at {spine['predict_at']}"
    return f"for each row of {source}, every {spine['every']} {spine['tz']}"


def _target(wanted: Mapping[str, Any]) -> str:
    source = wanted["source"]["name"]
    if wanted["type"] == "Label":
        return f"{wanted['expression']} in {source}, known within {wanted['horizon']}"
    where = f" where {wanted['where']}" if wanted["where"] else ""
    return f"an event of {source}{where} within {wanted['within']}"


def _training(report: Report) -> str:
    lines = []
    if report.as_of:
        lines.append(f"- **As of**: {moment(report.as_of)} {cite(report.positions['as_of.resolved'])}")
    if spine := report.fact("spine.built"):
        body = spine.body
        lines.append(
            f"- **Moments of prediction**: {number(body['rows'])}; {number(body['matured'])} with a label, "
            f"{number(body['pending'])} pending, {number(body['missing'])} missing {cite(spine.position)}"
        )
    if trained := report.fact("model.trained"):
        body = trained.body
        lines.append(
            f"- **Trained on**: {plural(body['rows'], 'row')}, {labels(body, body['rows'])}, "
            f"predicted from {day(body['from'])} to {day(body['to'])} {cite(trained.position)}"
        )
        if size := body.get("found"):
            why = (
                f"the last {number(size['rows'])} rows were predicted best by these"
                if "rows" in size
                else size["reason"]
            )
            members = f" of {plural(len(size['members']), 'member')}" if "members" in size else ""
            lines.append(f"- **Trees**: {number(size['trees'])}{members}; {why} {cite(trained.position)}")
    if tuned := report.fact("tuning.done"):
        kept = "the best settings are taken" if tuned.body["accepted"] else "the preset is kept"
        bounds = (tuned.body[side] for side in ("low", "high"))
        gain = (
            ""
            if tuned.body["difference"] is None
            else f", {label(tuned.body.get('metric', 'log_loss'))} {interval(tuned.body['difference'], *bounds, signed=True)}"
        )
        lines.append(f"- **Tuning**: {plural(len(tuned.body['trials']), 'trial')}; {kept}{gain} {cite(tuned.position)}")
    if curves := report.fact("calibration.judged"):
        chosen = curves.body["accepted"] or "none"
        lines.append(f"- **Calibration curve**: {chosen}; {curves.body['reason'].rstrip('.')} {cite(curves.position)}")
    return "\n".join(lines) or "not on record"


def _calibration(report: Report) -> str:
    fact = report.fact("calibration.measured")
    cited = f"\n\nAll bins from {cite(fact.position)}." if fact else ""
    parts = (
        [in_markdown(parts_table(report)), in_markdown(months_table(report))]
        if report.fact("calibration.analysed")
        else []
    )
    return "\n\n".join([in_markdown(calibration_table(report)) + cited, *parts])


def _decisions(report: Report) -> str:
    if not report.fact("decisions.evaluated"):
        return in_markdown(decisions_table(report))
    return f"{in_markdown(decisions_table(report))}\n\n{in_markdown(policy_table(report))}"


def _fairness(report: Report) -> str:
    return "\n\n".join(in_markdown(table) for table in (gaps_table(report), *groups_tables(report)))


def _limits(project: Mapping[str, Any], report: Report) -> str:
    lines = [f"- {name[0].upper()}{name[1:]}: not measured." for name in not_measured(report)]
    undefined = [m for m in (*report.measures, *report.slices) if m.value is None]
    for m in undefined:
        where = "" if m.slice is None else f" where {m.slice[0]} is {m.slice[1]}"
        text = f"{label(m.metric)} of {m.name}{where} is undefined: {m.reason} {cite(m.position)}."
        lines.append(f"- {escaped(text)}")
    lines += [f"- {escaped(warning)} {cite(position)}" for warning, position in report.warnings()]
    cluster = project["cluster"]
    rows = f"rows of one {cluster} count as dependent" if cluster else "every row counts as independent of the others"
    lines.append(f"- Intervals: {escaped(rows)}; they speak of the {escaped(_holdout(project))} and of no later time.")
    return "\n".join(lines)


def _checking(registered: list[int]) -> str:
    asked = f"version:{registered[-1]}" if registered else "verdict"
    return (
        "Numbers in square brackets are positions in the project's ledger.\n\n"
        "```\n"
        "sterling verify            # the chain and every blob are what they were\n"
        f"sterling why {asked:<13} # the evidence behind the release, down to raw files\n"
        "sterling log               # every entry\n"
        "```"
    )
