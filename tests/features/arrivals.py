"""Rows that arrive: an append source whose cells become known later, and a source of versions, with a view of each."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sterling.core.clock import from_micros, iso
from sterling.engine.duckdb import DuckDBEngine
from sterling.features.applier import Applier
from sterling.features.arriving import RowReader
from sterling.features.event_log import EventLog
from sterling.features.online import State, ViewPlan
from sterling.features.online_store import OnlineStore, connect_online, offset_key, state_key
from sterling.project.aggregates import Count, Max, Mean, Pending, Sum
from sterling.project.checks import InRange, NotNull, OneOf
from sterling.project.features import FeatureService, FeatureView, Last
from sterling.project.project import Problem, Project
from sterling.project.sources import Delay, EventSource
from sterling.project.spine import EventSpine, Holdout, Label

HOUR = 3_600_000_000
START = 1_356_998_400_000_000
LATER = START + 206 * HOUR  # all has become known by then

flights = EventSource(
    "flights", "flights.parquet", event_id="id", event_time="due", available_at=Delay("0m"), entities=["origin"],
    columns=["origin", "due"], known={"delay": "departed", "departed": "departed"},
    checks=[NotNull("origin"), InRange("delay", -100, 2000), OneOf("origin", ["JFK", "LGA", "EWR"])],
)  # fmt: skip
orders = EventSource(
    "orders", "orders.parquet", event_id="id", event_time="placed", available_at="seen", entities=["shop"],
    updates="replace", version="number", deleted="gone",
)  # fmt: skip
late = FeatureView(
    "late", flights, ["origin"],
    [Mean("delay", windows=["24h", "200h"]), Count(windows=["24h"]), Max("delay", windows=["48h"], on="available_at"),
     Count(windows=["200h"], where="delay > 60", name="very"), Pending(until="departed", windows=["48h"])],
)  # fmt: skip
newest = Last(flights["delay"], where="delay IS NOT NULL")
sales = FeatureView(
    "sales", orders, ["shop"], [Sum("price", windows=["24h", "300h"]), Count("price", windows=["300h"])]
)
TYPES = {
    "flights": {
        "id": "int64", "origin": "string", "due": "timestamp[us, tz=UTC]", "departed": "timestamp[us, tz=UTC]",
        "delay": "double",
    },
    "orders": {
        "id": "string", "shop": "string", "placed": "timestamp[us, tz=UTC]", "seen": "timestamp[us, tz=UTC]",
        "number": "int64", "gone": "bool", "price": "decimal128(9, 2)",
    },
}  # fmt: skip
project = Project(
    "shop", problem=Problem(decision="call", kpi="late", owner="ops"),
    spine=EventSpine(flights, predict_at="due - INTERVAL 1 HOUR"),
    label=Label("delay > 15", source=flights, horizon="2d"), features=FeatureService([late, newest, sales]),
    holdout=Holdout("2013-01-05", "2013-01-08"),
)  # fmt: skip
READERS = [RowReader(flights, TYPES["flights"]), RowReader(orders, TYPES["orders"])]
PLANS = tuple(
    ViewPlan(view, TYPES[source.name]) for view, source in ((late, flights), (newest, flights), (sales, orders))
)
ENTITIES = {"flights": [b'["JFK"]', b'["LGA"]', b'["EWR"]'], "orders": [b'["a"]', b'["b"]']}


def flight(number: int, due: int, *, origin: str = "JFK", delay: float | None = None) -> dict[str, Any]:
    """A row of a flight; with its delay it has left."""
    row: dict[str, Any] = {"id": number, "origin": origin, "due": iso(from_micros(due))}
    if delay is not None:
        row |= {"delay": delay, "departed": iso(from_micros(due + int(delay * 60e6)))}
    return row


def order(
    name: str, at: int, seen: int, *, shop: str = "a", number: int = 1, price: str = "1.00", gone: bool = False
) -> dict[str, Any]:
    """A version of an order."""
    return {
        "id": name, "shop": shop, "placed": iso(from_micros(at)), "seen": iso(from_micros(seen)), "number": number,
        "price": price, "gone": gone,
    }  # fmt: skip


def pushes(seed: int, size: int) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows of both sources as they may come: late, again, with more cells, versions out of their order, in small parts."""
    chance = random.Random(seed)
    rows: list[tuple[str, dict[str, Any]]] = []
    for number in range(size):
        due, origin = START + chance.randrange(200 * HOUR), chance.choice(["JFK", "LGA", "EWR"])
        planned = flight(number, due, origin=origin)
        rows.append(("flights", planned))
        if chance.random() < 0.8:
            rows.append(("flights", flight(number, due, origin=origin, delay=float(chance.randrange(-20, 200)))))
    for number in range(size // 2):
        at = START + chance.randrange(200 * HOUR)
        for version in range(chance.randrange(1, 4)):
            seen = at + chance.randrange(4) * HOUR
            price = f"{chance.randrange(10_000) / 100:.2f}"
            rows.append(("orders", order(
                f"o{number}", at + version * HOUR, seen, shop=chance.choice("ab"), number=version, price=price,
                gone=chance.random() < 0.15,
            )))  # fmt: skip
    rows += chance.sample(rows, len(rows) // 5)
    chance.shuffle(rows)
    parts = []
    while rows:
        source, count = rows[-1][0], chance.randrange(1, 12)
        part = [row for name, row in rows[-count:] if name == source]
        del rows[-count:]
        parts.append((source, part))
    return parts


def applier(log: EventLog, store: OnlineStore, *, at_once: int = 1000, plans: Sequence[ViewPlan] = PLANS) -> Applier:
    """Follows the log long after all that happened, from views that have no history."""
    for plan in plans:
        store.put({(name := offset_key("shop", plan.digest)): b"0"}, when=(name, None))
    return Applier(log, store, "shop", plans, TYPES, DuckDBEngine(1), clock=much_later, at_once=at_once)


def much_later() -> datetime:
    """When all has become known."""
    return from_micros(LATER).astimezone(UTC)


def states(store: OnlineStore) -> Mapping[tuple[str, bytes], bytes | None]:
    """All that a store holds of the views."""
    names = [(plan.digest, entity) for plan in PLANS for entity in [*ENTITIES[plan.source.name], b"offset"]]
    return dict(zip(names, store.get([state_key("shop", view, entity) for view, entity in names]), strict=True))


def answers(store: OnlineStore, at: int = LATER) -> Iterator[tuple[Any, ...]]:
    """What the views say of every entity."""
    for plan in PLANS:
        for entity in ENTITIES[plan.source.name]:
            (packed,) = store.get([state_key("shop", plan.digest, entity)])
            yield (State.unpack(plan, packed) if packed else plan.state()).read(at)


def main(folder: str, url: str) -> None:
    """Follow the log in small steps, after having said so, until there is nothing left."""
    following = applier(EventLog(Path(folder) / "online.db", READERS), connect_online(url), at_once=5)
    print("ready", flush=True)
    while following.step():
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
