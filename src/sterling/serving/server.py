"""The server: predictions of the live version over HTTP, typed, and each with the release that it rests on."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sterling.core.clock import from_micros, iso
from sterling.core.errors import DataError, StorageError
from sterling.core.ledger import Ledger
from sterling.core.store import Store
from sterling.features.on_demand import FunctionFailedError
from sterling.serving.ingest import Ingestion
from sterling.serving.on_demand import Supplied
from sterling.serving.released import Follower, ServedModel
from sterling.serving.requests import Limits, RefusedRequestError, read_request
from sterling.serving.vector import Online

_log = logging.getLogger("sterling.serving")
_encode = msgspec.json.Encoder().encode
_GRACE_SECONDS = 5
_BACKLOG = 1_024


def application(follower: Follower, limits: Limits | None = None, ingestion: Ingestion | None = None) -> Starlette:
    """The ASGI application.

    ``POST /predict`` answers rows, ``GET /version`` says what answers and what it reads, ``GET /health`` whether it
    does, and whether it still follows the ledger. With an ingestion, ``POST /v1/events/SOURCE`` takes rows of a source.
    """
    allowed = limits or Limits()

    async def predict(request: Request) -> Response:
        body = await _body(request, allowed)
        served = follower.served
        asked = read_request(body, allowed)
        found = served.answer(asked)
        answer = _release(served) | {"scores": found.scores.tolist()}
        if (decided := served.decisions(found.scores)) is not None:
            answer["decisions"] = decided
        if found.at is not None:
            answer["moment"] = iso(from_micros(found.at))
        if asked.features:
            answer["features"] = [{name: row[name] for name in served.model.names} for row in found.rows]
        return _json(answer)

    async def version(_: Request) -> Response:
        served = follower.served
        here: Mapping[str, Mapping[str, Any]] = (
            served.vector.sources
            if served.vector
            else {feature.name: {"computed_from": list(feature.inputs)} for feature in served.computed}
        )
        features = [
            {"name": column.name, "kind": column.kind, **here.get(column.name, {})} for column in served.model.columns
        ]
        raw = {"raw_columns": list(served.vector.raw.needed)} if served.vector else {}
        policy = {"policy": said} if (said := served.policy()) else {}
        return _json(_release(served) | {"features": features} | raw | policy)

    async def events(request: Request) -> Response:
        assert ingestion is not None
        rows = read_request(await _body(request, allowed), allowed).rows
        pushed = await run_in_threadpool(ingestion.push, request.path_params["source"], rows)
        refused = [refusal._asdict() for refusal in pushed.refused]
        return _json(pushed._asdict() | {"refused": refused}, 422 if len(refused) == len(rows) else 200)

    async def health(_: Request) -> Response:
        trouble = follower.trouble or (ingestion and ingestion.trouble)
        status = "degraded" if trouble else "ok"
        served = follower.served
        fresh = served.vector.freshness() if served.vector else None
        online = {} if fresh is None else {"online": fresh}
        return _json({"status": status, "trouble": trouble} | _release(served) | online)

    @asynccontextmanager
    async def following(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(follower.follow())
        with ingestion.in_background() if ingestion else nullcontext():
            yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/version", version),
            Route("/health", health),
            *([Route("/v1/events/{source}", events, methods=["POST"])] if ingestion else []),
        ],
        exception_handlers={
            FunctionFailedError: _broken,
            DataError: _refused,
            StorageError: _unreachable,
            HTTPException: _no_such_thing,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
        lifespan=following,
    )


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

    Raises:
        SterlingError: if nothing is released, the model cannot be loaded, or its functions are others.
        StorageError: if the port is taken.
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
    ) -> None:
        self.follower = Follower(ledger, store, supplied=supplied, online=online)
        self._socket = _listen(host, port)
        self.url = f"http://{host if ':' not in host else f'[{host}]'}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            application(self.follower, limits, ingestion), log_level="warning", access_log=False, server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )  # fmt: skip
        self._uvicorn = uvicorn.Server(config)

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
    """
    server = Server(ledger, store, host=host, port=port, supplied=supplied, online=online, ingestion=ingestion)
    (say or _print)(f"Serving version {server.follower.served.version} on {server.url}/predict. Ctrl-C ends it.")
    before = signal.signal(signal.SIGTERM, _stop_was_asked_for)
    try:
        with suppress(KeyboardInterrupt):
            server.run()
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201  a program that reads it waits for it


def _stop_was_asked_for(_signal: int, _frame: object) -> None:
    """Uvicorn has stopped gracefully, and raises the signal again: the process ends by itself, with 0."""


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, so that asyncio sends small packets at once: an answer would wait 40 ms for an acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        raise StorageError(f"Cannot listen on {host}:{port}: {error}. Choose another --port, or 0 for any.") from error
    return listening


async def _body(request: Request, limits: Limits) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limits.body_bytes:
            raise RefusedRequestError(413, f"The body is larger than {limits.body_bytes:,} bytes. Send fewer rows.")
    return bytes(body)


def _release(served: ServedModel) -> dict[str, Any]:
    return {"model": served.ref, "version": served.version, "position": served.position}


def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RefusedRequestError) else 422
    return _json({"error": str(error)}, status)


def _broken(_: Request, error: Exception) -> Response:
    _log.error("%s", error)
    return _json({"error": str(error)}, 500)


def _unreachable(_: Request, error: Exception) -> Response:
    _log.error("%s", error)
    return _json({"error": str(error)}, 503)


def _no_such_thing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path} is not served. POST /predict, GET /version and GET /health are."
    return _json({"error": message}, error.status_code)


def _gone(_: Request, __: Exception) -> Response:
    return _json({"error": "The client hung up before its request had come."}, 400)


def _failed(_: Request, __: Exception) -> Response:
    return _json({"error": "The server failed on this request; its log says why."}, 500)


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(_encode(body), status, media_type="application/json")
