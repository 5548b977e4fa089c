"""Roles, as `sterling roles` prints them, applied to a real server and tried by real users."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from pg8000.native import DatabaseError, identifier

from sterling.adapters.postgres import PostgresLedger
from sterling.core.errors import InvalidDefinitionError, NotAllowedError
from sterling.core.evidence import Evidence, Query
from sterling.core.ledger import check_chain, follow
from sterling.core.walk import check_index
from sterling.testing.ledger import COPY
from tests.adapters.postgres import Server

USERS = {"rita": "readers of evidence", "will": "writers", "ann": "approvers"}
EDITS = (
    "UPDATE sterling.entry SET content = ''",
    "DELETE FROM sterling.entry",
    "TRUNCATE sterling.entry",
    "UPDATE sterling.chain SET project = 'mine'",
    "DELETE FROM sterling.subject",
    "DROP TABLE sterling.entry",
    "ALTER TABLE sterling.entry DISABLE TRIGGER ALL",
    "CREATE TABLE sterling.mine (x int)",
)
RELEASE = Evidence("version.released", ("version:1",), {"version": 1})


@pytest.fixture
def team(postgres: Server, postgres_url: str) -> Iterator[Server]:
    """A server with the tables and roles that the command prints, and a user for each role."""
    command = [sys.executable, "-m", "sterling", "roles", postgres_url]
    options = ["--reader", USERS["rita"], "--writer", USERS["will"], "--approver", USERS["ann"]]
    for _ in range(2):  # the second time the tables and roles are there
        printed = subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout
        applied = postgres.psql(postgres_url, printed)
        assert applied.returncode == 0, applied.stderr
    for user, role in USERS.items():
        postgres.run(f"CREATE ROLE {user} LOGIN PASSWORD '{user}'; GRANT \"{role}\" TO {user}")
    yield postgres
    for name in (*USERS, *USERS.values()):
        postgres.run(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def as_user(server: Server, user: str, project: str = "flights") -> PostgresLedger:
    return PostgresLedger(server.url(user=user, password=user), project, actor=f"user:{user}")


def test_a_writer_records_and_may_not_decide_what_is_live(team: Server) -> None:
    with as_user(team, "will") as ledger:
        assert ledger.append([Evidence("model.trained", ("m",)), Evidence("gate.judged")]) == 2
        with pytest.raises(NotAllowedError, match=r"will may not record version.released: ask an approver"):
            ledger.append([Evidence("run.completed"), RELEASE])
        assert ledger.head()[0] == 2
        assert (check_chain(ledger.records()), check_index(ledger)) == ((2, None), None)


def test_an_approver_releases(team: Server) -> None:
    with as_user(team, "will") as writer, as_user(team, "ann") as ledger:
        writer.append([Evidence("gate.judged")])
        assert ledger.append([RELEASE], unless=Query(("version.released",)), after=1) == 2
        assert [entry.actor for entry in writer.read()] == ["user:will", "user:ann"]


def test_a_reader_reads_verifies_and_follows_and_records_nothing(team: Server) -> None:
    with as_user(team, "will") as writer, as_user(team, "rita") as ledger:
        writer.append([Evidence("gate.judged", ("s",))])
        assert [entry.kind for entry in ledger.read(Query((), ("s",)))] == ["gate.judged"]
        assert (check_chain(ledger.records()), check_index(ledger)) == ((1, None), None)
        assert next(follow(ledger)).position == 1
        with pytest.raises(NotAllowedError, match="rita may read this ledger, not write to it: ask a writer"):
            ledger.append([Evidence("gate.judged")])


def test_a_reader_cannot_begin_a_chain(team: Server) -> None:
    with pytest.raises(NotAllowedError, match=r"rita may not begin one. Let a writer begin it"):
        as_user(team, "rita", "unheard-of")


def test_nobody_edits_what_is_recorded(team: Server) -> None:
    with as_user(team, "will") as ledger:
        ledger.append([Evidence("gate.judged", ("s",))])
    for user in USERS:
        for edit in EDITS:
            tried = team.psql(team.url(user=user, password=user), edit)
            assert tried.returncode != 0, (user, edit)
            assert "permission denied" in tried.stderr or "must be owner" in tried.stderr
    with as_user(team, "rita") as ledger:
        assert check_chain(ledger.records()) == (1, None)


def test_a_writer_cannot_hide_a_release_under_another_kind(team: Server) -> None:
    with as_user(team, "will") as ledger, as_user(team, "ann") as approver:
        approver.append([RELEASE])
        (record,) = ledger.records()
    with team.connection() as admin:
        ((number,),) = admin.run("SELECT number FROM sterling.chain")
    insert = (
        f"INSERT INTO sterling.entry VALUES ({number}, 2, 'gate.judged', '\\x{record.digest.hex()}', "
        f"sha256('\\x{(record.digest + record.content).hex()}'), '\\x{record.content.hex()}')"
    )
    assert "row-level security" in team.psql(team.url(user="will", password="will"), insert).stderr


def test_a_writer_pushes_a_copy_with_all_that_was_decided(team: Server) -> None:
    with (
        as_user(team, "ann") as ledger,
        PostgresLedger(team.url(user="will", password="will"), "contract", chain=COPY) as copy,
    ):
        ledger.append([Evidence("gate.judged"), RELEASE])
        assert copy.extend(ledger.records()) == 2
        assert check_index(copy) is None


def test_roles_of_any_name_are_made_and_no_name_is_read_as_sql(postgres: Server, postgres_url: str) -> None:
    names = ("$$; DROP SCHEMA sterling; --", "o'hara\\", 'a "writer"; END $$')
    printed = PostgresLedger.roles(postgres_url, reader=names[0], writer=names[1], approver=names[2])
    try:
        applied = postgres.psql(postgres_url, printed)
        assert applied.returncode == 0, applied.stderr
        made = postgres.run(
            "SELECT rolname FROM pg_roles WHERE NOT rolcanlogin AND rolname NOT LIKE 'pg!_%' ESCAPE '!'"
        )
        assert {name for (name,) in made} == set(names)
    finally:
        for name in names:
            postgres.run(f"DROP OWNED BY {identifier(name)}; DROP ROLE {identifier(name)}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "takes 1 to 63 bytes"), ("\0", "takes 1 to 63 bytes"), ("ä" * 32, "takes 1 to 63 bytes"),
        ("public", "keeps that name for itself"), ("pg_monitor", "keeps that name for itself"),
        ("writers", "each role needs a name of its own"),
    ],
)  # fmt: skip
def test_a_name_that_no_role_can_have_is_refused_before_anything_is_printed(name: str, reason: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=reason):
        PostgresLedger.roles("postgresql://nowhere.invalid/evidence", reader="readers", writer="writers", approver=name)


def test_the_server_itself_refuses_what_does_not_follow(team: Server) -> None:
    with as_user(team, "will") as ledger:
        ledger.append([Evidence("gate.judged")])
    with team.connection() as admin, pytest.raises(DatabaseError, match="must follow the last one of its chain"):
        admin.run("INSERT INTO sterling.entry SELECT chain, 3, kind, previous, digest, content FROM sterling.entry")
