"""The log: each entry in a short human sentence of what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sterling.core.evidence import Entry
from sterling.core.refs import short
from sterling.project.metrics import label
from sterling.project.rollout import shown as as_percent
from sterling.views.batch import sentence as batch_sentence
from sterling.views.labels import labels
from sterling.views.log_studies import STUDY_SENTENCES
from sterling.views.text import cite, interval, listed, moment, number, percent, plural, size

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as people read it.

    Attributes:
        position: Its place in the chain.
        time: When it was recorded, ISO 8601.
        actor: Who acted.
        kind: Kind of the evidence.
        sentence: What was found.
    """

    position: int
    time: str
    actor: str
    kind: str
    sentence: str


def log(entries: Iterable[Entry]) -> tuple[Line, ...]:
    """Entries as lines, in the order given."""
    return tuple(Line(e.position, e.recorded_at, e.actor, e.kind, sentence(e)) for e in entries)


def line(entry: Entry) -> str:
    """An entry as one line of text: position, time, actor, kind, and what was found."""
    return f"{cite(entry.position)} {moment(entry.recorded_at)} {entry.actor} {entry.kind}: {sentence(entry)}"


def sentence(entry: Entry) -> str:
    """What an entry found, in one short sentence.

    A kind that this version does not know, from a newer one's ledger, is named as such.
    """
    say = SENTENCES.get(entry.kind)
    return say(entry.body) if say else f"{entry.kind}: a kind that this version of Sterling has no sentence for."


def _defined(body: Body) -> str:
    return f"The project's definition is {body['definition'][:12]}."


def _prepared(body: Body) -> str:
    return f"{body['query']} made {plural(body['rows'], 'row')} from {plural(len(body['inputs']), 'file')}."


def _erased(body: Body) -> str:
    columns = listed(dict.fromkeys(subject["column"] for subject in body["subjects"]))
    return (
        f"A person whom {columns} named was erased: {plural(body['rows'], 'row')} and {plural(body['cells'], 'mention')} in "
        f"{plural(len(body['replaced']), 'blob')}."
    )


def _environment(body: Body) -> str:
    at = f", at commit {body['commit'][:12]}{' with changes' if body['dirty'] else ''}" if body["commit"] else ""
    where = f"{body['implementation']} {body['python']}, {plural(body['distributions'], 'distribution')}"
    return f"{where}, {plural(body['threads'], 'thread')} on {body['platform']}{at}."


def _reproduced(body: Body) -> str:
    level = {
        "model": "the bytes of the model and of its predictions are equal",
        "predictions": "the bytes of the predictions are equal, those of the model are not",
        "metrics": "predictions differ, every metric lies within its interval",
    }
    refs = f"{number(body['equal'])} of {plural(body['refs'], 'ref')} equal"
    return f"Run [{body['run']}] was executed again in a fresh {body['fresh']}: {level[body['level']]}; {refs}."


def _not_reproduced(body: Body) -> str:
    first: Body = body["differences"][0] if body["differences"] else {"title": "nothing", "causes": []}
    why = f" ({first['causes'][0]['detail']})" if first["causes"] else ""
    return f"Run [{body['run']}] was executed again and is another one from {first['title']} on{why}."


def _referenced(body: Body) -> str:
    where = f"{body['locator']}, {size(body['bytes'])}"
    return f"{where}, is read where it lies; its owner keeps it until {moment(body['until'])}."


def _snapshotted(body: Body) -> str:
    prepared = [file["locator"] for file in body["inputs"]] == ["table"]
    files = "a prepared table" if prepared else plural(len(body["inputs"]), "file")
    lost = f", {plural(body['no_event'], 'row')} without an event time" if body["no_event"] else ""
    until = f", known up to {moment(body['newest_available'])}" if body["newest_available"] else ""
    return f"{body['source']}: {plural(body['rows'], 'row')} from {files}{until}{lost}."


def _as_of(body: Body) -> str:
    return f"Data count as of {moment(body['as_of'])}: {body['why'].rstrip('.')}."


def _validated(body: Body) -> str:
    failed = [f"{c['check']} ({number(c['failed'])} {c['action']})" for c in body["checks"] if c["failed"]]
    found = f"; failed: {listed(failed)}" if failed else ""
    hidden = f", {plural(body['hidden_cells'], 'cell')} not yet known" if body["hidden_cells"] else ""
    return f"{body['source']}: {plural(body['rows'], 'row')}, {number(body['quarantined'])} quarantined{hidden}{found}."


