"""The wall clock of one machine is stepped, both ways, under a running gateway, feed or client: nobody notices."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.program import Program
from support.stepped_clock import SteppedClock

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs LD_PRELOAD and a C compiler"
)

FEED = """
import asyncio, sys
from mdstream import feed

async def main():
    async with feed.connect(sys.argv[1], venue="CLK", status_interval_s=0.5) as publisher:
        busy = await publisher.instrument("BUSY", price_exp=-2, size_exp=0)
        quiet = await publisher.instrument("QUIET", price_exp=-2, size_exp=0)
        quiet.update_ticks([100, 1], [101, 1])
        print("announced", flush=True)
        n = 0
        while True:
            n += 1
            busy.update_ticks([100, 1 + n % 7], [101, 1 + n % 5])
            if hasattr(quiet, "heard"):
                quiet.heard()
            await asyncio.sleep(0.02)

asyncio.run(main())
"""

CLIENT = """
import asyncio, sys, time
from mdstream.client import connect

async def main():
    async with connect(sys.argv[1]) as client:
        client.on_state(lambda state: print("connection", state, flush=True))
        busy = await client.book("CLK:BUSY", interval_ms=100)
        quiet = await client.book("CLK:QUIET")
        for book in (busy, quiet):
            book.on_state(lambda state, book=book: print(book.instrument, state, flush=True))
        n, began_s = 0, time.monotonic()
        async for _ in busy:
            n += 1
            if n % 10 == 0:
                print(f"updates {n} in {time.monotonic() - began_s:.2f} s", flush=True)
                began_s = time.monotonic()

asyncio.run(main())
"""


@pytest.fixture
def clock(tmp_path: Path) -> SteppedClock:
    return SteppedClock(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """``start(…)`` a program, ended with the test."""
    running: list[Program] = []

    def start_one(
        *arguments: str, env: dict[str, str], command: tuple[str, ...] = (sys.executable, "-m")
    ) -> Program:
        running.append(Program(*arguments, temporary=tmp_path, env=env, command=command))
        return running[-1]

    yield start_one
    for program in reversed(running):
        program.__exit__(None, None, None)


@pytest.mark.complete
@pytest.mark.parametrize("who", ["gateway", "client"])
def test_nobody_notices_that_a_wall_clock_was_stepped(who, nats_server, clock, start) -> None:
    """Stale after 2 s, pings each second, dead after 1.5 s: what is measured with the wall clock shows within the seconds watched."""

    def env(name: str) -> dict[str, str]:
        return clock.env if name == who else {}

    script = (sys.executable, "-c")
    start(FEED, nats_server.url, env=env("feed"), command=script).until("announced")
    flags = ["--nats", nats_server.url, "--port", "0", "--admin-port", "0"]
    flags += ["--heartbeat-ms", "500", "--stale-after-ms", "2000", "--log-level", "debug"]
    gateway = start("mdstream.cli", "serve", *flags, env=env("gateway"))
    url = gateway.until_error(r"serving clients at (\S+),")[1]
    gateway.until_error("connected to NATS")
    client = start(CLIENT, url, env=env("client"), command=script)
    client.until("updates 10")
    for seconds in (-3600, 0, 60, 3600):
        clock.step(seconds)
        for _ in range(4):
            took_s = float(client.until(r"updates \d+ in (\S+) s")[1])
            assert took_s < 2.5, "ten intervals of 100 ms"
    told = [
        line
        for line in client.lines
        if not line.startswith("updates") and not line.endswith((" live", " open"))
    ]
    assert told == []
    assert "closed with" not in gateway.errors
