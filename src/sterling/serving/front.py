"""What stands before every endpoint: who asks, whether there is room, what comes, what is answered, and what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sterling.serving.keys import Keys, Role, key_in
from sterling.serving.metrics import Metrics
from sterling.serving.problems import MEDIA_TYPE as PROBLEM
from sterling.serving.problems import Problem, problem_of
from sterling.serving.requests import Limits, RefusedRequestError, RequestIds

_log = logging.getLogger("sterling.serving")
_encode = msgspec.json.Encoder().encode
JSON = b"application/json"
QUEUED = "sterling.queued"
"""Where the scope says how many requests waited when this one came."""
ARRIVED = "sterling.arrived"
"""Where the scope says when it came, in seconds of `time.perf_counter`."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Incoming(NamedTuple):
    """A request that was let in.

    Attributes:
        id: Its name.
        path: What follows the endpoint's path.
        body: What it brings.
        arrived: When it came, in seconds of `time.perf_counter`.
        headers: Its headers, by their names in lower case.
        queued: How many requests waited when it came.
    """

    id: str
    path: str
    body: bytes
    arrived: float
    headers: Mapping[bytes, bytes]
    queued: int = 0


class Answer(NamedTuple):
    """What is answered.

    Attributes:
        body: The bytes.
        status: HTTP status.
        media_type: What they are.
    """

    body: bytes
    status: int = 200
    media_type: bytes = JSON

    @classmethod
    def json(cls, body: Any, status: int = 200) -> Answer:
        """An answer of JSON."""
        return cls(_encode(body), status)


class Endpoint(NamedTuple):
    """What answers at a path.

    Attributes:
        name: What it is called where answers are counted.
        method: The HTTP method that it takes.
        answer: What answers.
        role: What a key must be allowed to do; None where everybody may ask.
        sheds: Whether it is refused where too many requests wait.
    """

    name: str
    method: str
    answer: Callable[[Incoming], Awaitable[Answer]]
    role: Role | None = None
    sheds: bool = False


class Front:
    """The ASGI application over some endpoints.

    Args:
        endpoints: By path; one that ends with a slash takes whatever follows it.
        limits: How much a request may ask, and how many may wait.
        metrics: What is counted.
        keys: Who may ask; None where everybody may.
        while_serving: What runs from the first request to the last.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        limits: Limits,
        metrics: Metrics,
        keys: Keys | None = None,
        while_serving: Callable[[], contextlib.AbstractAsyncContextManager[None]] | None = None,
    ) -> None:
        self._endpoints, self._limits, self._metrics, self._keys = endpoints, limits, metrics, keys
        self._while_serving = while_serving or contextlib.nullcontext
        self._ids = RequestIds()
        self.draining = False
        """Whether the server is about to end: answers then tell clients to connect anew."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._live(receive, send)
            return
        arrived = scope.get(ARRIVED) or time.perf_counter()
        headers = dict(scope["headers"])
        name, request_id = "none", ""
        more: Sequence[tuple[bytes, bytes]] = ()
        try:
            request_id = self._ids.of(headers.get(b"x-request-id"))
            endpoint, rest = self._endpoint(scope["path"])
            name = endpoint.name
            self._let_in(endpoint, scope, headers)
            body = await self._body(receive, headers) if endpoint.method == "POST" else b""
            answer = await endpoint.answer(Incoming(request_id, rest, body, arrived, headers, scope.get(QUEUED, 0)))
        except ConnectionResetError:
            return  # nobody is there any more
        except Exception as error:  # noqa: BLE001  whatever happens, the client is told and the server goes on
            problem = problem_of(error)
            request_id = request_id or self._ids.of(None)
            answer, more = _refused(problem, request_id), problem.headers
            if problem.status >= 500 and problem.status != 503:  # what is shed is counted, and would flood the log
                _log.warning("%s", problem.detail, extra={"request_id": request_id, "status": problem.status})
        await self._send(send, answer, request_id, more, head=scope["method"] == "HEAD")
        self._metrics.answered(name, answer.status)

    def _endpoint(self, path: str) -> tuple[Endpoint, str]:
        found = self._endpoints.get(path)
        if found is not None:
            return found, ""
        before, _, rest = path.rpartition("/")
        found = self._endpoints.get(f"{before}/") if rest else None
        if found is None:
            raise RefusedRequestError(404, f"{path[:80]} is not served. GET /openapi.json says what is.")
        return found, rest

    def _let_in(self, endpoint: Endpoint, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        method = scope["method"]
        if method != endpoint.method and not (method == "HEAD" and endpoint.method == "GET"):
            raise RefusedRequestError(
                405, f"{method[:20]} is not served here; {endpoint.method} is.", headers={"Allow": endpoint.method}
            )
        if endpoint.sheds and scope.get(QUEUED, 0) >= self._limits.queue:
            self._metrics.shed()
            raise RefusedRequestError(
                503, f"{self._limits.queue:,} requests wait already. Ask again later.", headers={"Retry-After": "1"}
            )
        if self._keys is not None and endpoint.role is not None:
            self._keys.allow(key_in(headers), endpoint.role)

    async def _body(self, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        kind = headers.get(b"content-type")
        if kind is not None and kind.partition(b";")[0].strip().lower() != JSON:
            raise RefusedRequestError(
                415, f"The body is {kind[:80].decode('latin-1')}. Send application/json.", "Content-Type"
            )
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise RefusedRequestError(415, "The body is compressed. Send it as it is.", "Content-Encoding")
        message = await receive()
        if not message.get("more_body", False) and message["type"] == "http.request":
            body: bytes = message.get("body", b"")
            self._check_size(len(body))
            return body
        try:
            return await asyncio.wait_for(self._slow_body(message, receive), self._limits.body_seconds)
        except TimeoutError:
            raise RefusedRequestError(
                408, f"The body did not come within {self._limits.body_seconds:g} seconds."
            ) from None

    async def _slow_body(self, message: MutableMapping[str, Any], receive: Receive) -> bytes:
        body = bytearray()
        while True:
            if message["type"] != "http.request":
                raise ConnectionResetError("The client hung up before its request had come.")
            body += message.get("body", b"")
            self._check_size(len(body))
            if not message.get("more_body", False):
                return bytes(body)
            message = await receive()

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise RefusedRequestError(
                413, f"The body is larger than {self._limits.body_bytes:,} bytes. Send fewer rows."
            )

    async def _send(
        self, send: Send, answer: Answer, request_id: str, more: Sequence[tuple[bytes, bytes]], *, head: bool
    ) -> None:
        headers = [
            (b"content-type", answer.media_type), (b"content-length", b"%d" % len(answer.body)),
            (b"x-request-id", request_id.encode()), *more,
        ]  # fmt: skip
        if self.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else answer.body})

    async def _live(self, receive: Receive, send: Send) -> None:
        """What runs from the first request to the last: ASGI's lifespan."""
        await receive()
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._while_serving())
            except Exception as error:  # noqa: BLE001  the server says why it does not start
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _refused(problem: Problem, request_id: str) -> Answer:
    return Answer(problem.document(request_id), problem.status, PROBLEM)
