"""The operator's page in Chromium: what it shows is what the gateway says, it says what is wrong, and it asks nobody else."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mdstream.bus import EmbeddedNats
from mdstream.client import connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAME = "SIM:BTC-USD"
REPORTS = Path(__file__).parents[2] / "reports" / "operator"
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
WAIT_S, LOOK_S = 30, 0.02
NOT_OURS = ("ERR_", "Failed to load resource")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs the package playwright"),
]


class Seen:
    """The page, with what it asked for and what it complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: set[str] = set()
        self.wrong: list[str] = []
        page.on("request", lambda request: self.asked.add(request.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if message.type == "error" and not any(each in message.text for each in NOT_OURS):
            self.wrong.append(message.text)

    async def until(self, selector: str, text: str) -> None:
        # `wait_for_function` would need `eval`, which the policy of the page forbids.
        async with asyncio.timeout(WAIT_S):
            while text not in (await self.page.inner_text(selector)):
                await asyncio.sleep(LOOK_S)

    async def shot(self, name: str) -> None:
        REPORTS.mkdir(parents=True, exist_ok=True)
        for width in (768, 1440):
            await self.page.set_viewport_size({"width": width, "height": 900})
            for theme in ("dark", "light"):
                await self.page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
                await self.page.evaluate(
                    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
                )
                wide = await self.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} px wide in {width}"
                await self.page.screenshot(path=REPORTS / f"{name}-{width}-{theme}.png", full_page=True)


@asynccontextmanager
async def opened(admin_url: str) -> AsyncIterator[Seen]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        try:
            context = await launched.new_context(viewport={"width": 1440, "height": 900})
            seen = Seen(await context.new_page())
            await seen.page.goto(f"{admin_url}/operator/")
            yield seen
        finally:
            await launched.close()


def test_it_shows_what_there_is_and_asks_nobody_else(run, nats_server, gateway, market) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, market(nats_server.url) as sim:
            async with opened(server.admin_url) as seen:
                await seen.until("#banners", "No feed is followed")
                assert await seen.page.inner_text("#pill") == "ready"
                await seen.shot("empty")
                async with connect(server.url) as client:
                    book = await client.book(NAME)
                    for _ in range(3):
                        await sim.play(30)
                        await seen.until("#plots figure:first-child output", "1")
                    await seen.until("#tables", "1 live")
                    assert book.trusted and await seen.page.inner_text("#banners") == ""
                    await keyboard(seen)
                    await seen.shot("live")
                if AXE.exists():
                    await accessible(seen)
                ours = f"{server.admin_url}/"
                assert all(each.startswith(ours) for each in seen.asked) and seen.wrong == []

    async def keyboard(seen: Seen) -> None:
        """By Tab to the first plot, and back in time by the arrow keys."""
        await seen.page.keyboard.press("Tab")
        assert await seen.page.evaluate("document.activeElement.id") == "theme"
        before = await seen.page.evaluate("document.documentElement.dataset.theme")
        await seen.page.keyboard.press("Enter")
        assert await seen.page.evaluate("document.documentElement.dataset.theme") != before
        await seen.page.keyboard.press("Tab")
        await seen.page.keyboard.press("Home")
        async with asyncio.timeout(WAIT_S):
            while " ago" not in await seen.page.get_attribute("#plots canvas", "aria-label"):
                await asyncio.sleep(LOOK_S)

    async def accessible(seen: Seen) -> None:
        for theme in ("dark", "light"):
            await seen.page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
            await seen.page.evaluate(AXE.read_text())
            found = await seen.page.evaluate("axe.run()")
            bad = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
            assert bad == [], [(each["id"], each["nodes"][0]["html"]) for each in bad]

    run(scenario(), deadline_s=120)


def test_it_says_what_is_wrong(run, gateway, market) -> None:
    async def scenario() -> None:
        nats = await EmbeddedNats.start()
        try:
            async with gateway(nats.url) as server:
                async with market(nats.url) as sim:
                    await sim.play(5)
                    async with opened(server.admin_url) as seen, connect(server.url) as client:
                        await client.book(NAME)
                        await seen.until("#tables", "1 live")
                        await nats.stop()
                        await seen.until("#pill", "NATS is away")
                        await seen.until("#banners", "NATS is away: clients keep their last books")
                        await seen.until("#tables", "stale")
                        await seen.shot("nats-away")
                        server._server.draining = True  # as while a drain waits for its clients
                        await seen.until("#pill", "draining")
                        await seen.shot("draining")
                        await server.stop(at_once=True)
                        await seen.until("#pill", "no answer for")
                        assert await seen.page.query_selector("main.old") is not None
                        await seen.shot("gone")
                        assert seen.wrong == []
        finally:
            await nats.stop()

    run(scenario(), deadline_s=120)
