"""Commands that take bytes out of the store, and what is said of files outside of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sterling.core.evidence import Evidence
from sterling.core.lock import alone
from sterling.core.workspace import Workspace
from tests.cli.conftest import COMMAND, Answer, environment, sterling
from tests.cli.test_run import fits
from tests.core.test_lock import run_elsewhere
from tests.erasure.people import PERSON, remove_person
from tests.erasure.people import write_project as write_people
from tests.lifecycle.small import edit, write_project
from tests.lifecycle.test_external import write as write_external


def test_gc_deletes_only_when_told_and_keeps_what_is_released(refused: tuple[Path, Answer], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(refused[0], tmp_path / "project"))
    before = sterling(folder, "status", "--json").json
    edit(folder, "trees=16", "trees=17")
    assert sterling(folder, "run").code == 1
    listed = sterling(folder, "gc", "--json").json
    assert before["candidate"]["model"] in listed["refs"]
    assert before["live"]["model"] not in listed["refs"]
    assert not listed["deleted"]
    answer = sterling(folder, "gc")
    assert fits(answer.out)
    assert answer.out.startswith(f"Would delete {listed['blobs']} blob")
    assert sterling(folder, "gc", "--delete").out.startswith(f"Deleted {listed['blobs']} blob")
    assert sterling(folder, "gc", "--json").json["refs"] == []
    report = sterling(folder, "verify", "--json").json
    assert report["intact"]
    assert {cited["ref"] for cited in report["missing"]} == set(listed["refs"])
    edit(folder, "trees=17", "trees=16")
    assert sterling(folder, "run", "--json").json["candidate"] == before["candidate"]["model"]


def test_gc_is_refused_in_one_line_while_a_run_is_under_way_and_not_after_a_kill(folder: Path) -> None:
    before = set(Workspace(folder).store().list())
    with run_elsewhere(folder / ".sterling" / "run.lock") as process:
        for arguments in (("gc",), ("gc", "--delete"), ("gc", "--json")):
            answer = sterling(folder, *arguments)
            assert (answer.code, answer.out) == (2, "")
            assert answer.errors == (
                "sterling: A run, gc or erase is under way, and gc must not work beside one. "
                "Try again when it has ended.\n"
            )
        assert sterling(folder, "run").code == 0  # another run is no matter
        process.kill()
    assert sterling(folder, "gc", "--delete").code == 0
    assert set(Workspace(folder).store().list()) == before


def test_a_run_waits_until_gc_has_ended(folder: Path) -> None:
    with alone(folder / ".sterling" / "run.lock", "gc"):
        process = subprocess.Popen([*COMMAND, "run"], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
        try:
            process.wait(timeout=4)
            raise AssertionError("the run did not wait")
        except subprocess.TimeoutExpired:
            pass
    assert process.communicate(timeout=60)
    assert process.returncode == 0


def test_gc_keeps_what_an_approval_or_a_certificate_is_about(refused: tuple[Path, Answer], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(refused[0], tmp_path / "project"))
    loose = sterling(folder, "status", "--json").json["candidate"]["model"]
    edit(folder, "trees=16", "trees=17")
    assert sterling(folder, "run").code == 1
    assert loose in sterling(folder, "gc", "--json").json["refs"]
    ledger = Workspace(folder).ledger("late-parcels")
    ledger.append([Evidence("certificate.issued", (f"model:{loose}",), {"run": 1})])
    assert sterling(folder, "gc", "--delete").code == 0
    assert Workspace(folder).store().has(loose)


@pytest.mark.slow
def test_gc_keeps_what_another_project_of_the_same_ledger_needs(tmp_path: Path) -> None:
    shared = {
        "STERLING_LEDGER": f"sqlite:{tmp_path / 'team' / 'ledger.db'}",
        "STERLING_STORE": f"file:{tmp_path / 'team' / 'store'}",
    }
    first, second = (write_project(tmp_path / name) for name in ("first", "second"))
    edit(second, '"late-parcels"', '"other-parcels"')
    edit(second, "trees=15", "trees=16")
    for folder in (first, second):
        assert sterling(folder, "run", **shared).code == 0
    assert sterling(first, "gc", "--json", **shared).json["refs"] == []
    with run_elsewhere(tmp_path / "team" / "store" / "run.lock"):
        assert sterling(first, "gc", **shared).code == 2


def test_gc_lets_go_of_a_copy_of_what_is_kept_outside(folder: Path) -> None:
    os.utime(folder / "parcels.parquet", (1_700_000_000, 1_700_000_000))
    edit(folder, '["parcels.parquet"]', '[sl.External("parcels.parquet", keep="90d")]')
    assert sterling(folder, "run").code == 0
    (loose,) = sterling(folder, "gc", "--json").json["refs"]
    (known,) = sterling(folder, "verify", "--json").json["external"]
    assert known["ref"] == loose
    edit(folder, '[sl.External("parcels.parquet", keep="90d")]', '["parcels.parquet"]')
    assert sterling(folder, "gc", "--json").json["refs"] == []


@pytest.mark.slow
def test_verify_says_what_became_of_a_file_outside(tmp_path: Path) -> None:
    folder = write_external(tmp_path / "project")
    assert sterling(folder, "run").code == 0

    def said() -> tuple[str, str]:
        answer = sterling(folder, "verify")
        assert answer.code == 0
        line = " ".join(answer.out.split()).partition("Outside of the store: ")[2]
        (known,) = sterling(folder, "verify", "--json").json["external"]
        return known["state"], line

    state, line = said()
    assert state == "there"
    assert ") is there as it was, and is to be kept until 2" in line
    (folder / "parcels.parquet").write_bytes(b"PAR1")
    state, line = said()
    assert state == "changed"
    assert ") was changed, although it was to be kept until 2" in line
    (folder / "parcels.parquet").unlink()
    assert said()[0] == "gone"


@pytest.fixture(scope="session")
def of_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project about people that was run."""
    folder = write_people(tmp_path_factory.mktemp("people") / "project", rows=900)
    assert sterling(folder, "run", "--release-now").code == 0
    return folder


