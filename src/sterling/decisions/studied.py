"""Judge the gates over studies: robustness, behaviour, flips against the champion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sterling.core.evidence import Entry
from sterling.decisions.verdict import Verdict
from sterling.project.gates import Behaves, FewFlips, Robust
from sterling.project.metrics import more_is_better
from sterling.project.perturbations import perturbation_title


def judge_robustness(gate: Robust, facts: Iterable[Entry]) -> Verdict:
    """The bound of the loss under each perturbation stays below the gate's."""
    found = [entry for entry in facts if entry.kind == "robustness.measured"]
    seen = _positions(found)
    measured = {one["title"]: one for entry in found for one in entry.body["perturbations"]}
    worst, largest, value = "", float("-inf"), 0.0
    for title in map(perturbation_title, gate.under):
        if title not in measured:
            return Verdict(False, f"No evidence of {title}: no feature that the model reads is concerned.", seen)
        change = next((one for one in measured[title]["metrics"] if one["metric"] == gate.metric), None)
        if change is None:
            return Verdict(False, f"No evidence of {gate.metric} under {title}.", seen)
        if change["difference"] is None:
            return Verdict(False, f"{gate.metric} under {title} is undefined: {change['reason']}.", seen)
        lost, bound = _loss(change, gate.metric)
        if bound > largest:
            worst, largest, value = title, bound, lost
    margin = gate.loses_less_than - largest
    reason = (
        f"{gate.metric} loses most with {worst}, {value:.4f}: upper bound {largest:.4f} "
        f"{'is below' if margin > 0 else 'is not below'} {gate.loses_less_than:g}; {len(gate.under)} judged."
    )
    return Verdict(margin > 0, reason, seen, margin)


def judge_behaviour(gate: Behaves, facts: Iterable[Entry]) -> Verdict:
    """Every test is kept by all rows, or broken by few."""
    found = [entry for entry in facts if entry.kind == "behaviour.tested"]
    seen, tests = _positions(found), [test for entry in found for test in entry.body["tests"]]
    if not tests:
        return Verdict(False, "No evidence of behaviour: nothing was tested.", seen)
    if empty := [test["title"] for test in tests if not test["rows"]]:
        return Verdict(False, f"No row of the holdout can test whether it {empty[0]}.", seen)
    broken = [test for test in tests if test["violations"]]
    if not broken:
        return Verdict(True, f"All {len(tests)} tests are kept by every row.", seen)
    worst = max(broken, key=lambda test: float(test["share"]))
    said = f"{worst['violations']:,} of {worst['rows']:,} rows break '{worst['title']}'"
    if not gate.at_most:
        return Verdict(False, f"{said}; {len(broken)} of {len(tests)} tests are broken.", seen)
    unbounded = [test for test in broken if test["upper"] is None]
    if unbounded:
        return Verdict(False, f"{said}, and too few clusters tell how uncertain that is.", seen)
    margin = min(gate.at_most - float(test["upper"]) for test in broken)
    holds = "stays within" if margin >= 0 else "is above"
    return Verdict(margin >= 0, f"{said}: the highest upper bound of a share {holds} {gate.at_most:g}.", seen, margin)


def judge_flips(gate: FewFlips, facts: Iterable[Entry]) -> Verdict:
    """The bound of the rate of negative flips stays below the gate's."""
    found = next((entry for entry in facts if entry.kind == "predictions.compared"), None)
    if found is None:
        return Verdict(False, "No evidence of flips: decisions were not compared with the champion's.", ())
    body, seen = found.body, (found.position,)
    said = f"{body['negative_flips']:,} of {body['rows']:,} rows were decided rightly and are not any more"
    if body["upper"] is None:
        if body["negative_flips"] == 0:
            return Verdict(True, f"{said}.", seen)
        return Verdict(False, f"{said}, and too few clusters tell how uncertain that is.", seen)
    margin = gate.at_most - body["upper"]
    holds = "stays within" if margin >= 0 else "is above"
    return Verdict(margin >= 0, f"{said}: upper bound {body['upper']:.4f} {holds} {gate.at_most:g}.", seen, margin)


def _loss(change: Mapping[str, Any], metric: str) -> tuple[float, float]:
    """What is lost, towards the metric's worse side, and its upper bound."""
    return (
        (-change["difference"], -change["lower"]) if more_is_better(metric) else (change["difference"], change["upper"])
    )


def _positions(entries: Iterable[Entry]) -> tuple[int, ...]:
    return tuple(entry.position for entry in entries)
