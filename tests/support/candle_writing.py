"""Writers of candles before a real nats-server: their clock, trades to fold, and what is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from mdstream.bus import Bus, BusOptions, connect
from mdstream.bus.candles import (
    candle_subject,
    decode_candles,
    last_stats,
)
from mdstream.bus.log import Since, replay
from mdstream.bus.streams import MD_CANDLES
from mdstream.candle import SPANS
from mdstream.candles import CandleOptions, CandleWriter
from mdstream.candles.instrument import Clocks
from mdstream.errors import BusError
from mdstream.model import InstrumentId
from support.candles import (
    RawTrades,
    Traded,
    assert_stored,
)

BTC = InstrumentId.parse("SIM:BTC-USD")
EPOCH = 1_000_000
BASE_US = 1_764_460_800_000_000


class Clock:
    """Time of writers: it goes on by itself, and may be moved."""

    def __init__(self, wall_us: int = BASE_US) -> None:
        self.wall = wall_us - time.time_ns() // 1000

    def wall_us(self) -> int:
        return self.wall + time.time_ns() // 1000

    @property
    def options(self) -> CandleOptions:
        return CandleOptions(interval_s=0.01, take_over_s=0.1, clocks=Clocks(time.monotonic, self.wall_us))


@asynccontextmanager
async def bus_of(nats_server, **more: object) -> AsyncIterator[Bus]:
    async with await connect(BusOptions((nats_server.url,), reconnect_cap_s=0.05, **more)) as bus:
        await bus.ensure_streams()
        yield bus


@asynccontextmanager
async def market_of(nats_server) -> AsyncIterator[tuple[Bus, RawTrades]]:
    """Trades of ``BTC``, which are announced."""
    async with bus_of(nats_server) as bus:
        raw = RawTrades(bus, BTC)
        await raw.announce(EPOCH)
        yield bus, raw


def seconds(count: int, *, first: int = 1, epoch: int = EPOCH, step_us: int = 700_000) -> list[Traded]:
    """Trades ``first`` to ``first + count - 1``, a little more than one in a second."""
    return [
        Traded(epoch, seq, BASE_US + seq * step_us, 10_000 + seq * 7 % 50, 1 + seq % 9)
        for seq in range(first, first + count)
    ]


async def reached(bus: Bus, instrument: InstrumentId, epoch: int, seq: int) -> None:
    """Returns once all trades up to a number are stored; the test's deadline bounds the wait."""
    stored = None
    while True:
        with suppress(BusError):  # there may be no stream yet
            stored = await last_stats(bus, instrument)
        if stored is not None and (stored.stats.epoch, stored.stats.seq) >= (epoch, seq):
            return
        await asyncio.sleep(0.01)


async def settled(bus: Bus, writer: CandleWriter, raw: RawTrades) -> int:
    await reached(bus, raw.instrument, raw.published[-1].epoch, raw.published[-1].seq)
    await writer.wait_idle()
    return await assert_stored(bus, raw.instrument, raw.published)


async def messages(bus: Bus, instrument: InstrumentId, span: str) -> list[tuple[int, int]]:
    """Start and revision of everything that was stored on a subject, in order."""
    name = candle_subject(instrument, span)
    found = []
    async for payload in replay(bus.client, bus.jetstream, name, Since(), 5.0, stream=MD_CANDLES):
        found += [(candle.start_s, candle.rev) for candle in decode_candles(payload)]
    return found


async def assert_each_once(bus: Bus, instrument: InstrumentId) -> None:
    for span in SPANS:
        found = await messages(bus, instrument, span)
        assert len(set(found)) == len(found)
