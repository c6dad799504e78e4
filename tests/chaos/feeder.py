"""``python -m chaos.feeder JOURNAL``: the writer of all instruments, who keeps a journal of what he publishes.

The first line of standard input is the configuration as JSON; each later line is an order, answered by a line. He ends with 3 when
another writer has taken over, and when standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

from chaos.journal import Journal
from mdstream import feed
from mdstream.bus import BusOptions
from mdstream.errors import FeedError, MdstreamError

FENCED = 3
MIDDLE, SPAN = 10_000, 60
BURST = 500
TRADE_EVERY = 5


class Market:
    """A narrow book that changes by chance; the best bid changes with every update."""

    def __init__(self, seed: object, factor: int) -> None:
        self._random, self._factor = random.Random(str(seed)), factor

    def change(self) -> tuple[list[int], list[int]]:
        draw, factor = self._random, self._factor
        bids = [MIDDLE - 1 - draw.randrange(SPAN), draw.randrange(9), MIDDLE - 1, draw.randrange(1, 1_000)]
        asks = [MIDDLE + draw.randrange(SPAN), draw.randrange(9), MIDDLE, draw.randrange(1, 1_000)]
        if bids[0] == bids[2]:
            del bids[:2]
        if asks[0] == asks[2]:
            del asks[:2]
        return [number * factor for number in bids], [number * factor for number in asks]


class Writer:
    """One instrument."""

    def __init__(self, publisher: feed.Publisher, journal: Journal, name: str, pause_s: float) -> None:
        self.publisher, self.journal, self.name, self.pause_s = publisher, journal, name, pause_s
        self.instrument: feed.Instrument
        self.market: Market
        self.silent = False
        self.exponent = -2

    async def open(self) -> None:
        """A new epoch."""
        symbol = self.name.partition(":")[2]
        self.instrument = await self.publisher.instrument(symbol, price_exp=self.exponent, size_exp=-2)
        self.market = Market(self.instrument.epoch, 10 ** (-2 - self.exponent))
        self.journal.note(self.name, "begin", self.instrument.epoch, (self.exponent, -2))
        self.update()

    def update(self) -> None:
        bids, asks = self.market.change()
        self.instrument.update_ticks(bids, asks)
        self.journal.note(self.name, "update", self.instrument.epoch, self.instrument.seq, bids, asks)
        if self.instrument.seq % TRADE_EVERY == 0:
            self.trade()

    def trade(self) -> None:
        ticks, lots = MIDDLE + self.instrument.trade_seq % 7, 1 + self.instrument.trade_seq % 5
        self.instrument.trade_ticks(ticks, lots, "buy")
        self.journal.note(self.name, "trade", self.instrument.epoch, self.instrument.trade_seq, ticks, lots)

    async def pump(self) -> None:
        await asyncio.sleep(random.random() * self.pause_s)
        while True:
            if not self.silent:
                self.update()
            await asyncio.sleep(self.pause_s)

    async def obey(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "silence":
                self.silent = True
            case "speak":
                self.silent = False
            case "halt":
                self.instrument.status("halted", reason="a halt of the venue")
                self.journal.note(self.name, "doubt")
            case "trade":
                self.journal.note(self.name, "settle")
                self.instrument.status("trading")
            case "burst":
                for _ in range(BURST):
                    self.update()
            case "rescale":
                self.silent, before = True, self.silent
                self.exponent = -3 if self.exponent == -2 else -2
                await self.open()
                self.silent = before


class Feeder:
    def __init__(self, journal: Journal, plan: dict[str, Any]) -> None:
        self._journal, self._plan = journal, plan
        self.writers: dict[str, Writer] = {}

    async def run(self, orders: asyncio.StreamReader) -> int:
        plan = self._plan
        bus = BusOptions(tuple(plan["nats"]))
        async with feed.connect(bus, venue=plan["venue"], status_interval_s=plan["status_s"]) as publisher:
            for name, pause_s in plan["instruments"].items():
                self.writers[name] = Writer(publisher, self._journal, name, pause_s)
            await asyncio.gather(*(writer.open() for writer in self.writers.values()))
            work = [asyncio.ensure_future(writer.pump()) for writer in self.writers.values()]
            work += [asyncio.ensure_future(publisher.fenced()), asyncio.ensure_future(self._listen(orders))]
            print('"ready"', flush=True)
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            return FENCED if any(isinstance(each.exception(), FeedError) for each in done) else 0

    async def _listen(self, orders: asyncio.StreamReader) -> None:
        while line := await orders.readline():
            order = json.loads(line)
            names = [order["instrument"]] if "instrument" in order else list(self.writers)
            with suppress(MdstreamError):
                for name in names:
                    await self.writers[name].obey(order)
            print('"done"', flush=True)


async def main(journal: Path) -> int:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    plan = json.loads(await orders.readline())
    try:
        return await Feeder(Journal(journal), plan).run(orders)
    except FeedError as error:
        print(f"{time.monotonic():.3f} {error}", file=sys.stderr)
        return FENCED


if __name__ == "__main__":
    sys.exit(uvloop.run(main(Path(sys.argv[1]))))
