"""Models behind URLs, asked by a server without waiting: bounded connections that stay open, and a limit for each answer."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import httptools
import msgspec
import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError, SterlingError
from sterling.models.outside import SAID, headers, question, scores_in
from sterling.project.external import ExternalModel

_log = logging.getLogger("sterling.serving")
_encode = msgspec.json.Encoder().encode
_LARGEST, _LARGEST_ROW = 1 << 20, 1 << 10
_IDLE_SECONDS = 15.0
_READ = 1 << 16
_AS_IT_IS = "/?%:@!$&'()*+,;=~[]"
TIMEOUT, ERROR, MALFORMED, BUSY = "timeout", "error", "malformed answer", "busy"


class OutsideError(SterlingError):
    """A model behind a URL has not answered.

    Args:
        message: What is wrong, as a sentence.
        reason: Why: ``timeout``, ``error``, ``malformed answer`` or ``busy``.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Outside:
    """A model behind a URL, asked in the event loop of a server.

    Args:
        model: Where it is, and how it is spoken to.
        seconds: How long it may take to answer a request.
        connections: How many requests may ask it at once; one more is told that it is busy.
    """

    def __init__(self, model: ExternalModel, seconds: float, connections: int) -> None:
        self.model = model
        self.trouble: str | None = None
        """Why it did not answer the last time; None where it did."""
        parts = urlsplit(model.url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._secure else 80)
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_AS_IT_IS)
        self._start = f"POST {target} HTTP/1.1\r\nHost: {parts.netloc.encode('idna').decode()}\r\n"
        self._seconds, self._connections, self._asking = seconds, connections, 0
        self._idle: list[_Connection] = []
        self._context: ssl.SSLContext | None = None

    async def ask(
        self, names: Sequence[str], rows: Sequence[Mapping[str, Any]], *, probabilities: bool,
        others: list[float] | None = None,
    ) -> NDArray[np.float64]:  # fmt: skip
        """The scores of rows, shape (rows,).

        Args:
            names: The features that it is sent, in order.
            rows: Their values; None where one is not known.
            probabilities: Whether a score is the probability of 1; else it is any finite number.
            others: Where the processor seconds are noted that went by while it was waited for.

        Raises:
            OutsideError: if it is busy, takes too long, refuses, cannot be reached, or answers with anything else.
        """
        if self._asking >= self._connections:
            raise OutsideError(
                f"The model {self.model.name!r} is asked {self._connections} things already.", BUSY
            )  # fmt: skip
        self._asking += 1
        try:
            async with asyncio.timeout(self._seconds):
                found = await self._ask(names, rows, [] if others is None else others, probabilities=probabilities)
        except TimeoutError:
            said = f"The model {self.model.name!r} did not answer within {1_000 * self._seconds:g} ms."
            raise self._troubled(OutsideError(said, TIMEOUT)) from None
        except OutsideError as error:
            raise self._troubled(error) from None
        finally:
            self._asking -= 1
        if self.trouble is not None:
            _log.info("the model %r answers again", self.model.name)
            self.trouble = None
        return found

    def close(self) -> None:
        """Close what is open."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _troubled(self, error: OutsideError) -> OutsideError:
        """Say what is wrong once, and not with each request."""
        if self.trouble is None:
            _log.warning("%s", error)
        self.trouble = str(error)
        return error

    async def _ask(
        self, names: Sequence[str], rows: Sequence[Mapping[str, Any]], others: list[float], *, probabilities: bool
    ) -> NDArray[np.float64]:
        found, size = [], self.model.batch_rows
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            request = self._request(names, batch)
            cpu = time.thread_time()
            status, body = await self._post(request, _LARGEST + _LARGEST_ROW * len(batch))
            others.append(time.thread_time() - cpu)
            if status != 200:
                said = body[:SAID].decode(errors="replace").strip()
                raise OutsideError(
                    f"The model {self.model.name!r} refuses with {status}{f': {said}' if said else ''}.", ERROR
                )
            try:
                found.append(scores_in(self.model, body, len(batch), start=start, probabilities=probabilities))
            except DataError as error:
                raise OutsideError(str(error), MALFORMED) from None
        return np.concatenate(found)

    def _request(self, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
        """A request, whole."""
        try:
            more = headers(self.model)
            data = _encode(question(self.model, names, rows))
        except KeyError as error:
            raise OutsideError(
                f"The model {self.model.name!r} is to be sent {error}, which a row has not.", ERROR
            ) from None
        except (SterlingError, TypeError) as error:
            raise OutsideError(str(error), ERROR) from None
        said = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        return f"{self._start}{said}Content-Length: {len(data)}\r\n\r\n".encode() + data

    async def _post(self, request: bytes, largest: int) -> tuple[int, bytes]:
        """Status and body; a connection that was open, and that the other side has closed meanwhile, is made anew."""
        while True:
            kept = self._idle.pop() if self._idle else None
            try:
                connection = kept or await self._connect()
                status, body, keep = await connection.post(request, largest)
            except _ClosedError as error:
                if kept is not None and error.unanswered:
                    continue
                raise OutsideError(f"The model {self.model.name!r} hung up before it had answered.", ERROR) from None
            except httptools.HttpParserError:
                said = (
                    f"The model {self.model.name!r} answers with what is no HTTP, or with more than {largest:,} bytes."
                )
                raise OutsideError(said, MALFORMED) from None
            except TimeoutError:
                raise
            except OSError as error:
                said = (
                    f"The model {self.model.name!r} cannot be reached at {self.model.url}: {error.strerror or error}."
                )
                raise OutsideError(said, ERROR) from None
            if keep:
                connection.idle(self._idle)
            else:
                connection.close()
            return status, body

    async def _connect(self) -> _Connection:
        if self._secure and self._context is None:
            self._context = ssl.create_default_context()
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._context)
        return _Connection(reader, writer)


class _ClosedError(Exception):
    """A connection was closed before an answer was whole.

    Args:
        unanswered: Whether no byte of an answer had come.
    """

    def __init__(self, *, unanswered: bool) -> None:
        super().__init__()
        self.unanswered = unanswered


class _Connection:
    """An open connection, used by one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._timer: asyncio.TimerHandle | None = None

    async def post(self, request: bytes, largest: int) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection may be used again; it is closed where anything else comes of it."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            return await self._post(request, largest)
        except BaseException:
            self.close()
            raise

    async def _post(self, request: bytes, largest: int) -> tuple[int, bytes, bool]:
        answer = _Answer(largest)
        try:
            self._writer.write(request)
            await self._writer.drain()
            while not answer.whole:
                data = await self._reader.read(_READ)
                if not data:
                    break
                answer.feed(data)
        except ConnectionError:
            raise _ClosedError(unanswered=answer.empty) from None
        if not answer.whole and not answer.ends_with_connection:
            raise _ClosedError(unanswered=answer.empty)
        return answer.status, bytes(answer.body), answer.whole and answer.keep

    def idle(self, waiting: list[_Connection]) -> None:
        """Wait for the next request, and not for ever."""
        waiting.append(self)

        def leave() -> None:
            with suppress(ValueError):
                waiting.remove(self)
            self.close()

        self._timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, leave)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._writer.transport.abort()


class _Answer:
    """An answer as it comes."""

    def __init__(self, largest: int) -> None:
        self.body, self.whole, self.empty, self.keep, self.status = bytearray(), False, True, False, 0
        self._largest, self._sized = largest, False
        self._parser = httptools.HttpResponseParser(self)

    @property
    def ends_with_connection(self) -> bool:
        """Whether nothing but the end of the connection says where it ends, and it has begun."""
        return self.status >= 200 and not self._sized

    def feed(self, data: bytes) -> None:
        self.empty = False
        self._parser.feed_data(data)

    def on_header(self, name: bytes, _: bytes) -> None:
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._sized = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.keep = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > self._largest:
            raise ValueError(self._largest)  # comes out of the parser as its own error

    def on_message_complete(self) -> None:
        self.whole = self.status >= 200  # what comes before, such as 100, is no answer