def _spine(body: Body) -> str:
    return (
        f"{plural(body['rows'], 'moment')} of prediction, {number(body['matured'])} with a label: "
        f"{labels(body, body['matured'])}; {number(body['pending'])} pending, {number(body['missing'])} missing."
    )


def _availability(body: Body) -> str:
    shown = f"known at prediction in {percent(body['share_known'])} of rows"
    lead = body["median_lead_us"]
    by = "" if lead is None else f", {_duration(abs(lead))} {'before' if lead >= 0 else 'after'} it in the median"
    return f"{body['feature']} reads {body['source']}.{body['column']}, {shown}{by} ({body['proof']})."


def _features(body: Body) -> str:
    return f"{body['view']}: {plural(len(body['features']), 'feature')}, {listed(f['name'] for f in body['features'])}."


def _censoring(body: Body) -> str:
    found = f"{body['feature']}: nothing is known in {percent(body['empty'])} of rows"
    share = "" if body["known_events"] is None else f", {percent(body['known_events'])} of its events are known in time"
    return " ".join(filter(None, (f"{found}{share}.", body["warning"])))


def _leak_effect(body: Body) -> str:
    said = next((one for one in body["metrics"] if one["difference"] is not None), None)
    if said is None:
        return f"What leaks do to {body['name']} is undefined on {body['rows']:,} rows."
    return (
        f"Without availability {body['name']} would claim a {label(said['metric'])} of {number(said['claimed'])} and have "
        f"{number(said['had'])}."
    )


def _feasibility(body: Body) -> str:
    if body["impossible"]:
        return " ".join(body["impossible"])
    states = [gate["state"] for gate in body["gates"]]
    never = [gate["gate"] for gate in body["gates"] if gate["state"] == "impossible"]
    said = (
        f"no model can pass {listed(never)}"
        if never
        else f"{states.count('doubtful')} of {plural(len(states), 'gate')} doubtful"
    )
    return (
        f"{plural(body['training']['rows'], 'row')} to train on, {number(body['holdout']['rows'])} to judge by: {said}."
    )


def _leakage(body: Body) -> str:
    if body["reason"]:
        return f"Leaks could not be looked for {body['when']} training: {body['reason']}."
    names = [finding["name"] for finding in body["findings"]]
    found = f"{plural(len(names), 'finding')}, {listed(names)}" if names else "no finding"
    return f"Looked for leaks {body['when']} training in {plural(body['rows'], 'row')}: {found}."


def _leaks(body: Body) -> str:
    worst = max(body["features"], key=lambda feature: feature["changed"] or 0.0)
    return (
        f"Without availability {percent(body['changed'])} of {plural(body['rows'], 'row')} would have other features; "
        f"most of all {worst['name']}, in {percent(worst['changed'])}."
    )


def _parity(body: Body) -> str:
    different, unequal = (sum(feature[what] for feature in body["features"]) for what in ("different", "unequal"))
    said = f"{body['view']}, as it is served: {plural(different, 'cell')} of {number(sum(f['cells'] for f in body['features']))} differ"
    return f"{said}, {number(unequal - different)} are within the tolerance." if unequal > different else f"{said}."


def _lateness(body: Body) -> str:
    late = dict(body["quantiles"])
    found = ", ".join(
        f"{percent(share)} within {_duration(max(late[share], 0))}" for share in (0.5, 0.99, 1) if share in late
    )
    shown = f"{body['source']} is known {found} of the event" if found else f"{body['source']}: no lateness to measure"
    return " ".join(filter(None, (f"{shown}.", body["warning"])))


def _versions(body: Body) -> str:
    return (
        f"{body['source']}: {plural(body['versions'], 'version')} of {plural(body['events'], 'event')}, "
        f"{number(body['deleted'])} of them deletions, {number(body['replaced'])} replaced by a later one."
    )


def _frame(body: Body) -> str:
    return f"A frame of {plural(body['rows'], 'row')} and {plural(len(body['features']), 'feature')}."


def _trained(body: Body) -> str:
    return (
        f"{body['name']} ({body['role']}) on {plural(body['rows'], 'row')}, {labels(body, body['rows'])}, "
        f"in {number(float(body['seconds_cpu']))} s of CPU: model {short(body['model'])}."
    )