def test_erase_says_what_it_would_do_and_then_does_it(of_people: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(of_people, tmp_path / "project"))
    answer = sterling(folder, "erase", f"customer={PERSON}")
    assert answer.code == 1
    assert answer.out.startswith("Would erase:\n")
    assert "  raw file data/orders.csv: 26 rows, deleted\n" in answer.out
    assert "In the way: data/visits.parquet, column customer: " in answer.out
    assert answer.out.endswith("Nothing was changed: that takes --confirm.\n")
    refused = sterling(folder, "erase", f"customer={PERSON}", "--confirm")
    assert (refused.code, refused.out) == (2, "")
    assert refused.errors.startswith("sterling: Nothing was erased, since the person would come back")
    assert len(refused.errors.splitlines()) == 1

    remove_person(folder)
    answer = sterling(folder, "erase", "--subject", f"customer={PERSON}")
    assert answer.code == 0
    assert "In the way" not in answer.out
    answer = sterling(folder, "erase", "--subject", f"customer={PERSON}", "--confirm")
    assert answer.code == 0
    assert answer.out.startswith("Erased:\n")
    assert "  raw file data/orders.csv: 26 rows, deleted\n" in answer.out
    assert "Recorded as entry " in answer.out
    assert answer.out.endswith("entries: nothing is left.\n")
    assert PERSON not in answer.out

    verified = " ".join(sterling(folder, "verify").out.split())
    assert "blobs were erased by entry " in verified
    assert "no longer in the store" not in verified
    report = sterling(folder, "verify", "--json").json
    assert report["intact"]
    assert report["erased"]
    assert sterling(folder, "gc", "--json").json["refs"] == []
    assert sterling(folder, "run").code == 0
    again = sterling(folder, "erase", f"customer={PERSON}", "--confirm")
    assert again.out.startswith("Nothing that Sterling holds names them by customer.")
    assert again.code == 0


def test_erase_as_json_never_says_the_value(of_people: Path) -> None:
    found = sterling(of_people, "erase", f"customer={PERSON}", "--json")
    assert found.code == 1
    assert PERSON not in found.out
    assert (found.json["erased"], found.json["position"], found.json["searched"]) == (False, None, None)
    (spine,) = [held for held in found.json["holdings"] if held["what"] == "spine"]
    assert spine["rows"] > 0
    assert spine["fate"] == "rewritten"
    assert {one["where"].partition(",")[0] for one in found.json["in_the_way"]} >= {"data/orders.csv", "data/calls.csv"}


def test_erase_is_refused_beside_a_run_and_without_anybody_to_erase(of_people: Path) -> None:
    with run_elsewhere(of_people / ".sterling" / "run.lock"):
        answer = sterling(of_people, "erase", f"customer={PERSON}")
        assert (answer.code, len(answer.errors.splitlines())) == (2, 1)
        assert "erase must not work beside one" in answer.errors
    for arguments in ((), ("customer",)):
        answer = sterling(of_people, "erase", *arguments)
        assert (answer.code, answer.out) == (2, "")
        assert "sterling erase customer=C123" in answer.errors or "such as customer=C123" in answer.errors


def test_erase_says_which_values_it_does_not_look_for_in_texts(of_people: Path) -> None:
    answer = sterling(of_people, "erase", "customer=17")
    assert answer.code == 0
    assert "Nothing that Sterling holds names them by customer." in answer.out
    assert "The value of customer is too short to be looked for in texts" in answer.out
