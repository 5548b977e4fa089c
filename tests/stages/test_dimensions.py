"""The last value of a dimension table: the row that is true at the moment, and known by then."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.errors import InvalidDefinitionError
from sterling.project.features import First, Last
from sterling.project.sources import EntitySource, EventSource
from sterling.project.spine import EventSpine, Label
from sterling.stages.graph import feature_stage
from sterling.stages.parity import Parity
from tests.stages.bench import TIME, Bench, at, fact

PLAN = EntitySource(
    "plan", "plan.parquet", entities=["who"], valid_from="starts", valid_to="ends", available_at="told",
    columns=["limit", "tier", "starts"],
)  # fmt: skip
OPEN = EntitySource("plan", "plan.parquet", entities=["who"], valid_from="starts", available_at="told")
ASKED = EventSource("asked", "asked.parquet", event_id="id", event_time="t", available_at="t - INTERVAL 9 HOUR")
SPINE = EventSpine(ASKED, "t")
hours = st.integers(0, 12).map(float)
who = st.sampled_from(["a", "a", "b", None])
plans = st.lists(
    st.tuples(who, hours, st.one_of(st.none(), hours), st.one_of(st.none(), hours), st.one_of(st.none(), st.integers(0, 9))),
    max_size=14, unique_by=lambda row: (row[0], row[1], row[3]),
)  # fmt: skip
moments = st.lists(st.tuples(who, hours), min_size=1, max_size=8)
ORACLE = """
SELECT (SELECT struct_pack(v := "limit") FROM plan WHERE plan.who = asked.customer AND starts <= t {ends} {told}
        ORDER BY starts DESC, told DESC LIMIT 1).v AS answer FROM asked ORDER BY t, id
"""
ENDS = "AND (ends IS NULL OR t < ends)"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


def tables(rows: list[Any], asked: list[Any]) -> dict[str, pa.Table]:
    def when(index: int) -> pa.Array:
        return pa.array([None if row[index] is None else at(row[index]) for row in rows], TIME)

    return {
        "plan": pa.table({
            "who": pa.array([row[0] for row in rows], pa.string()), "starts": when(1), "ends": when(2), "told": when(3),
            "limit": pa.array([row[4] for row in rows], pa.int64()), "tier": pa.array(["x"] * len(rows), pa.string()),
        }),
        "asked": pa.table({
            "id": [f"{n:02}" for n in range(len(asked))], "customer": pa.array([row[0] for row in asked], pa.string()),
            "t": pa.array([at(row[1]) for row in asked], TIME),
        }),
    }  # fmt: skip


def inputs(bench: Bench, source: EntitySource, made: dict[str, pa.Table]) -> dict[str, Any]:
    clean = {"clean:plan": bench.clean(source, made["plan"]), "clean:asked": bench.clean(ASKED, made["asked"])}
    return clean | {"spine": bench.spine(SPINE, Label("id = '00'", ASKED, "1d"), clean).outputs["spine"]}


def answers(made: dict[str, pa.Table], *, ends: bool, told: bool) -> list[int | None]:
    session = duckdb.connect()
    session.execute("SET TimeZone = 'UTC'")
    for name, table in made.items():
        session.register(name, table)
    sql = ORACLE.format(ends=ENDS if ends else "", told="AND told < t" if told else "AND told IS NOT NULL")
    return [row[0] for row in session.execute(sql).fetchall()]


@pytest.mark.parametrize("source", [PLAN, OPEN], ids=["with an end", "true until the next row"])
@given(plans, moments)
@settings(max_examples=20, deadline=None)
def test_the_row_that_is_true_and_known_equals_a_naive_join(
    source: EntitySource, bench: Bench, rows: list[Any], asked: list[Any]
) -> None:
    made = tables(rows, asked)
    feature, given = Last(source["limit"], on={"who": "customer"}), inputs(bench, source, made)
    outcome = bench.run(feature_stage(feature, SPINE), given)
    replayed = bench.run(Parity(feature, SPINE), given | {"features:last plan[limit]": outcome.outputs["features"]})
    assert [found["unequal"] for found in replayed.facts[0].body["features"]] == [0]
    ends = source.valid_to is not None
    found = bench.table(outcome.outputs["features"]).column("plan_limit").to_pylist()
    naive = answers(made, ends=ends, told=False)
    assert found == answers(made, ends=ends, told=True)
    leaks = bench.table(outcome.outputs["leaks"])
    assert leaks.column("plan_limit").to_pylist() == [a != b for a, b in zip(found, naive, strict=True)]


def test_a_row_counts_from_its_first_moment_on_and_no_more_at_its_last(bench: Bench) -> None:
    made = tables(
        [("a", 2.0, 4.0, 0.0, 7), ("a", 4.0, None, 5.0, None)], [("a", t) for t in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    )
    outcome = bench.run(feature_stage(Last(PLAN["limit"], on={"who": "customer"}), SPINE), inputs(bench, PLAN, made))
    assert bench.table(outcome.outputs["features"]).column("plan_limit").to_pylist() == [None, 7, 7, None, None, None]
    body = fact(outcome, "censoring.measured").body
    assert body["empty"] == pytest.approx(3 / 6)  # at 6 the second row is known, and its value is null


def test_a_dimension_is_asked_for_the_row_that_is_true_and_nothing_else() -> None:
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (First, {}, r"First reads events; plan is a dimension table. Last\(plan\[…\]\) reads the row"),
        (Last, {"max_age": "3d"}, "Last: max_age= is for events; plan is a dimension table"),
        (Last, {"where": "tier = 'x'"}, "Last: where= is for events; plan is a dimension table"),
    ]
    for kind, fields, message in wrong:
        with pytest.raises(InvalidDefinitionError, match=message):
            kind(PLAN["limit"], **fields)
