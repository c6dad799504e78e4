"""``python -m attack.market NATS_URL``: publishes what honest clients and attackers see; prints ``ready`` once all is announced.

``SIM:A`` and the canary's instrument move every ``STEP_S``; ``SIM:DEEP`` has a deep book and moves once a second.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

import uvloop

from attack.canary import INSTRUMENT, LOTS, SPREAD
from mdstream import feed
from mdstream.model import InstrumentId

STEP_S = 0.01
SYMBOLS = ("A", "DEEP", "QUIET")
DEPTH = int(os.environ.get("ATTACK_DEPTH", "2000"))
"""Levels on each side of ``SIM:DEEP``."""


def ladder(middle: int, depth: int, lots: int) -> tuple[list[int], list[int]]:
    """Bids and asks around a price: ticks and lots in turn, best first."""
    steps = range(1, depth + 1)
    bids, asks = ([(middle + sign * step, lots) for step in steps] for sign in (-1, 1))
    return [n for level in bids for n in level], [n for level in asks for n in level]


async def publish(url: str) -> None:
    canary = InstrumentId.parse(INSTRUMENT)
    async with (
        feed.connect(url, venue="SIM") as sim,
        feed.connect(url, venue=canary.venue) as hidden,
    ):
        moving, deep, quiet = [await sim.instrument(s, price_exp=-2, size_exp=-3) for s in SYMBOLS]
        secret = await hidden.instrument(canary.symbol, price_exp=0, size_exp=0)
        for each, depth, lots in ((moving, 30, 5_000), (deep, DEPTH, 7_000), (quiet, 5, 9_000)):
            bids, asks = ladder(100_000, depth, lots)
            each.replace_ticks(bids, asks)
        secret.replace_ticks(*ladder(700, 10, LOTS))
        await asyncio.sleep(0.2)
        print("ready", flush=True)
        await move(moving, deep, secret)


async def move(moving: feed.Instrument, deep: feed.Instrument, secret: feed.Instrument) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in itertools.count(1):
        size = 1 + number % (SPREAD - 1)
        moving.update_ticks(
            [99_999, size, 99_998 - number % 20, size]
        )  # the best changes: a ticker each time
        secret.update_ticks(asks=[701 + number % 5, LOTS + size])
        if number % 10 == 0:
            moving.trade_ticks(100_001, size, "buy", trade_id=number)
        if number % 100 == 0:
            deep.update_ticks([100_000 - 1 - number % 1000, size])
        await asyncio.sleep(began + number * STEP_S - loop.time())


if __name__ == "__main__":
    uvloop.run(publish(sys.argv[1]))
