"""Reading the features of one entity: in process, through SQLite and through Valkey, beside a raw GET on a socket.

20 features, 9 of them aggregates over windows of 1 hour, 24 hours and 7 days, the others last values, in two views. All
answers are compared before anything is timed. Run it with: python -m benchmarks.online
"""

from __future__ import annotations

import random
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from valkey import Valkey

from sterling.engine.duckdb import DuckDBEngine
from sterling.features.applier import fill
from sterling.features.clocks import kept_columns, with_clocks
from sterling.features.kept_states import KeptStates
from sterling.features.online import State, ViewPlan
from sterling.features.online_sqlite import SQLiteOnlineStore
from sterling.features.online_store import OnlineStore, connect_online, state_key
from sterling.project.aggregates import Count, Max, Mean
from sterling.project.features import FeatureView, Last
from sterling.project.sources import Delay, EventSource
from tests.adapters.valkey import Server, running_valkey

DAY = 86_400_000_000
START = 1_356_998_400_000_000
NOW = START + 30 * DAY
READS, WARM, ROUNDS = 2_000, 100, 3
NUMBERS = [f"n{index}" for index in range(11)]
SOURCE = EventSource(
    "events", "events.parquet", event_id="id", event_time="happened", available_at=Delay("0m"), entities=["k"]
)
WINDOWS = ["1h", "24h", "7d"]
VIEWS = (
    FeatureView("v", SOURCE, ["k"], [Count(windows=WINDOWS), Mean("n0", windows=WINDOWS), Max("n0", windows=WINDOWS)]),
    Last(SOURCE[tuple(NUMBERS)]),
)


def main() -> None:
    """Print a table for entities with few events and with many."""
    for events in (50, 5_000):
        with tempfile.TemporaryDirectory() as folder, running_valkey() as server:
            measure(events, Path(folder), server)


def measure(events: int, folder: Path, server: Server) -> None:
    plans, table = planned(events)
    stores = {"SQLite": SQLiteOnlineStore(folder / "state.db"), "Valkey": connect_online(server.url)}
    for store in stores.values():
        for plan in plans:
            fill(store, "bench", plan, table, DuckDBEngine(1), at=NOW)
    names = [state_key("bench", plan.digest, b'["a"]') for plan in plans]
    blobs = [blob or b"" for blob in stores["SQLite"].get(names)]
    held = [State.unpack(plan, blob) for plan, blob in zip(plans, blobs, strict=True)]
    at = iter(range(NOW + 1, NOW + 10**9))

    def in_process() -> Sequence[Any]:
        moment = next(at)
        return [value for state in held for value in state.read(moment)]

    ways: dict[str, Callable[[], Sequence[Any]]] = {"in process": in_process}
    for name, store in stores.items():
        ways[f"through {name}"] = reading(store, plans, names, KeptStates())
        ways[f"through {name}, unpacked each time"] = reading(store, plans, names, None)
        ways[f"through {name}, the bytes alone"] = lambda store=store: store.get(names)  # type: ignore[misc]
    expected = in_process()
    assert len(expected) == 20
    for name in ("SQLite", "Valkey"):
        assert ways[f"through {name}"]() == ways[f"through {name}, unpacked each time"]() == expected, name
        assert ways[f"through {name}, the bytes alone"]() == blobs, name
    joined = b"".join(blobs)
    server.ask("SET", "joined", joined)  # type: ignore[arg-type]
    ways |= {"raw GET on a socket": raw_get(server, joined), "valkey-py GET": client_get(server, joined)}
    print(
        f"\n{events:,} events of the entity in 30 days, {len(joined):,} bytes; µs, best of {ROUNDS} rounds, {READS:,} reads each"
    )
    print(f"{'':40}{'p50':>8}{'p99':>8}")
    times = {name: list[tuple[float, float]]() for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(timed(way))
    for name, rounds in times.items():
        print(f"{name:40}{min(p50 for p50, _ in rounds):8.1f}{min(p99 for _, p99 in rounds):8.1f}")
    raw = min(p50 for p50, _ in times["raw GET on a socket"])
    for name in ("through Valkey", "through Valkey, the bytes alone", "valkey-py GET"):
        print(f"{name}: {min(p50 for p50, _ in times[name]) / raw:.2f} times one raw GET")


def planned(events: int) -> tuple[list[ViewPlan], pa.Table]:
    chance = random.Random(events)
    times = sorted(chance.randrange(START, NOW) for _ in range(events))
    raw = pa.table(
        {
            "id": pa.array(range(events)),
            "k": pa.array(["a"] * events),
            "happened": pa.array(times, pa.timestamp("us", "UTC")),
        }
        | {name: pa.array([chance.gauss(0, 100) for _ in range(events)]) for name in NUMBERS}
    )
    types = {field.name: str(field.type) for field in raw.schema}
    table = with_clocks(SOURCE, kept_columns(SOURCE, raw.schema.names), raw, DuckDBEngine(1))
    return [ViewPlan(view, types) for view in VIEWS], table


def reading(
    store: OnlineStore, plans: list[ViewPlan], names: list[bytes], kept: KeptStates | None
) -> Callable[[], Sequence[Any]]:
    """Ask the store, and read each view; a state whose bytes are those of before is unpacked once where it is kept."""
    at = iter(range(NOW + 1, NOW + 10**9))

    def read() -> Sequence[Any]:
        moment, values = next(at), list[Any]()
        for plan, name, blob in zip(plans, names, store.get(names), strict=True):
            state = kept.state(plan, name, blob) if kept else State.unpack(plan, blob or b"")
            values += state.read(moment)
        return values

    return read


def raw_get(server: Server, expected: bytes) -> Callable[[], bytes]:
    """One GET with nothing between us and the socket: the answer's bytes, unread but for their number."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(b"AUTH %s\r\n" % server.password.encode())
    assert connection.recv(100) == b"+OK\r\n"
    head = len(b"$%d\r\n" % len(expected))
    size = head + len(expected) + 2

    def get() -> bytes:
        connection.sendall(b"*2\r\n$3\r\nGET\r\n$6\r\njoined\r\n")
        answer = connection.recv(1 << 16)
        while len(answer) < size:
            answer += connection.recv(1 << 16)
        return answer[head:-2]

    assert get() == expected
    return get


def client_get(server: Server, expected: bytes) -> Callable[[], Any]:
    client = Valkey.from_url(server.url)
    assert client.get("joined") == expected
    return lambda: client.get("joined")


def timed(way: Callable[[], Any]) -> tuple[float, float]:
    """The median and the 99th percentile of many calls, in microseconds."""
    times = []
    for turn in range(WARM + READS):
        began = time.perf_counter_ns()
        way()
        if turn >= WARM:
            times.append(time.perf_counter_ns() - began)
    times.sort()
    return times[READS // 2] / 1_000, times[READS * 99 // 100] / 1_000


if __name__ == "__main__":
    main()
