"""The trading page in Chromium, as a gateway serves it: it shows the publisher's book, it says when it does not, it asks nobody else."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mdstream.gateway.ui import FOLDER

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAME = "SIM:BTC-USD"
REPORTS = Path(__file__).parents[2] / "reports" / "page"
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
WAIT_S, LOOK_S = 30, 0.02
# Chromium itself logs each connection that fails while a gateway is down, and each answer that is an error.
NOT_OURS = ("ERR_", "Failed to load resource", "WebSocket connection to")
SIZES = ((360, 740), (768, 1024), (1440, 900), (2560, 1440))

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs the package playwright"),
    pytest.mark.skipif(not (FOLDER / "index.html").exists(), reason="needs the page: make web"),
]

WHOLE = (
    "(() => { const b = mdstream.market.whole; return [b.seq, [...b.bids].flat(), [...b.asks].flat()]; })()"
)
LADDER = (
    "(() => { const b = mdstream.market.book; return [b.seq, [...b.bids].flat(), [...b.asks].flat()]; })()"
)


class Seen:
    """A page, with what it asked for and what it complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: set[str] = set()
        self.wrong: list[str] = []
        page.on("request", lambda request: self.asked.add(request.url))
        page.on("websocket", lambda socket: self.asked.add(socket.url))
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

    async def live(self) -> None:
        await self.until("document.querySelector('.state.live') !== null")

    async def reach(self, seq: int) -> None:
        await self.until(f"mdstream.market.whole?.seq >= {seq} && mdstream.market.book.seq >= {seq}")


@asynccontextmanager
async def browser(**options: Any) -> AsyncIterator[Any]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        try:
            context = await launched.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
            yield context
        finally:
            await launched.close()


@asynccontextmanager
async def opened(port: int, **options: Any) -> AsyncIterator[Seen]:
    async with browser(**options) as context:
        seen = Seen(await context.new_page())
        await seen.page.goto(f"http://127.0.0.1:{port}/#instruments={NAME}&demo=1")
        yield seen


