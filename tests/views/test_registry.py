from __future__ import annotations

from dataclasses import replace

from sterling.core.evidence import Entry, Evidence
from sterling.core.refs import Ref
from sterling.views.needed import needed
from sterling.views.registry import champion, live, versions
from tests.views.ledger import Entries, ref


def test_every_registration_is_a_version(second: Entries) -> None:
    assert [version.version for version in versions(second)] == [1, 2]


def test_a_version_says_where_it_was_registered_and_released(second: Entries) -> None:
    kinds = {entry.position: entry.kind for entry in second}
    newest = versions(second)[-1]
    assert (kinds[newest.registered], kinds[newest.released or 0]) == ("model.registered", "version.released")


def test_the_version_released_last_is_live(second: Entries) -> None:
    assert live(second) == versions(second)[-1]


def test_nothing_is_live_before_a_release(first: Entries) -> None:
    before = [entry for entry in first if entry.kind != "version.released"]
    assert live(before) is None
    assert versions(before)[0].released is None


def test_releasing_an_older_version_again_makes_it_live(second: Entries) -> None:
    again = next(entry for entry in second if entry.kind == "version.released")
    moved = replace(again, position=999)
    newest = live([*second, moved])
    assert newest == replace(versions(second)[0], released=999)


def test_the_champion_is_the_newest_release_of_another_model(second: Entries) -> None:
    older, newer = versions(second)
    assert champion(second, Ref(ref("lightgbm 500 trees"))) == older
    assert champion(second, Ref(ref("a new one"))) == newer


def test_a_first_candidate_has_no_champion(first: Entries) -> None:
    assert champion(first, Ref(ref("lightgbm 300 trees"))) is None
    assert champion([], Ref(ref("lightgbm 300 trees"))) is None


def test_what_the_last_run_and_released_versions_rest_on_is_needed(second: Entries) -> None:
    kept = needed(second)
    assert {ref("lightgbm 300 trees"), ref("lightgbm 500 trees"), ref("snapshot weather"), ref("log")} <= kept
    assert needed([]) == frozenset()


def test_a_model_that_was_erased_is_no_champion(second: Entries) -> None:
    body = {"replaced": [{"ref": ref("lightgbm 500 trees"), "by": None}]}
    erased = Entry(len(second) + 1, "", "", "", "", "", Evidence("data.erased", (), body))
    older, newer = versions(second)
    assert champion(second, Ref(ref("a new one"))) == newer
    assert champion((*second, erased), Ref(ref("a new one"))) == older
