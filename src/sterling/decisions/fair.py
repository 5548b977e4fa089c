"""Judge fairness: whether the groups of an attribute are as close as a project asks, on the bound of the largest gap.

The bound needs no correction for the number of groups: the true largest gap is that of one pair, and the model passes only
if the bound of this very pair lies inside the limit (intersection-union test: Berger 1982, Technometrics 24(4)).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterling.core.evidence import Entry
from sterling.decisions.verdict import Verdict
from sterling.project.gates import Fair

_ODDS = ("true_positive_rate", "false_positive_rate")


def title_of_fair(gate: Fair) -> str:
    """The gate as people read it.

    Example:
        >>> title_of_fair(Fair("selection_rate", by="sex", ratio_at_least=0.8))
        'selection rate of every sex at least 0.8 of the highest'
    """
    rate = _words(gate.metric)
    if gate.ratio_at_least is not None:
        return f"{rate} of every {gate.by} at least {gate.ratio_at_least:g} of the highest"
    return f"{rate} differs by at most {gate.at_most:g} between any two of {gate.by}"


def judge_fair(facts: tuple[Entry, ...], gate: Fair) -> Verdict:
    """Judge the gate on what was measured of its attribute."""
    found = [entry for entry in facts if entry.kind == "fairness.measured" and entry.body["attribute"] == gate.by]
    rates = {one["rate"]: one for entry in found for one in entry.body["rates"]}
    wanted = _ODDS if gate.metric == "equalised_odds" else (gate.metric,)
    if not found or not set(wanted) <= set(rates):
        return Verdict(False, f"No evidence of {_words(gate.metric)} by {gate.by}: nothing measured it.", ())
    position = found[-1].position
    verdicts = [_judge(rates[rate], gate, position) for rate in wanted]
    return min(verdicts, key=lambda verdict: (verdict.passed, verdict.margin if verdict.margin is not None else -1.0))


def _judge(rate: Mapping[str, Any], gate: Fair, position: int) -> Verdict:
    ratio = gate.ratio_at_least is not None
    gap = rate["ratio" if ratio else "difference"]
    name = _words(rate["rate"])
    if gap is None or gap["value"] is None:
        reason = "there is no ratio" if gap is None else gap["reason"]
        return Verdict(False, f"{_capital(name)} by {gate.by} cannot be compared: {reason}.", (position,))
    most, least, bound = _value(gap["most"]), _value(gap["least"]), gap["bound"]
    small = sum(group["reason"] is not None for group in rate["groups"])
    left = f" {small} of {len(rate['groups'])} groups are too small to compare." if small else ""
    if ratio:
        margin = bound - gate.ratio_at_least
        word = "reaches" if margin >= 0 else "is below"
        said = f"{_capital(name)} of {least} is {gap['value']:.3f} of that of {most}: lower bound {bound:.3f} {word}"
        return Verdict(margin >= 0, f"{said} {gate.ratio_at_least:g}.{left}", (position,), margin)
    margin = (gate.at_most or 0.0) - bound
    word = "stays under" if margin >= 0 else "exceeds"
    said = f"{_capital(name)} differs most between {most} and {least}, by {gap['value']:.3f}: upper bound {bound:.3f} {word}"
    return Verdict(margin >= 0, f"{said} {gate.at_most:g}.{left}", (position,), margin)


def _words(rate: str) -> str:
    return rate.replace("_", " ")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _value(group: object) -> str:
    return "missing" if group is None else str(group)
