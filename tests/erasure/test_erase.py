"""One person, planted everywhere, and taken out of everything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sterling.core.elsewhere import WithoutErased, erased_in, without_erased
from sterling.core.errors import DataError, ErasedError
from sterling.core.evidence import Query
from sterling.core.refs import Ref
from sterling.core.verify import verify
from sterling.core.workspace import Workspace
from sterling.engine.tables import StoredTable, read_table
from sterling.erasure.erase import erase
from sterling.erasure.report import Report
from sterling.lifecycle import run_project
from sterling.project.load import load_project
from sterling.serving.released import ServedModel
from sterling.stages.person import Subject
from tests.erasure.people import PERSON, found_in_bytes, orders_of, remove_person, write_project
from tests.lifecycle.small import edit

WHO = Subject("customer", PERSON)


def run_erase(folder: Path, *, confirm: bool = False, subject: Subject = WHO) -> Report:
    return erase(load_project(folder), folder, [subject], confirm=confirm)


def outputs(folder: Path) -> dict[str, dict[str, Ref]]:
    done = Workspace(folder).ledger("orders-late").read(Query(("stage.completed",)))
    return {entry.body["title"]: entry.body["outputs"] for entry in done}


def test_without_confirm_everything_is_found_and_nothing_is_changed(folder: Path) -> None:
    workspace = Workspace(folder)
    before = set(workspace.store().list()), list(workspace.ledger("orders-late").read())
    report = run_erase(folder)
    assert (report.position, report.searched, report.left) == (None, None, ())
    found = {held.what: held for held in report.holdings}
    size = len(orders_of(folder))
    for what in (
        "prepare prepare.sql",
        "snapshot orders",
        "snapshot deliveries",
        "spine",
        "frame",
        "features visits: features",
        "features visits: leaks",
    ):
        assert found[what].rows >= size - 5, what  # a few of their rows were quarantined
        assert found[what].fate == "rewritten"
    assert {"validate orders: quarantine", "train candidate: probe"} <= set(found)
    assert found["holdout: holdout"].rows
    assert found["leak effect: claimed"].rows  # nothing leaks here, so these are the candidate's predictions as well
    assert found["raw file data/orders.csv"].fate == found["log of train candidate"].fate == "deleted"
    assert found["prepare prepare.sql"].cells == {"referred_by": 1}
    assert found["snapshot calls"].cells == {"topic": 1}
    assert report.files == ("report.md",)
    assert report.loose == 1
    assert (set(workspace.store().list()), list(workspace.ledger("orders-late").read())) == before


def test_as_long_as_a_raw_file_holds_the_person_nothing_is_erased(folder: Path) -> None:
    report = run_erase(folder)
    found = {one.where: one.times for one in report.in_the_way}
    assert found["data/orders.csv, column customer or order_no"] == len(orders_of(folder))
    assert found["data/items.parquet, column order_no"] > 0
    assert {"data/calls.csv, column customer", "data/calls.csv, column topic"} < set(found)
    assert {"data/visits.parquet, column customer", "data/orders.csv, column referred_by"} < set(found)
    before = set(Workspace(folder).store().list())
    with pytest.raises(
        DataError, match=r"^Nothing was erased, since .*data/orders\.csv, column customer or order_no: \d+ \(remove"
    ):
        run_erase(folder, confirm=True)
    assert set(Workspace(folder).store().list()) == before


def test_nothing_is_left_anywhere_in_the_workspace(cleaned: Path, planted: Path) -> None:
    ids = sorted(orders_of(planted))
    assert found_in_bytes(cleaned / ".sterling", PERSON, *ids)
    report = run_erase(cleaned, confirm=True)
    assert report.left == ()
    assert report.searched is not None
    assert min(report.searched) > 0
    assert found_in_bytes(cleaned / ".sterling", PERSON, *ids) == []


def test_the_fact_says_what_was_replaced_and_never_whom(cleaned: Path) -> None:
    report = run_erase(cleaned, confirm=True)
    (entry,) = Workspace(cleaned).ledger("orders-late").read(Query(("data.erased",)))
    assert entry.position == report.position
    assert PERSON not in str(entry)
    assert [one["column"] for one in entry.body["subjects"]] == ["customer"]
    replaced = {one["what"]: one for one in entry.body["replaced"]}
    assert replaced["raw file data/orders.csv"]["by"] is None
    assert replaced["frame"]["by"] is not None
    assert entry.body["rows"] == sum(one["rows"] for one in entry.body["replaced"])
    assert entry.body["files"] == 1


def test_the_ledger_still_holds_and_verify_explains_what_is_gone(cleaned: Path) -> None:
    report = run_erase(cleaned, confirm=True)
    workspace = Workspace(cleaned)
    found = verify(workspace.ledger("orders-late"), workspace.store())
    assert (found.intact, found.missing, found.unfinished) == (True, (), ())
    assert {cited.ref for cited in found.erased} == {held.ref for held in report.holdings}
    assert {cited.position for cited in found.erased} == {report.position}


def test_tables_without_the_person_still_fit_together(planted: Path, cleaned: Path) -> None:
    run_erase(cleaned, confirm=True)
    workspace = Workspace(cleaned)
    ledger = workspace.ledger("orders-late")
    now, before = WithoutErased(workspace.store(), erased_in(ledger)), Workspace(planted).store()
    made, ids = outputs(cleaned), orders_of(planted)
    for title, name in (
        ("frame", "frame"),
        ("spine", "spine"),
        ("train candidate", "probe"),
        ("evaluate", "candidate"),
    ):
        rows = [row for row in read_table(before, made[title][name]).to_pylist() if row["unit"] not in ids]
        found = read_table(now, made[title][name]).to_pylist()
        assert [row | {"row": 0} for row in found] == [row | {"row": 0} for row in rows], title
    spine, clean = read_table(now, made["spine"]["spine"]), read_table(now, made["validate orders"]["clean"])
    assert clean["order_no"].take(spine["row"]).to_pylist() == spine["unit"].to_pylist()
    assert read_table(now, made["features visits"]["features"]).num_rows == spine.num_rows
    assert read_table(now, made["features visits"]["leaks"]).num_rows == spine.num_rows
    parts = StoredTable(before, made["prepare prepare.sql"]["table"]).parts
    assert len(parts) == 4
    snapshot = read_table(now, made["snapshot visits"]["snapshot"])
    assert snapshot.num_rows == len([who for who in visitors(planted) if who != PERSON])


def visitors(folder: Path) -> list[str]:
    found: list[str] = pq.read_table(folder / "data" / "visits.parquet")["customer"].to_pylist()
    return found


def test_an_old_ref_gives_what_took_its_place_or_says_that_it_was_erased(planted: Path, cleaned: Path) -> None:
    report = run_erase(cleaned, confirm=True)
    workspace = Workspace(cleaned)
    now = WithoutErased(workspace.store(), erased_in(workspace.ledger("orders-late")))
    held = {one.what: one.ref for one in report.holdings}
    assert now.has(held["frame"])
    assert not now.has(held["raw file data/orders.csv"])
    with pytest.raises(ErasedError, match=f"was erased, .* entry {report.position} says so"):
        now.open(held["raw file data/orders.csv"])


def test_the_old_version_still_serves_and_a_run_makes_a_new_one(cleaned: Path) -> None:
    run_erase(cleaned, confirm=True)
    workspace = Workspace(cleaned)
    (release,) = workspace.ledger("orders-late").read(Query(("version.released",)))
    served = ServedModel.load(workspace.ledger("orders-late"), workspace.store(), release)
    assert len(served.predict([dict.fromkeys(served.model.names)])) == 1
    result = run_project(load_project(cleaned), cleaned)
    assert (result.verdict, result.version) == ("passed", 2)
    assert found_in_bytes(cleaned / ".sterling", PERSON) == []
    again = run_erase(cleaned, confirm=True)
    assert (again.position, again.holdings, again.left) == (None, (), ())


def test_a_raw_file_that_comes_back_is_refused(planted: Path, cleaned: Path) -> None:
    run_erase(cleaned, confirm=True)
    shutil.copy(planted / "data" / "orders.csv", cleaned / "data" / "orders.csv")
    for _ in range(2):
        with pytest.raises(DataError, match=r"'data/orders\.csv' is, byte for byte, .* entry \d+ says so"):
            run_project(load_project(cleaned), cleaned)
    assert found_in_bytes(cleaned / ".sterling", PERSON) == []


def test_a_second_person_is_erased_from_what_took_the_place_of_the_first(cleaned: Path, planted: Path) -> None:
    run_erase(cleaned, confirm=True)
    other = Subject("customer", "C0110")
    ids = orders_of(cleaned, other.value)
    assert ids
    remove_person(cleaned, other.value)
    report = run_erase(cleaned, confirm=True, subject=other)
    assert report.left == ()
    assert found_in_bytes(cleaned / ".sterling", other.value, *ids) == []
    workspace = Workspace(cleaned)
    now = WithoutErased(workspace.store(), erased_in(workspace.ledger("orders-late")))
    units = read_table(now, outputs(cleaned)["frame"]["frame"])["unit"].to_pylist()
    assert not {*units} & (ids | orders_of(planted))
    assert verify(workspace.ledger("orders-late"), workspace.store()).intact


def test_a_file_outside_of_the_store_may_not_come_back_either(planted: Path, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", rows=600)
    inputs = 'inputs=["data/orders.csv", "data/items.parquet"]'
    edit(
        folder,
        inputs,
        'inputs=[sl.External("data/orders.csv", keep="1d"), sl.External("data/items.parquet", keep="1d")]',
    )
    run_project(load_project(folder), folder)
    before, items = (folder / "data" / "orders.csv").read_bytes(), (folder / "data" / "items.parquet").read_bytes()
    remove_person(folder)
    (folder / "data" / "items.parquet").write_bytes(items)
    assert "data/items.parquet, column order_no" in {one.where for one in run_erase(folder).in_the_way}
    remove_items(folder, before)
    report = run_erase(folder, confirm=True)
    assert {held.what: held.fate for held in report.holdings}[
        "raw file data/orders.csv, not in the store"
    ] == "kept out"
    assert report.left == ()
    assert run_project(load_project(folder), folder).candidate
    (folder / "data" / "orders.csv").write_bytes(before)
    with pytest.raises(DataError, match=r"'data/orders\.csv' is, byte for byte"):
        run_project(load_project(folder), folder)
    assert run_erase(folder, subject=Subject("customer", "C0999"), confirm=True).holdings == ()


def remove_items(folder: Path, orders: bytes) -> None:
    """Take the person out once more, with the orders that say which items are theirs."""
    cleaned = (folder / "data" / "orders.csv").read_bytes()
    (folder / "data" / "orders.csv").write_bytes(orders)
    remove_person(folder)
    assert (folder / "data" / "orders.csv").read_bytes() == cleaned


CALENDAR = """
import sterling as sl