def _curves(body: Body) -> str:
    done = f"takes {body['accepted']}" if body["accepted"] else "takes none"
    return f"{body['name']} {done} of {plural(len(body['curves']), 'calibration curve')}: {body['reason'].rstrip('.')}."


def _tuned(body: Body) -> str:
    kept = "the tuned settings are taken" if body["accepted"] else "the preset is kept"
    gain = (
        ""
        if body["difference"] is None
        else f", {label(body.get('metric', 'log_loss'))} {interval(body['difference'], body['low'], body['high'], signed=True)}"
    )
    return f"{plural(len(body['trials']), 'trial')} of {body['name']}: {kept}{gain}; {body['reason'].rstrip('.')}."


def _fold(body: Body) -> str:
    found = ", ".join(f"{label(name)} {number(value)}" for name, value in body["metrics"].items())
    return f"{body['name']}, fold {body['fold']}: {found} on {plural(body['rows'], 'row')}."


def _predictions(body: Body) -> str:
    return f"{body['name']} scored {plural(body['rows'], 'row')} of the holdout."


def _fetched(body: Body) -> str:
    version = f" {body['version']}" if body["version"] else ""
    when = f", answered {moment(body['answered_at'])} by its own clock" if body["answered_at"] else ""
    return f"{body['name']}{version} at {body['url']} scored {plural(body['rows'], 'row')} of the holdout{when}."


def _measured(body: Body) -> str:
    part = "".join(
        f" where {column} is {'missing' if value is None else value}" for column, value in body["slice"].items()
    )
    if body["value"] is None:
        return f"{label(body['metric'])} of {body['name']}{part} is undefined: {body['reason'].rstrip('.')}."
    found = interval(body["value"], body.get("low"), body.get("high"))
    return f"{label(body['metric'])} of {body['name']}{part} is {found} on {plural(body['rows'], 'row')}."


def _compared(body: Body) -> str:
    other = f"{body['against_name']} ({body['against_role']})"
    if body["against_role"] in {"nobody", "everybody"}:
        other = f"acting on {body['against_role']}"
    what = f"{label(body['metric'])} of {body['name']} against {other}"
    if body["difference"] is None:
        return f"{what} is undefined: {body.get('reason', 'one of them is').rstrip('.')}."
    return f"{what}: {interval(body['difference'], body.get('low'), body.get('high'), signed=True)}."


def _calibration(body: Body) -> str:
    if "levels" in body:
        one = body["intervals"][0]
        inside = interval(
            100 * one["share"], *(None if one[side] is None else 100 * one[side] for side in ("low", "high"))
        )
        return (
            f"{body['name']}: {inside} % of the labels lie between the quantiles {one['lower']} and {one['upper']}, where "
            f"{100 * one['nominal']:g} % should."
        )
    if "classes" in body:
        bins = [found for one in body["classes"] for found in one["bins"]]
        return f"{_calibration({'name': body['name'], 'bins': bins}).removesuffix('.')}, of {plural(len(body['classes']), 'class', 'classes')}."
    worst = max((abs(b["predicted"] - b["observed"]) for b in body["bins"]), default=0.0)
    return f"{body['name']}: {plural(len(body['bins']), 'bin')}, the worst is off by {number(worst)}."


def _classes(body: Body) -> str:
    most = body["confused"][0] if body["confused"] else None
    mistake = (
        f"most often {most['came']} is taken for {most['said']}, in {plural(most['rows'], 'row')}"
        if most
        else "no mistake"
    )
    unknown = (
        f"; {plural(sum(body['unknown'].values()), 'row')} of classes that training did not know"
        if body["unknown"]
        else ""
    )
    count = len(body["classes"]) + body["not_shown"]
    return f"{body['name']} on {plural(count, 'class', 'classes')}: {mistake}{unknown}."


def _analysed(body: Body) -> str:
    parts = body["brier"]
    moved = "" if body["slope"] is None else f", slope {_ended(body['slope'])}, intercept {_ended(body['intercept'])}"
    return (
        f"{body['name']}: reliability {number(parts['reliability'])}, resolution {number(parts['resolution'])} of a Brier score "
        f"of {number(parts['brier'])}{moved}."
    )


def _ended(found: Body) -> str:
    return interval(found["value"], found["low"], found["high"])


def _chosen(body: Body) -> str:
    return f"{body['name']} {_policy(body['policy'])}."


