"""A project about people: orders of customers, what they called about, and what their depot saw of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

PERSON = "C0123"
"""A customer with some forty orders, whom other customers mention."""
PROJECT = """
import sterling as sl

prepared = sl.Query("prepare.sql", inputs=["data/orders.csv", "data/items.parquet"])
orders = sl.EventSource(
    "orders", prepared, event_id="order_no", event_time="ordered_at", available_at=sl.Delay("0m"),
    columns=["customer", "depot", "weight", "items", "referred_by"], known={"delivered_at": "delivered_at"},
    checks=[sl.checks.NotNull("weight", max_share=0.5)], pii=["customer"],
)
deliveries = sl.EventSource(
    "deliveries", prepared, event_id="order_no", event_time="delivered_at", available_at=sl.Delay("0m"),
    columns=["depot", "hours"],
)
calls = sl.EventSource("calls", "data/calls.csv", entities=["customer"], event_time="noted_at", available_at=sl.Delay("0m"))
visits = sl.EventSource(
    "visits", "data/visits.parquet", entities=["depot"], event_time="noted_at", available_at=sl.Delay("0m"), columns=["minutes"]
)
project = sl.Project(
    "orders-late",
    problem=sl.Problem(decision="warn the customer", kpi="complaints", owner="logistics"),
    spine=sl.EventSpine(orders, predict_at="ordered_at + INTERVAL 1 HOUR"),
    label=sl.Label("hours > 30", source=deliveries, horizon="7d"),
    features=sl.FeatureService([
        orders["depot", "weight", "items"],
        sl.FeatureView("calls", calls, entities=["customer"], features=[sl.Count(windows=["7d"])]),
        sl.FeatureView("visits", visits, entities=["depot"], features=[sl.Mean("minutes", windows=["3d"])]),
        sl.Derived("heavy", "weight * 2"),
    ]),
    recipe=sl.Recipe(sl.LightGBM(trees=10, min_rows_per_leaf=20), baselines=[sl.Prior()]),
    holdout=sl.Holdout("2024-02-15", "2024-03-20"),
    gates=[sl.gates.Improves("log_loss", over="baseline"), sl.gates.Golden("golden.jsonl")],
)
"""
SQL = """
SELECT orders.*, coalesce(n, 0) AS items
FROM orders LEFT JOIN (SELECT order_no, count(*) AS n FROM items GROUP BY order_no) USING (order_no)
"""
GOLDEN = '{"name": "a heavy parcel", "features": {"depot": "north", "weight": 90.0}, "at_least": 0.0}\n'
_START = 1_704_067_200


def write_project(folder: Path, *, rows: int = 1500) -> Path:
    """Write the project and its data into a folder."""
    (folder / "data").mkdir(parents=True)
    random = np.random.default_rng(0)
    ordered = np.sort(random.integers(0, 85 * 86400, rows)) + _START
    customer = [f"C{n:04}" for n in random.integers(100, 140, rows)]
    theirs = np.array(customer) == PERSON
    depot = random.choice(["north", "south", "east"], rows, p=[0.5, 0.3, 0.2])
    weight = np.round(random.gamma(2, 8, rows).clip(0.1, 99), 2)
    hours = np.round(12 + 14 * (depot == "north") + weight / 4 + random.gamma(2, 4, rows), 2)
    orders = pa.table({
        "order_no": [f"order-{n:05}" for n in range(rows)],
        "customer": customer,
        "depot": depot,
        "weight": pa.array(weight, mask=(random.random(rows) < 0.03) | (theirs & (np.arange(rows) % 5 == 0))),
        "hours": hours,
        "ordered_at": times(ordered),
        "delivered_at": times(ordered + (hours * 3600).astype("int64")),
        "referred_by": pa.array([PERSON if n == 7 else "C0100" for n in range(rows)], mask=np.arange(rows) % 3 == 0),
    })  # fmt: skip
    pc.write_csv(orders, folder / "data" / "orders.csv")
    items = orders.select(["order_no"]).take(random.integers(0, rows, 3 * rows))
    pq.write_table(
        items.append_column("item", pa.array(random.integers(0, 99, 3 * rows))), folder / "data" / "items.parquet"
    )
    at = np.sort(random.integers(0, 85 * 86400, rows)) + _START
    topics = [f"about {who}, again" if n == 3 else "a parcel" for n, who in enumerate([PERSON] * rows)]
    who = [f"C{n:04}" for n in random.integers(100, 140, rows)]
    pc.write_csv(pa.table({"customer": who, "noted_at": times(at), "topic": topics}), folder / "data" / "calls.csv")
    visits = {"customer": who, "depot": depot, "noted_at": times(at), "minutes": random.integers(1, 60, rows)}
    pq.write_table(pa.table(visits), folder / "data" / "visits.parquet")
    (folder / "project.py").write_text(PROJECT)
    (folder / "prepare.sql").write_text(SQL)
    (folder / "golden.jsonl").write_text(GOLDEN)
    return folder


def times(seconds: Any) -> pa.Array:
    return pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC"))


def remove_person(folder: Path, person: str = PERSON) -> None:
    """Take a person out of the raw files, as their owner would: the rows, and every text that mentions them."""
    ids = orders_of(folder, person)
    for path in (folder / "data").iterdir():
        table = pc.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
        rows = [row for row in table.to_pylist() if row.get("customer") != person and row.get("order_no") not in ids]
        rows = [{name: None if person in str(cell) else cell for name, cell in row.items()} for row in rows]
        (pc.write_csv if path.suffix == ".csv" else pq.write_table)(pa.Table.from_pylist(rows, table.schema), path)


def orders_of(folder: Path, customer: str = PERSON) -> set[str]:
    """Numbers of a customer's orders in the raw file."""
    rows = pc.read_csv(folder / "data" / "orders.csv").to_pylist()
    return {row["order_no"] for row in rows if row["customer"] == customer}


def found_in_bytes(folder: Path, *texts: str) -> list[str]:
    """Files under a folder that hold one of some texts, as they lie there or, for Parquet, in any cell."""
    wanted = re.compile("|".join(map(re.escape, texts)))
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(wanted.search(text) for text in _texts(path))
    )


def _texts(path: Path) -> Iterator[str]:
    data = path.read_bytes()
    yield data.decode("latin-1")
    if data[:4] == b"PAR1":
        table = pq.read_table(pa.BufferReader(data))
        yield "\n".join(table.schema.names)
        yield from ("\n".join(map(str, column.to_pylist())) for column in table.columns)
