"""Names of events are followed from table to table only where they name the same events."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from sterling.core.refs import Ref, ref_of
from sterling.stages.ids import Ids, Made, place_of, raw_place


def ref(text: str) -> Ref:
    return ref_of(text.encode())


def snapshot(source: str, event_id: str | None, table: str) -> Made:
    name = "table" if table.startswith("prepared") else f"raw:{table}"
    parameters: dict[str, Any] = {"source": {"name": source, "event_id": event_id}}
    return Made(f"snapshot {source}", parameters, {name: ref(table)}, {"snapshot": ref(source)})


def spine(source: tuple[str, str], label: tuple[str, str], kind: str = "Label") -> Made:
    described = [{"name": name, "event_id": column} for name, column in (source, label)]
    parameters = {"spine": {"source": described[0]}, "label": {"type": kind, "source": described[1]}}
    return Made("spine", parameters, {}, {"spine": ref("spine")})


def knows(steps: list[Made], place: str, column: str) -> bool:
    """Whether an order that was learnt from the snapshot of orders is theirs in a column of another table."""
    ids = Ids(steps)
    orders = next(step for step in steps if step.title == "snapshot orders")
    own = ids.own(orders)
    assert own is not None
    ids.learn(own[1], {"17"})
    found = ids.columns(place, [column])
    return bool(found) and bool(ids.having(found[column], pa.chunked_array([["17", "18"]]))[0])


def test_a_column_of_one_name_names_the_same_events_everywhere() -> None:
    steps = [snapshot("orders", "order_no", "orders.csv"), snapshot("refunds", "refund_no", "refunds.csv")]
    for place in ("source:orders", "source:refunds", raw_place("items.csv"), ""):
        assert knows(steps, place, "order_no"), place
        assert knows(steps, place, "Order_No"), place
    assert not knows(steps, "source:refunds", "refund_no")


@pytest.mark.parametrize("column", ["id", "ID", "uuid", "event_id"])
def test_a_column_that_could_name_anything_is_followed_within_its_table_alone(column: str) -> None:
    steps = [
        snapshot("orders", column, "orders.csv"), snapshot("late", column, "orders.csv"), snapshot("refunds", column, "refunds.csv"),
    ]  # fmt: skip
    for place in ("source:orders", "source:late", raw_place("orders.csv")):
        assert knows(steps, place, column), place
    for place in ("source:refunds", raw_place("refunds.csv"), raw_place("items.csv"), ""):
        assert not knows(steps, place, column), place


def test_sources_of_one_prepared_table_name_the_same_events() -> None:
    steps = [snapshot("orders", "id", "prepared"), snapshot("late", "id", "prepared")]
    prepare = Made("prepare x.sql", {}, {}, {"table": ref("prepared")})
    assert knows(steps, "source:late", "id")
    assert knows(steps, place_of(prepare), "id")


def test_spine_and_label_name_the_same_events_by_any_column() -> None:
    steps = [snapshot("orders", "id", "orders.csv"), snapshot("arrivals", "parcel", "arrivals.csv")]
    assert not knows(steps, "source:arrivals", "parcel")
    joined = [*steps, spine(("orders", "id"), ("arrivals", "parcel"))]
    assert knows(joined, "source:arrivals", "parcel")
    assert knows(joined, raw_place("arrivals.csv"), "parcel")
    assert not knows([*steps, spine(("orders", "id"), ("arrivals", "parcel"), "Occurs")], "source:arrivals", "parcel")


def test_a_source_without_an_id_has_no_events_of_its_own() -> None:
    assert Ids([step := snapshot("visits", None, "visits.csv")]).own(step) is None
