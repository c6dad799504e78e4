"""Plain HTTP for the admin pages: a few connections, on each one bounded request, one answer, and it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

from mdstream.gateway.http_messages import (
    ALLOW,
    METHODS,
    RequestLine,
    read_request_line,
    response,
    split_head,
    stream_head,
)
from mdstream.gateway.sockets import bind, listen, peer_of

log = logging.getLogger("mdstream.gateway.http_listener")

REQUEST_S = 5.0
"""Time for a request to arrive, and again for its answer to be read."""
MAX_HEAD = 16_384
MAX_METHOD = 20
"""Characters of it that an answer repeats."""
BACKLOG = 128
MOST_CONNECTIONS = 32
"""Beyond it the oldest that has not sent its request ends, so that who holds connections keeps nobody out."""
STUCK_S = 60.0
"""An answer that goes on is given up when its reader has read nothing for so long."""

Page: TypeAlias = tuple[int, str | bytes, Sequence[tuple[str, str]]]
"""Status, body, headers."""


class Streamed(NamedTuple):
    """A page that goes on until what makes it ends, or its reader goes; it is closed then."""

    headers: Sequence[tuple[str, str]]
    chunks: AsyncGenerator[bytes, None]


MakePage: TypeAlias = Callable[[RequestLine, bytes, str], Page | Coroutine[Any, Any, Page | Streamed]]
"""From the first line of a request, its whole head, and its sender's address; at once, or in several turns of the loop."""
Answer: TypeAlias = bytes | Coroutine[Any, Any, bytes | Streamed]
Before: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Fetches what a page needs; from the head of the request."""


class HttpListener:
    """Answers GET, HEAD and OPTIONS with what ``make_page`` returns: HEAD without the body, OPTIONS with ``Allow``."""

    def __init__(self, make_page: MakePage, before: Before | None = None) -> None:
        """``before`` is waited for before a page is made, within the time of a request."""
        self._answer = partial(answer, make_page=make_page)
        self._before = before
        self._exchanges: dict[_Exchange, None] = {}
        """In the order in which they came."""
        self._servers: list[asyncio.Server] = []
        self.port = 0

    async def open(self, host: str, port: int, *, what: str) -> None:
        """Listens; raises MdstreamError, in one line, if it cannot."""
        loop = asyncio.get_running_loop()
        sockets = await bind(host, port, what=what)
        listen(sockets, BACKLOG, what=what)
        self.port = sockets[0].getsockname()[1]
        for each in sockets:
            # asyncio accepts as many in one turn of the loop as the backlog says
            server = await loop.create_server(self.exchange, sock=each, backlog=MOST_CONNECTIONS)
            self._servers.append(server)

    def exchange(self) -> asyncio.Protocol:
        """What speaks on a new connection."""
        return _Exchange(self._answer, self._exchanges, self._before)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()


class _Exchange(asyncio.Protocol):
    """One connection; it is among ``others`` while it is open."""

    def __init__(
        self,
        answer: Callable[[bytes, str], Answer],
        others: dict[_Exchange, None],
        before: Before | None,
    ) -> None:
        self._answer = answer
        self._others = others
        self._before = before
        self._head = bytearray()
        self._answered = False
        self._making: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._limit_time()
        if len(self._others) >= MOST_CONNECTIONS:
            self._make_room()
        self._others[self] = None

    def _make_room(self) -> None:
        idle = (each for each in self._others if not each._answered)
        oldest = next(idle, None) or next(iter(self._others))
        del self._others[oldest]
        oldest._transport.abort()

    def _limit_time(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(REQUEST_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n", 2)  # an empty line before the request does not end it
        if (end if end >= 0 else len(self._head)) > MAX_HEAD:
            self._end_with(response(431, f"a request has at most {MAX_HEAD} bytes"))
        elif end >= 0:
            self._answer_to(bytes(self._head[:end]))

    def _answer_to(self, head: bytes) -> None:
        made = self._answer(head, peer_of(self._transport)) if self._before is None else None
        if isinstance(made, bytes):
            self._end_with(made)
            return
        self._answered = True
        self._making = asyncio.get_running_loop().create_task(self._answer_later(head, made))

    async def _answer_later(self, head: bytes, made: Answer | None) -> None:
        if self._before is not None:
            await self._before(head)
            made = self._answer(head, peer_of(self._transport))
        assert made is not None
        whole = made if isinstance(made, bytes) else await made
        if isinstance(whole, Streamed):
            await self._stream(whole)
        else:
            self._end_with(whole)

    async def _stream(self, page: Streamed) -> None:
        """As fast as it is read."""
        self._deadline.cancel()
        self._transport.write(stream_head(page.headers))
        async with aclosing(page.chunks) as chunks:
            async for chunk in chunks:
                self._transport.write(chunk)
                try:
                    async with asyncio.timeout(STUCK_S):
                        await self._may_write.wait()
                except TimeoutError:
                    self._transport.abort()
                    return
        self._end_with(b"")

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def _end_with(self, whole: bytes) -> None:
        self._answered = True
        self._deadline.cancel()
        self._limit_time()
        self._transport.write(whole)
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._deadline.cancel()
        if self._making is not None:
            self._making.cancel()
        self._others.pop(self, None)


def answer(head: bytes, address: str, *, make_page: MakePage) -> Answer:
    """The whole answer to a request, given without its empty line."""
    try:
        request = read_request_line(split_head(head)[0])
    except ValueError as error:
        return response(400, str(error))
    if request.method not in METHODS:
        return response(405, f"{request.method[:MAX_METHOD]} is not allowed here", [ALLOW])
    try:
        page = make_page(request, head, address)
    except Exception:
        page = _failed()
    return _written_later(request, page) if isinstance(page, Coroutine) else _written(request, page)


async def _written_later(
    request: RequestLine, making: Coroutine[Any, Any, Page | Streamed]
) -> bytes | Streamed:
    try:
        page = await making
    except Exception:
        page = _failed()
    if isinstance(page, Streamed):
        if request.method == "GET":
            return page
        await page.chunks.aclose()
        page = 200, "", page.headers
    return _written(request, page)


def _failed() -> Page:
    """Call it in the handler of the exception."""
    log.exception("an admin page could not be made")
    return 500, "internal error", ()


def _written(request: RequestLine, page: Page) -> bytes:
    status, body, headers = page
    if request.method == "OPTIONS":
        headers = [*headers, ALLOW]
    return response(status, body, headers, with_body=request.method != "HEAD")
