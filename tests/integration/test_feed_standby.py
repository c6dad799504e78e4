"""Several feed handlers share a venue's instruments: who writes, who follows, and what readers see of it. With a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgpack
import pytest

from mdstream import bus, feed
from mdstream.bus import MD_STATE, Bus, EmbeddedNats
from mdstream.bus.streams import LEASES_STREAM
from mdstream.errors import BusError, ConfigError
from mdstream.feed.lease import Record, lease_subject
from support.bus_recorder import BusRecorder

Run = Callable[[Coroutine[Any, Any, Any]], Any]
LEASE = lease_subject("SIM", "main")
TTL_S = 0.6


def lease(holder: str, **more: Any) -> feed.LeaseOptions:
    return feed.LeaseOptions("main", holder=holder, **({"ttl_s": TTL_S} | more))


async def until(condition: Callable[[], object]) -> None:
    """The test's deadline bounds the wait."""
    while not condition():
        await asyncio.sleep(0.005)


class Handler:
    """A feed handler with a venue of its own: the same book that the others have, unless a test changes it."""

    def __init__(self, publisher: feed.Publisher) -> None:
        self.publisher = publisher
        self.btc: feed.Instrument
        self.lots = 0

    async def open(self, **options: Any) -> None:
        self.btc = await self.publisher.instrument("BTC-USD", price_exp=-2, size_exp=-3, **options)

    def step(self, lots: int, trade_id: int | None = None) -> None:
        """The venue's book at that moment is (10000, lots) / (10100, 5)."""
        self.btc.replace_ticks([10_000, lots], [10_100, 5])
        if trade_id is not None:
            self.btc.trade_ticks(10_000, 1, "buy", trade_id=trade_id)


class Scene:
    """Handlers on one server, and what is on the bus."""

    def __init__(self, stack: AsyncExitStack, server: EmbeddedNats, reader: Bus) -> None:
        self.stack, self.server, self.reader = stack, server, reader
        self.seen = BusRecorder()

    async def handler(self, name: str, **options: Any) -> Handler:
        publisher = await self.stack.enter_async_context(
            feed.connect(self.server.url, venue="SIM", lease=lease(name), **options)
        )
        handler = Handler(publisher)
        await handler.open()
        return handler

    async def record(self) -> Record:
        stored = await self.reader.last_stored(LEASES_STREAM, LEASE)
        assert stored is not None
        record = Record.parse(stored.payload)
        assert record is not None
        return record

    async def stored(self, stream: str) -> Any:
        payload = await self.reader.last(MD_STATE, f"md.SIM.BTC-USD.{stream}")
        assert payload is not None
        return msgpack.unpackb(payload)

    def books(self) -> list[tuple[int, int]]:
        """Epoch and number of each update, in order."""
        return [(value[1], value[2]) for value in self.seen.values("book")]

    def trades(self) -> list[int]:
        """The venue's ids, in order."""
        return [value[7] for value in self.seen.values("trade")]


@asynccontextmanager
async def scene(server: EmbeddedNats) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(await bus.connect(server.url))
        this = Scene(stack, server, reader)
        await reader.subscribe("md.>", this.seen.record)
        await reader.flush()
        yield this


def test_one_writes_and_the_other_follows_in_silence(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one, two = [await market.handler(name) for name in ("one", "two")]
            for lots in range(1, 6):
                one.step(lots, lots)
                two.step(lots, lots)
            await one.publisher.flush()
            await two.publisher.flush()
            await until(lambda: len(market.books()) == 5)
            assert (one.publisher.writes, two.publisher.writes) == (True, False)
            assert market.books() == [(one.btc.epoch, number) for number in range(1, 6)]
            assert market.trades() == [1, 2, 3, 4, 5]
            assert (await market.record()).holder.startswith("one/")

    run(scenario())


def test_a_hand_over_goes_on_with_the_next_number_of_the_epoch(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as market:
            one, two = [await market.handler(name) for name in ("one", "two")]
            epoch = one.btc.epoch
            for lots in range(1, 6):
                one.step(lots, lots)
                two.step(lots, lots)
            await one.publisher.flush()
            await until(lambda: one.publisher._standby.lease.has_standby)  # type: ignore[union-attr]
            assert await one.publisher.hand_over()
            await until(lambda: two.publisher.writes and not two.btc.following)
            assert (two.btc.epoch, two.btc.seq, two.btc.trade_seq) == (epoch, 5, 5)
            for lots in range(6, 9):
                one.step(lots, lots)
                two.step(lots, lots)
            await until(lambda: len(market.books()) == 8)
            assert market.books() == [(epoch, number) for number in range(1, 9)]
            assert market.trades() == list(range(1, 9))
            assert {value[3] for value in market.seen.values("status")} == {"trading"}
            assert not one.publisher.writes

    run(scenario())
