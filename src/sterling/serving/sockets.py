"""Sockets that a server listens on."""

from __future__ import annotations

import ipaddress
import socket

from sterling.core.errors import StorageError

_BACKLOG = 1_024


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.com")]
        [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(listening: socket.socket, *, secure: bool = False) -> str:
    """The address of a socket that listens."""
    host, port = listening.getsockname()[:2]
    return f"http{'s' if secure else ''}://{host if ':' not in host else f'[{host}]'}:{port}"


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address to listen on.
        port: Port; 0 for any that is free.
        shared: Whether other sockets of the same user may listen there too; the system then shares connections out.

    Raises:
        StorageError: if the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, so that asyncio sends small packets at once: an answer would wait 40 ms for an acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        raise StorageError(f"Cannot listen on {host}:{port}: {error}. Choose another --port, or 0 for any.") from error
    return listening
