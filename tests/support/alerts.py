"""A market whose every price is remembered, the alerts on it, and which crossings follow, computed in the plainest way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgpack

from mdstream.alerts import AlertOptions, AlertWatcher
from mdstream.bus import Bus, BusOptions, connect, subject
from mdstream.bus.events import decode_event
from mdstream.bus.log import Since, replay
from mdstream.bus.map_reader import MapReader, MapStream
from mdstream.bus.map_streams import MAPS
from mdstream.bus.maps import ensure_maps, put_change
from mdstream.bus.options import StreamOptions
from mdstream.bus.topic_streams import MD_EVENTS, TopicStreamOptions, ensure_events
from mdstream.errors import BusError
from mdstream.maps import Change
from mdstream.model import InstrumentId

FAR = 1_000_000
"""The best ask, in ticks above the best bid."""
STEPS = ("crossed", "recorded", "published", "finished", "marked", "recorded all", "placed")
"""At which a watcher can be stopped."""


class Market:
    """Publishes the book and the trades of one instrument as bytes: one bid, one ask."""

    def __init__(self, bus: Bus, name: str = "SIM:A", *, epoch: int = 1_000_000, price_exp: int = -2) -> None:
        self.instrument = InstrumentId.parse(name)
        self.epoch = epoch
        self.bids: list[tuple[str, Decimal]] = []
        self.trades: list[tuple[str, Decimal]] = []
        """Epoch and number, and the price then."""
        self._bus = bus
        self._price_exp = price_exp
        self._seq = self._trade_seq = 0
        self._bid: int | None = None

    async def announce(self) -> None:
        ref = {"epoch": self.epoch, "price_exp": self._price_exp, "size_exp": 0}
        await self._bus.publish_acked(subject(self.instrument, "ref"), msgpack.packb(ref))
        await self.snap()

    async def snap(self) -> None:
        bids, asks = ([], []) if self._bid is None else ([self._bid, 1], [self._bid + FAR, 1])
        value = [2, self.epoch, self._seq, self._seq, bids, asks]
        await self._bus.publish_acked(subject(self.instrument, "snap"), msgpack.packb(value))

    async def bid(self, *ticks: int) -> None:
        """The best bid moves to each of these, one after the other."""
        for each in ticks:
            bids, asks = [each, 1], [each + FAR, 1]
            if self._bid is not None and self._bid != each:
                bids += [self._bid, 0]
                asks += [self._bid + FAR, 0]
            self._seq, self._bid = self._seq + 1, each
            value = [1, self.epoch, self._seq, self._seq, self._seq * 1_000_000, bids, asks]
            await self._publish("book", value)
            self.bids.append((f"{self.epoch}.{self._seq}", Decimal(each).scaleb(self._price_exp)))
        await self._flush()

    async def trade(self, *ticks: int) -> None:
        for each in ticks:
            self._trade_seq += 1
            seq = self._trade_seq
            value = [3, self.epoch, seq, seq * 1_000_000, each, 1, 1, seq]
            await self._publish("trade", value)
            self.trades.append((f"{self.epoch}.{seq}", Decimal(each).scaleb(self._price_exp)))
        await self._flush()

    async def _publish(self, stream: str, value: list[Any]) -> None:
        await self._bus.publish(subject(self.instrument, stream), msgpack.packb(value))

    async def _flush(self) -> None:
        await self._bus.flush()


class StoredMarket(Market):
    """Each price is stored before the next one, however often that must be tried."""

    async def _publish(self, stream: str, value: list[Any]) -> None:
        while True:
            try:
                await self._bus.publish_acked(subject(self.instrument, stream), msgpack.packb(value))
                return
            except BusError:
                await asyncio.sleep(0.05)

    async def _flush(self) -> None: ...


def crossings(prices: Iterable[tuple[str, Decimal]], when: str, level: str, *, once: bool) -> list[str]:
    """At which numbers an alert must fire that was set before the second of these prices, and after the first."""
    side, found = 0, []
    for at, price in prices:
        now = (price > Decimal(level)) - (price < Decimal(level))
        if now in (0, side):
            continue
        if (when == "crosses" and side) or (when, now) in (("above", 1), ("below", -1)):
            found.append(at)
        side = now
    return found[:1] if once else found


@asynccontextmanager
async def bus_of(*urls: str, replicas: int = 1) -> AsyncIterator[Bus]:
    """Connected, and all streams are there."""
    streams = StreamOptions(replicas=replicas)
    async with await connect(BusOptions(urls, reconnect_cap_s=0.05, streams=streams)) as bus:
        await ensure(bus)
        yield bus


@asynccontextmanager
async def market_of(url: str, price: int = 100, name: str = "SIM:A") -> AsyncIterator[tuple[Bus, Market]]:
    """A market that has begun, with a first bid."""
    async with bus_of(url) as bus:
        market = Market(bus, name)
        await market.announce()
        await market.bid(price)
        yield bus, market


def options(**more: Any) -> AlertOptions:
    return AlertOptions(**({"lease_s": 5.0, "place_s": 0.05} | more))


async def active(*watchers: AlertWatcher) -> None:
    while not any(each.is_active for each in watchers):
        await asyncio.sleep(0.01)


async def ensure(bus: Bus) -> None:
    """All streams, as a gateway makes them."""
    await bus.ensure_streams()
    await bus.ensure_leases()
    await ensure_events(bus.jetstream, TopicStreamOptions(replicas=bus.options.streams.replicas))
    await ensure_maps(bus, MAPS)


def expected(market: Market, alerts: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """What these alerts must tell, by key, that were set after the first price."""
    found = {}
    for key, value in alerts.items():
        prices = market.trades if value["on"] == "last" else market.bids
        found[key] = crossings(prices, value["when"], value["price"], once=value["once"])
    return found


def value_of(when: str, price: str, *, on: str = "bid", once: bool = False, **more: Any) -> dict[str, Any]:
    return {"instrument": "SIM:A", "on": on, "when": when, "price": price, "once": once, **more}


async def put(bus: Bus, user: str, alerts: dict[str, Any], *, delete: Iterable[str] = (), **more: Any) -> int:
    """Sets alerts past any gateway; returns the number of the change, which is their ``rev``."""
    change = Change({key: (value, None) for key, value in alerts.items()}, tuple(delete), **more)
    return (await put_change(bus, MAPS, f"alerts.{user}", change, timeout_s=10.0)).seq


async def told(bus: Bus, user: str) -> list[dict[str, Any]]:
    """The data of all events on the topic of a user, oldest first."""
    found = []
    name = f"ev.user.{user}"
    async for payload in replay(bus.client, bus.jetstream, name, Since(), 10.0, stream=MD_EVENTS):
        event = decode_event(payload)
        assert (event.type, event.sender) == ("alert", "mdstream alerts")
        found.append(event.data)
    return found


def at_of(data: dict[str, Any]) -> str:
    return f"{data['epoch']}.{data['seq']}"


async def until_told(bus: Bus, user: str, wanted: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Waits until each alert has fired at these numbers; the test's deadline bounds it. Fails for anything else, and for anything twice."""
    goal = Counter((key, at) for key, ats in wanted.items() for at in ats)
    while True:
        found = await told(bus, user)
        have = Counter((data["alert"], at_of(data)) for data in found)
        assert have <= goal, have - goal
        if have == goal:
            return found
        await asyncio.sleep(0.02)


async def entries(bus: Bus, user: str) -> dict[str, Any]:
    """The map of a user's alerts, as the bus has it."""
    stream = MapStream(bus, MAPS)

    async def began() -> None: ...

    reader = MapReader(
        stream, f"alerts.{user}", began=began, followed=lambda change, applied: None, ready=lambda: None
    )
    try:
        await reader.open()
        return {key: entry.value for key, entry in reader.state.items()}
    finally:
        await stream.close()


async def until_marked(bus: Bus, user: str, counts: dict[str, int]) -> dict[str, Any]:
    """Waits until the map shows how often each of these alerts has fired."""
    while True:
        found = await entries(bus, user)
        if {key: found[key].get("fired", {}).get("count", 0) for key in counts if key in found} == counts:
            return found
        await asyncio.sleep(0.02)
