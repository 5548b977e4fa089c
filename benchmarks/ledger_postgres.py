"""What evidence costs in PostgreSQL: appending, reading and verifying, against raw pg8000 of the same bytes.

The floors are prepared inserts by pg8000, one row a message in one transaction, and the same rows in arrays, a thousand
a message. Run with a server of your own, or let the one of the tests be started:
.venv/bin/python -m benchmarks.ledger_postgres [--entries 100000] [--url postgresql://…]
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pg8000.native

from benchmarks.ledger import BATCH, hashed, measured, seconds, show
from sterling.adapters.postgres import PostgresLedger
from sterling.adapters.postgres_url import address_of
from sterling.core.evidence import Evidence, Query, Record
from sterling.core.walk import walk

RAW = "CREATE UNLOGGED TABLE IF NOT EXISTS floor (position bigint PRIMARY KEY, previous bytea, digest bytea, content bytea)"
ONE = "INSERT INTO floor VALUES (:position, :previous, :digest, :content)"
MANY = """
INSERT INTO floor
SELECT * FROM unnest(CAST(:positions AS bigint[]), CAST(:previous AS bytea[]), CAST(:digests AS bytea[]), CAST(:contents AS bytea[]))
"""


class Floor:
    """A table that only keeps bytes, as durably as the ledger does."""

    def __init__(self, url: str) -> None:
        self.connection = pg8000.native.Connection(**address_of(url).connecting())
        self.connection.run("DROP TABLE IF EXISTS floor")
        self.connection.run(
            "CREATE TABLE floor (position bigint PRIMARY KEY, previous bytea, digest bytea, content bytea)"
        )
        self._one, self._many = self.connection.prepare(ONE), self.connection.prepare(MANY)

    def insert_each(self, records: list[Record]) -> None:
        """One message a row, in one transaction."""
        self.connection.run("BEGIN")
        for record in records:
            self._one.run(**record._asdict())
        self.connection.run("COMMIT")

    def insert_all(self, records: list[Record]) -> None:
        """One message for all rows."""
        positions, previous, digests, contents = map(list, zip(*records, strict=True))
        self._many.run(positions=positions, previous=previous, digests=digests, contents=contents)

    def clear(self) -> None:
        """Forget all rows."""
        self.connection.run("TRUNCATE floor")


def appending(ledger: PostgresLedger, floor: Floor, entries: int) -> None:
    """Batched appends, in turns with raw inserts of the same bytes."""
    chance, before = random.Random(0), ledger.head()[0]
    ours, each, together = [], [], []
    for batch in range(entries // BATCH):
        facts = [measured(batch * BATCH + n, chance) for n in range(BATCH)]
        ours.append(seconds(ledger.append, facts))
        records = list(ledger.records(after=before + batch * BATCH))
        together.append(seconds(floor.insert_all, records))
        if batch < 10:
            floor.clear()
            each.append(seconds(floor.insert_each, records))
    size = sum(len(record.content) for record in records) / len(records)
    print(
        f"\nPostgreSQL: batched appends, {BATCH:,} entries each, of {size:.0f} bytes, {entries:,} in all (median of the batches)"
    )
    show("ledger: chained, found by kind and 2 subjects", statistics.median(ours) / BATCH * 1e6, "µs an entry", each)
    show("raw pg8000, a thousand rows a message", statistics.median(together) / BATCH * 1e6, "µs an entry", each)
    show("floor: raw pg8000 inserts of the same bytes", statistics.median(each) / BATCH * 1e6, "µs an entry", each)


def single(ledger: PostgresLedger, floor: Floor) -> None:
    """One entry an append, durable each."""
    floor.clear()
    chance, ours, theirs = random.Random(1), [], []
    for number in range(300):
        fact = measured(number, chance)
        ours.append(seconds(ledger.append, [fact]))
        records = list(ledger.records(after=ledger.head()[0] - 1))
        theirs.append(seconds(floor.insert_each, records))
    print("\nPostgreSQL: appends of one entry, each durable (median of 300)")
    show("ledger", statistics.median(ours) * 1e3, "ms", theirs, scale=1e3)
    show("floor: raw pg8000, one row a transaction", statistics.median(theirs) * 1e3, "ms", theirs, scale=1e3)


def recording(ledger: PostgresLedger) -> None:
    """The evidence of one run: 20 parameters and 50 metrics, durable."""
    chance, ours = random.Random(2), []
    for turn in range(200):
        subject = (f"model:{turn}",)
        facts = [
            Evidence("model.trained", subject, {"parameters": {f"parameter_{n}": chance.random() for n in range(20)}}),
            Evidence("model.validated", subject, {"metrics": {f"metric_{n}": chance.random() for n in range(50)}}),
            Evidence("run.completed", (f"run:{turn}",), {"turn": turn}),
        ]
        ours.append(seconds(ledger.append, facts))
    print("\nPostgreSQL: the evidence of a run, 20 parameters and 50 metrics, durable (median of 200)")
    print(f"  {'ledger':<48}{statistics.median(ours) * 1e3:>10.2f} ms")


def verifying(ledger: PostgresLedger) -> None:
    """The whole chain, with everything that queries go by, against hashing the same bytes in memory."""
    contents = [record.content for record in ledger.records()]
    found = walk(ledger)
    if (found.entries, found.broken) != (len(contents), None):
        raise SystemExit(f"The ledger does not verify: {found.broken}")
    floor = [seconds(lambda: hashed(contents)) for _ in range(3)]
    whole = [seconds(lambda: walk(ledger)) for _ in range(3)]
    reading = [seconds(lambda: hashed([record.content for record in ledger.records()])) for _ in range(3)]
    print(f"\nPostgreSQL: verifying {len(contents):,} entries")
    show("ledger: chain and indexes", statistics.median(whole), "s", floor, scale=1)
    show("reading the records and hashing them", statistics.median(reading), "s", floor, scale=1)
    show("floor: hashing the same bytes in memory", statistics.median(floor), "s", floor, scale=1)


def reading(ledger: PostgresLedger) -> None:
    """What a person waits for."""
    head = ledger.head()[0]
    common, rare = next(ledger.read(after=head // 2)).evidence.subjects
    asked = {
        "the last entry": lambda: next(ledger.read(newest_first=True)),
        "the 50 entries of one model": lambda: list(ledger.read(Query((), (rare,)))),
        "the first of a subject of nearly all": lambda: next(ledger.read(Query((), (common,)))),
        "the last of a kind": lambda: next(ledger.read(Query(("metric.measured",)), newest_first=True)),
        "the last of a kind that there is not": lambda: next(ledger.read(Query(("no.such",)), newest_first=True), None),
    }
    print(f"\nPostgreSQL: reading, of {head:,} entries (median of 50)")
    for name, ask in asked.items():
        print(f"  {name:<48}{statistics.median(seconds(ask) for _ in range(50)) * 1e3:>10.2f} ms")


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server that the tests start."""
    from tests.adapters.postgres import running_server

    with running_server() as started:
        yield started.url()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    if arguments.url:
        measure(arguments.url, arguments.entries)
        return
    with server() as url:
        measure(url, arguments.entries)


def measure(url: str, entries: int) -> None:
    floor = Floor(url)
    with PostgresLedger(url, "benchmark") as ledger:
        recording(ledger)
        single(ledger, floor)
        floor.clear()
        appending(ledger, floor, entries)
        verifying(ledger)
        reading(ledger)
    floor.connection.close()


if __name__ == "__main__":
    main()
