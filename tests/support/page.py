"""The trading page in Chromium, and what stands between it and its gateways."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mdstream.gateway.ui import FOLDER

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAME = "SIM:BTC-USD"
REPORTS = Path(__file__).parents[2] / "reports" / "page"
WAIT_S, LOOK_S = 30, 0.02
# Chromium itself logs each connection that fails while a gateway is down, and each answer that is an error.
NOT_OURS = ("ERR_", "Failed to load resource", "WebSocket connection to")
WHOLE = (
    "(() => { const b = mdstream.market.whole; return [b.seq, [...b.bids].flat(), [...b.asks].flat()]; })()"
)
LADDER = (
    "(() => { const b = mdstream.market.book; return [b.seq, [...b.bids].flat(), [...b.asks].flat()]; })()"
)

needs_page = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs the package playwright"),
    pytest.mark.skipif(not (FOLDER / "index.html").exists(), reason="needs the page: make web"),
]


class Seen:
    """A page, with what it complained of. ``asked``: what all pages and workers of its browser asked for."""

    def __init__(self, page: Any, asked: set[str]) -> None:
        self.page = page
        self.asked = asked
        self.wrong: list[str] = []
        page.on("websocket", lambda socket: asked.add(socket.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if message.type == "error" and not any(each in message.text for each in NOT_OURS):
            self.wrong.append(message.text)

    async def until(self, condition: str) -> None:
        # `wait_for_function` would need `eval`, which the policy of the page forbids.
        async with asyncio.timeout(WAIT_S):
            while not await self.page.evaluate(condition):
                await asyncio.sleep(LOOK_S)

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

    async def incidents(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.page.evaluate("mdstream.feed.timeline.incidents.now")
        return found

    def strangers(self, *ours: str) -> list[str]:
        """What was asked for anywhere but at these addresses."""
        return sorted(each for each in self.asked if not each.startswith((*ours, "data:", "blob:")))


@asynccontextmanager
async def browser(**options: Any) -> AsyncIterator[Any]:
    """A context: what its pages have is shared by them, as by the tabs of a person."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        try:
            yield await launched.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        finally:
            await launched.close()


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
