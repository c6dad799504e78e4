"""The trading page in Chromium, and what stands between it and its gateways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mdstream.gateway.ui import FOLDER
from support import chromium
from support.chromium import NEEDS, browser

NAME = "SIM:BTC-USD"
REPORTS = Path(__file__).parents[2] / "reports" / "page"
WHOLE = (
    "(() => { const b = mdstream.market.whole; return [b.seq, [...b.bids].flat(), [...b.asks].flat()]; })()"
)
LADDER = (
    "(() => { const b = mdstream.market.book; return [b.seq, [...b.bids].flat(), [...b.asks].flat()]; })()"
)
MENDED = "(last => (last?.recovered ?? last?.left) != null)(mdstream.feed.timeline.incidents.now.at(-1))"

needs_page = [
    *NEEDS,
    pytest.mark.skipif(not (FOLDER / "index.html").exists(), reason="needs the page: make web"),
]


class Seen(chromium.Seen):
    """The trading page. ``asked``: what all pages and workers of its browser asked for."""

    async def shows(self, state: str) -> None:
        await self.until(f"document.querySelector('.state.{state}') !== null")

    async def live(self) -> None:
        await self.shows("live")

    async def reach(self, seq: int) -> None:
        await self.until(f"mdstream.market.whole?.seq >= {seq} && mdstream.market.book.seq >= {seq}")

    async def compare(self, sim: Any) -> None:
        """Both of its books are the publisher's, after some more changes."""
        await sim.play(40)
        await self.reach(await sim.touch())
        assert await self.page.evaluate(WHOLE) == [sim.instrument.seq, *sim.view()]
        assert await self.page.evaluate(LADDER) == [sim.instrument.seq, *sim.view(depth=50)]

    async def busy(self, sim: Any) -> None:
        """Plays until silence would say something: for a whole second of the page."""
        second = await self.page.evaluate("mdstream.feed.tick.now") + 2
        while not await self.page.evaluate(
            f"mdstream.feed.silence.busy && mdstream.feed.tick.now >= {second}"
        ):
            await sim.play(4)

    async def mended(self, sim: Any) -> None:
        """Plays until the newest fault is over."""
        while not await self.page.evaluate(MENDED):
            await sim.play(4)

    async def incidents(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.page.evaluate("mdstream.feed.timeline.incidents.now")
        return found


async def tab(context: Any, port: int, fragment: str = f"instruments={NAME}&demo=1") -> Seen:
    asked: set[str] = set()
    context.on("request", lambda request: asked.add(request.url))
    seen = Seen(await context.new_page(), asked)
    await seen.page.goto(f"http://127.0.0.1:{port}/#{fragment}")
    return seen


@asynccontextmanager
async def opened(port: int, **options: Any) -> AsyncIterator[Seen]:
    async with browser(**options) as context:
        yield await tab(context, port)


class Wire:
    """A TCP port that leads to another one: to a gateway, to another one later, or, cut, to nowhere without a word."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.port = 0
        self._whole = asyncio.Event()
        self._whole.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Wire]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._abort()
            for pump in self._pumps:
                pump.cancel()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        """What was held is lost: its connections are gone."""
        self._abort()
        self._whole.set()

    def _abort(self) -> None:
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        await self._whole.wait()
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.transport.abort()
            return
        self._ends.add(there_writer)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            pump = asyncio.ensure_future(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._whole.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            self._ends.discard(sink)
            sink.close()
