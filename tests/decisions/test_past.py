"""What decided about the version that was live at a position."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterling.core.evidence import Evidence
from sterling.core.history import Place, entry_at
from sterling.core.refs import ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.decisions.release import evidence_of_release, live
from sterling.testing import FixedClock
from sterling.views.then import Then, then


@pytest.fixture
def ledger(tmp_path: Path) -> SQLiteLedger:
    """Version 1 [3] is approved [4, 5] and released [6], one approval is taken back [7], version 2 [9] replaces it
    [10], and version 1 comes back [11]."""
    ledger = SQLiteLedger(tmp_path / "ledger.db", "flights", actor="user:ada", attestor="ci", clock=FixedClock())
    ledger.append([judged("a"), judged("b"), registered(1, [1, 2])])
    ledger.append([
        Evidence("version.approved", ("version:1",), {"seen": [1, 3]}),
        Evidence("approval.given", ("version:1", "by:bea"), {}),
        released(1, 3),
        Evidence("approval.withdrawn", ("version:1",), {"seen": [5]}),
    ])  # fmt: skip
    ledger.append([judged("c"), registered(2, [8]), released(2, 9), released(1, 3)])
    return ledger


def judged(title: str) -> Evidence:
    body = {"gate": {"type": "AtMost"}, "title": title, "passed": True, "reason": "Yes.", "seen": [], "margin": None}
    return Evidence("gate.judged", (), body)


def registered(version: int, seen: list[int]) -> Evidence:
    body = {"version": version, "model": model(version), "definition": "d", "seen": seen}
    return Evidence("model.registered", (f"version:{version}", f"model:{model(version)}"), body)


def released(version: int, seen: int) -> Evidence:
    body = {"version": version, "model": model(version), "rollout": "now", "replaces": None, "seen": [seen]}
    return Evidence("version.released", (f"version:{version}", f"model:{model(version)}"), body)


def model(version: int) -> str:
    return ref_of(str(version).encode())


def at(ledger: SQLiteLedger, position: int) -> Then:
    last = entry_at(ledger, position) if position else None
    return then(Place(position, position), last, evidence_of_release(ledger, position))


@pytest.mark.parametrize(
    ("position", "version", "release"),
    [(0, None, None), (5, None, None), (6, 1, 6), (7, 1, 6), (9, 1, 6), (10, 2, 10), (11, 1, 11)],
)
def test_the_version_that_was_released_last_by_then_was_live(
    ledger: SQLiteLedger, position: int, version: int | None, release: int | None
) -> None:
    found = at(ledger, position)
    assert (found.position, found.version) == (position, version)
    assert (found.released.position if found.released else None) == release
    current = live(ledger, until=position)
    assert (current.position if current else None) == release


def test_a_release_comes_with_who_registered_it_on_which_gates(ledger: SQLiteLedger) -> None:
    found = at(ledger, 6)
    assert found.registered
    assert found.released
    assert (found.registered.position, found.registered.seen, found.registered.actor) == (3, (1, 2), "user:ada")
    assert (found.released.attestor, found.model) == ("ci", model(1))
    assert [(gate.title, gate.position) for gate in found.gates] == [("a", 1), ("b", 2)]


def test_approvals_are_those_by_then_and_what_took_them_back(ledger: SQLiteLedger) -> None:
    assert [(act.kind, act.position, act.seen) for act in at(ledger, 6).approvals] == [
        ("version.approved", 4, (1, 3)),
        ("approval.given", 5, ()),
    ]
    assert [act.position for act in at(ledger, 7).approvals] == [4, 5, 7]
    assert at(ledger, 10).approvals == ()


def test_what_is_recorded_later_changes_nothing_of_what_was(ledger: SQLiteLedger) -> None:
    before = [at(ledger, position) for position in range(12)]
    ledger.append([Evidence("version.approved", ("version:1",)), released(2, 9)])
    assert [at(ledger, position) for position in range(12)] == before
