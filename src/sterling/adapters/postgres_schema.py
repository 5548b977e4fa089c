"""The tables of a PostgreSQL ledger, how they are made and brought up, and which role may do what with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pg8000.native import DatabaseError, identifier, literal

from sterling.adapters.postgres_session import Channel
from sterling.core.errors import InvalidDefinitionError, NotAllowedError, StorageError
from sterling.core.kinds import APPROVER_KINDS

LOCKS = (
    0x53544C47  # the first of the two numbers of our advisory locks; the second is a chain's number, 0 for the tables
)

# A restore changes whose a chain is, in a transaction that nothing else of this table is in meanwhile.
LET_CHAINS_CHANGE = "ALTER TABLE sterling.chain DISABLE TRIGGER chains_stay"
LET_CHAINS_STAY = "ALTER TABLE sterling.chain ENABLE TRIGGER chains_stay"

_VERSION_1 = """
CREATE TABLE sterling.chain (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL UNIQUE, project text NOT NULL,
    created_at text NOT NULL, copied boolean NOT NULL);

CREATE UNIQUE INDEX own_chain ON sterling.chain (project) WHERE NOT copied;

CREATE TABLE sterling.entry (
    chain integer NOT NULL, position bigint NOT NULL, kind text COLLATE "C" NOT NULL, previous bytea NOT NULL,
    digest bytea NOT NULL, content bytea NOT NULL, PRIMARY KEY (chain, position));

CREATE INDEX entry_by_kind ON sterling.entry (chain, kind, position);

CREATE TABLE sterling.subject (
    chain integer NOT NULL, subject text COLLATE "C" NOT NULL, position bigint NOT NULL,
    PRIMARY KEY (chain, subject, position));

CREATE FUNCTION sterling.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'ledger entries are never %', CASE TG_OP WHEN 'UPDATE' THEN 'updated' ELSE 'deleted' END
    USING ERRCODE = 'object_not_in_prerequisite_state';
END $$;

CREATE FUNCTION sterling.follow() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT *, lag(position) OVER line AS before, lag(digest) OVER line AS link FROM fresh
            WINDOW line AS (PARTITION BY chain ORDER BY position)) n
        LEFT JOIN sterling.entry e ON n.before IS NULL AND e.chain = n.chain AND e.position = n.position - 1
        WHERE n.position <> coalesce(n.before, e.position, 0) + 1
            OR n.previous <> coalesce(n.link, e.digest, decode(repeat('00', 32), 'hex'))
            OR n.digest <> sha256(n.previous || n.content))
    THEN
        RAISE EXCEPTION 'a ledger entry must follow the last one of its chain'
        USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER entries_follow AFTER INSERT ON sterling.entry
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION sterling.follow();

CREATE TRIGGER chains_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON sterling.chain
FOR EACH STATEMENT EXECUTE FUNCTION sterling.refuse();

CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON sterling.entry
FOR EACH STATEMENT EXECUTE FUNCTION sterling.refuse();

