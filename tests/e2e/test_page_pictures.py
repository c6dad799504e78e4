"""Pictures of the trading page to look at, in reports/page: each state and each button's time line, in four sizes and both themes.

`contact-<state>.png` has the eight of a state on one sheet. What fails is what is wider than the screen, and what axe calls serious.
"""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.chromium import AXE, browser
from support.page import NAME, REPORTS, Seen, needs_page, tab
from support.tokens import CLAIMS, public_pem, sign

pytestmark = [*needs_page, pytest.mark.complete]

SIZES = ((360, 740), (768, 1024), (1440, 900), (2560, 1440))
PHONE, TABLET = SIZES[0], (1024, 768)
THEMES = ("dark", "light")
JUDGED = (360, 1440)
"""In these widths axe looks, too."""
SETTLES_MS = 250
SHEET_HEIGHT = 700
# What comes and goes too fast, or takes too long, the page is made to believe; nothing takes it back while the market is still.
TOLD = (
    "for (const book of [mdstream.market.book, mdstream.market.whole]) "
    "book.tell({state: '%s', code: %s, reason: null, ageMs: %s, at: performance.now()})"
)


class Album:
    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        REPORTS.mkdir(parents=True, exist_ok=True)

    async def shoot(self, name: str, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
        page = self.seen.page
        files = []
        for width, height in sizes:
            await page.set_viewport_size({"width": width, "height": height})
            for theme in THEMES:
                if await page.evaluate("document.documentElement.dataset.theme") != theme:
                    await page.keyboard.press("t")
                await page.wait_for_timeout(SETTLES_MS)
                files.append(REPORTS / f"{name}-{width}-{theme}.png")
                await page.screenshot(path=files[-1])
                if width in JUDGED and AXE.exists():
                    assert await self.seen.serious() == [], f"{name}, {width} px, {theme}"
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name}: something is wider than the screen"
        await self._sheet(name, files)

    async def _sheet(self, name: str, files: list[Path]) -> None:
        pictures = (base64.b64encode(each.read_bytes()).decode() for each in files)
        images = "".join(
            f'<img height={SHEET_HEIGHT} src="data:image/png;base64,{each}">' for each in pictures
        )
        sheet = await self.seen.page.context.new_page()
        await sheet.set_viewport_size({"width": 2560, "height": 1440})
        await sheet.set_content(f'<body style="margin:8px;background:#888">{images}')
        await sheet.screenshot(path=REPORTS / f"contact-{name}.png", full_page=True)
        await sheet.close()

    async def become(self, state: str, name: str = "") -> None:
        await self.seen.shows(state)
        await self.shoot(name or state)


@asynccontextmanager
async def album(port: int, fragment: str = f"instruments={NAME}&demo=1") -> AsyncIterator[Album]:
    async with browser(color_scheme="dark") as context:
        yield Album(await tab(context, port, fragment))


