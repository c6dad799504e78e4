"""Draws docs/images/page.png from the real page: runs ``mdstream demo``, opens what it prints in Chromium, and keeps what it shows.

python tools/draw_page.py        (needs `make web`, Chromium, and the packages of the group `page` for the Python that runs this)
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.chromium import browser  # noqa: E402

PICTURE = ROOT / "docs/images/page.png"
SIZE = {"width": 1440, "height": 860}
DEADLINE_S = 60.0
FILLED_MS = 100_000
"""How long the market runs before its picture is taken, so that the chart is full."""


async def address(demo: Process) -> str:
    """Of the page, as the demo prints it."""
    assert demo.stdout is not None
    while line := (await demo.stdout.readline()).decode():
        if found := re.search(r"http://\S+#\S+", line):
            return found[0]
    raise SystemExit("the demo printed no page: run `make web` first")


async def draw() -> None:
    command = ("-m", "mdstream.cli", "demo", "--port", "0", "--admin-port", "0")
    demo = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdout=PIPE)
    try:
        async with asyncio.timeout(DEADLINE_S):
            url = await address(demo)
        async with browser(viewport=SIZE, color_scheme="dark") as context:
            page = await context.new_page()
            await page.goto(url)
            await page.wait_for_selector(".state.live")
            await page.wait_for_timeout(FILLED_MS)
            await page.screenshot(path=PICTURE)
    finally:
        demo.send_signal(signal.SIGINT)
        await demo.communicate()


if __name__ == "__main__":
    asyncio.run(draw())
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")
