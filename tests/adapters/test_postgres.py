"""The PostgreSQL ledger: the contract, and what only real processes, kills and edits behind its back show."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from pg8000.native import DatabaseError

from sterling.adapters.postgres import PostgresLedger
from sterling.core.connect import connect_ledger, list_chains
from sterling.core.errors import ConflictError, StorageError
from sterling.core.evidence import Evidence, Query, Writer
from sterling.core.ledger import ChainInfo, check_chain
from sterling.core.sqlite import SQLiteLedger
from sterling.core.walk import check_index, walk
from sterling.testing import FixedClock, LedgerContract
from sterling.testing.ledger import COPY
from tests.adapters.postgres import Server


class TestPostgresLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, postgres_url: str) -> Iterator[PostgresLedger]:
        with PostgresLedger(postgres_url, "contract", clock=FixedClock()) as ledger:
            yield ledger

    @pytest.fixture
    def copy(self, postgres_url: str) -> Iterator[PostgresLedger]:
        with PostgresLedger(postgres_url, "contract", chain=COPY) as ledger:
            yield ledger


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[PostgresLedger]:
    with PostgresLedger(postgres_url, "flights") as ledger:
        yield ledger


def forked(work: Callable[[], object]) -> int:
    """Do some work in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def ended_well(children: list[int]) -> bool:
    return [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


def pair(name: str, number: int) -> list[Evidence]:
    body = {"writer": name, "n": number}
    return [Evidence("a.happened", (f"writer:{name}",), body), Evidence("b.happened", (f"writer:{name}",), body)]


def write_for_ever(url: str, name: str, first: int, acknowledged: Path) -> None:
    with PostgresLedger(url, "flights", actor=name) as ledger, acknowledged.open("ab", buffering=0) as file:
        for n in count(first):
            ledger.append(pair(name, n))
            file.write(b"%d\n" % n)


@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_eight_writers_that_are_killed_at_random_lose_nothing_and_record_nothing_twice(
    postgres: Server, postgres_url: str, tmp_path: Path, rounds: int
) -> None:
    chance, ledger = random.Random(rounds), PostgresLedger(postgres_url, "flights")
    files = {f"writer-{n}": tmp_path / str(n) for n in range(8)}
    for turn in range(rounds):
        children = [
            forked(partial(write_for_ever, postgres_url, name, turn * 1_000_000, file)) for name, file in files.items()
        ]
        chance.shuffle(children)
        time.sleep(0.3)
        for child in children:
            time.sleep(chance.random() * 0.1)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    ledger.append([Evidence("c.happened")])
    walked = walk(ledger)
    assert (walked.entries, walked.broken) == (ledger.head()[0], None)
    entries = list(ledger.read(Query(("a.happened", "b.happened"))))
    assert all(
        (one.kind, other.kind, one.body) == ("a.happened", "b.happened", other.body)
        for one, other in zip(entries[::2], entries[1::2], strict=True)
    )
    for name, file in files.items():
        recorded = [entry.body["n"] for entry in entries[::2] if entry.body["writer"] == name]
        acknowledged = [int(line) for line in file.read_text().split()]
        assert len(recorded) == len(set(recorded))
        assert set(acknowledged) <= set(recorded)
        assert len(recorded) - len(acknowledged) <= rounds
        assert acknowledged
    ledger.close()


def test_of_processes_that_decide_on_the_same_evidence_exactly_one_wins(postgres_url: str, tmp_path: Path) -> None:
    def decide(name: int) -> None:
        won = 0
        with PostgresLedger(postgres_url, "flights") as ledger:
            for n in range(15):
                query, seen = Query(("release.promoted",), (f"release:{n}",)), ledger.append([])
                if next(ledger.read(query), None) is None:
                    try:
                        ledger.append([Evidence("release.promoted", (f"release:{n}",))], unless=query, after=seen)
                        won += 1
                    except ConflictError:
                        pass
        (tmp_path / str(name)).write_text(str(won))

    assert ended_well([forked(partial(decide, n)) for n in range(4)])
    with PostgresLedger(postgres_url, "flights") as ledger:
        promoted = [entry.evidence.subjects for entry in ledger.read(Query(("release.promoted",)))]
    assert sum(int(path.read_text()) for path in tmp_path.iterdir()) == len(promoted) == len(set(promoted)) == 15


def test_reading_while_another_process_appends_gives_whole_transactions(
    ledger: PostgresLedger, postgres_url: str
) -> None:
    def write() -> None:
        with PostgresLedger(postgres_url, "flights") as other:
            for n in range(100):
                other.append(pair("other", n))

    child = forked(write)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        number, broken = check_chain(ledger.records())
        assert (number % 2, broken) == (0, None)
    assert check_chain(ledger.records()) == (200, None)


def test_a_forked_child_and_its_parent_append_to_one_chain(ledger: PostgresLedger) -> None:
    ledger.append(pair("parent", 0))
    halfway = ledger.read()
    next(halfway)

    def speak() -> None:
        for n in range(10):
            ledger.append(pair("child", n))
        assert [entry.position for entry in halfway] == [2]

    child = forked(speak)
    for n in range(1, 11):
        ledger.append(pair("parent", n))
    assert ended_well([child])
    assert check_chain(ledger.records()) == (42, None)
    assert len(list(ledger.read(Query((), ("writer:child",))))) == 20


def test_a_child_that_is_forked_while_another_thread_appends_is_not_held_up(ledger: PostgresLedger) -> None:
    stop = threading.Event()

    def append() -> None:
        while not stop.is_set():
            ledger.append(pair("parent", 0))

    with ThreadPoolExecutor(1) as pool:
        appending = pool.submit(append)
        children = [forked(lambda: ledger.append(pair("child", 0))) for _ in range(10)]
        assert ended_well(children)
        stop.set()
        appending.result()
    assert walk(ledger).broken is None
    assert len(list(ledger.read(Query(("a.happened",), ("writer:child",))))) == 10


def test_one_database_holds_a_chain_for_each_project(postgres_url: str) -> None:
    assert list_chains(postgres_url) == ()
    flights, churn = connect_ledger(postgres_url, "flights"), connect_ledger(postgres_url, "churn", actor="user:ada")
    assert isinstance(flights, PostgresLedger)
    assert isinstance(churn, PostgresLedger)
    flights.append([Evidence("a.happened", ("s",))])
    churn.append([Evidence("b.happened", ("s",))] * 2)
    assert [entry.kind for entry in flights.read(Query((), ("s",)))] == ["a.happened"]
    assert (walk(churn).entries, walk(churn).broken) == (2, None)
    assert list_chains(postgres_url) == (churn.chain, flights.chain)
    with PostgresLedger(postgres_url, "flights") as again:
        assert again.chain == flights.chain
    flights.close()
    churn.close()


def test_a_project_has_one_chain_of_its_own_and_any_number_of_copies(ledger: PostgresLedger, postgres_url: str) -> None:
    other = ChainInfo("feed", "flights", "2026-01-01T00:00:00.000000Z")
    with pytest.raises(StorageError, match=r"has another chain of 'flights' already"):
        PostgresLedger(postgres_url, "flights", chain=other)
    for name in ("feed", "beef"):
        PostgresLedger(postgres_url, "flights", chain=other._replace(id=name, copied=True)).close()
    assert len(list_chains(postgres_url)) == 3


def test_a_chain_goes_to_the_teams_database_and_back_byte_for_byte(postgres_url: str, tmp_path: Path) -> None:
    with SQLiteLedger(tmp_path / "laptop.db", "flights") as laptop:
        laptop.append([Evidence(f"kind.{n % 3}", (f"s:{n % 7}", "x" * 400), {"n": n / 3}) for n in range(5000)])
        copied = laptop.chain._replace(copied=True)
        with PostgresLedger(postgres_url, "flights", chain=copied) as team:
            assert team.extend(laptop.records()) == 5000
            assert list(team.records()) == list(laptop.records())
            assert sorted(team.index()) == sorted(laptop.index())
            with SQLiteLedger(tmp_path / "back.db", "flights", chain=copied) as back:
                back.extend(team.records())
                assert back.head() == laptop.head()


def test_entries_of_one_append_say_who_acted_and_share_one_time(postgres_url: str) -> None:
    clock = FixedClock(step=timedelta(seconds=1))
    with PostgresLedger(postgres_url, "flights", actor="user:ada", attestor="ci", clock=clock) as ledger:
        ledger.append([Evidence("a.happened")] * 2)
        assert {(entry.actor, entry.attestor, entry.recorded_at) for entry in ledger.read()} == {
            ("user:ada", "ci", "2026-01-01T00:00:01.000000Z")
        }


@pytest.mark.parametrize("number", [1, 2000, 4001])
def test_an_append_of_any_length_is_one_transaction(ledger: PostgresLedger, number: int) -> None:
    facts = [Evidence("a.happened", (f"s:{n}",), {"n": n}) for n in range(number)]
    with pytest.raises(ValueError, match="no JSON number"):
        ledger.append([*facts, Evidence("a.happened", body={"n": float("nan")})])
    assert ledger.head()[0] == 0
    assert ledger.append(facts) == number
    assert (walk(ledger).entries, walk(ledger).broken) == (number, None)


def test_what_a_column_or_an_index_cannot_hold_is_found_all_the_same(ledger: PostgresLedger) -> None:
    odd = [
        "",
        "\0",
        "\\0",
        "\\",
        "\\h",
        "x" * 100_000,
        "x" * 100_001,
        "é" * 300,
        "'; DROP TABLE entry",
        '"{},\\"',
        "NULL",
    ]
    for text in odd:
        ledger.append([Evidence(text, (text, "all"), {"text": text})])
    for number, text in enumerate(odd, start=1):
        assert [entry.position for entry in ledger.read(Query((text,), (text,)))] == [number]
        assert [entry.position for entry in ledger.read(Query((text,)))] == [number]
    found = {word: list(places) for word, places in ledger.index(after=5, until=6)}
    assert found == {f"k:{odd[5]}": [6], f"s:{odd[5]}": [6], "s:all": [6]}
    assert walk(ledger).broken is None


def test_large_bodies_are_read_in_small_pages(ledger: PostgresLedger) -> None:
    ledger.append([Evidence("a.happened", body={"x": "y" * 1_000_000, "n": n}) for n in range(12)])
    assert [entry.body["n"] for entry in ledger.read()] == [*range(12)]
    assert check_chain(ledger.records()) == (12, None)


# Edits by somebody who owns the database: what they did, where it must be found, and what is said.
AT = "UPDATE sterling.entry SET {} WHERE chain = 1 AND position = {}"
SWAP = """
UPDATE sterling.entry SET position = -3 WHERE chain = 1 AND position = 3;
UPDATE sterling.entry SET position = 3 WHERE chain = 1 AND position = 5;
UPDATE sterling.entry SET position = 5 WHERE chain = 1 AND position = -3;
"""
MAKE_ROOM = """
UPDATE sterling.entry SET position = -position - 1 WHERE chain = 1 AND position >= 4;
UPDATE sterling.entry SET position = -position WHERE chain = 1 AND position < 0;
INSERT INTO sterling.entry SELECT chain, 4, kind, previous, digest, content FROM sterling.entry WHERE chain = 1 AND position = 5;
"""
EDITS = {
    "content": (AT.format("content = replace(encode(content, 'escape'), '0.7', '0.9')::bytea", 4), 4, "does not match its digest"),
    "digest": (AT.format("digest = sha256('x')", 4), 4, "does not match its digest"),
    "short digest": (AT.format("digest = ''", 4), 4, "does not match its digest"),
    "forged": (AT.format("content = sha256('x'), digest = sha256(previous || sha256('x'))", 4), 4, "cannot be read any more"),
    "removed": ("DELETE FROM sterling.entry WHERE chain = 1 AND position = 4", 4, "entry 4 is missing"),
    "first removed": ("DELETE FROM sterling.entry WHERE chain = 1 AND position = 1", 1, "entry 1 is missing"),
    "last removed": ("DELETE FROM sterling.entry WHERE chain = 1 AND position = 7", 7, "entry 7 is missing: queries still look for it"),
    "swapped": (SWAP, 3, "moved, replaced or inserted"),
    "inserted": (MAKE_ROOM, 5, "moved, replaced or inserted"),
    "spliced": (
        "UPDATE sterling.entry e SET previous = o.previous, digest = o.digest, content = o.content "
        "FROM sterling.entry o WHERE o.chain = 2 AND o.position = e.position AND e.chain = 1 AND e.position = 4",
        4, "replaced or inserted",
    ),
    "kind": (AT.format("kind = 'kind.9'", 4), 4, r"entry 4 says 'kind.0', .*, but queries find it under 'kind.9'"),
    "subject removed": ("DELETE FROM sterling.subject WHERE chain = 1 AND position = 4 AND subject = 'all'", 4, "but queries find it under"),
    "subject added": ("INSERT INTO sterling.subject VALUES (1, 'n:1', 4)", 4, "but queries find it under"),
    "subject moved": ("UPDATE sterling.subject SET position = 6 WHERE chain = 1 AND subject = 'n:4'", 4, "but queries find it under"),
    "subject of nothing": ("INSERT INTO sterling.subject VALUES (1, 'n:1', 99)", 99, "entry 99 is missing: queries still look for it"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_by_the_owner_of_the_database_is_found_and_located(
    postgres: Server, postgres_url: str, name: str
) -> None:
    edit, position, reason = EDITS[name]
    facts = [Evidence(f"kind.{n % 2}", (f"n:{n}", "all"), {"auc": 0.7, "n": n}) for n in range(1, 8)]
    with PostgresLedger(postgres_url, "flights") as ledger, PostgresLedger(postgres_url, "churn") as other:
        ledger.append(facts)
        other.append(facts)
        assert check_index(ledger) is None
        postgres.run(f"SET session_replication_role = replica; {edit}")
        found = check_index(ledger)
        assert found
        assert found.position == position
        assert re.search(reason, found.reason), found.reason
        assert check_index(other) is None


@pytest.mark.parametrize("table", ["chain", "entry", "subject"])
@pytest.mark.parametrize("edit", ["UPDATE sterling.{} SET {}", "DELETE FROM sterling.{}", "TRUNCATE sterling.{}"])
def test_nothing_is_updated_or_deleted_by_accident(
    ledger: PostgresLedger, postgres: Server, table: str, edit: str
) -> None:
    ledger.append([Evidence("a.happened", ("s",))])
    with pytest.raises(DatabaseError, match="ledger entries are never"):
        postgres.run(edit.format(table, {"chain": "project = 'x'"}.get(table, "position = 9")))


def test_the_database_itself_refuses_what_does_not_follow(ledger: PostgresLedger, postgres: Server) -> None:
    ledger.append([Evidence("a.happened")] * 2)
    position, digest = ledger.head()
    good = Writer("user:eve", "laptop", "2026-01-01T00:00:00.000000Z").record(
        digest, position + 1, Evidence("b.happened")
    )
    sql = "INSERT INTO sterling.entry VALUES (1, :position, 'b.happened', :previous, :digest, :content)"
    for bad in [
        good._replace(position=4), good._replace(position=0), good._replace(position=-1),
        good._replace(previous=bytes(32)), good._replace(digest=bytes(32)), good._replace(content=b"{}"),
    ]:  # fmt: skip
        with pytest.raises(DatabaseError, match="must follow the last one of its chain"):
            postgres.run(sql, **bad._asdict())
    postgres.run(sql, **good._asdict())
    assert check_index(ledger) is None


@pytest.mark.slow
def test_random_edits_are_all_found_where_they_were_made(
    ledger: PostgresLedger, postgres: Server, postgres_url: str
) -> None:
    chance = random.Random(0)
    ledger.append(
        [Evidence(f"kind.{n % 5}", (f"n:{n % 9}", f"m:{n}"), {"auc": chance.random(), "n": n}) for n in range(300)]
    )
    for table in ("entry", "subject"):
        postgres.run(f"CREATE TABLE sterling.saved_{table} AS TABLE sterling.{table}")
    edits = {
        "UPDATE sterling.entry SET {column} = set_byte({column}, {byte} % length({column}), 255 - get_byte({column}, {byte} % length({column}))) WHERE position = {at}": 0,
        "DELETE FROM sterling.entry WHERE position = {at}": 0,
        "DELETE FROM sterling.subject WHERE position = {at}": 0,
        "UPDATE sterling.subject SET position = position + 1 WHERE position = {at} AND subject LIKE 'm:%'": 0,
        "UPDATE sterling.entry SET kind = 'kind.x' WHERE position = {at}": 0,
        "UPDATE sterling.entry SET (previous, digest, content) = (SELECT previous, digest, content FROM sterling.saved_entry WHERE position = {at} % 300 + 1) WHERE position = {at}": 0,
        "INSERT INTO sterling.subject VALUES (1, 'm:x', {at})": 0,
    }
    for _ in range(300):
        edit, at = chance.choice(list(edits)), chance.randrange(1, 301)
        column = chance.choice(["previous", "digest", "content"])
        with postgres.connection() as db:
            db.run(
                f"SET session_replication_role = replica; {edit.format(at=at, column=column, byte=chance.randrange(500))}"
            )
            found = check_index(ledger)
            assert found, (edit, at)
            assert found.position in {at, at + 1}, (edit, at, found)
            for table in ("entry", "subject"):
                db.run(f"DELETE FROM sterling.{table}; INSERT INTO sterling.{table} TABLE sterling.saved_{table}")
        assert check_index(ledger) is None
