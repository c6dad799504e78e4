"""Pages in a real Chromium, and the server that they come from."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
"""There after `make web`."""
WAIT_S, LOOK_S = 30, 0.02
# Chromium itself logs each connection that fails while a gateway is down, and each answer that is an error.
NOT_OURS = ("ERR_", "Failed to load resource", "WebSocket connection to")
NEEDS = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs the package playwright"),
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """As ``python -m http.server --directory FOLDER`` does; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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


@asynccontextmanager
async def chromium() -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """``async with chromium() as new_page``: ``await new_page(address)`` opens the page of another person in one browser."""
    async with browser() as context:

        async def new_page(address: str) -> Any:
            page = await context.browser.new_page()
            await page.goto(address)
            return page

        yield new_page


async def until(page: Any, script: str, holds: Callable[[Any], bool]) -> Any:
    """What the script gives as soon as that is so."""
    # `wait_for_function` would need `eval`, which the policy of our pages forbids.
    while not holds(found := await page.evaluate(script)):
        await asyncio.sleep(LOOK_S)
    return found


class Seen:
    """A page, with what it complained of. ``asked``: the addresses that it asked for."""

    def __init__(self, page: Any, asked: set[str] | None = None) -> None:
        self.page = page
        self.asked: set[str] = set() if asked is None else asked
        self.wrong: list[str] = []
        page.on("request", lambda request: self.asked.add(request.url))
        page.on("websocket", lambda socket: self.asked.add(socket.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if message.type == "error" and not any(each in message.text for each in NOT_OURS):
            self.wrong.append(message.text)

    async def until(self, condition: str) -> None:
        async with asyncio.timeout(WAIT_S):
            await until(self.page, condition, bool)

    async def serious(self) -> list[tuple[str, str]]:
        """What axe finds that keeps somebody from using the page: the rule, and the first place."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE.read_text())
        found = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        bad = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        return [(each["id"], each["nodes"][0]["html"]) for each in bad]

    def strangers(self, *ours: str) -> list[str]:
        """What was asked for anywhere but at these addresses."""
        return sorted(each for each in self.asked if not each.startswith((*ours, "data:", "blob:")))