def test_states(run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, album(here.port) as pictures:
            seen = pictures.seen
            await seen.live()
            await sim.play(600)
            await pictures.become("live")
            await seen.page.get_by_title("Blue and orange").click()
            await pictures.shoot("colour-blind")
            await seen.page.get_by_title("Blue and orange").click()
            await seen.page.evaluate("document.activeElement.blur()")
            for status, state in (("halted", "halted"), ("closed", "halted"), ("feed_down", "stale")):
                sim.instrument.status(status, reason=f"{status}, says the test")
                await sim.publisher.flush()
                await pictures.become(state, status)
            sim.instrument.status("trading")
            await sim.touch()  # a venue that was silent meanwhile is not live
            await seen.live()
            await seen.page.evaluate(TOLD % ("recovering", "'gap'", "null"))
            await pictures.become("recovering")
            await seen.page.evaluate(TOLD % ("stale", "'venue_silent'", "34000"))
            await pictures.become("stale")
            await seen.page.keyboard.press("?")
            await pictures.shoot("keys")
            await seen.page.keyboard.press("Escape")
            await seen.page.evaluate("mdstream.market.select('SIM:NONE')")
            await pictures.become("refused", "unknown")
            await sim.publisher.instrument("EMPTY", price_exp=-2, size_exp=-8)
            await sim.publisher.flush()
            await seen.page.evaluate("mdstream.market.select('SIM:EMPTY')")
            await pictures.become("recovering", "no-book")
            await seen.page.evaluate(f"mdstream.market.select('{NAME}')")
            nats_server.kill()
            await seen.until("document.querySelector('.state.recovering, .state.stale') !== null")
            await pictures.shoot("nats-away")
            await nats_server.restart()
            await sim.touch()
            await seen.live()
            await here.stop(at_once=True)
            await pictures.become("offline")

    run(scenario(), deadline_s=900)


def test_what_is_opened(run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any) -> None:
    """The panels of a phone, the drawer of a tablet, what is under the pointer, and a search that finds nothing."""

    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, album(here.port) as pictures:
            page = pictures.seen.page
            await pictures.seen.live()
            await sim.play(600)
            await page.locator(".book canvas").hover(position={"x": 60, "y": 100})
            await pictures.shoot("pointed", SIZES[2:])
            await page.set_viewport_size({"width": TABLET[0], "height": TABLET[1]})
            await page.keyboard.press("Control+k")
            await page.keyboard.type("nothing")
            await page.evaluate("document.activeElement.blur()")
            await pictures.shoot("drawer", (TABLET,))
            await page.get_by_text("show all").click()
            await page.keyboard.press("Escape")
            await page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
            for name in ("Book", "Trades", "Markets"):
                await page.get_by_role("button", name=name, exact=True).click()
                await pictures.shoot(f"phone-{name.lower()}", (PHONE,))

    run(scenario(), deadline_s=300)


def test_buttons(run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim:
            async with gateway(url, ui=True) as here, album(here.port) as pictures:
                seen = pictures.seen
                await seen.live()
                await seen.page.keyboard.press("c")
                await seen.busy(sim)
                for button, name in (("lose a message", "lose"), ("drop my connection", "drop")):
                    await seen.page.get_by_text(button).click()
                    await seen.mended(sim)
                    await pictures.shoot(f"button-{name}")
                await seen.busy(sim)
                await seen.page.get_by_text("stall me 10 s").click()
                while await seen.page.query_selector(".state.recovering") is None:
                    await sim.play(4)
                await pictures.shoot("button-stall")
                await seen.mended(sim)
                await seen.page.get_by_text("kill the gateway").click()
                await seen.page.get_by_text("the demo answered 404").wait_for()  # a gateway alone is no demo
                await pictures.shoot("button-kill-refused")
                await seen.page.route("**/demo/kill", lambda route: killed(here, route))
                await seen.page.get_by_text("kill the gateway").click()
                await seen.shows("offline")
                await pictures.shoot("button-kill-offline")
                async with gateway(url, ui=True, port=here.port):
                    await seen.mended(sim)
                    await pictures.shoot("button-kill")

    run(scenario(), deadline_s=900)


async def killed(gateway: Any, route: Any) -> None:
    """As the demo does: nobody is left to answer."""
    await gateway.stop(at_once=True)
    await route.abort()


def test_nothing_is_there(run: Callable[..., Any], nats_server: Any, gateway: Any) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, ui=True) as here, album(here.port, "demo=1") as pictures:
            await pictures.seen.until("document.querySelector('.rows .empty') !== null")
            await pictures.shoot("empty")

    run(scenario(), deadline_s=120)


def test_not_entitled(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any, tmp_path: Path
) -> None:
    key = tmp_path / "public.pem"
    key.write_bytes(public_pem("EdDSA"))
    now_s = int(time.time())
    grants = [{"channels": ["book", "ticker"], "instruments": ["SIM:ETH*"]}]
    claims = {**CLAIMS, "md": {"grants": grants}, "iat": now_s, "exp": now_s + 600}

    async def scenario() -> None:
        url = nats_server.url
        async with market(url), gateway(url, ui=True, auth_key_file=(key,)) as here:
            for token, name in ((sign(claims).decode(), "not-entitled"), ("wrong.to.ken", "token-refused")):
                async with album(here.port, f"token={token}&instruments={NAME}") as pictures:
                    await pictures.become("refused", name)

    run(scenario(), deadline_s=120)


def test_late(run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, album(here.port) as pictures:
            await pictures.seen.live()
            await sim.play(200)
            await pictures.seen.page.evaluate(
                "mdstream.market.book.delayMs = mdstream.market.whole.delayMs = 900000; mdstream.feed.changed.set(-1)"
            )
            await pictures.become("delayed")

    run(scenario(), deadline_s=120)