def _policy(policy: Body) -> str:
    if policy["type"] == "top":
        return f"acts on the {policy['k']:,} highest scores of each {policy['per'] or 'moment of prediction'}"
    return f"acts from a score of {number(policy['threshold'])} on, {policy['why']}"


def _decided(body: Body) -> str:
    share = percent(body["acted"] / body["rows"])
    right = percent(body["confusion"]["true_positive"] / body["acted"]) if body["acted"] else "–"
    return f"{body['name']} acts on {number(body['acted'])} of {plural(body['rows'], 'row')} ({share}); {right} of them are positive."


def _fairness(body: Body) -> str:
    found = [
        f"{rate['rate'].replace('_', ' ')} by {number(rate['difference']['value'])} at most"
        for rate in body["rates"]
        if rate["difference"]["value"] is not None
    ]
    said = f"differ in {listed(found)}" if found else "cannot be compared"
    return " ".join(filter(None, (f"{len(body['groups'])} groups of {body['attribute']} {said}.", body["warning"])))


def _champion(body: Body) -> str:
    if body["champion"] is None:
        return f"No champion to compare with: {body['reason'].rstrip('.')}."
    how = "comparable" if body["comparable"] else "not comparable"
    return f"The champion is model {short(body['champion'])}, {how}: {body['reason'].rstrip('.')}."


def _golden(body: Body) -> str:
    if not body["failed"]:
        return f"{plural(body['examples'], 'golden example')}, answered as they say."
    names = listed(item["name"] for item in body["failed"])
    return f"{len(body['failed'])} of {plural(body['examples'], 'golden example')} are answered otherwise: {names}."


def _importance(body: Body) -> str:
    top = sorted(body["features"], key=lambda f: -f["share"])[:3]
    shown = [f"{feature['name']} ({percent(feature['share'])})" for feature in top]
    return f"{body['name']} leans on {listed(shown) if shown else 'nothing'}."


def _completed(body: Body) -> str:
    return f"{body['title']} took {number(float(body['seconds']))} s, key {body['key'][:12]}."


def _failed(body: Body) -> str:
    return f"{body['title']} failed with {body['error']}; its log is {short(body['log'])}."


def _diverged(body: Body) -> str:
    changed = sorted(name for name in body["expected"] if body["expected"][name] != body["found"].get(name))
    return f"{body['title']} made another {listed(changed) if changed else 'output'} than is on record."


def _judged(body: Body) -> str:
    return f"{'Passed' if body['passed'] else 'Failed'}: {body['title']}. {body['reason']}"


def _registered(body: Body) -> str:
    return f"Model {short(body['model'])} is version {body['version']}."


def _refused(body: Body) -> str:
    return f"Model {short(body['model'])} is refused: {'; '.join(body['reasons'])}"


def _approved(body: Body) -> str:
    return f"Version {body['version']} is approved as {listed(body['roles'])}, on {cite(*body['seen'])}."


def _revoked(body: Body) -> str:
    return f"The approval of version {body['version']} as {listed(body['roles'])} is taken back: {_because(body)}"


def _routed(body: Body) -> str:
    by = body["unit"] or "what each request names"
    shares = [f"{as_percent(body[name])} {said}" for name, said in _SHARES if body[name]]
    return f"Units are kept together by {by}{f', {listed(shares)}' if shares else ''}."


def _started(body: Body) -> str:
    stages = listed([_stage(stage) for stage in body["stages"]])
    return f"Version {body['version']} is on its way beside version {body['replaces']}: {stages}, then all traffic."


def _stage(stage: Body) -> str:
    share = "" if stage["kind"] == "shadow" else f" {as_percent(stage['share'])}"
    return f"{stage['kind']}{share} for {stage['lasts']}"


def _promoted(body: Body) -> str:
    how = "goes on with" if body["resumed"] else "is promoted to"
    early = ", before the stage had lasted" if body["early"] else ""
    return f"Version {body['version']} {how} stage {body['stage']} of {body['of']}, {body['title']}{early}."


def _paused(body: Body) -> str:
    return f"Version {body['version']} is paused at stage {body['stage']}, and the live version answers all: {_because(body)}"


def _rolled_back(body: Body) -> str:
    what = "The rollout of version" if body["what"] == "rollout" else "Version"
    return f"{what} {body['version']} is rolled back, version {body['to']} answers all: {_because(body)}"


