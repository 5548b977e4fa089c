"""A network that fails: a proxy on loopback that cuts or holds connections once they have carried so many bytes."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import closing, suppress
from typing import Self


class Proxy:
    """Passes on what comes in on a port of its own, until it is told to fail.

    Args:
        host, port: Where connections lead.

    Attributes:
        url: Where clients connect to.
        sent: A connection fails after so many bytes from the client; None for never.
        received: A connection fails after so many bytes from the server.
        sent_in_all: Every connection fails once so many bytes have come from clients.
        failures: How many connections may still fail.
        stalls: Whether a failing connection goes silent, rather than being cut.
        stalled: Set once a connection has gone silent.
    """

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent: int | None = None
        self.received: int | None = None
        self.sent_in_all: int | None = None
        self.failures = 1 << 30
        self.stalls = False
        self.stalled = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        connections = []
        while not self._ended.is_set():
            if select.select([self._listener], [], [], 0.02)[0]:
                client, _ = self._listener.accept()
                connections.append(threading.Thread(target=self._carry, args=(client,)))
                connections[-1].start()
        for connection in connections:
            connection.join()

    def _carry(self, client: socket.socket) -> None:
        with closing(client), suppress(OSError), socket.create_connection(self._to) as server:
            carried = {client: 0, server: 0}
            while not self._ended.is_set():
                for source in select.select([client, server], [], [], 0.02)[0]:
                    room = self._room(carried[source], from_client=source is client)
                    data = source.recv(max(1, room))
                    if not data:
                        return
                    if room <= 0:
                        self._fail()
                        return
                    (server if source is client else client).sendall(data)
                    carried[source] += len(data)
                    if source is client and self.sent_in_all is not None:
                        self.sent_in_all -= len(data)

    def _room(self, carried: int, *, from_client: bool) -> int:
        """How many bytes may pass before the connection fails, at most what is read at once."""
        if not self.failures:
            return 1 << 16
        limit = self.sent if from_client else self.received
        rooms = [limit - carried] if limit is not None else []
        if from_client and self.sent_in_all is not None:
            rooms.append(self.sent_in_all)
        return min([*rooms, 1 << 16])

    def _fail(self) -> None:
        self.failures -= 1
        if self.stalls:
            self.stalled.set()
            self._ended.wait()
