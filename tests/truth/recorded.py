"""Recorded markets, published with faults of every kind at random places: nothing is shown as ``live`` that they do not have."""

from __future__ import annotations

import asyncio
import csv
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nats.aio.client import Client as Nats

from mdstream import feed
from mdstream.feeds._actions import Apply, Load, Lost
from mdstream.feeds._published import Scale
from mdstream.feeds.binance.events import DepthDiff, DepthSnapshot
from mdstream.feeds.binance.recording import read_recording as read_binance
from mdstream.feeds.binance.recording import summarize as summarize_binance
from mdstream.feeds.binance.sync import DepthSync
from mdstream.feeds.kraken.events import BookMessage
from mdstream.feeds.kraken.recording import read_recording as read_kraken
from mdstream.feeds.kraken.recording import summarize as summarize_kraken
from mdstream.feeds.kraken.sync import PairSync
from support.pipeline import DATA
from truth.model import Levels, Truth
from truth.rig import STALE_S, Case
from truth.writers import RawWriter, now_us

BINANCE = DATA / "binance_spot_btcusdt" / "btcusdt_20240808.gz"
KRAKEN = DATA / "kraken_v1" / "KRAKEN.ws.50.0"
LOBSTER = DATA / "lobster_aapl" / "AAPL_2012-06-21_34200000_57600000_orderbook_10.csv"

PLACES = 200
PAUSE_S = 0.004
HOUR_US = 3_600_000_000

Step = tuple[str, Load | Apply]


@dataclass
class Recording:
    """What a venue's handler makes of a recording: scales by symbol, and the book's steps in order."""

    venue: str
    scales: dict[str, Scale]
    steps: list[Step]


def binance() -> Recording:
    summary, sync = summarize_binance(BINANCE), DepthSync()
    steps: list[Step] = []
    for recorded in read_binance(BINANCE):
        if isinstance(recorded.event, DepthDiff):
            actions = sync.on_diff(recorded.event)
        elif isinstance(recorded.event, DepthSnapshot):
            actions = sync.on_snapshot(recorded.event)
        else:
            continue
        steps += [("BTCUSDT", action) for action in actions if not isinstance(action, Lost)]
    return Recording("BINANCE", {"BTCUSDT": Scale(summary.price_exp, summary.size_exp)}, steps)


def kraken() -> Recording:
    pairs = summarize_kraken(KRAKEN)
    syncs = {name: PairSync(name, pair.depth, pair.precision) for name, pair in pairs.items()}
    steps: list[Step] = []
    for recorded in read_kraken(KRAKEN):
        if isinstance(recorded.event, BookMessage):
            name = recorded.event.pair
            actions = syncs[name].on_book(recorded.event)
            steps += [(name, action) for action in actions if not isinstance(action, Lost)]
    return Recording("KRAKEN", {n: Scale(pair.price_exp, pair.size_exp) for n, pair in pairs.items()}, steps)


def lobster() -> Recording:
    def sides(row: list[str]) -> Load:
        levels = [
            [str(Decimal(price).scaleb(-4)), size] for price, size in zip(row[::2], row[1::2], strict=True)
        ]
        return Load([(p, s) for p, s in levels[1::2]], [(p, s) for p, s in levels[::2]], 0)

    with LOBSTER.open(newline="") as rows:
        return Recording("NASDAQ", {"AAPL": Scale(-4, 0)}, [("AAPL", sides(row)) for row in csv.reader(rows)])


RECORDINGS: dict[str, Callable[[], Recording]] = {"binance": binance, "kraken": kraken, "lobster": lobster}
PATHS = {"binance": BINANCE, "kraken": KRAKEN, "lobster": LOBSTER}


