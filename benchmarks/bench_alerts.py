"""Price alerts. ``python benchmarks/bench_alerts.py evaluate``: what a message of the book costs a watcher that has many alerts on one
instrument, none of which it moves, or some; in memory. ``… latency``: from just before a price that crosses is published until its event is
with a client, with a real nats-server; the watcher and the gateway are processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import statistics
import time
from typing import Any

import msgspec
import uvloop
from bench_events import serve

from mdstream._core.codec.feed_decoder import SnapValue
from mdstream._core.codec.feed_encoder import pack_book, pack_snap
from mdstream.alert import read_alert
from mdstream.alerts import AlertWatcher
from mdstream.alerts.tracks import BookTrack
from mdstream.alerts.watched import Watched
from mdstream.bus import Bus, subject
from mdstream.bus import connect as connect_bus
from mdstream.bus.embedded import EmbeddedNats
from mdstream.bus.map_streams import MAPS
from mdstream.bus.maps import ensure_maps, put_change
from mdstream.bus.stored_message import Numbered
from mdstream.bus.topic_streams import TopicStreamOptions, ensure_events
from mdstream.client import Event, connect
from mdstream.maps import Change
from mdstream.model import InstrumentId

EPOCH = 1_723_075_200_000_000
NAME = "SIM:A"
MIDDLE = 1_000_000
"""The best bid, in ticks."""
OF_A_USER = 200
SECOND_US = 2_000_000
"""How far the market's time goes with each update: so no alert fires too often in a minute."""
EVERY = 20
"""Updates between two that cross."""
SETTLE_S = 8.0


def alert(number: int, *, near: bool = False) -> dict[str, Any]:
    """One of many, each at a price of its own, beyond those that the bid comes to unless it is ``near``."""
    ticks = MIDDLE + 5 if near else MIDDLE + (1_000 + number) * (-1 if number % 2 else 1)
    price = f"{ticks / 100:.3f}"
    return {"instrument": NAME, "on": "bid", "when": "crosses", "price": price, "once": False}


def bids(seq: int, ticks: int, before: int) -> bytes:
    gone = [] if ticks == before else [before, 0]
    return pack_book(EPOCH, seq, seq, EPOCH + seq * SECOND_US, [ticks, 1, *gone], [])


# ---- evaluation alone


