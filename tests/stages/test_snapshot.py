from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.refs import Ref
from sterling.project.checks import NotNull
from sterling.project.sources import Delay, EntitySource, EventSource
from sterling.stages.snapshot import AsOf, Prepare, Snapshot, raw_input
from tests.stages.bench import TIME, Bench, at, fact, rows, us


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def source(**fields: Any) -> EventSource:
    return EventSource("log", "log.csv", event_time="t", **({"available_at": Delay("1h")} | fields))


def table(**columns: list[Any]) -> pa.Table:
    times = {
        name: pa.array([None if cell is None else at(cell) for cell in cells], TIME)
        for name, cells in columns.items()
        if name.startswith("t")
    }
    return pa.table(columns | times)


def csv(bench: Bench, text: str) -> Ref:
    return bench.store.put(io.BytesIO(text.encode()))


def test_rows_are_in_the_total_order_with_their_clocks(bench: Bench) -> None:
    log = source(event_id="id", available_at="t2", known={"v": "t3"})
    made = bench.snapshot(log, table(id=["c", "b", "a"], t=[2, 1, 1], t2=[5, 4, 4], t3=[None, 9, 7], v=[1, 2, 3]))
    found = bench.table(made.outputs["snapshot"])
    assert rows(found, "_event_id", "_event_time", "_available_at", "_known_v") == [
        ("a", us(1), us(4), us(7)), ("b", us(1), us(4), us(9)), ("c", us(2), us(5), None),
    ]  # fmt: skip
    assert found.column("t").type == TIME


def test_a_row_without_an_event_time_is_no_event_and_is_counted(bench: Bench) -> None:
    body = fact(bench.snapshot(source(), table(t=[1, None, 3], v=[1, 2, 3])), "data.snapshotted").body
    assert (body["rows"], body["no_event"]) == (2, 1)
    assert body["event_time"] == ["1970-01-01T01:00:00.000000Z", "1970-01-01T03:00:00.000000Z"]
    assert body["newest_available"] == "1970-01-01T04:00:00.000000Z"
    assert body["columns"] == {"t": "timestamp[us, tz=UTC]", "v": "int64"}


def test_only_listed_columns_are_kept(bench: Bench) -> None:
    log = source(columns=["v"], known={"w": "t2"}, entities=["k"])
    found = bench.table(bench.snapshot(log, table(t=[1], t2=[2], v=[1], w=[1], k=["a"], x=[1])).outputs["snapshot"])
    assert found.schema.names == ["t", "t2", "v", "w", "k", "_event_time", "_known_w", "_available_at", "_event_id"]


def test_a_row_without_an_id_is_named_by_its_content(bench: Bench) -> None:
    found = bench.table(bench.snapshot(source(), table(t=[1, 1, 1], v=["x", "x", "y"])).outputs["snapshot"])
    ids = dict(rows(found, "v", "_event_id"))
    assert len(set(ids.values())) == 2
    assert found.num_rows == 3


def test_an_id_of_two_events_is_refused_without_showing_it(bench: Bench) -> None:
    with pytest.raises(DataError, match=r"log: the event_id 'id' names 1 events more than once, one of them in 2 rows"):
        bench.snapshot(source(event_id="id"), table(id=["a", "a", "b"], t=[1, 2, 3]))


def test_a_misspelt_column_is_refused_with_the_nearest(bench: Bench) -> None:
    with pytest.raises(InvalidDefinitionError, match=r"log: its table has no column 'orign'. Did you mean 'origin'\?"):
        bench.snapshot(source(columns=["orign"]), table(t=[1], origin=["a"]))
    with pytest.raises(InvalidDefinitionError, match=r"log: event_time: there is no column 't' in 't'. Known: s."):
        bench.snapshot(source(), pa.table({"s": [1]}))


def test_a_time_without_a_zone_is_refused_with_what_to_write(bench: Bench) -> None:
    naive = pa.table({"t": pa.array([at(1).replace(tzinfo=None)])})
    with pytest.raises(
        InvalidDefinitionError,
        match=r"log: event_time is 't', a time without a zone. Say where it is local: .* AT TIME ZONE 'UTC'",
    ):
        bench.snapshot(source(), naive)
    with pytest.raises(InvalidDefinitionError, match=r"log: event_time is 't', which is int64, no time"):
        bench.snapshot(source(), pa.table({"t": [1]}))


def test_an_edit_of_checks_or_owner_is_the_same_snapshot() -> None:
    assert Snapshot(source()).parameters() == Snapshot(source(checks=[NotNull("v")], owner="ops")).parameters()
    assert Snapshot(source()).parameters() != Snapshot(source(columns=["v"])).parameters()