class Played:
    """One instrument of a recording while it is published. Its truth is kept from the recording, not from the publisher's book."""

    def __init__(self, publisher: feed.Publisher, venue: str, symbol: str, scale: Scale) -> None:
        self.publisher, self.symbol, self.scale = publisher, symbol, scale
        self.truth = Truth(f"{venue}:{symbol}")
        self.levels = Levels()
        self.finer = 0
        self.instrument: feed.Instrument

    @property
    def exponents(self) -> tuple[int, int]:
        return self.scale.price_exp - self.finer, self.scale.size_exp

    async def open(self, finer: int = 0) -> None:
        """A new epoch with the book as it is, in ticks that are finer by so many decimals."""
        bids, asks = (_shifted(side, finer - self.finer) for side in self.levels.flat())
        self.finer = finer
        price_exp, size_exp = self.exponents
        self.instrument = await self.publisher.instrument(self.symbol, price_exp=price_exp, size_exp=size_exp)
        self.levels = Levels(bids, asks)
        self.truth.begin(self.instrument.epoch, self.exponents)
        if bids or asks:
            self.instrument.replace_ticks(bids, asks)
            self._true()

    def perform(self, action: Load | Apply) -> None:
        bids, asks = self._flat(action.bids), self._flat(action.asks)
        if isinstance(action, Apply):
            self.instrument.update_ticks(bids, asks)
            self.levels.apply(bids, asks)
        elif self.instrument.replace_ticks(bids, asks):
            self.levels = Levels(bids, asks)
        else:
            return
        self._true()

    def _true(self) -> None:
        self.truth.publish(self.instrument.epoch, self.instrument.seq, self.levels)

    def _flat(self, levels: Any) -> list[int]:
        price_exp, size_exp = self.exponents
        return [
            number
            for price, size in levels
            for number in (int(Decimal(price).scaleb(-price_exp)), int(Decimal(size).scaleb(-size_exp)))
        ]


