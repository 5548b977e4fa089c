"""A backup comes back into PostgreSQL: whole or not at all, and only where it may."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pg8000.native import DatabaseError

from sterling.adapters.postgres import PostgresLedger
from sterling.core.backup import backed_up, backup, restore
from sterling.core.connect import connect_ledger, list_chains
from sterling.core.errors import NotAllowedError, StorageError, TamperedLedgerError
from sterling.core.evidence import Evidence, Record
from sterling.core.ledger import ChainInfo, check_chain
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.core.verify import verify
from sterling.core.walk import check_index
from tests.adapters.postgres import Server
from tests.core.sides import Side


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[SQLiteLedger]:
    """A chain of 2,500 entries."""
    with SQLiteLedger(tmp_path / "lost.db", "flights") as ledger:
        ledger.append([Evidence(f"kind.{n % 2}", (f"n:{n}", "all"), {"n": n}) for n in range(2500)])
        yield ledger


def opened(url: str, lost: SQLiteLedger) -> PostgresLedger:
    """The chain as it is there, begun as a copy where it is not."""
    return PostgresLedger(url, "flights", chain=lost.chain._replace(copied=True))


def there(url: str) -> dict[str, bool]:
    """Every chain that is there by its id, and whether it is a copy."""
    return {chain.id: chain.copied for chain in list_chains(url)}


def test_a_backup_comes_back_into_an_empty_database_and_the_chain_goes_on(postgres_url: str, tmp_path: Path) -> None:
    work, folder, store = Side(tmp_path / "work"), tmp_path / "backup", LocalStore(tmp_path / "new" / "store")
    work.record(0, 10)
    backup(work.ledger, work.store, folder)
    (chain,) = backed_up(folder)
    found = restore(folder, chain, postgres_url, store)
    assert (found.proven, found.entries, found.new, found.chain) == (True, 15, 15, work.ledger.chain)
    with PostgresLedger(postgres_url, "flights") as ledger:
        assert list(ledger.records()) == list(work.ledger.records())
        assert verify(ledger, store).intact
        assert check_index(ledger) is None
        assert ledger.append([Evidence("life.goes.on")]) == 16
        assert backup(ledger, store, folder).new == 1


def test_what_lacks_of_a_chain_comes_back_and_a_second_restore_finds_it_whole(
    postgres_url: str, lost: SQLiteLedger, tmp_path: Path
) -> None:
    backup(lost, LocalStore(tmp_path / "store"), tmp_path / "backup")
    with opened(postgres_url, lost) as ledger:
        ledger.restore(lost.records(until=7))
    for new in (2493, 0):
        found = restore(tmp_path / "backup", lost.chain, postgres_url, LocalStore(tmp_path / "store"))
        assert (found.proven, found.entries, found.new) == (True, 2500, new)


def test_records_that_do_not_follow_are_not_restored(postgres_url: str, lost: SQLiteLedger) -> None:
    records = list(lost.records())
    forged = records[2000]._replace(content=records[2000].content.replace(b"kind", b"mind"))
    with opened(postgres_url, lost) as ledger:
        for bad in (records[1:2], [*records[:2000], *records[2001:]], [*records[:2000], forged]):
            with pytest.raises(TamperedLedgerError, match="does not follow entry"):
                ledger.restore(bad)
            assert (ledger.head()[0], there(postgres_url)) == (0, {lost.chain.id: True})
        assert ledger.restore(records) == 2500
        assert ledger.append([Evidence("life.goes.on")]) == 2501
    assert there(postgres_url) == {lost.chain.id: False}


def test_an_own_chain_without_entries_gives_way_and_one_with_entries_does_not(
    postgres_url: str, lost: SQLiteLedger
) -> None:
    with PostgresLedger(postgres_url, "flights") as own, opened(postgres_url, lost) as ledger:
        own.append([Evidence("a.happened")])
        with pytest.raises(StorageError, match=rf"has another chain of 'flights' already, {own.chain.id}"):
            ledger.restore(lost.records())
        assert there(postgres_url) == {own.chain.id: False, lost.chain.id: True}
        assert (own.head()[0], ledger.head()[0]) == (1, 0)
    with PostgresLedger(postgres_url, "churn") as own:
        moved = ChainInfo("moved", "churn", lost.chain.created_at, copied=True)
        with PostgresLedger(postgres_url, "churn", chain=moved) as ledger:
            assert ledger.restore(lost.records()) == 2500
        assert (there(postgres_url)[own.chain.id], there(postgres_url)["moved"]) == (True, False)


def test_a_restore_that_is_killed_leaves_all_as_it_was_and_a_second_one_finishes_it(
    postgres: Server, postgres_url: str, lost: SQLiteLedger
) -> None:
    def killed_halfway() -> Iterator[Record]:
        for record in records:
            if record.position == 2200:
                os.kill(os.getpid(), signal.SIGKILL)
            yield record

    records = list(lost.records())
    with PostgresLedger(postgres_url, "flights") as own, opened(postgres_url, lost) as ledger:
        if (child := os.fork()) == 0:
            ledger.restore(killed_halfway())
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        assert (ledger.head()[0], there(postgres_url)) == (0, {own.chain.id: False, lost.chain.id: True})
        with pytest.raises(DatabaseError, match="ledger entries are never updated"):
            postgres.run("UPDATE sterling.chain SET copied = true")
        assert ledger.restore(records) == 2500
        assert (check_chain(ledger.records()), check_index(ledger)) == ((2500, None), None)


def test_while_a_restore_is_under_way_other_chains_go_on_and_none_is_begun(
    postgres: Server, postgres_url: str, lost: SQLiteLedger
) -> None:
    def with_others_at_work() -> Iterator[Record]:
        for record in lost.records():
            if record.position == 2200:
                with PostgresLedger(postgres_url, "churn") as other, opened(postgres_url, lost) as reader:
                    assert other.append([Evidence("a.happened")]) == 1
                    assert (reader.head()[0], reader.chain.copied) == (0, True)
                with pytest.raises(DatabaseError, match="could not obtain lock"):
                    postgres.run("BEGIN; LOCK TABLE sterling.chain IN ROW EXCLUSIVE MODE NOWAIT")
            yield record

    with PostgresLedger(postgres_url, "churn"), opened(postgres_url, lost) as ledger:
        assert ledger.restore(with_others_at_work()) == 2500


def test_after_a_restore_the_server_refuses_changes_as_before(
    postgres: Server, postgres_url: str, lost: SQLiteLedger
) -> None:
    with opened(postgres_url, lost) as ledger:
        ledger.restore(lost.records())
    with pytest.raises(DatabaseError, match="ledger entries are never updated"):
        postgres.run("UPDATE sterling.chain SET copied = true")


def test_only_the_owner_of_the_tables_restores(postgres: Server, postgres_url: str, lost: SQLiteLedger) -> None:
    postgres.run("CREATE ROLE olga LOGIN PASSWORD 'olga'; CREATE ROLE ann LOGIN PASSWORD 'ann'")
    postgres.run("GRANT CREATE ON DATABASE postgres TO olga")
    try:
        owned = postgres.url(user="olga", password="olga")
        connect_ledger(owned, "churn").close()  # type: ignore[attr-defined]
        printed = PostgresLedger.roles(owned, reader="readers", writer="writers", approver="approvers")
        assert postgres.psql(postgres_url, f"{printed}\nGRANT approvers TO ann;").returncode == 0
        with opened(postgres.url(user="ann", password="ann"), lost) as ledger:
            with pytest.raises(NotAllowedError, match=r"ann may not restore .*: only the owner of its tables may"):
                ledger.restore(lost.records())
            assert (ledger.head()[0], there(owned)[lost.chain.id]) == (0, True)
        with opened(owned, lost) as ledger:
            assert ledger.restore(lost.records()) == 2500
    finally:
        postgres.clear()
        for name in ("olga", "ann", "readers", "writers", "approvers"):
            postgres.run(f"DROP OWNED BY {name}; DROP ROLE {name}")
