"""The whole way in one process: a simulated market, NATS, gateways, and clients that remember what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mdstream import feed
from mdstream.bus import Bus
from mdstream.client import Book, BookUpdate, Client, SubscriptionState, Trade, Trades, connect
from mdstream.client.transport import Transport
from mdstream.client.transport_picows import PicowsDial
from mdstream.feeds.sim.engine import Burst, Simulation
from mdstream.gateway import Gateway, GatewayConfig
from support.page import Seen, opened

SYMBOL = "BTC-USD"
NAME = f"SIM:{SYMBOL}"
SLICES_PER_S = 200

Flat = tuple[list[int], list[int]]


class SimMarket:
    """One simulated instrument, played slice by slice; it remembers its trades."""

    def __init__(
        self, publisher: feed.Publisher, instrument: feed.Instrument, simulation: Simulation
    ) -> None:
        self.publisher = publisher
        self.instrument = instrument
        self.trades: list[tuple[int, int, int]] = []
        """Number, ticks, lots of each."""
        self._simulation = simulation

    async def play(self, slices: int) -> None:
        """Publishes so many slices of 5 ms, as fast as it goes."""
        for _ in range(slices):
            for event in self._simulation.advance():
                assert isinstance(event, Burst)
                self._publish(event)
            await self.publisher.flush()

    async def touch(self) -> int:
        """One last update, seen in every view that there may be; returns its number."""
        bid, ask = self.instrument.book.best()
        assert bid is not None
        assert ask is not None
        # A bucket's sum stays at its bound, so the change must be one that shows whatever the group.
        self.instrument.update_ticks([bid[0], bid[1] + 1], [ask[0], ask[1] + 1])
        await self.publisher.flush()
        return self.instrument.seq

    def view(self, depth: int = 0, group: int = 1) -> Flat:
        view = self.instrument.book.view(depth=depth, group=group)
        assert view is not None
        return view

    def _publish(self, burst: Burst) -> None:
        for bids, asks, _, fills in burst.updates:
            self.instrument.update_ticks(bids, asks)
            for fill in fills:
                self.instrument.trade_ticks(fill.ticks, fill.lots, fill.side)
                self.trades.append((self.instrument.trade_seq, fill.ticks, fill.lots))


@asynccontextmanager
async def _market(url: str, *, rate: float = 4_000, seed: int = 7) -> AsyncIterator[SimMarket]:
    simulation = Simulation([SYMBOL], seed=seed, rate=rate, halts_per_hour=0)
    async with feed.connect(url, venue="SIM") as publisher:
        profile = simulation.flows[0].profile
        instrument = await publisher.instrument(
            SYMBOL, price_exp=profile.price_exp, size_exp=profile.size_exp
        )
        instrument.replace_ticks(*simulation.flows[0].full_book())
        await publisher.flush()
        yield SimMarket(publisher, instrument, simulation)


class Followed:
    """A client's book with everything that was told of it, each message checked against the one before."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.updates: list[BookUpdate] = []
        self.states: list[SubscriptionState] = []
        self._last = book.seq
        self._moved = asyncio.Event()
        book.on_update(self._take)
        book.on_state(self._tell)

    def _tell(self, state: SubscriptionState) -> None:
        self.states.append(state)
        self._moved.set()

    def _take(self, update: BookUpdate) -> None:
        if update.kind == "delta":
            assert update.first == self._last + 1
        self._last = update.last
        self.updates.append(update)
        self._moved.set()

    @property
    def snapshots(self) -> int:
        """Those after the first, with which it began."""
        return sum(update.kind == "snapshot" for update in self.updates)

    @property
    def view(self) -> Flat:
        return self.book.bids.flatten().tolist(), self.book.asks.flatten().tolist()

    async def reach(self, seq: int) -> None:
        while self.book.seq < seq:
            self._moved.clear()
            await self._moved.wait()

    async def live(self) -> None:
        """Waits until the gateway says so, which it does after the data that made it so."""
        while self.book.state is not SubscriptionState.LIVE:
            self._moved.clear()
            await self._moved.wait()

    def expect(self, market: SimMarket) -> None:
        """It is the publisher's book, by this view."""
        request = self.book.request
        assert self.book.seq == market.instrument.seq
        assert self.view == market.view(request.depth, request.group), request


