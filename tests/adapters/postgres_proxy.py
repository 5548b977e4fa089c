"""A network that fails where a test says so: a proxy that cuts a connection before or after a message."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

_TLS_REQUEST = bytes.fromhex("0000000804d2162f")


class Proxy:
    """Forwards connections to a port of this machine, until told otherwise.

    Args:
        port: The server's port.
        tls: Speak TLS with the client, as the server itself would.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target, self._tls = port, tls
        self._cut: tuple[bytes, bool, Callable[[], object]] | None = None
        self.cuts = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_before(self, marker: bytes, meanwhile: Callable[[], object] = bool) -> None:
        """Cut the next connection that sends this, before the server gets it.

        Args:
            marker: Bytes of a message.
            meanwhile: Is called once the server knows that the connection is gone, and before the client does.
        """
        self._cut = marker, False, meanwhile

    def cut_after(self, marker: bytes) -> None:
        """Cut the next connection that sends this, once the server has answered and before the client knows."""
        self._cut = marker, True, bool

    def refuse(self) -> None:
        """Accept no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)  # closing alone leaves the thread that accepts one more
        self._listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._target)) as server:
            if self._tls is not None:
                assert client.recv(8) == _TLS_REQUEST
                client.sendall(b"S")
                client = self._tls.wrap_socket(client, server_side=True)
            with client:
                self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        held = threading.Event()
        back = threading.Thread(target=self._answer, args=(server, client, held), daemon=True)
        back.start()
        while data := client.recv(1 << 20):
            if self._cut and self._cut[0] in data:
                (_, is_delivered, meanwhile), self._cut = self._cut, None
                self.cuts += 1
                held.set()
                if is_delivered:
                    server.sendall(data)
                    back.join()
                server.shutdown(socket.SHUT_RDWR)
                meanwhile()
                break
            server.sendall(data)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        back.join()

    def _answer(self, server: socket.socket, client: socket.socket, held: threading.Event) -> None:
        with suppress(OSError):  # the server may end without a word
            while data := server.recv(1 << 20):
                if held.is_set():
                    return
                client.sendall(data)
        if not held.is_set():
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
