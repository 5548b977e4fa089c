"""What the data can show, as `sterling check` says it before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sterling.views.tables import Row, Table, in_terminal
from sterling.views.text import cite, interval, listed, number, percent, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

Body = Mapping[str, Any]
_MARKS = {"fine": "✓ fine", "doubtful": "? doubtful", "impossible": "✗ impossible"}


def render(feasibility: Body, leakage: Body, positions: Mapping[str, int]) -> RenderableType:
    """What can be trained and judged, which gates can be passed, and what looks like a leak."""
    from rich.console import Group
    from rich.text import Text

    where = positions["feasibility.assessed"]
    parts: list[RenderableType] = [
        in_terminal(volume_table(feasibility, where)),
        in_terminal(gates_table(feasibility, where)),
    ]
    if feasibility.get("value"):
        parts.append(in_terminal(worth_table(feasibility["value"], where)))
    parts += [Text(f"✗ {said}", style="bold") for said in feasibility["impossible"]]
    parts += [Text(f"? {said}") for said in feasibility["warnings"]]
    parts += [Text(said) for said in leaks(leakage, positions["leakage.checked"])]
    return Group(*parts)


def volume_table(body: Body, position: int) -> Table:
    """Rows, labels and clusters on both sides of the split."""
    rows = []
    for side in ("training", "holdout"):
        found = body[side]
        cells = (
            number(found["rows"]),
            number(found.get("positives")),
            percent(found.get("rate")),
            number(found["clusters"]),
        )
        rows.append(Row((side, *cells, cite(position))))
    note = f"{number(body['known'])} of {plural(body['rows'], 'label')} have matured ({percent(body['matured'])})."
    return Table("What there is", ("", ">labels", ">positive", ">rate", ">clusters", ""), tuple(rows), note=note)


def gates_table(body: Body, position: int) -> Table:
    """Each gate that depends on the holdout, and whether it can be passed."""
    rows = tuple(
        Row((_MARKS[gate["state"]], gate["gate"], gate["reason"], cite(position)), strong=gate["state"] == "impossible")
        for gate in body["gates"]
    )
    note = f"Bounds err with a chance of {percent(body['error_rate'])}. Judged by how a quick model's measures scatter over clusters."
    empty = "Nothing to assess: " + (
        "no model can be judged." if body["impossible"] else "no gate depends on the holdout's size."
    )
    return Table("What the holdout can show", ("", "gate", "why", ""), rows, empty=empty, note=note)


_WAYS = {
    "nobody": "act on nobody", "everybody": "act on everybody", "random": "as many as a quick model, at random",
    "quick": "a quick model, from break-even on", "perfect": "a perfect model",
}  # fmt: skip


def worth_table(body: Body, position: int) -> Table:
    """What decisions can be worth on the holdout, between knowing nothing and knowing all."""
    rows = tuple(
        Row((
            _WAYS[way["name"]], number(way["acts"] * body["per_day"]), percent(way["precision"]),
            interval(way["value"], way["low"], way["high"]), cite(position),
        ), strong=way["name"] == "quick")
        for way in body["ways"]
    )  # fmt: skip
    value = {way["name"]: way["value"] for way in body["ways"]}
    blind = max(value["nobody"], value["everybody"])
    pays = "pays" if body["rate"] >= body["break_even"] else "does not pay"
    note = (
        f"Acting pays where more than {percent(body['break_even'])} of those acted on are positive; {percent(body['rate'])} are, so "
        f"acting on everybody {pays}. No model adds more than {number(value['perfect'] - blind)} {body['unit']} to 1,000 decisions, "
        f"of {number(body['per_day'])} decisions a day."
    )
    return Table(
        "What decisions can be worth", ("", ">acts a day", ">right", f">{body['unit']} of 1,000", ""), rows, note=note
    )


def leaks(body: Body, position: int) -> Iterator[str]:
    """Findings of leakage checks in a line each."""
    where = cite(position)
    if body["reason"]:
        yield f"? Leaks were not looked for: {body['reason']} {where}."
        return
    for finding in body["findings"]:
        yield f"✗ Leak? {finding['name']}: {finding['said']} {finding['todo']} {where}"
    if not body["findings"]:
        checks = listed(body["checks"]).replace("_", " ")
        yield f"✓ No leak found in {plural(body['rows'], 'row')} by {checks} {where}."
