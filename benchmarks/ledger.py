"""What evidence costs: appending, recording a run, and verifying, against the least work that each must do.

The floors are raw ``sqlite3`` inserts of the same bytes, and SHA-256 over the same bytes; equality is checked first.
Run: .venv/bin/python benchmarks/ledger.py [--entries 1000000]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sterling.core.evidence import GENESIS, Evidence, Record
from sterling.core.ledger import check_chain
from sterling.core.refs import ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.core.verify import verify

BATCH = 1_000


def measured(number: int, chance: random.Random) -> Evidence:
    """One metric of one model, as `evaluate` records it: 5 numbers, 2 subjects, about 600 bytes."""
    model = ref_of(str(number // 50).encode())
    value = chance.random()
    body = {
        "metric": "roc_auc", "model": model, "name": "lightgbm", "role": "candidate", "slice": {"carrier": "UA"},
        "value": value, "low": value - 0.02, "high": value + 0.02, "confidence": 0.95, "rows": 27_010, "clusters": 30,
        "method": "cluster jackknife",
    }  # fmt: skip
    return Evidence("metric.measured", (f"model:{model}", "metric:roc_auc"), body)


def seconds(action: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - started


def raw(path: Path) -> sqlite3.Connection:
    """A database that only keeps bytes, as durably as the ledger does."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, previous BLOB, digest BLOB, content BLOB)")
    return database


def insert(database: sqlite3.Connection, records: list[Record]) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", records)
    database.execute("COMMIT")


def hashed(contents: list[bytes]) -> bytes:
    digest = GENESIS
    for content in contents:
        digest = hashlib.sha256(digest + content).digest()
    return digest


def appending(folder: Path, entries: int) -> SQLiteLedger:
    """Batched appends, in turns with raw inserts of the same bytes."""
    chance = random.Random(0)
    ledger, floor = SQLiteLedger(folder / "ledger.db", "benchmark"), raw(folder / "floor.db")
    ours, theirs = [], []
    for batch in range(entries // BATCH):
        facts = [measured(batch * BATCH + n, chance) for n in range(BATCH)]
        ours.append(seconds(ledger.append, facts))
        records = list(ledger.records(after=batch * BATCH))
        theirs.append(seconds(insert, floor, records))
    kept = [content for (content,) in floor.execute("SELECT content FROM record ORDER BY id")]
    if kept != [record.content for record in ledger.records()]:
        raise SystemExit("The floor keeps other bytes than the ledger.")
    floor.close()
    size = sum(map(len, kept)) / len(kept)
    print(f"\nBatched appends, {BATCH:,} entries each, of {size:.0f} bytes, {entries:,} in all (median of the batches)")
    show("ledger: chained, found by kind and 2 subjects", statistics.median(ours) / BATCH * 1e6, "µs an entry", theirs)
    show("floor: raw sqlite3 inserts of the same bytes", statistics.median(theirs) / BATCH * 1e6, "µs an entry", theirs)
    return ledger


def show(name: str, figure: float, unit: str, floor: list[float], *, scale: float = 1e6 / BATCH) -> None:
    print(f"  {name:<48}{figure:>10.2f} {unit:<14}{figure / (statistics.median(floor) * scale):>6.2f}x the floor")


def verifying(ledger: SQLiteLedger, folder: Path) -> None:
    """The whole chain, with everything that queries go by, against hashing the same bytes in memory."""
    contents = [record.content for record in ledger.records()]
    store = LocalStore(folder / "store")
    last = next(ledger.read(newest_first=True)).digest
    if hashed(contents).hex() != last or check_chain(ledger.records()) != (len(contents), None):
        raise SystemExit("The floor gives another head than the ledger.")
    if not (report := verify(ledger, store)).intact or report.entries != len(contents):
        raise SystemExit("The ledger does not verify.")
    floor = [seconds(hashed, contents) for _ in range(3)]
    reading = [seconds(lambda: hashed([row[3] for row in ledger.records()])) for _ in range(3)]
    chain = [seconds(lambda: check_chain(ledger.records())) for _ in range(3)]
    whole = [seconds(lambda: verify(ledger, store)) for _ in range(3)]
    print(f"\nVerifying {len(contents):,} entries")
    for name, times in {
        "ledger: chain, indexes and what it cites": whole,
        "ledger: the chain alone": chain,
        "reading the records and hashing them": reading,
        "floor: hashing the same bytes in memory": floor,
    }.items():
        show(name, statistics.median(times), "s", floor, scale=1)


def recording(folder: Path) -> None:
    """The evidence of one run: 20 parameters, 50 metrics, and a model that is put into the store, durably."""
    ledger, store = SQLiteLedger(folder / "run.db", "benchmark"), LocalStore(folder / "store")
    database, chance = raw(folder / "run_floor.db"), random.Random(1)

    def record(turn: int, model: bytes) -> None:
        ref = store.put(io.BytesIO(model))
        parameters = {f"parameter_{n}": chance.random() for n in range(20)}
        metrics = {f"metric_{n}": chance.random() for n in range(50)}
        subject = (f"model:{ref}",)
        ledger.append([
            Evidence("model.trained", subject, {"model": ref, "parameters": parameters}),
            Evidence("model.validated", subject, {"model": ref, "metrics": metrics}),
            Evidence("run.completed", (f"run:{turn}",), {"model": ref}),
        ])  # fmt: skip

    def least(turn: int, model: bytes) -> None:
        path = folder / f"model_{turn}"
        with path.open("wb", buffering=0) as file:
            file.write(model)
            os.fsync(file.fileno())
        insert(database, [Record(3 * turn + n, b"", b"", content) for n, content in enumerate(contents)])

    record(-1, b"warm")
    contents = [entry.content for entry in ledger.records()]
    ours, floor = [], []
    for turn in range(200):
        ours.append(seconds(record, turn, chance.randbytes(100_000)))
        floor.append(seconds(least, turn, chance.randbytes(100_000)))
    print("\nThe evidence of a run: 20 parameters, 50 metrics, a model of 100 kB, all durable (median of 200)")
    show("ledger and store", statistics.median(ours) * 1e3, "ms", floor, scale=1e3)
    show("floor: one synced file, one synced transaction", statistics.median(floor) * 1e3, "ms", floor, scale=1e3)
    print("  MLflow 3.17, same parameters and metrics, measured elsewhere: 22 ms batched, 175 ms one call each")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=1_000_000)
    entries = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recording(folder)
        with appending(folder, entries) as ledger:
            verifying(ledger, folder)


if __name__ == "__main__":
    main()
