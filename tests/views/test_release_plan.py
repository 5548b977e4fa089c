from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.elsewhere import ERASED
from sterling.core.evidence import Entry, Evidence
from sterling.core.refs import ref_of
from sterling.project.rollout import WHOLE
from sterling.views.release_plan import KINDS, NOTHING, ReleasePlan, as_json, facts, release_plan, render
from tests.views.golden import on_terminal as shown
from tests.views.ledger import Entries

STAGES = [
    {"kind": "shadow", "share": 0, "lasts": "2d"},
    {"kind": "canary", "share": 50_000, "lasts": "1d"},
    {"kind": "canary", "share": 250_000, "lasts": "36h"},
]
VERSIONS = st.integers(1, 4)


def entry(position: int, kind: str, version: int, **body: Any) -> Entry:
    model = ref_of(b"%d" % version)
    about = Evidence(kind, (f"version:{version}",), {"version": version, "model": model, **body})
    return Entry(position, f"2026-01-01T00:{position % 60:02}:00.000000Z", "user:ada", "ci", "", "", about)


def released(position: int, version: int, how: str = "now") -> Entry:
    return entry(position, "version.released", version, rollout=how, replaces=None, seen=[])


def started(position: int, version: int) -> Entry:
    return entry(
        position,
        "rollout.started",
        version,
        stages=STAGES,
        salt="a0",
        guardrails=[],
        error_budget=0.05,
        replaces=1,
        seen=[],
    )


def promoted(position: int, version: int, stage: int) -> Entry:
    return entry(position, "version.promoted", version, stage=stage)


@st.composite
def chains(draw: st.DrawFn) -> list[Entry]:
    """Any decisions at all in any order, those that no ledger would take among them."""
    found: list[Entry] = []
    for position in range(1, 1 + draw(st.integers(0, 25))):
        version, kind = draw(VERSIONS), draw(st.sampled_from([*KINDS, "model.trained"]))
        match kind:
            case "version.released":
                found.append(released(position, version, draw(st.sampled_from(["now", "staged", "rollback"]))))
            case "rollout.started":
                found.append(started(position, version))
            case "version.promoted":
                found.append(promoted(position, version, draw(st.integers(1, 3))))
            case "routing.set":
                body = {"unit": None, "holdout": draw(st.integers(0, 9)), "explore": 0, "salt": "b0"}
                found.append(entry(position, kind, version, **body))
            case "data.erased":
                found.append(entry(position, kind, version, replaced=[{"ref": ref_of(b"%d" % version), "by": None}]))
            case _:
                found.append(entry(position, kind, version, reason="Errors.", what="rollout"))
    return found


@given(chains())
def test_weights_sum_to_the_whole_from_the_first_release_on(entries: list[Entry]) -> None:
    plan = release_plan(entries)
    assert sum(plan.weights.values()) == (WHOLE if plan.live else 0)
    assert all(share >= 0 for share in plan.weights.values())


@given(chains())
def test_the_way_back_leads_only_to_what_was_live_and_never_to_what_is(entries: list[Entry]) -> None:
    plan = release_plan(entries)
    was_live = {e.body["version"] for e in entries if e.kind == "version.released"}
    back = [release.version for release in plan.previous]
    assert {*back} <= was_live
    assert len({*back}) == len(back)
    assert plan.live is None or plan.live.version not in back
    assert not {*back} & plan.retired


@given(chains(), st.integers(0, 25))
def test_a_plan_that_is_kept_goes_on_without_the_entries_before(entries: list[Entry], cut: int) -> None:
    assert release_plan(entries[cut:], release_plan(entries[:cut])) == release_plan(entries)


@given(chains())
def test_replaying_what_is_known_changes_nothing(entries: list[Entry]) -> None:
    plan = release_plan(entries)
    assert release_plan(entries, plan) == plan


@given(chains())
def test_a_plan_can_be_shown_and_is_json_at_any_time(entries: list[Entry]) -> None:
    plan = release_plan(entries)
    json.dumps(as_json(plan))
    assert shown(render(plan))
    assert list(facts(plan))


@given(chains())
def test_a_paused_version_answers_nobody(entries: list[Entry]) -> None:
    plan = release_plan(entries)
    if plan.rollout and plan.rollout.paused:
        assert plan.canary is plan.shadow is None
        assert plan.live is None or plan.weights == {plan.live.version: WHOLE}


def test_rolling_back_twice_never_leads_to_what_was_rolled_back() -> None:
    entries = [released(1, 1), released(2, 2), released(3, 3), released(4, 2, "rollback")]
    assert back(entries) == [1]
    assert back([*entries, released(5, 3)]) == [2, 1]


def test_what_was_erased_is_no_way_back() -> None:
    erased = entry(3, ERASED, 1, replaced=[{"ref": ref_of(b"1"), "by": None}])
    assert back([released(1, 1), released(2, 2), erased]) == []


def test_a_release_ends_the_rollout_that_was_under_way() -> None:
    assert release_plan([released(1, 1), started(2, 2), released(3, 2, "staged")]).rollout is None


def test_a_stage_says_since_when_it_runs_and_from_when_it_may_be_promoted() -> None:
    plan = release_plan([released(1, 1), started(2, 2), promoted(3, 2, 3)])
    assert plan.rollout
    assert (plan.rollout.running.title, plan.rollout.due) == ("canary 25 %", "2026-01-02T12:03:00.000000Z")
    assert plan.rollout.last


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], "Nothing is released."),
        ([released(1, 1)], "Version 1 takes all traffic."),
        ([released(1, 1), started(2, 2)], "Version 1 is live; version 2 is its shadow."),
        ([released(1, 1), started(2, 2), promoted(3, 2, 2)], "Version 1 is live; version 2 is a canary on 5 %."),
    ],
)
def test_the_first_line_says_who_answers(entries: Sequence[Entry], expected: str) -> None:
    assert shown(render(release_plan(entries))).splitlines()[0] == expected


def test_the_whole_plan_fits_eighty_columns() -> None:
    entries = [released(1, 1), released(2, 2), started(3, 3), promoted(4, 3, 2)]
    assert shown(render(release_plan(entries))) == (
        "Version 2 is live; version 3 is a canary on 5 %.\n"
        "\n"
        "live      version 2, 95 % since 2026-01-01 00:02 UTC [2]\n"
        "rollout   version 3, stage 2 of 3, canary 5 % [4]\n"
        "next      canary 25 %, from 2026-01-02 00:04 UTC on: `sterling promote`\n"
        "way back  version 1 [1]\n"
        "\n"
        "Stages of version 3\n"
        "     1  shadow       at least 2d\n"
        "  ▸  2  canary 5 %   at least 1d\n"
        "     3  canary 25 %  at least 36h\n"
        "     4  all traffic\n"
    )


def test_the_ledger_of_these_tests_ends_with_one_version_live(refused: Entries) -> None:
    plan = release_plan(refused)
    assert (plan.weights, {*plan.retired}, [*plan.previous]) == ({2: WHOLE}, {1}, [])
    assert plan.routing
    assert plan.routing.unit == "flight_id"


def test_nothing_is_the_plan_of_nothing() -> None:
    assert release_plan([]) is NOTHING


def back(entries: Sequence[Entry]) -> list[int]:
    plan: ReleasePlan = release_plan(entries)
    return [release.version for release in plan.previous]
