"""Connections that break: cut by the network, by the server, by its end; and what is said where none can be had."""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sterling.adapters.postgres import PostgresLedger
from sterling.adapters.postgres_session import LostConnectionError
from sterling.core.errors import ConflictError, StorageError
from sterling.core.evidence import Evidence, Query
from sterling.core.ledger import follow
from sterling.core.walk import walk
from tests.adapters.postgres import Server
from tests.adapters.postgres_proxy import Proxy

COMMIT = b"pg_notify("  # in the message that ends with COMMIT; each transaction begins as READ COMMITTED


@pytest.fixture
def proxy(postgres: Server) -> Iterator[Proxy]:
    with Proxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def ledger(postgres_url: str, postgres: Server, proxy: Proxy) -> Iterator[PostgresLedger]:
    """A ledger behind a network that can be made to fail."""
    with PostgresLedger(postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/"), "flights") as ledger:
        yield ledger


def end_connections(postgres: Server, *, waiting_for: str = "%") -> int:
    """End the server's processes that serve a ledger, as its administrator could."""
    return len(
        postgres.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'sterling' AND coalesce(wait_event, '') LIKE :event",
            event=waiting_for,
        )
    )


def test_an_append_whose_commit_never_arrived_is_recorded_once(ledger: PostgresLedger, proxy: Proxy) -> None:
    proxy.cut_before(COMMIT)
    assert ledger.append([Evidence("a.happened"), Evidence("b.happened")]) == 2
    assert proxy.cuts == 1
    assert [entry.kind for entry in ledger.read()] == ["a.happened", "b.happened"]


def test_an_append_whose_commit_was_never_answered_is_recorded_once(ledger: PostgresLedger, proxy: Proxy) -> None:
    proxy.cut_after(COMMIT)
    assert ledger.append([Evidence("a.happened"), Evidence("b.happened")]) == 2
    assert proxy.cuts == 1
    assert [entry.kind for entry in ledger.read()] == ["a.happened", "b.happened"]
    assert ledger.append([Evidence("c.happened")]) == 3


def test_an_append_that_was_recorded_is_no_conflict_with_itself(ledger: PostgresLedger, proxy: Proxy) -> None:
    proxy.cut_after(COMMIT)
    promoted = Query(("release.promoted",))
    assert ledger.append([Evidence("release.promoted")], unless=promoted) == 1
    with pytest.raises(ConflictError, match=r"release.promoted was recorded at 1"):
        ledger.append([Evidence("release.promoted")], unless=promoted)


def test_an_append_that_was_lost_conflicts_with_what_came_in_between(
    ledger: PostgresLedger, postgres_url: str, proxy: Proxy
) -> None:
    promoted = Query(("release.promoted",))
    with PostgresLedger(postgres_url, "flights", actor="other") as other:
        proxy.cut_before(COMMIT, meanwhile=lambda: other.append([Evidence("release.promoted")]))
        with pytest.raises(ConflictError, match=r"release.promoted was recorded at 1"):
            ledger.append([Evidence("release.promoted")], unless=promoted)
    assert [entry.actor for entry in ledger.read()] == ["other"]


def test_an_append_that_was_lost_follows_what_came_in_between(
    ledger: PostgresLedger, postgres_url: str, proxy: Proxy
) -> None:
    with PostgresLedger(postgres_url, "flights") as other:
        proxy.cut_before(COMMIT, meanwhile=lambda: other.append([Evidence("b.happened")] * 3))
        assert ledger.append([Evidence("a.happened")]) == 4
    assert [entry.kind for entry in ledger.read()] == ["b.happened"] * 3 + ["a.happened"]
    assert walk(ledger).broken is None


def test_the_servers_process_that_ends_at_the_commit_has_recorded_it_once(
    ledger: PostgresLedger, postgres: Server
) -> None:
    ledger.append([Evidence("a.happened")])
    postgres.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")  # commits wait for a copy that never comes
    postgres.run("SELECT pg_reload_conf()")
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ledger.append, [Evidence("b.happened")])
            while not end_connections(postgres, waiting_for="SyncRep"):
                time.sleep(0.01)
            assert waiting.result(timeout=60) == 2
    finally:
        postgres.run("ALTER SYSTEM RESET synchronous_standby_names")
        postgres.run("SELECT pg_reload_conf()")
    assert [entry.kind for entry in ledger.read()] == ["a.happened", "b.happened"]