def test_it_shows_the_publishers_book_also_after_its_gateway_came_back(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim:
            async with gateway(url, ui=True) as here:
                port = here.port
                async with opened(port) as seen:
                    await seen.live()
                    await compare(seen, sim)
                    await here.stop(at_once=True)
                    await seen.until("document.querySelector('.state.offline') !== null")
                    assert "connecting" in await seen.page.inner_text(".state")
                    assert await seen.page.query_selector(".figures.not-live") is not None
                    async with gateway(url, ui=True, port=port):
                        await seen.live()
                        await compare(seen, sim)
                    ours = (f"http://127.0.0.1:{port}/", f"ws://127.0.0.1:{port}/")
                    assert [
                        each for each in seen.asked if not each.startswith((*ours, "data:", "blob:"))
                    ] == []
                    assert seen.wrong == []

    run(scenario(), deadline_s=120)


async def compare(seen: Seen, sim: Any) -> None:
    await sim.play(40)
    await seen.reach(await sim.touch())
    bids, asks = sim.view()
    assert await seen.page.evaluate(WHOLE) == [sim.instrument.seq, bids, asks]
    bids, asks = sim.view(depth=50)
    assert await seen.page.evaluate(LADDER) == [sim.instrument.seq, bids, asks]


def test_a_lost_message_and_a_dropped_connection_are_told_and_mended(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, opened(here.port) as seen:
            await seen.live()
            await seen.page.keyboard.press("c")
            for button, count in (("lose a message", 1), ("drop my connection", 2)):
                await seen.page.get_by_text(button).click()
                while await seen.page.evaluate(
                    "mdstream.feed.timeline.incidents.now.at(-1)?.recovered == null"
                ):
                    await sim.play(4)
                assert await seen.page.evaluate("mdstream.feed.timeline.incidents.now.length") == count
            told = await seen.page.evaluate(
                "mdstream.feed.timeline.incidents.now.map(({told, recovered}) => [told, recovered])"
            )
            assert all(recovered > told for told, recovered in told)
            await compare(seen, sim)
            stats = await seen.page.evaluate("({...mdstream.feed.client.stats})")
            assert stats["crcErrors"] == 0 and stats["gaps"] >= 1 and stats["reconnects"] == 1
            assert seen.wrong == []

    run(scenario(), deadline_s=120)


@pytest.mark.complete
def test_it_goes_on_after_a_drain_after_being_offline_and_with_a_slow_processor(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim:
            async with gateway(url, ui=True, drain_deadline_ms=500) as here:
                port = here.port
                async with opened(port) as seen:
                    await seen.live()
                    devtools = await seen.page.context.new_cdp_session(seen.page)
                    await devtools.send("Emulation.setCPUThrottlingRate", {"rate": 6})
                    await compare(seen, sim)
                    await seen.page.context.set_offline(True)
                    await sim.play(10)
                    await seen.page.context.set_offline(False)
                    await compare(seen, sim)
                    await here.drain()
                    async with gateway(url, ui=True, port=port):
                        await seen.live()
                        await compare(seen, sim)
                        assert seen.wrong == []

    run(scenario(), deadline_s=120)


def test_the_watchlist_shows_the_last_price(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, opened(here.port) as seen:
            await seen.live()
            while not sim.trades:
                await sim.play(10)
            ticks = sim.trades[-1][1]
            shown = f"'{ticks / 100:.2f}'"
            await seen.until(f"mdstream.watch.rows.now.get('{NAME}')?.last === {shown}")
            await seen.until(f"document.querySelector('.rows .price')?.innerText === {shown}")
            assert seen.wrong == []

    run(scenario(), deadline_s=120)


@pytest.mark.complete
@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: make web")
def test_axe_finds_nothing_serious(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, opened(here.port) as seen:
            await seen.live()
            await sim.play(40)
            await seen.page.evaluate(AXE.read_text())
            for keys in ("", "c", "t"):
                if keys:
                    await seen.page.keyboard.press(keys)
                await seen.page.wait_for_timeout(50)
                found = await seen.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
                serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
                assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == [], keys

    run(scenario(), deadline_s=120)


@pytest.mark.complete
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_screenshots(
    theme: str, run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    """For people to look at: each size and theme, and each state, in reports/page."""
    REPORTS.mkdir(parents=True, exist_ok=True)

    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here:
            async with opened(here.port, color_scheme=theme, device_scale_factor=1) as seen:
                await seen.live()
                await sim.play(600)
                for width, height in SIZES:
                    await seen.page.set_viewport_size({"width": width, "height": height})
                    await sim.play(30)
                    await seen.page.wait_for_timeout(400)
                    await seen.page.screenshot(path=REPORTS / f"{width}-{theme}.png")
                    wide = await seen.page.evaluate("document.documentElement.scrollWidth")
                    assert wide <= width, "something is wider than the screen"

    run(scenario(), deadline_s=180)


@pytest.mark.complete
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_screenshots_of_each_state(
    theme: str, run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    REPORTS.mkdir(parents=True, exist_ok=True)

    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim:
            async with gateway(url, ui=True) as here:
                async with opened(here.port, color_scheme=theme) as seen:

                    async def shoot(name: str, state: str) -> None:
                        await seen.until(f"document.querySelector('.state.{state}') !== null")
                        await seen.page.wait_for_timeout(300)
                        await seen.page.screenshot(path=REPORTS / f"state-{name}-{theme}.png")

                    await seen.live()
                    await sim.play(200)
                    await shoot("live", "live")
                    for status, state in (("halted", "halted"), ("closed", "halted"), ("feed_down", "stale")):
                        sim.instrument.status(status, reason=f"{status}, says the test")
                        await sim.publisher.flush()
                        await shoot(status, state)
                    sim.instrument.status("trading")
                    await sim.publisher.flush()
                    await seen.live()
                    await seen.page.keyboard.press("c")
                    await seen.page.keyboard.press("?")
                    await shoot("keys", "live")
                    await seen.page.keyboard.press("Escape")
                    await seen.page.evaluate("mdstream.market.select('SIM:NONE')")
                    await shoot("refused", "refused")
                    await seen.page.evaluate(f"mdstream.market.select('{NAME}')")
                    await seen.live()
                    await here.stop(at_once=True)
                    await shoot("offline", "offline")

    run(scenario(), deadline_s=180)
