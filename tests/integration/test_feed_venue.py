"""A venue that refuses a connection, on loopback: what a handler learns from the refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mdstream.feeds._venue import Backoff, Link
from mdstream.feeds._websocket import MAX_RETRY_AFTER_S, Connection, VenueUnavailable, connect

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def refusing(*headers: str) -> asyncio.Server:
    """A server that answers every upgrade with 429."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = ["HTTP/1.1 429 Too Many Requests", *headers, "Content-Length: 0", "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        writer.close()

    return await asyncio.start_server(refuse, "127.0.0.1", 0)


def url_of(server: asyncio.Server) -> str:
    return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), None),
        (("Retry-After: 7",), 7),
        (("Retry-After: 99999999",), MAX_RETRY_AFTER_S),
        (("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT",), None),
    ],
)
def test_a_refusal_tells_when_to_try_again(run: Run, headers: tuple[str, ...], seconds: float | None) -> None:
    async def scenario() -> None:
        async with await refusing(*headers) as server:
            with pytest.raises(VenueUnavailable, match="cannot be reached") as refused:
                await connect(url_of(server), lambda _: None)
            assert refused.value.retry_after_s == seconds

    run(scenario())


class Waiting:
    """A handler that is never connected."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def on_open(self, connection: Connection) -> None:
        raise AssertionError("the venue refuses")

    def on_message(self, message: bytes) -> None:
        raise AssertionError("the venue refuses")

    def on_lost(self, reason: str) -> None:
        self.lost.set()


def test_a_link_waits_at_least_as_long_as_the_venue_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with await refusing("Retry-After: 7") as server:
            handler = Waiting()
            link = Link(url_of(server), handler, backoff=Backoff(base_s=0.01, cap_s=0.02))
            task = asyncio.create_task(link.run())
            await handler.lost.wait()
            await asyncio.wait({task}, timeout=0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert waits == [7]

    monkeypatch.setattr("mdstream.feeds._venue.asyncio.sleep", sleep)
    run(scenario())
