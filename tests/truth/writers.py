"""Two writers that tell the truth while they publish: one with the SDK, one as another language would do it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
from nats.aio.client import Client as Nats

from mdstream import feed
from mdstream.errors import FeedError
from truth.model import Levels, Truth

PUMP_S = 0.04
LOW, MIDDLE, HIGH = 9_000, 10_000, 11_000


def now_us() -> int:
    return time.time_ns() // 1000


class Market:
    """A book that changes by chance, on both sides of a middle that wanders; the best bid changes with every update."""

    def __init__(self, seed: object = 0, factor: int = 1) -> None:
        self.levels = Levels()
        self._random = random.Random(str(seed))
        self._factor = factor
        """Lots and ticks of a finer scale are so many times as large."""

    def change(self) -> tuple[list[int], list[int]]:
        draw, factor = self._random, self._factor
        bids = [draw.randrange(LOW, MIDDLE - 5), draw.randrange(0, 9)]
        bids += [MIDDLE - 5 + draw.randrange(0, 5), draw.randrange(1, 1_000)]
        asks = [draw.randrange(MIDDLE + 1, HIGH), draw.randrange(0, 9)]
        asks += [MIDDLE, draw.randrange(1, 1_000)]
        bids, asks = ([number * factor for number in side] for side in (bids, asks))
        self.levels.apply(bids, asks)
        return bids, asks


class Pumping:
    """What both writers share: updates at a steady pace while a block runs."""

    def update(self) -> Any:
        raise NotImplementedError

    @asynccontextmanager
    async def pumping(self, pause_s: float = PUMP_S) -> AsyncIterator[None]:
        task = asyncio.create_task(self._pump(pause_s))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def pump(self, seconds: float, pause_s: float = PUMP_S) -> None:
        async with self.pumping(pause_s):
            await asyncio.sleep(seconds)

    async def _pump(self, pause_s: float) -> None:
        while True:
            result = self.update()
            if result is not None:
                await result
            await asyncio.sleep(pause_s)


class SdkWriter(Pumping):
    """``mdstream.feed``; open it first."""

    def __init__(self, publisher: feed.Publisher, truth: Truth) -> None:
        self.publisher, self.truth = publisher, truth
        self.market = Market()
        self.instrument: feed.Instrument

    async def open(self, price_exp: int = -2, size_exp: int = -2, **ref: Any) -> None:
        """Announces; announced again, it is a new epoch, in which the same prices have more ticks if the scale is finer."""
        symbol = self.truth.name.partition(":")[2]
        self.instrument = await self.publisher.instrument(
            symbol, price_exp=price_exp, size_exp=size_exp, **ref
        )
        self.market = Market(self.instrument.epoch, 10 ** (-2 - price_exp))
        self.truth.begin(self.instrument.epoch, (price_exp, size_exp))

    def update(self) -> None:
        """Also moves the venue's word, as the contract says. Raises FeedError, and then it never was."""
        before = self.market.levels.flat()
        try:
            self.instrument.update_ticks(*self.market.change())
        except FeedError:
            self.market.levels = Levels(*before)
            raise
        self.truth.publish(self.instrument.epoch, self.instrument.seq, self.market.levels)

    def trade(self, ticks: int = MIDDLE, lots: int = 3) -> None:
        self.instrument.trade_ticks(ticks, lots, "buy")
        self.truth.trade(self.instrument.epoch, self.instrument.trade_seq, ticks, lots)