def test_connections_that_are_ended_at_any_moment_lose_nothing_and_double_nothing(
    postgres_url: str, postgres: Server
) -> None:
    chance, stop = random.Random(0), threading.Event()

    def end_some() -> int:
        ended = 0
        while not stop.wait(chance.random() * 0.05):
            ended += end_connections(postgres)
        return ended

    with PostgresLedger(postgres_url, "flights") as ledger, ThreadPoolExecutor(1) as pool:
        ending = pool.submit(end_some)
        recorded = 0
        for n in range(150):
            with suppress(LostConnectionError):  # thrice in a row
                ledger.append([Evidence("a.happened", body={"n": n})])
                recorded += 1
            list(ledger.read(after=max(0, n - 3)))
        stop.set()
        assert ending.result() > 5
        found = [entry.body["n"] for entry in ledger.read()]
        assert len(found) == len(set(found)) >= recorded > 140
        assert walk(ledger).broken is None


def test_a_connection_that_was_cut_while_idle_is_opened_again(ledger: PostgresLedger, postgres: Server) -> None:
    ledger.append([Evidence("a.happened")] * 20)
    halfway = ledger.read()
    assert next(halfway).position == 1
    for use in (
        lambda: [entry.position for entry in halfway] == [*range(2, 21)],
        lambda: ledger.append([Evidence("b.happened")]) == 21,
        lambda: ledger.head()[0] == 21,
        lambda: len(list(ledger.records())) == 21,
        lambda: not ledger.wait(21, 0.0),
        lambda: not ledger.wait(21, 0.0),
    ):
        assert end_connections(postgres) >= 1
        assert use()  # type: ignore[no-untyped-call]  # lambdas of what returns bool


@pytest.mark.parametrize("crashes", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_server_that_crashes_and_comes_back_has_lost_nothing_that_was_acknowledged(
    ledger: PostgresLedger, postgres: Server, crashes: int
) -> None:
    stop, acknowledged = threading.Event(), list[int]()

    def append() -> None:
        n = 0
        while not stop.is_set():
            ledger.append([Evidence("a.happened", body={"n": n})])
            acknowledged.append(n)
            n += 1

    with ThreadPoolExecutor(1) as pool:
        appending = pool.submit(append)
        for _ in range(crashes):
            reached = len(acknowledged) + 20
            while len(acknowledged) < reached and not appending.done():
                time.sleep(0.001)
            postgres.kill()
            postgres.start()
        reached = len(acknowledged) + 20
        while len(acknowledged) < reached and not appending.done():
            time.sleep(0.001)
        stop.set()
        appending.result()
    assert [entry.body["n"] for entry in ledger.read()] == acknowledged
    assert walk(ledger).broken is None


def test_a_server_that_stays_away_is_named_and_so_is_what_is_not_known(
    postgres: Server, postgres_url: str, proxy: Proxy, ledger: PostgresLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sterling.adapters.postgres_session._PATIENCE_SECONDS", 0.2)
    ledger.append([Evidence("a.happened")])
    proxy.cut_after(COMMIT)
    proxy.refuse()
    with pytest.raises(StorageError, match=r"Whether the last append was recorded is not known: read the ledger"):
        ledger.append([Evidence("b.happened")])
    with pytest.raises(StorageError, match=r"postgresql://postgres@127.0.0.1:\d+/postgres: no server answers") as info:
        ledger.append([Evidence("c.happened")])
    assert "not known" not in str(info.value)
    with pytest.raises(StorageError, match="no server answers"):
        list(ledger.read())
    with PostgresLedger(postgres_url, "flights") as other:
        assert [entry.kind for entry in other.read()] == ["a.happened", "b.happened"]


def test_somebody_who_waits_is_told_at_once_and_only_of_what_is_new(ledger: PostgresLedger, postgres_url: str) -> None:
    assert not ledger.wait(0, 0.01)
    with PostgresLedger(postgres_url, "flights") as writer, PostgresLedger(postgres_url, "churn") as other:
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(ledger.wait, after, 30.0) for after in (0, 1)]
            time.sleep(0.2)
            other.append([Evidence("a.happened")] * 5)
            writer.append([Evidence("a.happened")])
            assert waiting[0].result(timeout=20)
            assert not waiting[1].done()
            writer.append([Evidence("a.happened")])
            assert waiting[1].result(timeout=20)
        assert ledger.wait(0, 0.0)
        assert not ledger.wait(2, 0.01)


def test_waiting_goes_on_where_the_connection_breaks(
    ledger: PostgresLedger, postgres: Server, postgres_url: str
) -> None:
    with PostgresLedger(postgres_url, "flights") as writer, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ledger.wait, 0, 30.0)
        for _ in range(5):
            time.sleep(0.05)
            end_connections(postgres)
        writer.append([Evidence("a.happened")])
        assert waiting.result(timeout=20)


