"""Where a PostgreSQL database is, as a URL says it; its password is used and never shown."""

from __future__ import annotations

import getpass
import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from sterling.core.errors import InvalidDefinitionError, StorageError, nearest
from sterling.core.urls import split_url, without_password

EXAMPLE = "postgresql://ada@db.example.com/evidence"
_PARAMETERS = ("connect_timeout", "host", "passfile", "sslmode", "sslrootcert")
_SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_PORT = 5432
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """A database, and how to reach it.

    Attributes:
        user: Role to log in as.
        host: Name or address of the server; a folder, where it is reached by a Unix socket in it.
        port: Port, or the number that ends the socket's name.
        database: Name of the database.
        ssl_mode: ``disable``, ``prefer``, ``require``, ``verify-ca`` or ``verify-full``, as in libpq.
        root_certificate: File of the authorities that the server's certificate is checked against; the system's
            where it is None.
        connect_seconds: How long to wait for an answer when connecting.
        password: What the role logs in with; never shown.
    """

    user: str
    host: str
    port: int
    database: str
    ssl_mode: str = "prefer"
    root_certificate: Path | None = None
    connect_seconds: float = _CONNECT_SECONDS
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        at = f"{self.database}?host={self.host}" if self.is_socket else f"{self.database}"
        where = f":{self.port}" if self.is_socket else f"{_bracketed(self.host)}:{self.port}"
        return f"postgresql://{self.user}@{where}/{at}"

    @property
    def is_socket(self) -> bool:
        """Whether the server is reached by a Unix socket."""
        return self.host.startswith("/")

    def connecting(self) -> dict[str, Any]:
        """What pg8000's connection takes."""
        place: dict[str, Any] = {"host": self.host, "port": self.port, "ssl_context": self._ssl_context()}
        if self.is_socket:
            place = {"unix_sock": f"{self.host}/.s.PGSQL.{self.port}", "ssl_context": False}
        return place | {"user": self.user, "database": self.database, "password": self.password or ""}

    def _ssl_context(self) -> ssl.SSLContext | bool | None:
        if self.ssl_mode in {"disable", "prefer"}:
            return False if self.ssl_mode == "disable" else None
        context = ssl.create_default_context(cafile=self.root_certificate)
        context.check_hostname = self.ssl_mode == "verify-full"
        if self.ssl_mode == "require" and self.root_certificate is None:
            context.verify_mode = ssl.CERT_NONE
        return context


def address_of(url: str) -> Address:
    """Read a URL; what it leaves out comes from where libpq looks too: the user's name, ``PGPASSWORD``, a passfile.

    Raises:
        InvalidDefinitionError: if the URL is none, or says what cannot be meant.

    Example:
        >>> address_of("postgresql://ada:secret@db.example.com/evidence?sslmode=verify-full")
        Address(user='ada', host='db.example.com', port=5432, database='evidence', ssl_mode='verify-full', \
root_certificate=None, connect_seconds=10.0)
        >>> print(address_of("postgresql://ada:secret@:5433/evidence?host=/run/postgresql"))
        postgresql://ada@:5433/evidence?host=/run/postgresql
    """
    parts, port = split_url(url, port=_PORT, example=EXAMPLE)
    said = _parameters(parts.query)
    database = unquote(parts.path.removeprefix("/"))
    if not database:
        raise InvalidDefinitionError(f"{without_password(url)} names no database. Example: {EXAMPLE}")
    user = unquote(parts.username or "") or _own_name(url)
    host = said.get("host") or unquote(parts.hostname or "") or "localhost"
    password = unquote(parts.password) if parts.password else None
    certificate = said.get("sslrootcert")
    return Address(
        user, host, port, database, _ssl_mode(said), Path(certificate) if certificate else None,
        _seconds(said.get("connect_timeout")),
        password or os.environ.get("PGPASSWORD") or _kept_password(said.get("passfile"), host, port, database, user),
    )  # fmt: skip


def _own_name(url: str) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise InvalidDefinitionError(f"{without_password(url)} names no user. Example: {EXAMPLE}") from None


def _parameters(query: str) -> dict[str, str]:
    said = dict(parse_qsl(query, keep_blank_values=True))
    for name in said.keys() - set(_PARAMETERS):
        raise InvalidDefinitionError(
            f"A URL of PostgreSQL has no parameter {name!r} here. {nearest(name, _PARAMETERS)}"
        )
    return said


def _ssl_mode(said: dict[str, str]) -> str:
    mode = said.get("sslmode", "prefer")
    if mode not in _SSL_MODES:
        raise InvalidDefinitionError(f"There is no sslmode {mode!r}. {nearest(mode, _SSL_MODES)}")
    return mode


def _seconds(text: str | None) -> float:
    if text is None:
        return _CONNECT_SECONDS
    if not text.isdecimal() or int(text) == 0:
        raise InvalidDefinitionError(f"connect_timeout={text!r} is no number of seconds. Example: connect_timeout=10")
    return float(text)


def _kept_password(named: str | None, *key: object) -> str | None:
    """The password that a passfile keeps for a server, in the form and under the rules of libpq's."""
    path = Path(named or os.environ.get("PGPASSFILE") or f"{os.environ.get('HOME', '')}/.pgpass")
    if not path.is_file():
        return None
    if path.stat().st_mode & 0o077:
        raise StorageError(f"{path} may be read by others than you, and is not used so. Run: chmod 600 {path}")
    for line in path.read_text(encoding="utf-8").splitlines():
        *pattern, password = [re.sub(r"\\(.)", r"\1", text) for text in re.split(r"(?<!\\):", line)]
        if len(pattern) == len(key) and all(want in {"*", str(have)} for want, have in zip(pattern, key, strict=True)):
            return password
    return None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