CREATE TRIGGER subjects_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON sterling.subject
FOR EACH STATEMENT EXECUTE FUNCTION sterling.refuse();
"""

MIGRATIONS: tuple[str, ...] = (_VERSION_1,)
"""What turns tables of each version into those of the next; the first makes them in an empty database."""

_BEFORE_ALL = """
CREATE SCHEMA sterling;
CREATE TABLE sterling.migration (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
"""

# Not to_regclass: it answers from what the connection remembers, and misses what was made while this one waited.
_IS_THERE = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'sterling' AND tablename = 'migration')"


def version_of(channel: Channel) -> int:
    """Version of the tables in a database, 0 where there are none."""
    ((found,),) = channel.run(_IS_THERE)
    if not found:
        return 0
    ((version,),) = channel.run("SELECT coalesce(max(version), 0) FROM sterling.migration")
    return int(version)


def check(channel: Channel, migrations: Sequence[str] | None = None) -> int:
    """Version of the tables in a database that holds a ledger which this version can read, or can hold one.

    Raises:
        StorageError: if it cannot.
    """
    newest = len(MIGRATIONS if migrations is None else migrations)
    found = version_of(channel)
    if found > newest:
        raise StorageError(
            f"The ledger was written by a newer Sterling (version {found} of its tables; this one knows {newest}). "
            "Upgrade: pip install --upgrade sterling-ml"
        )
    encoding = channel.parameter_statuses.get("server_encoding")
    if encoding != "UTF8":
        raise StorageError(
            f"A ledger needs a database in UTF8, and this one is in {encoding}. Make another: "
            "createdb --encoding UTF8 --template template0 NAME"
        )
    return found


def bring_up(channel: Channel, migrations: Sequence[str] | None = None) -> None:
    """Make or bring up the tables, in one transaction, under a lock.

    Raises:
        StorageError: if they are of a later version, or the database does not hold UTF-8.
        NotAllowedError: if they are to be changed and the user may not do that.
    """
    steps = MIGRATIONS if migrations is None else migrations
    if check(channel, steps) < len(steps):
        channel.run(f"BEGIN; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({LOCKS}, 0)")
        found = version_of(channel)  # another process may have been first
        try:
            channel.run("".join(statements(found, steps)) + "COMMIT")
        except DatabaseError as error:
            channel.run("ROLLBACK")
            if error.args[0].get("C") == "42501":
                raise NotAllowedError(_may_not(found, len(steps))) from error
            raise


def statements(found: int, steps: Sequence[str]) -> Iterator[str]:
    """The SQL that turns tables of one version into those of the newest."""
    if found == 0:
        yield _BEFORE_ALL
    for version, step in enumerate(steps[found:], start=found + 1):
        yield f"{step}\nINSERT INTO sterling.migration (version) VALUES ({version});\n"


def roles(channel: Channel, *, reader: str, writer: str, approver: str) -> str:
    """The SQL that makes the tables where they are missing, and three roles with what each may do.

    It may be applied again, by the owner of the tables, after whom nobody but a superuser has more rights.
    """
    ((database,),) = channel.run("SELECT current_database()")
    plain = (reader, writer, approver)
    names = dict(zip(("reader", "writer", "approver"), map(identifier, plain), strict=True))
    everyone, writers = ", ".join(names.values()), f"{names['writer']}, {names['approver']}"
    return "".join([
        "BEGIN;\n",
        *statements(version_of(channel), MIGRATIONS),
        *map(_creation, plain),
        _GRANTS.format(
            database=identifier(database), everyone=everyone, writers=writers, kinds=", ".join(map(literal, APPROVER_KINDS)),
            **names,
        ),
        "COMMIT;\n",
    ])  # fmt: skip


def check_role_names(*names: str) -> None:
    """See that each can name a role of its own.

    Raises:
        InvalidDefinitionError: if one cannot.

    Example:
        >>> check_role_names("readers", "writers", "readers")
        Traceback (most recent call last):
        sterling.core.errors.InvalidDefinitionError: 'readers' is named twice; each role needs a name of its own.
    """
    for n, name in enumerate(names):
        if name in names[:n]:
            raise InvalidDefinitionError(f"{name!r} is named twice; each role needs a name of its own.")
        if not 0 < len(name.encode()) <= _LONGEST_NAME or "\0" in name:
            raise InvalidDefinitionError(
                f"A role cannot be named {name!r}: PostgreSQL takes 1 to {_LONGEST_NAME} bytes."
            )
        if name in _RESERVED_NAMES or name.startswith("pg_"):
            raise InvalidDefinitionError(f"A role cannot be named {name!r}: PostgreSQL keeps that name for itself.")


def _creation(name: str) -> str:
    """A literal, not dollar quotes: no name can end it."""
    return f"\nDO {literal(_CREATE_ROLE.format(name=identifier(name), text=literal(name)))};\n"


_CREATE_ROLE = (
    "BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) THEN CREATE ROLE {name} NOLOGIN; END IF; END"
)
_LONGEST_NAME = 63
_RESERVED_NAMES = ("public", "none")
_GRANTS = """
GRANT CONNECT ON DATABASE {database} TO {everyone};
GRANT USAGE ON SCHEMA sterling TO {everyone};
REVOKE ALL ON ALL TABLES IN SCHEMA sterling FROM {everyone};
GRANT SELECT ON ALL TABLES IN SCHEMA sterling TO {everyone};
GRANT INSERT ON sterling.chain, sterling.entry, sterling.subject TO {writers};

ALTER TABLE sterling.entry ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS reading ON sterling.entry;
DROP POLICY IF EXISTS writing ON sterling.entry;
DROP POLICY IF EXISTS approving ON sterling.entry;
CREATE POLICY reading ON sterling.entry FOR SELECT TO {everyone} USING (true);
CREATE POLICY approving ON sterling.entry FOR INSERT TO {approver} WITH CHECK (true);
CREATE POLICY writing ON sterling.entry FOR INSERT TO {writer} WITH CHECK (
    kind NOT IN ({kinds})
    AND convert_from(content, 'UTF8')::json ->> 'kind' NOT IN ({kinds})
    OR (SELECT copied FROM sterling.chain WHERE number = entry.chain));
"""


def _may_not(found: int, wanted: int) -> str:
    what = f"has tables of version {found}, and version {wanted} is needed" if found else "holds no ledger yet"
    return (
        f"The database {what}, which your role may not change. Let its owner run a command of Sterling once, or apply "
        "what `sterling roles` prints."
    )