def test_files_of_a_folder_are_one_table(bench: Bench) -> None:
    inputs = {raw_input(f"log/{n}.csv"): csv(bench, f"t,v\n1970-01-01T0{n}:00:00Z,{n}\n") for n in (2, 1)}
    found = bench.table(bench.run(Snapshot(source()), inputs).outputs["snapshot"])
    assert found.column("v").to_pylist() == [1, 2]
    inputs[raw_input("log/3.csv")] = csv(bench, "t,w\n")
    with pytest.raises(DataError, match=r"log/3.csv has other columns than the files beside it: v, w"):
        bench.run(Snapshot(source()), inputs)


def test_a_query_prepares_one_table_and_says_from_what(bench: Bench) -> None:
    query = "SELECT b.v, a.t -- why\nFROM a JOIN b USING (id) ORDER BY a.t DESC"
    stage = Prepare("made.sql", query, (("a", ("a.csv",)), ("b", ("b.csv",))))
    inputs = {"raw:a.csv": csv(bench, "id,t\n1,5\n2,6\n"), "raw:b.csv": csv(bench, "id,v\n1,x\n2,a\n")}
    made = bench.run(stage, inputs)
    assert bench.table(made.outputs["table"]).to_pylist() == [{"v": "a", "t": 6}, {"v": "x", "t": 5}]
    assert [item["locator"] for item in fact(made, "data.prepared").body["inputs"]] == ["a.csv", "b.csv"]
    assert stage.parameters() == Prepare("made.sql", query.replace(" -- why", ""), stage.tables).parameters()


def test_a_query_that_cannot_be_repeated_or_fails_is_refused_by_its_file(bench: Bench) -> None:
    with pytest.raises(InvalidDefinitionError, match=r"made.sql: RANDOM\(\) gives another result each time"):
        Prepare("made.sql", "SELECT random()", ())
    with pytest.raises(DataError, match=r"made.sql: DuckDB refuses: .*read_csv|made.sql: DuckDB refuses"):
        bench.run(Prepare("made.sql", "SELECT * FROM read_csv('/etc/hosts')", ()), {})


def test_as_of_is_the_newest_availability_and_a_timetable_does_not_count(bench: Bench) -> None:
    landed = bench.snapshot(source(), table(t=[1, 3])).outputs["snapshot"]
    timetable = source(available_at="t - INTERVAL 1 DAY", known={"v": "t2"})
    planned = bench.snapshot(timetable, table(t=[1, 90], t2=[2, None], v=[1, 2])).outputs["snapshot"]
    made = bench.run(AsOf(), {"snapshot:log": landed, "snapshot:plan": planned})
    assert json.loads(bench.store.open(made.outputs["as_of"]).read_bytes()) == {"as_of_us": us(4)}
    assert fact(made, "as_of.resolved").body["why"] == "newest availability in the data, log: available_at"
    with pytest.raises(DataError, match="No source shows up to when it is known"):
        bench.run(
            AsOf(),
            {
                "snapshot:plan": bench.snapshot(source(available_at="t - INTERVAL 1 DAY"), table(t=[1])).outputs[
                    "snapshot"
                ]
            },
        )


def test_an_explicit_as_of_is_taken(bench: Bench) -> None:
    body = fact(bench.run(AsOf("1970-01-02"), {}), "as_of.resolved").body
    assert (body["as_of_us"], body["why"]) == (us(24), "asked for")


def test_the_columns_that_end_a_dimension_row_are_known_when_it_ends(bench: Bench) -> None:
    entity = EntitySource("accounts", "a.csv", entities=["id"], valid_from="t", valid_to="t2")
    found = bench.table(bench.snapshot(entity, table(id=[1, 2], t=[1, 2], t2=[5, None])).outputs["snapshot"])
    assert rows(found, "_event_time", "_valid_to", "_known_t2") == [(us(1), us(5), us(5)), (us(2), None, None)]


def test_the_same_data_have_the_same_ref_with_one_thread_or_two(tmp_path: Path) -> None:
    data = table(
        t=[n * 7919 % 1000 for n in range(5000)], v=[n / 3 for n in range(5000)], k=[f"k{n % 7}" for n in range(5000)]
    )
    refs = {Bench(tmp_path / str(threads), threads).snapshot(source(), data).outputs["snapshot"] for threads in (1, 2)}
    refs.add(
        Bench(tmp_path / "reversed", 2).snapshot(source(), data.take(pa.array(range(4999, -1, -1)))).outputs["snapshot"]
    )
    assert len(refs) == 1
