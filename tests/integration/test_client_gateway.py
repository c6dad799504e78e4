"""The client against a real gateway, on a connection that loses and damages messages, which TCP never does."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest

from mdstream import feed
from mdstream.client import Book, Client, Policy, SubscriptionRefused, Trades, connect
from mdstream.client.transport import Receiver, Transport
from mdstream.client.transport_picows import PicowsDial
from mdstream.gateway import Gateway, GatewayConfig

NAME = "SIM:BTC-USD"
# On a busy machine the loop may stand still for seconds. No link is dead because of that.
QUICK = Policy(backoff_base_s=0.01, backoff_cap_s=0.05, recover_timeout_s=0.2, silent_heartbeats=100)
VIEWS: tuple[dict[str, int], ...] = ({}, {"depth": 1}, {"depth": 5}, {"group": 3}, {"interval_ms": 50})
Flat = tuple[list[int], list[int]]


class BadLine:
    """Connects normally, then loses or damages some of the data messages to the client."""

    def __init__(self, format: str, seed: int, compression: bool) -> None:
        self.share = 0.0
        self.harmed = 0
        self._format = format
        self._random = random.Random(seed)
        self._receiver: Receiver
        self._dial = PicowsDial(compression=compression)

    async def __call__(self, url: str, receiver: Receiver, **options: Any) -> Transport:
        self._receiver = receiver
        return await self._dial(url, self, **options)

    def received(self, payload: bytes) -> None:
        for message in self._split(payload):
            if not self._is_data(message) or self._random.random() >= self.share:
                self._receiver.received(self._join(message))
                continue
            self.harmed += 1
            if self._random.random() < 0.3:
                self._receiver.received(self._join(self._damaged(message)))

    def closed(self, code: int, reason: str) -> None:
        self._receiver.closed(code, reason)

    def _split(self, payload: bytes) -> list[Any]:
        if self._format == "json":
            return [json.loads(payload)]
        unpacker = msgpack.Unpacker()
        unpacker.feed(payload)
        return list(unpacker)

    def _join(self, message: Any) -> bytes:
        return json.dumps(message).encode() if self._format == "json" else msgpack.packb(message)

    def _is_data(self, message: Any) -> bool:
        if isinstance(message, list):
            return message[0] in (1, 2, 3)
        return message["type"] in ("delta", "snapshot", "trades")

    def _damaged(self, message: Any) -> Any:
        """Changes the checksum of a book message; a message of trades is unchanged."""
        if isinstance(message, list):
            return [*message[:7], message[7] ^ 1, *message[8:]] if message[0] != 3 else message
        return {**message, "crc": message["crc"] ^ 1} if "crc" in message else message


class Market:
    """A publisher of small books that remembers every view at every number."""

    def __init__(self, publisher: feed.Publisher, instrument: feed.Instrument) -> None:
        self.publisher = publisher
        self.instrument = instrument
        self.trades: list[int] = []
        self._random = random.Random(5)
        self._views: dict[tuple[int, int], dict[int, Flat]] = {}

    def view(self, depth: int, group: int, seq: int) -> Flat:
        return self._views[depth, group][seq]

    def remember(self) -> None:
        for view in VIEWS:
            depth, group = view.get("depth", 0), view.get("group", 1)
            now = self.instrument.book.view(depth=depth, group=group)
            assert now is not None
            self._views.setdefault((depth, group), {})[self.instrument.seq] = now

    async def play(self, updates: int, witness: Checked) -> None:
        """Publishes updates one by one: the next one after ``witness``, on a good connection, has received the last."""
        for _ in range(updates):
            distance, lots = self._random.randint(1, 8), self._random.randint(0, 3)
            if self._random.random() < 0.5:
                self.instrument.update_ticks([1000 - distance, lots], [])
            else:
                self.instrument.update_ticks([], [1000 + distance, lots])
            self.remember()
            if self._random.random() < 0.3:
                self.instrument.trade_ticks(1000, 1, "buy")
                self.trades.append(self.instrument.trade_seq)
            await self.publisher.flush()
            await witness.reach(self.instrument.seq)


@asynccontextmanager
async def world(nats_url: str, **changes: Any) -> AsyncIterator[tuple[Market, Gateway]]:
    options = {
        "port": 0,
        "admin_port": 0,
        "node": "test",
        "drain_spread_ms": 0,
        "heartbeat_ms": 1000,
        **changes,
    }
    async with feed.connect(nats_url, venue="SIM") as publisher:
        instrument = await publisher.instrument("BTC-USD", price_exp=-2, size_exp=-3)
        market = Market(publisher, instrument)
        instrument.replace_ticks([999, 5], [1001, 5])
        market.remember()
        await publisher.flush()
        gateway = Gateway(GatewayConfig(nats=(nats_url,), **options))
        await gateway.start()
        try:
            await gateway.wait_ready()
            yield market, gateway
        finally:
            await gateway.stop(at_once=True)


class Checked:
    """A book that must equal the publisher's at its number whenever it is trusted."""

    def __init__(self, book: Book, market: Market) -> None:
        self.book = book
        self.checks = 0
        self.wrong: list[str] = []
        self._market = market
        self._moved = asyncio.Event()
        book.on_update(lambda _: self._check())
        book.on_state(lambda _: self._check())

    def _check(self) -> None:
        self._moved.set()
        request = self.book.request
        if not self.book.trusted:
            return
        self.checks += 1
        is_now = self.book.bids.flatten().tolist(), self.book.asks.flatten().tolist()
        if is_now != self._market.view(request.depth, request.group, self.book.seq):
            self.wrong.append(f"{request} at {self.book.seq}: {is_now}")

    async def reach(self, seq: int) -> None:
        while self.book.seq < seq or not self.book.trusted:
            self._moved.clear()
            await self._moved.wait()


