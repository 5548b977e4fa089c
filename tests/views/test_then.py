from __future__ import annotations

from sterling.core.evidence import Entry, Evidence
from sterling.core.history import Place
from sterling.project.definition import to_json
from sterling.views.text import moment
from sterling.views.then import Then, render, then
from tests.views.golden import golden, on_terminal
from tests.views.ledger import Entries


def found(entries: Entries, approvals: tuple[Entry, ...] = ()) -> Then:
    (released,) = (e for e in entries if e.kind == "version.released" and e.body["version"] == 2)
    (registered,) = (e for e in entries if e.position in released.body["seen"])
    judged = [e for e in entries if e.position in registered.body["seen"]]
    return then(Place(released.position, released.position), released, [*judged, registered, *approvals, released])


def test_a_moment_shows_what_was_live_who_released_it_and_on_which_gates(second: Entries) -> None:
    shown = on_terminal(render(found(second)))
    assert shown == golden("then.txt", shown)


def test_approvals_are_shown_with_what_they_looked_at(second: Entries) -> None:
    at = second[-1].recorded_at
    approved = Entry(
        153, at, "user:bea", "ci", "", "", Evidence("version.approved", ("version:2",), {"seen": [148, 149]})
    )
    revoked = Entry(154, at, "user:cem", "ci", "", "", Evidence("approval.revoked", ("version:2",)))
    shown = on_terminal(render(found(second, (approved, revoked))))
    assert f"approved          {moment(at)} by user:bea (ci) [153], on [148–149]\n" in shown
    assert f"approval.revoked  {moment(at)} by user:cem (ci) [154]\n" in shown


def test_nothing_and_no_version_are_told_apart(second: Entries) -> None:
    assert on_terminal(render(then(Place(0, 0), None, []))) == "Nothing was on record.\n"
    assert on_terminal(render(then(Place(1, 1), second[0], []))).startswith("No version was live.\n")


def test_clocks_that_disagree_are_said(second: Entries) -> None:
    shown = on_terminal(render(then(Place(1, 4), second[0], [])))
    assert "Clocks disagree: of [2–4] some were recorded by then too. Ask by position to" in shown


def test_a_moment_is_json(second: Entries) -> None:
    assert to_json(found(second))["released"]["actor"] == "user:ada"
