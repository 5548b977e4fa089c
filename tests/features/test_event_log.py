"""Rows that arrive are checked, kept durably, numbered without gaps, and kept once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sterling.core.errors import DataError, InvalidDefinitionError, StorageError
from sterling.features.arriving import RowReader
from sterling.features.event_log import EventLog
from sterling.features.tail import FileTail
from sterling.project.sources import Delay, EventSource
from tests.features.arrivals import READERS, START, TYPES, flight, flights, order


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "online.db", READERS)


def test_offsets_are_dense_over_all_sources(log: EventLog) -> None:
    assert log.push("flights", [flight(1, START), flight(2, START)]).offset == 2
    assert log.push("orders", [order("o", START, START)]).offset == 3
    assert log.head() == 3


def test_what_was_pushed_is_there_for_others(log: EventLog, tmp_path: Path) -> None:
    log.push("flights", [flight(1, START)])
    (row,) = EventLog(tmp_path / "online.db", READERS).batch("flights", 0, 10).after
    assert row == flight(1, START)


def test_a_push_that_is_repeated_changes_nothing(log: EventLog) -> None:
    rows = [flight(n, START, delay=1.5) for n in range(3)]
    assert log.push("flights", rows)[:3] == (3, 3, 0)
    assert log.push("flights", rows)[:3] == (3, 0, 3)
    assert log.push("orders", [order("o", START, START)] * 2)[:3] == (4, 1, 1)


def test_a_row_comes_again_with_more_cells(log: EventLog) -> None:
    log.push("flights", [flight(1, START)])
    assert log.push("flights", [flight(1, START, delay=3.0)])[:3] == (2, 1, 0)
    assert (
        log.push("flights", [{"id": 1, "delay": 3.0, "origin": None}])
        .refused[0]
        .reason.startswith("flights: 'origin' is null")
    )
    batch = log.batch("flights", 1, 10)
    assert (batch.before, batch.after) == ([flight(1, START)], [flight(1, START, delay=3.0)])


def test_a_cell_that_was_known_does_not_change(log: EventLog) -> None:
    log.push("flights", [flight(1, START, delay=3.0)])
    pushed = log.push("flights", [flight(2, START), {**flight(1, START, delay=3.0), "delay": 4.0}])
    assert pushed[:3] == (2, 1, 0)
    ((row, reason),) = pushed.refused
    assert row == 1
    assert "'delay' was 3.0 and is to become 4.0" in reason or "'delay' was 3 and is to become 4.0" in reason
    assert "updates='replace'" in reason
    assert log.refused() == {("flights", "changed"): 1}


def test_versions_are_all_kept(log: EventLog) -> None:
    log.push("orders", [order("o", START, START, price="1.00"), order("o", START, START, number=2, price="2.00")])
    batch = log.batch("orders", 1, 10)
    assert [row["price"] for row in batch.before] == ["1.00"]
    assert [row["price"] for row in batch.after] == ["1.00", "2.00"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"origin": "JFK"}, "'id', which names the event, is missing"),
        ({"id": 1, "orign": "JFK"}, "no column 'orign'. Did you mean 'origin'?"),
        ({"id": "1", "origin": "JFK"}, "'id' is '1', and a whole number is wanted"),
        ({"id": True, "origin": "JFK"}, "a whole number is wanted"),
        ({"id": 2**63, "origin": "JFK"}, "it must lie between"),
        ({"id": 1, "origin": 5}, "a text is wanted"),
        ({"id": 1, "origin": "JFK", "due": "2013-01-01T06:00:00"}, "a time with its zone is wanted"),
        ({"id": 1, "origin": "JFK", "due": "soon"}, "a time is wanted, such as 2013-01-01T06:00:00Z"),
        ({"id": 1, "origin": "JFK", "delay": float("inf")}, "a finite number is wanted"),
        ({"id": 1, "origin": "JFK", "delay": "3"}, "a number is wanted"),
        ({"id": 1}, "NotNull"),
        ({"id": 1, "origin": "SFO"}, "none of the values that OneOf allows"),
        ([1], "a row is a JSON object"),
    ],
)
def test_a_row_that_is_wrong_is_refused_and_the_others_are_taken(log: EventLog, row: Any, said: str) -> None:
    pushed = log.push("flights", [flight(7, START), row, flight(8, START)])
    assert pushed.offset == 2
    ((number, reason),) = pushed.refused
    assert number == 1
    assert said in reason
    assert log.refused() == {("flights", "invalid"): 1}


@pytest.mark.parametrize(("value", "kept"), [("12.5", "12.50"), (3, "3.00"), ("1e3", "1000.00")])
def test_decimals_are_texts_of_one_form(value: Any, kept: str) -> None:
    row = READERS[1].read({**order("o", START, START), "price": value})
    assert row["price"] == kept


@pytest.mark.parametrize("value", ["1.234", 1.5, "NaN", "x", True])
def test_a_decimal_that_does_not_fit_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="a decimal"):
        READERS[1].read({**order("o", START, START), "price": value})


def test_a_cell_out_of_range_is_left_out_as_a_run_nulls_it() -> None:
    assert "delay" not in READERS[0].read({"id": 1, "origin": "JFK", "delay": 9_999.0})


def test_events_without_an_id_are_told_by_their_content(tmp_path: Path) -> None:
    source = EventSource("clicks", "c.parquet", event_time="at", available_at=Delay("0m"))
    log = EventLog(tmp_path / "online.db", [RowReader(source, {"at": "timestamp[us, tz=UTC]", "page": "string"})])
    row = {"at": "2013-01-01T06:00:00Z", "page": "a"}
    assert log.push("clicks", [row, row, {**row, "page": "b"}])[:3] == (2, 2, 1)


def test_a_source_that_is_not_there_is_named(log: EventLog) -> None:
    with pytest.raises(InvalidDefinitionError, match=r"no source 'flight'. Did you mean 'flights'"):
        log.push("flight", [])


def test_a_type_that_does_not_arrive_is_refused_by_name() -> None:
    with pytest.raises(InvalidDefinitionError, match="'delay' is list<item: double>"):
        RowReader(flights, {**TYPES["flights"], "delay": "list<item: double>"})


def test_those_who_push_at_once_get_offsets_of_their_own(log: EventLog, tmp_path: Path) -> None:
    logs = [log, EventLog(tmp_path / "online.db", READERS)]
    with ThreadPoolExecutor(4) as pool:
        pushed = list(pool.map(lambda n: logs[n % 2].push("flights", [flight(n, START)]), range(40)))
    assert sorted(one.offset for one in pushed) == list(range(1, 41))


class TestFileTail:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "flights.jsonl"

    def test_what_is_appended_is_taken_once(self, log: EventLog, file: Path) -> None:
        tail = FileTail(log, "flights", file)
        assert tail.step() == 0
        append(file, flight(1, START), flight(2, START))
        assert tail.step() == file.stat().st_size
        assert tail.step() == 0
        append(file, flight(3, START))
        FileTail(log, "flights", file).step()
        assert log.head() == 3

    def test_a_line_that_is_half_written_waits(self, log: EventLog, file: Path) -> None:
        tail, line = FileTail(log, "flights", file), json.dumps(flight(1, START))
        file.write_text(line[:20])
        assert (tail.step(), log.head()) == (0, 0)
        file.write_text(line + "\n" + line[:5])
        tail.step()
        assert log.head() == 1
        assert log.refused() == {}

    def test_a_line_that_is_no_row_is_counted_and_left_behind(self, log: EventLog, file: Path) -> None:
        file.write_text(f"not json\n\n{json.dumps(flight(1, START))}\n[1]\n")
        FileTail(log, "flights", file).step()
        assert (log.head(), log.refused()) == (1, {("flights", "invalid"): 2})

    def test_a_line_longer_than_a_chunk_is_read_whole(self, log: EventLog, file: Path) -> None:
        file.write_text(json.dumps(flight(1, START)) + " " * 3_000_000 + "\n")
        append(file, flight(2, START))
        tail = FileTail(log, "flights", file)
        while tail.step():
            pass
        assert log.head() == 2

    def test_the_files_of_a_folder_are_followed_side_by_side(self, log: EventLog, tmp_path: Path) -> None:
        folder = tmp_path / "arriving"
        tail = FileTail(log, "flights", folder)
        assert tail.step() == 0
        folder.mkdir()
        for day in range(3):
            append(folder / f"{day}.jsonl", flight(day, START))
        tail.step()
        append(folder / "1.jsonl", flight(9, START))
        tail.step()
        assert log.head() == 4

    def test_a_file_that_became_shorter_is_refused(self, log: EventLog, file: Path) -> None:
        append(file, flight(1, START), flight(2, START))
        tail = FileTail(log, "flights", file)
        tail.step()
        file.write_text("")
        with pytest.raises(StorageError, match="it was cut or replaced"):
            tail.step()

    def test_two_that_follow_a_file_take_each_line_once(self, log: EventLog, file: Path) -> None:
        append(file, *(flight(n, START) for n in range(2000)))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: FileTail(log, "flights", file).step(), range(8)))
        assert log.head() == 2000
        assert log.push("flights", [flight(0, START)]).repeated == 1


def append(file: Path, *rows: dict[str, Any]) -> None:
    with file.open("a") as stream:
        stream.writelines(f"{json.dumps(row)}\n" for row in rows)