def test_a_follower_in_another_process_gets_everything_in_order(ledger: PostgresLedger, postgres_url: str) -> None:
    with PostgresLedger(postgres_url, "flights") as writer, ThreadPoolExecutor(1) as pool:

        def write() -> None:
            for n in range(100):
                writer.append([Evidence("a.happened", body={"n": n})] * 2)

        writing = pool.submit(write)
        entries = follow(ledger)
        assert [next(entries).body["n"] for _ in range(200)] == [n // 2 for n in range(200)]
        writing.result()


def test_nothing_piles_up_for_one_who_has_stopped_to_listen(ledger: PostgresLedger, postgres: Server) -> None:
    ledger.wait(0, 0.0)
    ledger.append([Evidence("a.happened")] * 3)
    listening = postgres.run(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sterling' AND query LIKE 'UNLISTEN%'"
    )
    assert listening == [[1]]


def test_an_interrupted_append_leaves_a_ledger_that_works(ledger: PostgresLedger) -> None:
    class Interrupted(dict[str, int]):
        def __iter__(self) -> Iterator[str]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.append([Evidence("a.happened"), Evidence("b.happened", body=Interrupted(x=1))])
    assert ledger.append([Evidence("c.happened")]) == 1


def test_a_chain_that_somebody_holds_for_too_long_is_named(
    postgres: Server, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PostgresLedger(postgres_url, "flights") as ledger, postgres.connection() as other:
        with ledger._session.channel() as channel:
            channel.run("SET lock_timeout = '50ms'")
        other.run("BEGIN; SELECT pg_advisory_xact_lock(1398033479, 1)")
        assert list(ledger.read()) == []
        with pytest.raises(
            StorageError, match=r"another process has held it for 60 seconds. Wait for that one, or end it"
        ):
            ledger.append([Evidence("a.happened")])
        other.run("ROLLBACK")
        assert ledger.append([Evidence("a.happened")]) == 1


def test_what_the_server_cannot_do_is_said_in_one_line(postgres: Server, postgres_url: str) -> None:
    for url, reason in {
        postgres.url("no_such_database"): "there is no such database. Make it: createdb --encoding UTF8 NAME",
        postgres.url(user="nobody_here"): "the server refuses the user or the password. Set PGPASSWORD",
        postgres.url(password="wrong"): "the server refuses the user or the password. Set PGPASSWORD",
        "postgresql://postgres@127.0.0.1:1/postgres": "no server answers there .*Start it, or correct the URL",
        postgres.url(sslmode="require"): "Server refuses SSL",
        postgres.url(host="/no/such/folder"): "no server answers there",
    }.items():
        with pytest.raises(StorageError, match=reason) as info:
            PostgresLedger(url, "flights")
        assert postgres.password not in repr(info.value)
        assert "wrong" not in str(info.value)


def test_a_unix_socket_will_do(postgres: Server, postgres_url: str) -> None:
    with PostgresLedger(postgres.url(host=str(postgres.folder)), "flights") as ledger:
        assert ledger.append([Evidence("a.happened")]) == 1
        assert repr(ledger) == (
            f"PostgresLedger('postgresql://postgres@:{postgres.port}/postgres?host={postgres.folder}', 'flights')"
        )


def test_a_password_is_nowhere_to_be_seen(postgres_url: str, postgres: Server) -> None:
    with PostgresLedger(postgres_url, "flights") as ledger:
        shown = repr(ledger) + repr(ledger._session.address) + str(ledger._session.address)
        with pytest.raises(StorageError) as info, ledger._session.channel() as channel:
            channel.run("SELECT no_such_column")
    assert postgres.password not in shown + repr(info.value) + repr(info.value.__cause__)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that vouches for itself, with its key, for the name `localhost`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    unlocked = serialization.NoEncryption()
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unlocked)
    )
    return path


def test_tls_is_checked_as_far_as_the_url_asks(postgres: Server, postgres_url: str, certificate: Path) -> None:
    """The server of the tests is built without TLS; the proxy speaks it in its place."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Proxy(postgres.port, context) as proxy:

        def opened(host: str, **more: str) -> int:
            url = postgres.url(**more).replace(f"127.0.0.1:{postgres.port}", f"{host}:{proxy.port}")
            with PostgresLedger(url, "flights") as ledger:
                ledger.wait(ledger.append([Evidence("a.happened")]), 0.01)
                return ledger.head()[0]

        assert opened("127.0.0.1") == 1
        assert opened("127.0.0.1", sslmode="require") == 2
        assert opened("localhost", sslmode="verify-full", sslrootcert=str(certificate)) == 3
        assert opened("127.0.0.1", sslmode="verify-ca", sslrootcert=str(certificate)) == 4
        for host, more in {"127.0.0.1": {"sslrootcert": str(certificate)}, "localhost": {}}.items():
            with pytest.raises(StorageError, match=r"its certificate is not trusted .* sslrootcert=FILE"):
                opened(host, sslmode="verify-full", **more)
