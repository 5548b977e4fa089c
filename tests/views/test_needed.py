from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sterling.core.evidence import Entry, Evidence
from sterling.core.refs import Ref, ref_of, refs_in
from sterling.views.facts import runs
from sterling.views.needed import needed
from tests.views.ledger import Entries, Flights, ref


def with_entry(
    entries: Entries, kind: str, subjects: tuple[str, ...] = (), body: dict[str, Any] | None = None
) -> Entries:
    """The ledger with one entry more."""
    fact = Evidence(kind, subjects, body or {})
    return (*entries, Entry(len(entries) + 1, "", "", "", "", "", fact))


@pytest.fixture
def entries(tmp_path: Path) -> Entries:
    """A first run that was refused, then one of more trees that was released."""
    flights = Flights(tmp_path)
    flights.run(1, trees=100, passes=False)
    flights.run(2)
    return flights.release(2, None).entries


OLD = Ref(ref("lightgbm 100 trees"))


def test_the_last_run_and_registered_versions_are_needed_and_earlier_candidates_are_not(entries: Entries) -> None:
    assert ref("lightgbm 300 trees") in needed(entries)
    assert OLD not in needed(entries)


@pytest.mark.parametrize(
    "kind", ["approval.asked", "approval.granted", "version.approved", "certificate.issued", "reproduction.compared"]
)
def test_an_approval_or_a_certificate_needs_the_runs_of_its_models_and_what_it_names(
    entries: Entries, kind: str
) -> None:
    report = ref_of(b"report")
    found = needed(with_entry(entries, kind, (f"model:{OLD}",), {"report": report, "seen": [3]}))
    assert {OLD, report} <= found
    (run,) = [run for run in runs(entries) if run.candidate == OLD]
    assert {Ref(one) for fact in run.facts for one in refs_in(fact.body)} <= found


def test_a_version_in_a_subject_stands_for_its_model(entries: Entries) -> None:
    refused = with_entry(entries, "version.released", ("version:2",), {"version": 2, "model": OLD})
    assert needed(with_entry(refused, "approval.asked", ("version:2",))) >= needed(refused)


def test_other_kinds_about_a_model_keep_nothing(entries: Entries) -> None:
    assert OLD not in needed(with_entry(entries, "model.admired", (f"model:{OLD}",)))


def test_what_took_the_place_of_erased_bytes_is_needed_instead_of_them(entries: Entries) -> None:
    frame, first, second = Ref(ref("frame")), ref_of(b"first"), ref_of(b"second")
    assert frame in needed(entries)
    chain = with_entry(entries, "data.erased", (), {"replaced": [{"ref": frame, "by": first}]})
    assert {frame, first} & needed(chain) == {first}
    chain = with_entry(chain, "data.erased", (), {"replaced": [{"ref": first, "by": second}]})
    assert {frame, first, second} & needed(chain) == {second}
    chain = with_entry(chain, "data.erased", (), {"replaced": [{"ref": second, "by": None}]})
    assert {frame, first, second} & needed(chain) == set()
