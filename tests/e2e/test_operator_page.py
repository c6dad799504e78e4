"""The operator's page in Chromium: what it shows is what the gateway says, it says what is wrong, and it asks nobody else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mdstream.bus import EmbeddedNats
from mdstream.client import connect
from support import chromium
from support.chromium import AXE, LOOK_S, NEEDS, WAIT_S, browser

NAME = "SIM:BTC-USD"
REPORTS = Path(__file__).parents[2] / "reports" / "operator"
PICTURES = "PICTURES" in os.environ

pytestmark = NEEDS


class Seen(chromium.Seen):
    async def says(self, selector: str, text: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while text not in (await self.page.inner_text(selector)):
                await asyncio.sleep(LOOK_S)

    async def shot(self, name: str) -> None:
        """It fits each size; with ``PICTURES`` in the environment, there are pictures of it, too."""
        REPORTS.mkdir(parents=True, exist_ok=True)
        for width in (768, 1440):
            await self.page.set_viewport_size({"width": width, "height": 900})
            for theme in ("dark", "light") if PICTURES else ("dark",):
                await self.page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
                await self.page.evaluate(
                    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
                )
                wide = await self.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} px wide in {width}"
                if PICTURES:
                    await self.page.screenshot(path=REPORTS / f"{name}-{width}-{theme}.png", full_page=True)


@asynccontextmanager
async def opened(admin_url: str) -> AsyncIterator[Seen]:
    async with browser() as context:
        seen = Seen(await context.new_page())
        await seen.page.goto(f"{admin_url}/operator/")
        yield seen


def test_it_shows_what_there_is_and_asks_nobody_else(run, nats_server, gateway, market) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server, market(nats_server.url) as sim:
            async with opened(server.admin_url) as seen:
                await seen.says("#banners", "No feed is followed")
                assert await seen.page.inner_text("#pill") == "ready"
                await seen.shot("empty")
                async with connect(server.url) as client:
                    book = await client.book(NAME)
                    for _ in range(3):
                        await sim.play(30)
                        await seen.says("#plots figure:first-child output", "1")
                    await seen.says("#tables", "1 live")
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
            assert await seen.serious() == []

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
                        await seen.says("#tables", "1 live")
                        await nats.stop()
                        await seen.says("#pill", "NATS is away")
                        await seen.says("#banners", "NATS is away: clients keep their last books")
                        await seen.says("#tables", "stale")
                        await seen.shot("nats-away")
                        server._server.draining = True  # as while a drain waits for its clients
                        await seen.says("#pill", "draining")
                        await seen.shot("draining")
                        await server.stop(at_once=True)
                        await seen.says("#pill", "no answer for")
                        assert await seen.page.query_selector("main.old") is not None
                        await seen.shot("gone")
                        assert seen.wrong == []
        finally:
            await nats.stop()

    run(scenario(), deadline_s=120)


@pytest.mark.complete
def test_a_gateway_with_much_to_say_fits_the_screen(run, nats_server, gateway) -> None:
    """Figures that a gateway might have, in place of its own: five minutes, and every table full."""
    asked = 0

    def busy(real: dict[str, Any]) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        now_us = real["started_us"] + asked * 4_000_000
        wave = 1 + (asked % 7) / 7
        row = {
            "compression": False,
            "format": "json",
            "slow": True,
            "subscriptions": 900,
            "connected_s": 90_000,
        }
        slow = [
            {
                **row,
                "session": f"{n:016x}",
                "user": "a.user.with.a.long.name@example.com",
                "address": "2001:db8::1234:5678:9abc:def0",
            }
            | {"unread_bytes": 10**n}
            for n in range(8)
        ]
        long = (
            "levels cross: the best bid 6412310 is not below the best ask 6412290, at number 1753000020000001 "
            * 2
        )
        refusal = {
            "time_us": now_us,
            "instrument": "KRAKEN:SOME-LONG-NAME/USD",
            "reason": "conflict",
            "message": long,
        }
        trouble = {"instrument": "KRAKEN:SOME-LONG-NAME/USD", "state": "recovering", "code": "conflict"}
        venue = {
            "instruments": 1_200,
            "states": {"live": 1_100, "stale": 60, "recovering": 40},
            "refused": 12,
        }
        return real | {
            "time_us": now_us,
            "counts": {name: int(50_000 * wave) for name in real["counts"]} | {"slow_sessions": 8},
            "totals": {name: int(asked * 9_000_000 * wave) for name in real["totals"]},
            "flush_us": [int(asked * 3 * abs(9 - n)) for n in range(len(real["flush_us"]))],
            "latency_us": [asked * n for n in range(len(real["latency_us"]))],
            "loop": real["loop"] | {"overload_level": 2, "stretch": 4, "late_s": 0.01 * wave},
            "instruments": {"live": 1_100, "stale": 60, "recovering": 40},
            "feeds": [
                {"venue": name, **venue, "newest_ms": 4, "oldest_ms": 95_000}
                for name in ("BINANCE", "KRAKEN", "SIM")
            ],
            "troubled": [{**trouble, "reason": long, "age_ms": 95_000}] * 12,
            "slow": slow,
            "refusals": {"total": 12, "latest": [refusal] * 12},
            "workers": [
                {
                    "worker": n,
                    "pid": 4_000 + n,
                    "not_ready": None,
                    "draining": n == 2,
                    "connections": 12_500,
                    "starts": 1,
                }
                for n in range(1, 5)
            ],
        }

    async def scenario() -> None:
        async with gateway(nats_server.url) as server, opened(server.admin_url) as seen:

            async def answer(route: Any) -> None:
                real = await (await route.fetch()).json()
                await route.fulfill(json=busy(real))

            await seen.page.clock.install()
            await seen.page.route("**/v1/status", answer)
            async with asyncio.timeout(WAIT_S):
                while asked < 80:
                    await seen.page.clock.run_for(1_100)
                    await asyncio.sleep(LOOK_S)
            await seen.says("#banners", "It cannot keep up (level 2)")
            await seen.says("#tables", "Workers")
            await seen.shot("busy")
            assert seen.wrong == []

    run(scenario(), deadline_s=120)
