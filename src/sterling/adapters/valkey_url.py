"""Where a Valkey or Redis server is, as a URL says it; its password is used and never shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.core.urls import split_url, without_password

EXAMPLE = "valkey://cache.example.com:6379/0"
_PARAMETERS = ("ca_file", "expire_seconds", "timeout_seconds")
_PORT = 6379
_TIMEOUT_SECONDS = 5.0
_PASSWORDS = ("VALKEYCLI_AUTH", "REDISCLI_AUTH")


@dataclass(frozen=True, slots=True)
class Address:
    """A database of a server, and how to reach it.

    Attributes:
        host: Name or address of the server.
        port: Port.
        database: Number of the database.
        tls: Whether the connection is encrypted and the server's certificate checked.
        ca_file: File of the authorities that the certificate is checked against; the system's where it is None.
        user: Who logs in; None for the server's default user.
        timeout_seconds: How long to wait for an answer.
        expire_seconds: After how many seconds without being written a name is forgotten; None for never.
        password: What the user logs in with; never shown.
    """

    host: str
    port: int
    database: int = 0
    tls: bool = False
    ca_file: str | None = None
    user: str | None = None
    timeout_seconds: float = _TIMEOUT_SECONDS
    expire_seconds: int | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'valkeys' if self.tls else 'valkey'}://{user}{host}:{self.port}/{self.database}"

    def connecting(self) -> dict[str, Any]:
        """What a connection of valkey-py takes."""
        secured = {"ssl_ca_certs": self.ca_file, "ssl_check_hostname": True} if self.tls else {}
        return secured | {
            "host": self.host, "port": self.port, "db": self.database, "username": self.user, "password": self.password,
            "socket_timeout": self.timeout_seconds, "socket_connect_timeout": self.timeout_seconds,
            "socket_keepalive": True,
        }  # fmt: skip


def address_of(url: str) -> Address:
    """Read a URL; a password that it leaves out comes from ``VALKEYCLI_AUTH`` or ``REDISCLI_AUTH``, as for the CLIs.

    Raises:
        InvalidDefinitionError: if the URL is none, or says what cannot be meant.

    Example:
        >>> address_of("rediss://ada:secret@cache.example.com/2?expire_seconds=86400")
        Address(host='cache.example.com', port=6379, database=2, tls=True, ca_file=None, user='ada', \
timeout_seconds=5.0, expire_seconds=86400)
        >>> print(address_of("valkey://:secret@localhost"))
        valkey://localhost:6379/0
    """
    parts, port = split_url(url, port=_PORT, example=EXAMPLE)
    said = _parameters(parts.query)
    name = unquote(parts.path.strip("/")) or "0"
    if not name.isdecimal():
        raise InvalidDefinitionError(
            f"{without_password(url)}: a database has a number, not {name!r}. Example: {EXAMPLE}"
        )
    password = unquote(parts.password) if parts.password else None
    kept = next(filter(None, map(os.environ.get, _PASSWORDS)), None)
    return Address(
        unquote(parts.hostname or "") or "localhost", port, int(name), parts.scheme in {"rediss", "valkeys"},
        said.get("ca_file"), unquote(parts.username or "") or None,
        float(_seconds(said, "timeout_seconds") or _TIMEOUT_SECONDS), _seconds(said, "expire_seconds"),
        password or kept,
    )  # fmt: skip


def _parameters(query: str) -> dict[str, str]:
    said = dict(parse_qsl(query, keep_blank_values=True))
    for name in said.keys() - set(_PARAMETERS):
        raise InvalidDefinitionError(f"A URL of Valkey has no parameter {name!r} here. {nearest(name, _PARAMETERS)}")
    return said


def _seconds(said: dict[str, str], name: str) -> int | None:
    text = said.get(name)
    if text is None:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise InvalidDefinitionError(f"{name}={text!r} is no number of seconds. Example: {name}=30")
    return int(text)