def _guarded(body: Body) -> str:
    requests = body["requests"]
    both = plural(requests["live"] + requests["version"], "request")
    return f"Version {body['version']}, {body['title']}, after {both}: {_because({'reason': body['why']})}"


def _retired(body: Body) -> str:
    return f"Version {body['version']} is retired: {_because(body)}"


def _because(body: Body) -> str:
    reason: str = body["reason"]
    return f"{reason.rstrip('.')}."


def _served(body: Body) -> str:
    equal = body["rows"] - body["unequal"]
    return f"The server gives {number(equal)} of {plural(body['rows'], 'training row')} the very score of training."


def _logged(body: Body) -> str:
    return f"{plural(body['rows'], 'prediction')} served from {moment(body['from'])} to {moment(body['to'])}."


def _partition(body: Body) -> str:
    refused = sum(body["refused"].values())
    also = f"; {number(refused)} refused" if refused else ""
    return f"Partition {body['partition']}: version {body['version']} scored {plural(body['rows'], 'row')}{also}."


def _outcomes(body: Body) -> str:
    return f"The outcome of {number(body['known'])} of {plural(body['rows'], 'served prediction')} is known."


def _released(body: Body) -> str:
    before = f", replacing version {body['replaces']}" if body["replaces"] else ", the first release"
    return f"Version {body['version']} takes all traffic{before}{_HOW.get(body['rollout'], '')}."


_SHARES = (("holdout", "held out"), ("explore", "to explore"))
_HOW = {
    "now": ", at once and not in stages", "staged": ", after its stages", "rollback": ", as a rollback",
    "early": ", before its last stage had lasted", "first": "; nothing was live to compare it with in stages",
}  # fmt: skip


def _run(body: Body) -> str:
    ended = {"passed": "passed its gates", "failed": "failed a gate", "ungated": "has no gates to pass"}
    return f"{plural(len(body['keys']), 'step')} on record; the candidate {ended[body['verdict']]}."


SENTENCES: dict[str, Callable[[Body], str]] = {
    "project.defined": _defined,
    "data.prepared": _prepared,
    "data.erased": _erased,
    "data.referenced": _referenced,
    "data.snapshotted": _snapshotted,
    "environment.recorded": _environment,
    "as_of.resolved": _as_of,
    "data.validated": _validated,
    "spine.built": _spine,
    "availability.measured": _availability,
    "features.built": _features,
    "censoring.measured": _censoring,
    "feasibility.assessed": _feasibility,
    "leakage.checked": _leakage,
    "leaks.evaluated": _leak_effect,
    "leaks.measured": _leaks,
    "lateness.measured": _lateness,
    "parity.measured": _parity,
    "versions.counted": _versions,
    "frame.assembled": _frame,
    "model.trained": _trained,
    "model.validated": _fold,
    "predictions.fetched": _fetched,
    "predictions.made": _predictions,
    "metric.measured": _measured,
    "metric.compared": _compared,
    "calibration.judged": _curves,
    "tuning.done": _tuned,
    "calibration.measured": _calibration,
    "classes.measured": _classes,
    "calibration.analysed": _analysed,
    "policy.chosen": _chosen,
    "decisions.evaluated": _decided,
    "fairness.measured": _fairness,
    "champion.resolved": _champion,
    "golden.checked": _golden,
    "importance.measured": _importance,
    "stage.completed": _completed,
    "stage.failed": _failed,
    "stage.diverged": _diverged,
    "gate.judged": _judged,
    "model.registered": _registered,
    "model.refused": _refused,
    "version.approved": _approved,
    "approval.revoked": _revoked,
    "routing.set": _routed,
    "rollout.started": _started,
    "version.promoted": _promoted,
    "version.paused": _paused,
    "version.rolled_back": _rolled_back,
    "guardrails.judged": _guarded,
    "version.retired": _retired,
    "served.checked": _served,
    "predictions.logged": _logged,
    "partition.scored": _partition,
    "batch.scored": batch_sentence,
    "outcomes.joined": _outcomes,
    "version.released": _released,
    "run.completed": _run,
    "run.reproduced": _reproduced,
    "reproduction.failed": _not_reproduced,
    **STUDY_SENTENCES,
}


def _duration(micros: float) -> str:
    for unit, scale in (("days", 86_400e6), ("hours", 3_600e6), ("minutes", 60e6)):
        if micros >= scale:
            return f"{number(micros / scale)} {unit}"
    return f"{number(micros / 1e6)} seconds"