def evaluate(alerts: int, moved: int) -> None:
    """``moved``: alerts that each message moves to the other side."""
    track = BookTrack(NAME)
    track.load(SnapValue(EPOCH, 0, EPOCH, [MIDDLE, 1], []), -2, 0)
    for number in range(alerts):
        value = read_alert(alert(number, near=number < moved))
        watched = Watched(number, "alerts.a", f"k{number}", 1, 1, 0, value)
        track.add(watched)
    track.begin(track.fresh)
    scales, before, seq = {EPOCH: -2}, MIDDLE, itertools.count(1)
    took: list[float] = []
    crossings = 0
    for _ in range(max(20, 20_000 // (moved + 1))):
        number = next(seq)
        ticks = MIDDLE + (10 if number % 2 else 0) + (number % 3)
        message = Numbered(number, number - 1, EPOCH + number, bids(number, ticks, before))
        before = ticks
        began = time.perf_counter_ns()
        crossings += len(track.feed(message, scales, EPOCH + 1)[1])
        took.append(time.perf_counter_ns() - began)
    us = statistics.median(took) / 1e3
    print(
        f"{alerts} alerts, {moved} of them moved by each update: {us:.1f} µs an update, "
        f"{1e6 / us:,.0f} updates/s, {moved * 1e6 / us:,.0f} alerts moved a second ({crossings} crossings)"
    )


# ---- from the price to the client


def watch(url: str) -> None:
    async def run() -> None:
        async with await connect_bus(url) as bus, AlertWatcher(bus):
            await asyncio.Event().wait()

    uvloop.run(run())


class Market:
    """Updates of the book at a rate, of which one of ``EVERY`` crosses; it remembers when those were published."""

    def __init__(self, bus: Bus) -> None:
        self.sent: dict[int, float] = {}
        self._bus = bus
        self._instrument = InstrumentId.parse(NAME)
        self._seq = 0
        self._ticks = MIDDLE

    async def announce(self) -> None:
        ref = {"epoch": EPOCH, "price_exp": -2, "size_exp": 0}
        await self._bus.publish_acked(subject(self._instrument, "ref"), msgspec.msgpack.encode(ref))
        snap = pack_snap(EPOCH, 0, EPOCH, [MIDDLE, 1], [])
        await self._bus.publish_acked(subject(self._instrument, "snap"), snap)

    async def run(self, rate: int, seconds: float) -> None:
        began, done = time.perf_counter(), 0
        while (now := time.perf_counter()) - began < seconds:
            while done < (now - began) * rate:
                done += 1
                await self._update()
            await asyncio.sleep(0.0005)

    async def _update(self) -> None:
        self._seq += 1
        before, side = self._ticks, self._seq // EVERY % 2
        self._ticks = MIDDLE + 10 * side + self._seq % 3
        payload = bids(self._seq, self._ticks, before)
        if self._seq % EVERY == 0:
            self.sent[self._seq] = time.perf_counter()
        await self._bus.publish(subject(self._instrument, "book"), payload)


async def latency(alerts: int, rate: int, seconds: float) -> None:
    context = multiprocessing.get_context("spawn")
    async with await EmbeddedNats.start() as nats, await connect_bus(nats.url) as bus:
        market = Market(bus)
        await _prepare(bus, market, alerts)
        ports: Any = context.Queue()
        works = (
            context.Process(target=serve, args=(nats.url, ports, 0), daemon=True),
            context.Process(target=watch, args=(nats.url,), daemon=True),
        )
        for work in works:
            work.start()
        try:
            await _measure(market, ports.get(timeout=30)[1], rate, seconds)
        finally:
            for work in works:
                work.terminate()


async def _prepare(bus: Bus, market: Market, alerts: int) -> None:
    await bus.ensure_streams()
    await bus.ensure_leases()
    await ensure_events(bus.jetstream, TopicStreamOptions())
    await ensure_maps(bus, MAPS)
    await market.announce()
    for user, first in enumerate(range(0, alerts, OF_A_USER)):
        some = {f"k{n}": (alert(n), None) for n in range(first, min(first + OF_A_USER, alerts))}
        await put_change(bus, MAPS, f"alerts.u{user}", Change(some), timeout_s=10.0)
    await put_change(bus, MAPS, "alerts.alice", Change({"near": (alert(0, near=True), None)}), timeout_s=10.0)


async def _measure(market: Market, url: str, rate: int, seconds: float) -> None:
    took: list[float] = []
    async with connect(url) as client:
        inbox = await client.events("user.alice")

        def heard(event: Event) -> None:
            if sent_s := market.sent.get(event.data["seq"]):
                took.append(time.perf_counter() - sent_s)

        inbox.on_event(heard)
        async with asyncio.timeout(60):
            while not took:
                await market.run(rate, 1.0)
        await market.run(rate, SETTLE_S)  # the watcher records all that have begun
        took.clear()
        market.sent.clear()
        await market.run(rate, seconds)
        async with asyncio.timeout(10):
            while len(took) < len(market.sent):
                await asyncio.sleep(0.01)
    took.sort()
    at = ", ".join(
        f"p{p:g} {took[min(int(len(took) * p / 100), len(took) - 1)] * 1e3:.2f} ms" for p in (50, 90, 99)
    )
    print(f"{len(took)} crossings at {rate} updates/s: {at}, at most {took[-1] * 1e3:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("evaluate", "latency"))
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    if args.what == "latency":
        uvloop.run(latency(args.alerts, args.rate, args.seconds))
        return
    for moved in (0, 10, args.alerts):
        evaluate(args.alerts, moved)


if __name__ == "__main__":
    main()
