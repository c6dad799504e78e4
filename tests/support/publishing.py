"""A publisher's first instrument, and what the bus carries meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mdstream import bus, feed
from mdstream.bus import Bus, EmbeddedNats
from support.bus_recorder import BusRecorder


@asynccontextmanager
async def listening(server: EmbeddedNats) -> AsyncIterator[tuple[BusRecorder, Bus]]:
    async with await bus.connect(server.url) as reader:
        recorder = BusRecorder()
        await reader.subscribe("md.>", recorder.record)
        await reader.flush()
        yield recorder, reader


async def open_btc(publisher: feed.Publisher, **more: Any) -> feed.Instrument:
    return await publisher.instrument("BTC-USD", price_exp=-2, size_exp=-3, name="Bitcoin", **more)
