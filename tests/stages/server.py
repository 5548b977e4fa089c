"""A model behind a URL: a real HTTP server on loopback that says what a test has it say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request that the server got, and the port of the connection that it came by."""

    body: Any
    token: str | None
    port: int = 0


class Said(NamedTuple):
    """What the server says to a request."""

    body: Any
    code: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        url: Where it answers.
        asked: The requests that it got.
    """

    url: str
    asked: list[Asked]


@contextmanager
def server(say: Callable[[Any], Said], protocol: str = "HTTP/1.0") -> Iterator[Server]:
    """A server on a free port that answers each request body with what a function makes of it.

    One of ``HTTP/1.1`` keeps connections open.
    """
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(Asked(body, self.headers.get("Authorization"), self.client_address[1]))
            said = say(body)
            data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.code)
            for name, value in said.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{http.server_address[1]}/invocations", asked)
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
