"""The server: predictions of the live version over HTTP, typed, and each with the release that it rests on."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sterling.core.errors import StorageError
from sterling.core.ledger import Ledger
from sterling.core.store import Store
from sterling.serving.endpoints import Endpoints, Service
from sterling.serving.front import ARRIVED, QUEUED
from sterling.serving.ingest import Ingestion
from sterling.serving.kept_plan import PlanFile
from sterling.serving.on_demand import Supplied
from sterling.serving.released import Follower
from sterling.serving.requests import Limits
from sterling.serving.sockets import listen, url_of
from sterling.serving.vector import Online

_log = logging.getLogger("sterling.serving")
_GRACE_SECONDS = 5


class Certificate(NamedTuple):
    """What TLS needs.

    Attributes:
        certificate: File of the certificate, with those that it rests on, in PEM.
        key: File of its private key, in PEM.
    """

    certificate: Path
    key: Path


class Server:
    """A server on a port of its own.

    Args:
        ledger: Where releases are recorded.
        store: Where models are.
        host: Address to listen on.
        port: Port; 0 for any that is free.
        limits: How much one request may ask.
        supplied: The project's functions.
        ingestion: Takes rows of the project's sources, where they come to this server.
        online: The project and its online state, for features that are computed from raw columns.
        service: What else the server does; `limits` and `ingestion` take precedence over its own.
        certificate: What TLS needs; None for plain HTTP.
        listening: A socket that listens already, instead of host and port.
        drain_seconds: How long it goes on answering after it was told to end, telling clients to connect anew.
        follower: Says what is served, instead of the newest release.

    Raises:
        SterlingError: if nothing is released, the model cannot be loaded, or its functions are others.
        StorageError: if the port is taken, or the certificate cannot be read.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        supplied: Sequence[Supplied] = (),
        ingestion: Ingestion | None = None,
        online: Online | None = None,
        service: Service | None = None,
        certificate: Certificate | None = None,
        listening: socket.socket | None = None,
        drain_seconds: float = 0.0,
        follower: Follower | None = None,
    ) -> None:
        found = service or Service()
        found = replace(found, limits=limits or found.limits, ingestion=ingestion or found.ingestion)
        self.follower = follower or Follower(
            ledger, store, supplied=supplied, online=online, counters=found.counters
        )  # fmt: skip
        _check(certificate)
        self._socket = listening or listen(host, port)
        self.url = url_of(self._socket, secure=certificate is not None)
        self.endpoints = Endpoints(self.follower, found, lambda: len(self._uvicorn.server_state.tasks))
        front = self.endpoints.front()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            """Leave the queue with the answer: Uvicorn takes a request out later, after it has read the next ones."""
            try:
                await front(scope, receive, send)
            finally:
                self._uvicorn.server_state.tasks.discard(asyncio.current_task())

        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, http=_Protocol, ws="none", lifespan="on",
            timeout_graceful_shutdown=_GRACE_SECONDS, loop="uvloop",
            ssl_certfile=certificate and str(certificate.certificate), ssl_keyfile=certificate and str(certificate.key),
        )  # fmt: skip
        self._uvicorn = _Draining(config, drain_seconds)

        def drain() -> None:
            front.draining = self.endpoints.draining = True

        self._uvicorn.drain = drain

    def run(self) -> None:
        """Serve until told to stop, by a signal in the main thread or by `stop`; open requests are answered first."""
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Stop serving."""
        self._uvicorn.should_exit = True

    @contextmanager
    def in_background(self) -> Iterator[str]:
        """Serve in a thread meanwhile; gives the address."""
        thread = threading.Thread(target=self.run, name="server")
        thread.start()
        try:
            yield self.url
        finally:
            self.stop()
            thread.join()


class _Protocol(HttpToolsProtocol):
    """Says with each request when it came, and how many waited then."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope[QUEUED], scope[ARRIVED] = len(self.tasks), time.perf_counter()


class _Draining(uvicorn.Server):
    """A server that goes on for a while after it was told to end, so that nobody meets a closed door."""

    def __init__(self, config: uvicorn.Config, seconds: float) -> None:
        super().__init__(config)
        self._seconds = seconds
        self.drain: Callable[[], None] = _nothing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.drain()
        if not self._seconds or self.should_exit or sig == signal.SIGINT:
            super().handle_exit(sig, frame)
            return
        timer = threading.Timer(self._seconds, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()


def _nothing() -> None:
    pass


def serve(
    ledger: Ledger,
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    say: Callable[[str], None] | None = None,
    supplied: Sequence[Supplied] = (),
    online: Online | None = None,
    ingestion: Ingestion | None = None,
    service: Service | None = None,
    certificate: Certificate | None = None,
    listening: socket.socket | None = None,
    drain_seconds: float = 0.0,
    plan_file: PlanFile | None = None,
) -> None:
    """Serve the live version until Ctrl-C or SIGTERM, and follow releases.

    Args:
        ledger: Where releases are recorded.
        store: Where models are.
        host: Address to listen on; loopback unless told otherwise.
        port: Port; 0 for any that is free.
        say: Told what is served and where, once it is listening; by default it is printed.
        supplied: The project's functions, for features that are computed on demand.
        online: The project and its online state, for features that are computed from raw columns.
        ingestion: Takes rows of the project's sources, where they come to this server.
        service: What else the server does.
        certificate: What TLS needs; None for plain HTTP.
        listening: A socket that listens already, instead of host and port.
        drain_seconds: How long it goes on answering after SIGTERM.
        plan_file: Where what was read of the ledger is kept, for when it cannot be reached; None for nowhere.
    """
    counters = service.counters if service else None
    follower = Follower(
        ledger, store, supplied=supplied, online=online, plan_file=plan_file, counters=counters
    )  # fmt: skip
    server = Server(
        ledger, store, host=host, port=port, ingestion=ingestion, service=service,
        certificate=certificate, listening=listening, drain_seconds=drain_seconds, follower=follower,
    )  # fmt: skip

    def stop(_signal: int, _frame: object) -> None:
        """Before Uvicorn listens for the signal, and when it raises it again after it has stopped."""
        server.stop()

    before = signal.signal(signal.SIGTERM, stop)
    (say or _print)(f"Serving version {server.follower.served.version} on {server.url}/v1/predict. Ctrl-C ends it.")
    try:
        with suppress(KeyboardInterrupt):
            server.run()
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201  a program that reads it waits for it


def _check(certificate: Certificate | None) -> None:
    """Refuse a certificate that cannot be read, before anything listens."""
    if certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate.certificate, certificate.key)
    except (OSError, ssl.SSLError) as error:
        raise StorageError(
            f"{certificate.certificate} and {certificate.key} are no certificate and its key: {error}. Both are PEM files."
        ) from error