def _shifted(flat: list[int], decimals: int) -> list[int]:
    """Flat levels with the same prices in ticks of so many more decimals."""
    ticks = [n * 10**decimals if decimals >= 0 else n // 10**-decimals for n in flat[::2]]
    return [number for level in zip(ticks, flat[1::2], strict=True) for number in level]


class Injector:
    """Injects faults into one instrument at a time; each returns when the instrument can go on."""

    def __init__(self, case: Case, nats: Nats, chance: random.Random, readers: dict[str, list[Any]]) -> None:
        self.case, self.nats, self.chance, self.readers = case, nats, chance, readers
        self.done: dict[str, int] = {}
        self._snaps: dict[str, list[Any]] = {}
        self._faults: list[Callable[[Played], Awaitable[None]]] = [
            self.freeze, self.smaller_epoch, self.number_ahead, self.twin, self.epoch_ahead, self.snap_ahead,
            self.other_decimals, self.contradictory_ref, self.status_ahead, self.writer_again, self.refused_ref,
            self.older_snap, self.clients_resume, self.gateway_killed, self.gateway_stopped, self.log_purged,
        ]  # fmt: skip
        # Each number ahead is followed by a new epoch: two strangers may bear each other out, which the contract allows.

    async def any(self, played: Played) -> None:
        fault = self._faults[sum(self.done.values()) % len(self._faults)]
        self.done[fault.__name__] = self.done.get(fault.__name__, 0) + 1
        await fault(played)

    def _stranger(self, played: Played, epoch: int) -> RawWriter:
        stranger = RawWriter(self.nats, played.truth.name, None, epoch)
        stranger.scale = played.exponents
        return stranger

    def _twin(self, played: Played) -> RawWriter:
        twin = self._stranger(played, played.instrument.epoch)
        twin.seq = played.instrument.seq
        return twin

    # ---- A

    async def freeze(self, played: Played) -> None:
        """The venue is silent, on all instruments."""
        await asyncio.sleep(STALE_S + 1.5)

    async def smaller_epoch(self, played: Played) -> None:
        stranger = self._stranger(played, played.instrument.epoch - self.chance.randrange(1, HOUR_US))
        await stranger.begin()
        for _ in range(5):
            await stranger.update()

    async def twin(self, played: Played) -> None:
        """Numbers repeated with other content, until the writer begins a greater epoch."""
        played.truth.contested.add(played.instrument.epoch)
        twin = self._twin(played)
        played.truth.doubt(trades=False)
        for seq in range(max(1, twin.seq - 3), twin.seq + 1):
            await twin.live("book", twin.book_of(twin.epoch, seq))
        await asyncio.sleep(1.2)
        await self.writer_again(played)
        played.truth.settle()

    async def epoch_ahead(self, played: Played) -> None:
        stranger = self._stranger(played, now_us() + 2 * HOUR_US)
        await stranger.begin()
        for _ in range(5):
            await stranger.update()

    async def number_ahead(self, played: Played) -> None:
        twin = self._twin(played)
        await twin.live("book", twin.book_of(twin.epoch, twin.seq + self.chance.randrange(1_000, 10**6)))

    async def snap_ahead(self, played: Played) -> None:
        twin = self._twin(played)
        twin.seq += self.chance.randrange(1_000, 10**6)
        twin.market.change()
        await twin.live("snap", twin.snap_of())

    async def status_ahead(self, played: Played) -> None:
        twin = self._twin(played)
        await twin.status(book=twin.seq + self.chance.randrange(1_000, 10**6))

    # ---- B

    async def other_decimals(self, played: Played) -> None:
        await played.open(self.chance.choice([each for each in (0, 1, 2) if each != played.finer]))

    async def contradictory_ref(self, played: Played) -> None:
        if any(reader.sub is None for reader in self.readers[played.symbol]):
            # A gateway that has read no ref of this epoch takes the first one for right. (The stored one may be hours ahead.)
            await self.writer_again(played)
            return
        twin = self._twin(played)
        with played.truth.doubted():
            await twin.stored("ref", twin.ref_of(price_exp=twin.scale[0] - 1))
            await asyncio.sleep(0.2)
            await twin.stored("ref", twin.ref_of())

    async def refused_ref(self, played: Played) -> None:
        twin = self._twin(played)
        await twin.live(
            "ref", {key: value for key, value in twin.ref_of(price_exp=0).items() if key != "epoch"}
        )
        await twin.live("ref", twin.ref_of(name="n" * 1025))
        await twin.stored("ref", twin.ref_of())

    # ---- C

    async def older_snap(self, played: Played) -> None:
        """One of before comes again, and is the stored one."""
        key, epoch = played.symbol, played.instrument.epoch
        old = self._snaps.pop(key, None)
        self._snaps[key] = [2, epoch, played.instrument.seq, now_us(), *played.levels.flat()]
        twin = self._twin(played)
        await twin.stored("snap", old if old and old[1] == epoch and old[2] else self._snaps[key])

    async def clients_resume(self, played: Played) -> None:
        for reader in self.readers[played.symbol]:
            reader.hang_up()

    async def gateway_killed(self, played: Played) -> None:
        gateway = self.chance.choice(self.case.gateways)
        await asyncio.to_thread(gateway.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(gateway.start)

    async def gateway_stopped(self, played: Played) -> None:
        with self.chance.choice(self.case.gateways).paused():
            await asyncio.sleep(0.4)

    async def log_purged(self, played: Played) -> None:
        """And clients that come back."""
        venue, _, symbol = played.truth.name.partition(":")
        await self.nats.jetstream().purge_stream("MD_LOG", subject=f"md.{venue}.{symbol}.book")
        await self.clients_resume(played)

    async def writer_again(self, played: Played) -> None:
        """It opens the instrument again: a new epoch, in the same scale."""
        await played.open(played.finer)


async def play(recording: Recording, case: Case, seed: int, places: int = PLACES) -> dict[str, int]:
    """Publishes the recording with faults at random places; returns how many of each there were."""
    chance = random.Random(seed)
    at = set(chance.sample(range(len(recording.steps)), places))
    publisher = await case.publisher(recording.venue)
    played = {
        name: Played(publisher, recording.venue, name, scale) for name, scale in recording.scales.items()
    }
    readers: dict[str, list[Any]] = {}
    for name, each in played.items():
        await each.open()
        views = ({"gateway": 0, "format": "json"}, {"gateway": 1, "format": "msgpack"})
        readers[name] = [await case.read(truth=each.truth, **view) for view in views]
    injector = Injector(case, await case.nats(), chance, readers)
    for number, (name, action) in enumerate(recording.steps):
        played[name].perform(action)
        await asyncio.sleep(PAUSE_S)
        if number in at:
            await injector.any(played[name])
    async with _heard(list(played.values())):
        await case.current(within_s=75)  # what a stranger has put into storage is replaced within a minute
    return injector.done


@asynccontextmanager
async def _heard(played: list[Played]) -> AsyncIterator[None]:
    """The venue is heard while the end of a recording is waited for."""

    async def hear() -> None:
        while True:
            for each in played:
                each.instrument.heard()
                each.truth.word()
            await asyncio.sleep(0.2)

    task = asyncio.create_task(hear())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
