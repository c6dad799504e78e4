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
LOOK_S = 0.02
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
async def chromium() -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """``async with chromium() as new_page``: ``await new_page(address)`` opens another page of one browser."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )

        async def new_page(address: str) -> Any:
            page = await launched.new_page()
            await page.goto(address)
            return page

        try:
            yield new_page
        finally:
            await launched.close()


async def until(page: Any, script: str, holds: Callable[[Any], bool]) -> Any:
    """What the script gives as soon as that is so."""
    while not holds(found := await page.evaluate(script)):
        await asyncio.sleep(LOOK_S)
    return found