class FollowedTrades:
    """A client's trades, and those it was told are lost."""

    def __init__(self, trades: Trades) -> None:
        self.trades = trades
        self.got: list[tuple[int, int, int]] = []
        self.lost: set[int] = set()
        self._moved = asyncio.Event()
        trades.on_trade(self._take)
        trades.on_lost(self._lose)

    def _take(self, trade: Trade) -> None:
        self.got.append((trade.seq, trade.price_ticks, trade.size_lots))
        self._moved.set()

    def _lose(self, first: int, last: int) -> None:
        self.lost.update(range(first, last + 1))
        self._moved.set()

    async def reach(self, seq: int) -> None:
        while seq not in self.lost and not (self.got and self.got[-1][0] >= seq):
            self._moved.clear()
            await self._moved.wait()

    def expect(self, market: SimMarket) -> None:
        """Each number once, in order, as published; lost ones only where it was told so."""
        assert self.got == [trade for trade in market.trades if trade[0] not in self.lost]


VIEWS: tuple[dict[str, int], ...] = (
    {},
    {"depth": 20},
    {"depth": 5, "group": 50},
    {"interval_ms": 50},
    {"depth": 10, "interval_ms": 100},
)


class Follower:
    """A client with every kind of view of one instrument, and its trades."""

    def __init__(self, client: Client, dial: Switch) -> None:
        self.client = client
        self.dial = dial
        self.books: list[Followed] = []
        self.trades: FollowedTrades

    async def subscribe(self, name: str = NAME, views: tuple[dict[str, int], ...] = VIEWS) -> None:
        self.books = [Followed(await self.client.book(name, **view)) for view in views]
        self.trades = FollowedTrades(await self.client.trades(name))

    async def ends_as(self, market: SimMarket) -> None:
        """Waits until everything that the market has published is there, and checks it."""
        for followed in self.books:
            await followed.reach(market.instrument.seq)
            followed.expect(market)
        if market.trades:
            await self.trades.reach(market.trades[-1][0])
        self.trades.expect(market)
        assert self.client.stats.crc_errors == 0


class Switch:
    """Dials the gateway that it is set to, whatever URL the client was given."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.transport: Transport
        self.connected = asyncio.Event()
        """Clear it, and the client cannot connect until it is set."""
        self.connected.set()
        self._dial = PicowsDial()

    async def __call__(self, url: str, *arguments: Any, **options: Any) -> Transport:
        await self.connected.wait()
        self.transport = await self._dial(self.url, *arguments, **options)
        return self.transport


@asynccontextmanager
async def _follower(url: str, format: str) -> AsyncIterator[Follower]:
    dial = Switch(url)
    # random: comes back without a delay.
    async with connect(url, format=format, dial=dial, random=lambda: 0.0) as client:  # type: ignore[arg-type]
        yield Follower(client, dial)


@asynccontextmanager
async def _gateway(url: str, bus: Bus | None = None, **changes: Any) -> AsyncIterator[Gateway]:
    options = {"port": 0, "admin_port": 0, "node": "e2e", "drain_spread_ms": 0, **changes}
    gateway = Gateway(GatewayConfig(nats=(url,), **options), bus)
    await gateway.start()
    try:
        await gateway.wait_ready()
        yield gateway
    finally:
        await gateway.stop(at_once=True)


Scenario = Callable[[SimMarket, Gateway, Seen], Awaitable[None]]


@pytest.fixture
def gateway() -> Callable[..., Any]:
    """``async with gateway(nats_url, bus=None, **config)``: a gateway that is ready, on free ports."""
    return _gateway


@pytest.fixture
def market() -> Callable[..., Any]:
    """``async with market(nats_url, rate=…)``: a SimMarket that has published its first book."""
    return _market


@pytest.fixture
def follower() -> Callable[..., Any]:
    """``async with follower(gateway.url, format)``: a Follower, connected."""
    return _follower


@pytest.fixture
def on_page(run: Callable[..., Any], nats_server: Any) -> Callable[[Scenario], None]:
    """``on_page(scenario)``: runs ``await scenario(market, gateway, page)`` on a live trading page, which complains of nothing."""

    def play(scenario: Scenario) -> None:
        async def whole() -> None:
            url = nats_server.url
            async with _market(url) as sim, _gateway(url, ui=True) as here, opened(here.port) as seen:
                await seen.live()
                await scenario(sim, here, seen)
                assert seen.wrong == []

        run(whole(), deadline_s=120)

    return play
