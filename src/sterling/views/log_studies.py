"""What studies found, each in a short human sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sterling.project.metrics import label, more_is_better
from sterling.views.text import interval, listed, number, percent, plural

Body = Mapping[str, Any]
_MAIN = frozenset({"log_loss", "rmse", "pinball"})
"""The metric of each task that training goes by."""


def _discovered(body: Body) -> str:
    if body["reason"]:
        return f"Segments of {body['name']} were not searched: {body['reason'].rstrip('.')}."
    if not body["slices"]:
        return f"None of {number(body['tried'])} segments shows {body['name']} off by more than chance."
    worst = body["slices"][0]
    where = " and ".join(f"{name} {value}" for name, value in worst["where"])
    return (
        f"{body['name']} is off in {plural(len(body['slices']), 'segment')} of {number(body['tried'])}; most clearly {worst['direction']} "
        f"where {where}: {interval(worst['gap'], worst['low'], worst['high'], signed=True)}."
    )


def _errors(body: Body) -> str:
    if "residuals" in body:
        found = body["residuals"]
        return (
            f"{body['name']}: half of the errors lie between {number(found['quantiles']['0.25'], signed=True)} and "
            f"{number(found['quantiles']['0.75'], signed=True)}; one row in a hundred makes {percent(found['share_of_worst'])} of the "
            "squared error."
        )
    found = body["confusion"]
    return (
        f"{body['name']} {'by capacity' if found['threshold'] is None else 'at ' + number(found['threshold'])}: {number(found['true_positives'])} hits, {number(found['false_positives'])} "
        f"false alarms, {number(found['false_negatives'])} misses."
    )


def _permuted(body: Body) -> str:
    if body["reason"]:
        return f"Importance of {body['name']} was not measured: {body['reason'].rstrip('.')}."
    top = [f"{one['name']} ({number(one['value'], signed=True)})" for one in body["features"][:3]]
    return f"{body['name']} loses most {label(body['metric']).replace('_', ' ')} without {listed(top) if top else 'nothing'}."


def _attributed(body: Body) -> str:
    if body["reason"]:
        return f"{body['name']} has no attributions: {body['reason'].rstrip('.')}."
    top = [one["name"] for one in body["features"][:3]]
    return f"Scores of {body['name']} are moved most by {listed(top) if top else 'nothing'}, over {plural(body['rows'], 'row')}."


def _robustness(body: Body) -> str:
    found = [
        (one["title"], m) for one in body["perturbations"] for m in one["metrics"][:1] if m["difference"] is not None
    ]
    if not found:
        return f"Nothing that {body['name']} reads could go wrong."
    title, worst = max(found, key=lambda pair: _lost(pair[1]))
    said = interval(worst["difference"], worst["low"], worst["high"], signed=True)
    return f"{body['name']} loses most with {title}: {label(worst['metric'])} {said}."


def _behaviour(body: Body) -> str:
    broken = [test for test in body["tests"] if test["violations"]]
    if not broken:
        return f"{body['name']} keeps {plural(len(body['tests']), 'behavioural test')}."
    worst = max(broken, key=lambda test: float(test["share"]))
    return (
        f"{body['name']} breaks {len(broken)} of {plural(len(body['tests']), 'behavioural test')}; most often '{worst['title']}', in "
        f"{percent(worst['share'])} of {plural(worst['rows'], 'row')}."
    )


def _compared(body: Body) -> str:
    if "moved" in body:
        return (
            f"{body['name']} moves {number(body['moved'])} of {plural(body['rows'], 'row')} by more than {number(body['tolerance'])} from "
            f"the champion: the error grew by more than that in {number(body['worse'])} and shrank in {number(body['better'])}."
        )
    return (
        f"{body['name']} is wrong now in {number(body['negative_flips'])} of {plural(body['rows'], 'row')} that the champion had right, "
        f"and right in {number(body['positive_flips'])} that it had wrong."
    )


def _retrained(question: str) -> Callable[[Body], str]:
    def say(body: Body) -> str:
        found = [(one["title"], m) for one in body["variants"] for m in one["metrics"] if m["metric"] in _MAIN]
        found = [(title, m) for title, m in found if m["difference"] is not None]
        if not found:
            return f"{question}: nothing could be compared."
        title, worst = max(found, key=lambda pair: _lost(pair[1]))
        said = interval(worst["difference"], worst["low"], worst["high"], signed=True)
        return f"{question}: {body['name']} loses most {title}, {label(worst['metric'])} {said}."

    return say


def _lost(change: Body) -> float:
    return float(-change["difference"] if more_is_better(change["metric"]) else change["difference"])


STUDY_SENTENCES: dict[str, Callable[[Body], str]] = {
    "slices.discovered": _discovered,
    "errors.analysed": _errors,
    "importance.permuted": _permuted,
    "attributions.measured": _attributed,
    "robustness.measured": _robustness,
    "behaviour.tested": _behaviour,
    "predictions.compared": _compared,
    "ablation.measured": _retrained("Ablation"),
    "learning.measured": _retrained("Learning curve"),
    "staleness.measured": _retrained("Staleness"),
}