class RawWriter(Pumping):
    """Plain MessagePack on plain NATS. Without a truth it is an impostor: what it says never was."""

    def __init__(self, nats: Nats, name: str, truth: Truth | None = None, epoch: int | None = None) -> None:
        self.nats, self.truth = nats, truth
        self.jetstream = nats.jetstream(timeout=2)
        self.venue, _, self.symbol = name.partition(":")
        self.epoch = epoch or now_us()
        self.scale = (-2, -2)
        self.seq = self.trade_seq = 0
        self.market = Market(seed=id(self))
        self.heard_at = time.monotonic()
        self.clock_us = now_us
        self.snap_every = 50

    # ---- values

    async def live(self, stream: str, *values: Any) -> None:
        """Sends, without waiting for JetStream, which stores it all the same."""
        data = b"".join(msgpack.packb(value) for value in values)
        await self.nats.publish(f"md.{self.venue}.{self.symbol}.{stream}", data)

    async def stored(self, stream: str, value: Any) -> None:
        """Returns when it is stored."""
        await self.jetstream.publish(f"md.{self.venue}.{self.symbol}.{stream}", msgpack.packb(value))

    def ref_of(self, **changes: Any) -> dict[str, Any]:
        price_exp, size_exp = self.scale
        known = {"price_exp": price_exp, "size_exp": size_exp, "tick": 1, "lot": 1, "name": "raw"}
        return {"epoch": self.epoch} | known | changes

    def status_of(self, state: str = "trading", reason: str = "", **changes: Any) -> list[Any]:
        """``heard`` moves with updates, trades and ``hear`` alone."""
        now = self.clock_us()
        heard = now - int((time.monotonic() - self.heard_at) * 1e6)
        fields = {"ts": now, "book": self.seq, "trade": self.trade_seq, "heard": heard} | changes
        return [5, self.epoch, fields["ts"], state, reason, fields["book"], fields["trade"], fields["heard"]]

    def snap_of(self) -> list[Any]:
        return [2, self.epoch, self.seq, self.clock_us(), *self.market.levels.flat()]

    def book_of(self, epoch: int, seq: int) -> list[Any]:
        """An update that nobody should show: a narrow book far from the middle."""
        return [1, epoch, seq, seq, now_us(), [5_000, 7], [5_001, 7]]

    # ---- what a writer does

    async def begin(
        self, epoch: int | None = None, scale: tuple[int, int] = (-2, -2), state: str = "trading", **ref: Any
    ) -> None:
        """``ref``, ``status``, the opening ``snap``, in this order."""
        self.renew(epoch, scale)
        await self.stored("ref", self.ref_of(**ref))
        await self.stored("status", self.status_of(state))
        await self.stored("snap", self.snap_of())

    def renew(self, epoch: int | None = None, scale: tuple[int, int] = (-2, -2)) -> None:
        """A new epoch, true from now on, of which nothing is said yet."""
        self.epoch, self.scale = epoch or self.epoch, scale
        self.seq = self.trade_seq = 0
        self.market = Market(seed=(self.epoch, id(self)), factor=10 ** (-2 - scale[0]))
        if self.truth is not None:
            self.truth.begin(self.epoch, self.scale)

    def hear(self) -> None:
        self.heard_at = time.monotonic()
        if self.truth is not None:
            self.truth.word()

    def next(self) -> list[Any]:
        """The next update, true from now on; send it, or lose it."""
        self.seq += 1
        bids, asks = self.market.change()
        self.hear()
        if self.truth is not None:
            self.truth.publish(self.epoch, self.seq, self.market.levels)
        return [1, self.epoch, self.seq, self.seq, self.clock_us(), bids, asks]

    async def update(self) -> None:
        """And a status with every fifth: signs of life in time for the short bounds of these tests."""
        await self.live("book", self.next())
        if self.seq % 5 == 0:
            await self.status()
        if self.snap_every and self.seq % self.snap_every == 0:
            await self.live("snap", self.snap_of())

    async def status(self, state: str = "trading", reason: str = "", **changes: Any) -> None:
        await self.live("status", self.status_of(state, reason, **changes))

    async def snap(self) -> None:
        await self.stored("snap", self.snap_of())

    async def trade(self, ticks: int = MIDDLE, lots: int = 3) -> None:
        self.trade_seq += 1
        self.hear()
        if self.truth is not None:
            self.truth.trade(self.epoch, self.trade_seq, ticks, lots)
        await self.live("trade", [3, self.epoch, self.trade_seq, now_us(), ticks, lots, 1, self.trade_seq])


class Tap:
    """The newest that is on the bus, as a plain subscriber sees it: the truth of a writer that we do not hold in hand.

    When the venue was heard is noted where the venue speaks.
    """

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.levels: dict[int, Levels] = {}
        self.state = ""
        self.first_at: dict[str, float] = {}
        """When a stream was first heard since it was forgotten."""

    async def listen(self, nats: Nats) -> None:
        venue, _, symbol = self.truth.name.partition(":")
        await nats.subscribe(f"md.{venue}.{symbol}.*", cb=self._take)
        await nats.flush()

    async def _take(self, message: Any) -> None:
        stream = message.subject.rpartition(".")[2]
        self.first_at.setdefault(stream, time.monotonic())
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(message.data)
        for value in unpacker:
            getattr(self, f"_take_{stream}")(value)

    def _take_ref(self, value: dict[str, Any]) -> None:
        epoch = value.get("epoch", 0)
        if epoch and epoch not in self.truth.scales:
            self.truth.begin(epoch, (value["price_exp"], value["size_exp"]), word=False)
            self.levels[epoch] = Levels()

    def _take_snap(self, value: list[Any]) -> None:
        """Says nothing that the updates have not said."""

    def _take_book(self, value: list[Any]) -> None:
        _, epoch, _, last, _, bids, asks = value
        levels = self.levels.setdefault(epoch, Levels())
        levels.apply(bids, asks)
        self.truth.publish(epoch, last, levels, word=False)

    def _take_trade(self, value: list[Any]) -> None:
        _, epoch, seq, _, ticks, lots, *_ = value
        self.truth.trade(epoch, seq, ticks, lots, word=False)

    def _take_status(self, value: list[Any]) -> None:
        self.state = value[3]
