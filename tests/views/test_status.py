from __future__ import annotations

from sterling.project.definition import to_json
from sterling.views.status import as_json, render, status
from tests.views.golden import golden, on_terminal
from tests.views.ledger import Entries


def test_a_released_candidate_leaves_nothing_undone(second: Entries) -> None:
    shown = on_terminal(render(status(second)))
    assert shown == golden("status_released.txt", shown)
    assert status(second).undone == ()


def test_a_refused_candidate_is_shown_with_the_gate_that_it_failed(refused: Entries) -> None:
    shown = on_terminal(render(status(refused)))
    assert shown == golden("status_refused.txt", shown)


def test_a_registered_candidate_waits_for_its_release(second: Entries) -> None:
    waiting = [entry for entry in second if not (entry.kind == "version.released" and entry.body["version"] == 2)]
    assert any("sterling release" in line for line in status(waiting).undone)


def test_an_empty_ledger_names_the_first_command() -> None:
    assert status([]).undone == ("No run is completed. `sterling run` completes one.",)


def test_a_stage_that_failed_after_the_last_run_is_undone(refused: Entries) -> None:
    first_run = next(entry.position for entry in refused if entry.kind == "run.completed")
    until = [entry for entry in refused if entry.position <= first_run + 2]
    assert any("MemoryError" in line for line in status(until).undone)


def test_a_status_is_json(second: Entries) -> None:
    assert to_json(as_json(status(second)))["live"]["version"] == 2


def test_a_version_on_its_way_is_shown_with_its_stage_and_what_comes_next(refused: Entries) -> None:
    promoted = next(entry.position for entry in refused if entry.kind == "version.promoted")
    found = status(entry for entry in refused if entry.position <= promoted)
    assert "rollout    version 1, stage 2 of 2, canary 5 %" in on_terminal(render(found))
    assert any("is on its way and not live. `sterling promote` takes it further" in line for line in found.undone)
    later = status(entry for entry in refused if entry.position <= promoted + 1)
    assert "paused     Slow. " in on_terminal(render(later))
