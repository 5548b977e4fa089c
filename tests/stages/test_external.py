from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sterling.core.errors import DataError, MissingBlobError
from sterling.core.refs import ref_of
from sterling.core.store import LocalStore
from sterling.project.sources import External
from sterling.stages.external import ExternalFiles, Promised, State, state_of
from sterling.stages.fingerprints import Fingerprints
from sterling.stages.raw import Intake, RawFile
from tests.stages.test_raw import LONG_AGO, write

FAR = "2999-01-01T00:00:00.000000Z"


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    return Intake(LocalStore(tmp_path / "store"), tmp_path / "fingerprints.json")


def files(intake: Intake, folder: Path, until: str = FAR) -> ExternalFiles:
    promised = tuple(Promised(file.locator, file.ref, until) for file in intake.external)
    return ExternalFiles(intake.store, promised, folder, intake.fingerprints)


def test_a_file_is_known_by_its_content_and_not_copied(intake: Intake, tmp_path: Path) -> None:
    path = write(tmp_path / "data" / "a.csv", "x\n1\n")
    said = External("data/a.csv", keep="90d")
    taken = intake.take(said, tmp_path)
    assert taken == (RawFile("data/a.csv", ref_of(b"x\n1\n"), 4),)
    assert list(intake.store.list()) == []
    assert intake.external == {taken[0]: said}
    assert files(intake, tmp_path).open(taken[0].ref) == path


def test_every_file_of_an_external_folder_is_known(intake: Intake, tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        write(tmp_path / "data" / name, name)
    found = intake.take(External("data", keep="1d"), tmp_path)
    assert [file.locator for file in found] == ["data/a.csv", "data/b.csv"]
    assert files(intake, tmp_path).open(found[1].ref) == tmp_path / "data" / "b.csv"


def test_a_file_is_hashed_once_and_never_again_while_size_and_time_stay(
    intake: Intake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.csv", "x\n1\n")
    said = External("a.csv", keep="90d")
    (first,) = intake.take(said, tmp_path)
    intake.save()
    monkeypatch.setattr("sterling.stages.fingerprints.ref_of_file", None)
    again = Intake(intake.store, tmp_path / "fingerprints.json")
    assert again.take(said, tmp_path) == (first,)
    assert files(again, tmp_path).open(first.ref) == tmp_path / "a.csv"


def test_a_file_that_was_only_touched_is_the_same(intake: Intake, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x\n1\n")
    (taken,) = intake.take(External("a.csv", keep="90d"), tmp_path)
    os.utime(path, (LONG_AGO + 5, LONG_AGO + 5))
    assert files(intake, tmp_path).open(taken.ref) == path


def change(path: Path) -> None:
    write(path, "x\n2\n", at=LONG_AGO + 1)


@pytest.mark.parametrize(("harm", "said"), [(change, "was changed"), (Path.unlink, "is gone")])
@pytest.mark.parametrize(
    ("until", "promise"),
    [
        (FAR, ", although it was to be kept until 2999-01-01. Bring it back"),
        ("2001-02-03T00:00:00.000000Z", "; the promise to keep it ended on 2001-02-03. Bring it back"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_named_with_its_promise(
    intake: Intake, tmp_path: Path, harm: Callable[[Path], None], said: str, until: str, promise: str
) -> None:
    path = write(tmp_path / "a.csv", "x\n1\n")
    (taken,) = intake.take(External("a.csv", keep="90d"), tmp_path)
    harm(path)
    with pytest.raises(DataError) as caught:
        files(intake, tmp_path, until).open(taken.ref)
    assert str(caught.value).startswith(f"'a.csv' {said} since it was read where it lies{promise}")


def test_a_file_that_the_store_holds_is_read_there(intake: Intake, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x\n1\n")
    (taken,) = intake.take(External("a.csv", keep="90d"), tmp_path)
    intake.store.put(io.BytesIO(b"x\n1\n"))
    path.unlink()
    assert files(intake, tmp_path).open(taken.ref).read_text() == "x\n1\n"


def test_everything_else_is_the_stores(intake: Intake, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "x\n1\n")
    (taken,) = intake.take(External("a.csv", keep="90d"), tmp_path)
    both = files(intake, tmp_path)
    ref = both.put(io.BytesIO(b"other"))
    assert (both.has(ref), both.has(taken.ref), list(both.list())) == (True, False, [ref])
    both.delete(ref)
    with pytest.raises(MissingBlobError):
        both.open(ref)


def test_the_state_of_a_file_is_seen_by_its_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x\n1\n")
    seen = Fingerprints(tmp_path / "fingerprints.json")

    def state() -> State:
        return state_of("a.csv", ref_of(b"x\n1\n"), tmp_path, seen)

    assert state() == "there"
    change(path)
    assert state() == "changed"
    path.unlink()
    assert state() == "gone"