async def caught_up(trades: Trades, seq: int) -> None:
    moved = asyncio.Event()
    trades.on_trade(lambda _: moved.set())
    while (trades.seq or 0) < seq:
        moved.clear()
        await moved.wait()


def enough(line: BadLine, client: Client, books: list[Checked]) -> bool:
    """Whether every kind of damage happened, and every view was checked often; views with an interval are checked less often."""
    looked_at = all(each.checks > (20 if each.book.request.interval_ms == 0 else 2) for each in books)
    return looked_at and line.harmed > 20 and client.stats.recoveries > 10 and client.stats.crc_errors > 0


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "deflate"])
@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_on_a_bad_line_every_trusted_book_is_the_publishers(format, compression, run, nats_server) -> None:
    async def scenario() -> None:
        line = BadLine(format, seed=3, compression=compression)
        async with (
            world(nats_server.url, compression_threshold_bytes=1) as (market, gateway),
            connect(gateway.url, format=format, dial=line, policy=QUICK) as client,
            connect(gateway.url, policy=QUICK) as undisturbed,
        ):
            witness = Checked(await undisturbed.book(NAME), market)
            books = [Checked(await client.book(NAME, **view), market) for view in VIEWS]
            trades = await client.trades(NAME)
            got: list[int] = []
            trades.on_trade(lambda trade: got.append(trade.seq))
            await market.play(20, witness)
            line.share = 0.1
            await market.play(250, witness)
            # A view is not checked while it recovers. How often that happens depends on the machine.
            while not enough(line, client, books):
                await market.play(10, witness)
            line.share = 0.0
            # The last update changes every view, so each must reach its number.
            market.instrument.update_ticks([999, 77], [1001, 77])
            market.remember()
            await market.publisher.flush()
            for checked in books:
                await checked.reach(market.instrument.seq)
                assert checked.wrong == []
            await caught_up(trades, market.trades[-1])
            assert got == market.trades
            assert trades.lost == 0
            assert (gateway._hub.stats()["compressed"] > 0) == compression
            assert client.stats.reconnects == 0

    run(scenario())


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_refusals_of_a_real_gateway(format, run, nats_server) -> None:
    async def scenario() -> None:
        async with (
            world(nats_server.url) as (_, gateway),
            connect(gateway.url, format=format, policy=QUICK) as client,
        ):
            for view, name, code in (
                ({}, "SIM:NOBODY", "unknown_instrument"),
                ({"depth": 7}, NAME, "bad_value"),
                ({"group": 0}, NAME, "bad_value"),
                ({"interval_ms": 3}, NAME, "bad_value"),
            ):
                with pytest.raises(SubscriptionRefused) as caught:
                    await client.book(name, **view)
                assert caught.value.code == code
            assert (await client.book(NAME)).trusted
            assert await client.ping() > 0

    run(scenario())


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_a_ticker_follows_book_and_trades(format, run, nats_server) -> None:
    async def scenario() -> None:
        async with (
            world(nats_server.url) as (market, gateway),
            connect(gateway.url, format=format, policy=QUICK) as client,
        ):
            ticker = await client.ticker(NAME)
            stream = ticker.updates()
            market.instrument.update_ticks([1000, 9], [])
            market.instrument.trade_ticks(1001, 2, "sell")
            await market.publisher.flush()
            async for update in stream:
                if update.last is not None and update.bid == (ticker.price(1000), ticker.size(9)):
                    break
            assert update.ask == (ticker.price(1001), ticker.size(5))
            assert update.last == (ticker.price(1001), ticker.size(2))

    run(scenario())