accounts = sl.EntitySource("accounts", "accounts.csv", entities=["account"], valid_from="since", columns=["account", "plan"])
gone = sl.EventSource("gone", "gone.csv", entities=["account"], event_time="left_at", available_at=sl.Delay("0m"))
project = sl.Project(
    "orders-late",
    problem=sl.Problem(decision="call", kpi="churn", owner="sales"),
    spine=sl.ScheduledSpine(accounts, every="MON 06:00"),
    label=sl.Occurs(gone, within="7d"),
    features=sl.FeatureService([accounts["plan"]]),
    recipe=sl.Recipe(sl.Prior(), baselines=[]),
    holdout=sl.Holdout("2024-05-01", "2024-06-01"),
)
"""


def test_a_population_on_a_calendar_loses_every_moment_of_a_person(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(CALENDAR)
    names = [f"account-{n:03}" for n in range(40)]
    accounts = [f"{name},p{n % 3},2024-01-0{1 + n % 9}T00:00:00Z,person {n}" for n, name in enumerate(names)]
    gone = [f"{name},2024-0{2 + n % 4}-1{n % 10}T00:00:00Z" for n, name in enumerate(names)]
    for file, head, lines in (("accounts", "account,plan,since,holder", accounts), ("gone", "account,left_at", gone)):
        (tmp_path / f"{file}.csv").write_text("\n".join([head, *lines]) + "\n")
    run_project(load_project(tmp_path), tmp_path)
    frame = outputs(tmp_path)["frame"]["frame"]
    before = read_table(Workspace(tmp_path).store(), frame).to_pylist()
    # the snapshot does not say who holds an account: its rows are found as those that were carried over
    (tmp_path / "accounts.csv").write_text(
        "\n".join(["account,plan,since,holder", *accounts[:7], *accounts[8:]]) + "\n"
    )
    report = run_erase(tmp_path, subject=Subject("holder", "person 7"), confirm=True)
    assert report.left == ()
    assert [(one.column, one.values) for one in report.also] == [("account", ("account-007",))]
    after = read_table(without_erased(Workspace(tmp_path).store(), Workspace(tmp_path).ledger("orders-late")), frame)
    theirs = [row for row in before if row["unit"].startswith("account-007@")]
    assert len(theirs) > 5
    assert after.to_pylist() == [row for row in before if row not in theirs]
