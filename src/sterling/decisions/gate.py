"""Judge gates: pure functions from evidence to verdicts, each on a one-sided bound.

A model passes only if it passes every gate, and each gate is judged at the project's whole error budget: to release a
model that should have failed, the gate that it should have failed must err, which happens with at most that
probability as far as its bound holds its rate (intersection-union test: Berger 1982, Technometrics 24(4), theorem 1;
how often the bounds err is simulated in docs/statistics.md). So more gates never add up to more false releases. What they do add up to is more refusals of good models; the margin of each verdict shows how close.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sterling.core.evidence import Entry
from sterling.decisions.fair import judge_fair, title_of_fair
from sterling.decisions.studied import judge_behaviour, judge_flips, judge_robustness
from sterling.decisions.verdict import Verdict
from sterling.project.gates import (
    AtLeast,
    AtMost,
    Behaves,
    EverySlice,
    Fair,
    FewFlips,
    Gate,
    Golden,
    Improves,
    NoLeakage,
    NonInferior,
    Parity,
    Reproduced,
    Robust,
    WorthMore,
)
from sterling.project.metrics import more_is_better
from sterling.project.perturbations import Perturbation, perturbation_title


def judge(gate: Gate, entries: Iterable[Entry]) -> Verdict:  # noqa: C901, PLR0911, PLR0912  a return for each gate
    """Judge one gate on the facts of one evaluation; no evidence is never a pass.

    Args:
        gate: The gate.
        entries: Facts that one evaluation of one candidate recorded.

    Example:
        >>> judge(AtMost("ece", 0.06), [])
        Verdict(passed=False, reason="No evidence of 'ece': the evaluation did not record it.", seen=(), margin=None)
    """
    facts = tuple(entries)
    match gate:
        case AtLeast():
            return _bound(facts, gate.metric, "lower", gate.floor)
        case AtMost():
            return _bound(facts, gate.metric, "upper", gate.ceiling)
        case Improves():
            return _compare(facts, gate.metric, gate.over, threshold=gate.by, word="gains")
        case NonInferior():
            return _compare(facts, gate.metric, gate.to, threshold=-gate.margin, word="changes by")
        case EverySlice():
            return _slices(facts, gate)
        case Golden():
            return _golden(facts)
        case Parity():
            return _parity(facts)
        case Reproduced():
            return _reproduced(facts, gate)
        case NoLeakage():
            return _leakage(facts, gate)
        case WorthMore():
            return _worth_more(facts, gate)
        case Fair():
            return judge_fair(facts, gate)
        case Robust():
            return judge_robustness(gate, facts)
        case Behaves():
            return judge_behaviour(gate, facts)
        case FewFlips():
            return _without_champion(facts) or judge_flips(gate, facts)


def title(gate: Gate) -> str:  # noqa: C901, PLR0911, PLR0912  a return for each gate
    """A gate as people read it.

    Example:
        >>> title(Improves("average_precision", by=0.005))
        'average_precision gains more than 0.005 over the best baseline'
    """
    match gate:
        case AtLeast():
            return f"{gate.metric} at least {gate.floor:g}"
        case AtMost():
            return f"{gate.metric} at most {gate.ceiling:g}"
        case Improves():
            return f"{gate.metric} gains more than {gate.by:g} over the {_rival(gate.over)}"
        case NonInferior():
            return f"{gate.metric} loses less than {gate.margin:g} against the {_rival(gate.to)}"
        case EverySlice():
            limit, sign = gate.limit()
            return f"{gate.metric} at {'least' if sign > 0 else 'most'} {limit:g} in every {' and '.join(gate.by)}"
        case Golden():
            return f"every example of {gate.file} is answered as it says"
        case Parity():
            return "every feature is online what it is offline"
        case Reproduced():
            return f"the run is reproduced, at least its {gate.level}"
        case NoLeakage():
            return "no leak is found that is not acknowledged"
        case WorthMore():
            more = f"over {gate.by:g} more" if gate.by else "more"
            return f"1,000 decisions are worth {more} than {_OTHERWISE[gate.than]}"
        case Fair():
            return title_of_fair(gate)
        case Robust():
            return f"{gate.metric} loses less than {gate.loses_less_than:g} with {_ways(gate.under)}"
        case Behaves():
            share = f"at most {100 * gate.at_most:g} % of the rows break a" if gate.at_most else "no row breaks a"
            return f"{share} behavioural test"
        case FewFlips():
            return f"at most {100 * gate.at_most:g} % of the rows are decided rightly by the champion and wrongly now"


_OTHERWISE = {
    "nobody": "acting on nobody",
    "everybody": "acting on everybody",
    "baseline": "those of the best baseline",
    "champion": "those of the champion",
}


_NAMES = {role: _OTHERWISE[role] for role in ("nobody", "everybody")}


def _ways(under: Iterable[Perturbation]) -> str:
    return ", or ".join(map(perturbation_title, under))


def _rival(role: str) -> str:
    return {"baseline": "best baseline", "champion": "champion"}[role]


def _missing(metric: str) -> Verdict:
    return Verdict(False, f"No evidence of {metric!r}: the evaluation did not record it.", ())


def _candidate(facts: Iterable[Entry], metric: str) -> list[Entry]:
    return [
        entry
        for entry in facts
        if entry.kind == "metric.measured" and entry.body["metric"] == metric and entry.body["role"] == "candidate"
    ]


def _bound(facts: tuple[Entry, ...], metric: str, side: str, limit: float) -> Verdict:
    found = [entry for entry in _candidate(facts, metric) if not entry.body["slice"]]
    if not found:
        return _missing(metric)
    body, seen = found[0].body, (found[0].position,)
    if body["value"] is None:
        return Verdict(False, f"{metric} is undefined: {body['reason']}.", seen)
    bound = body[side]
    margin = bound - limit if side == "lower" else limit - bound
    word = (
        ("reaches" if margin >= 0 else "is below") if side == "lower" else ("stays under" if margin >= 0 else "exceeds")
    )
    return Verdict(
        margin >= 0, f"{metric} {body['value']:.4f}: {side} bound {bound:.4f} {word} {limit:g}.", seen, margin
    )


def _compare(facts: tuple[Entry, ...], metric: str, role: str, *, threshold: float, word: str) -> Verdict:
    if role == "champion" and (verdict := _without_champion(facts)):
        return verdict
    rows = [
        entry
        for entry in facts
        if entry.kind == "metric.compared" and entry.body["metric"] == metric and entry.body["against_role"] == role
    ]
    if not rows:
        return _missing(f"{metric} against the {role}")
    undefined = [entry for entry in rows if entry.body["difference"] is None]
    if undefined:
        body = undefined[0].body
        reason = f"{metric} against {body['against_name']} is undefined: {body['reason']}."
        return Verdict(False, reason, _positions(undefined))
    towards_better = _better_side if more_is_better(metric) else _worse_side
    gains = {entry.position: towards_better(entry.body) for entry in rows}
    worst = min(rows, key=lambda entry: gains[entry.position][1])
    gain, bound = gains[worst.position]
    margin = bound - threshold
    digits = ",.1f" if metric == "value" else ".4f"
    hardest = ", its hardest rival" if role in {"baseline", "champion"} else ""
    reason = (
        f"{metric} {word} {gain:+{digits}} against {_NAMES.get(role, worst.body['against_name'])}{hardest}: lower bound "
        f"{bound:+{digits}} "
        f"{'is above' if margin > 0 else 'is not above'} {f'{threshold:+g}' if threshold else 0}."
    )
    return Verdict(margin > 0, reason, tuple(entry.position for entry in rows), margin)


def _worth_more(facts: tuple[Entry, ...], gate: WorthMore) -> Verdict:
    return _compare(facts, "value", gate.than, threshold=gate.by, word="gains")


def _better_side(body: Mapping[str, Any]) -> tuple[float, float]:
    return body["difference"], body["lower"]


def _worse_side(body: Mapping[str, Any]) -> tuple[float, float]:
    return -body["difference"], -body["upper"]


def _without_champion(facts: tuple[Entry, ...]) -> Verdict | None:
    found = [entry for entry in facts if entry.kind == "champion.resolved"]
    if not found:
        return Verdict(False, "No evidence of a champion, nor of its absence: the evaluation did not record it.", ())
    champions = [entry for entry in found if entry.body["champion"] is not None]
    if not champions:
        return Verdict(True, "First release: there is no champion to compare with.", _positions(found))
    unreadable = [entry for entry in champions if not entry.body["comparable"]]
    if unreadable:
        return Verdict(
            False, f"The champion cannot be compared: {unreadable[0].body['reason']}.", _positions(unreadable)
        )
    return None


def _slices(facts: tuple[Entry, ...], gate: EverySlice) -> Verdict:
    rows = [entry for entry in _candidate(facts, gate.metric) if set(entry.body["slice"]) & set(gate.by)]
    absent = set(gate.by) - {column for entry in rows for column in entry.body["slice"]}
    if absent:
        return _missing(f"{gate.metric} by {', '.join(sorted(absent))}")
    judged = [entry for entry in rows if entry.body["rows"] >= gate.min_rows]
    if not judged:
        return Verdict(False, f"No slice has {gate.min_rows:,} rows: nothing could be judged.", _positions(rows))
    undefined = [entry for entry in judged if entry.body["value"] is None]
    if undefined:
        body = undefined[0].body
        return Verdict(False, f"{gate.metric} of {_slice(body)} is undefined: {body['reason']}.", _positions(judged))
    limit, sign = gate.limit()
    side = "lower" if sign > 0 else "upper"
    worst = min(judged, key=lambda entry: sign * float(entry.body[side]))
    margin = sign * (worst.body[side] - limit)
    keeps, breaks = ("reaches", "is below") if sign > 0 else ("stays within", "is above")
    reason = (
        f"{gate.metric} is worst for {_slice(worst.body)}, {worst.body['value']:.4f}: {side} bound {worst.body[side]:.4f} "
        f"{keeps if margin >= 0 else breaks} {limit:g}; {len(judged)} of {len(rows)} slices judged."
    )
    return Verdict(margin >= 0, reason, _positions(judged), margin)


def _parity(facts: tuple[Entry, ...]) -> Verdict:
    found = [entry for entry in facts if entry.kind == "parity.measured"]
    if not found:
        return Verdict(False, "No evidence of parity: no feature was replayed.", ())
    features = [feature for entry in found for feature in entry.body["features"]]
    cells, unequal = (sum(feature[what] for feature in features) for what in ("cells", "unequal"))
    differing = [feature for feature in features if feature["different"]]
    worst = max(differing, key=lambda feature: feature["different"], default=None)
    if worst:
        reason = (
            f"{len(differing)} of {len(features)} features differ, {worst['name']!r} most: in {worst['different']:,} of "
            f"{worst['cells']:,} cells, the first in row {worst['first']:,} of the spine."
        )
    else:
        inside = f"{unequal:,} floats are not equal but inside the tolerance" if unequal else "all are equal"
        reason = f"{len(features)} features, {cells:,} cells: {inside}."
    if brought := [feature["name"] for entry in found for feature in entry.body["not_served"]]:
        reason += f" Requests have to bring {', '.join(brought)}."
    return Verdict(not differing, reason, _positions(found))


def _reproduced(facts: tuple[Entry, ...], gate: Reproduced) -> Verdict:
    """The best that was reached counts: where code or libraries have changed since, that is no doubt about then."""
    found = [entry for entry in facts if entry.kind == "run.reproduced"]
    if not found:
        return Verdict(False, "No evidence of reproduction: `sterling reproduce` executes the run again.", ())
    levels = ("metrics", "predictions", "model")
    best = max(found, key=lambda entry: levels.index(entry.body["level"]))
    passed = levels.index(best.body["level"]) >= levels.index(gate.level)
    reason = f"Executed again, its {best.body['level']} {'are' if best.body['level'] != 'model' else 'is'} the same."
    return Verdict(passed, reason, (best.position,))


def _leakage(facts: tuple[Entry, ...], gate: NoLeakage) -> Verdict:
    found = [entry for entry in facts if entry.kind == "leakage.checked"]
    if absent := {"before", "after"} - {entry.body["when"] for entry in found}:
        return Verdict(
            False, f"No evidence of leakage checks {' and '.join(sorted(absent))} training.", _positions(found)
        )
    if unchecked := next((entry for entry in found if entry.body["reason"]), None):
        return Verdict(False, f"Leaks could not be looked for: {unchecked.body['reason']}.", _positions(found))
    names = list(dict.fromkeys(finding["name"] for entry in found for finding in entry.body["findings"]))
    known = {one.finding: one.reason for one in gate.acknowledged}
    if open_ := [name for name in names if name not in known]:
        more = f" and {len(open_) - 3} more" if len(open_) > 3 else ""
        reason = f"{len(open_)} of {len(names)} findings are not acknowledged: {', '.join(open_[:3])}{more}."
        return Verdict(False, reason, _positions(found))
    rows = max(entry.body["rows"] for entry in found)
    said = (
        "No check has a finding"
        if not names
        else f"Acknowledged: {', '.join(f'{name} ({known[name]})' for name in names)}"
    )
    gone = [name for name in known if name not in names]
    also = f" No longer found: {', '.join(gone)}." if gone else ""
    return Verdict(True, f"{said}; {rows:,} rows looked at.{also}", _positions(found))


def _golden(facts: tuple[Entry, ...]) -> Verdict:
    found = [entry for entry in facts if entry.kind == "golden.checked"]
    if not found:
        return _missing("the golden examples")
    failed = [example["name"] for entry in found for example in entry.body["failed"]]
    count = sum(entry.body["examples"] for entry in found)
    if failed:
        return Verdict(
            False, f"{len(failed)} of {count} examples are answered otherwise: {', '.join(failed)}.", _positions(found)
        )
    every = (
        "The one example is answered as it says." if count == 1 else f"All {count} examples are answered as they say."
    )
    return Verdict(True, every, _positions(found))


def _slice(body: Mapping[str, Any]) -> str:
    return ", ".join(f"{column} {'missing' if value is None else value}" for column, value in body["slice"].items())


def _positions(entries: Iterable[Entry]) -> tuple[int, ...]:
    return tuple(entry.position for entry in entries)
