"""A small market for the tests of the readers: a writer, and readers into the core or a plain Python model of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mdstream._core.fanout.flush_scheduler import FlushScheduler
from mdstream._core.fanout.hub import Hub
from mdstream.bus import (
    Bus,
    BusOptions,
    EmbeddedNats,
    InstrumentReader,
    ReaderOptions,
    Readers,
    RecoveryOptions,
    connect,
    subject,
)
from mdstream.errors import BookError, PayloadError
from mdstream.gateway.hub_target import HubTarget
from mdstream.model import InstrumentId, Ref, State, StateCode
from support.flushing import QuietHub
from support.tokens import public_pem

NOTHING, APPLIED, GAP, NEW_EPOCH, UNKNOWN = range(5)
# Nothing here comes to an end sooner on a busy machine: neither patience with the log nor with the server.
QUICK_RECOVERY = RecoveryOptions(log_lag_s=5.0, retry_base_s=0.01, retry_cap_s=0.05)
QUICK_BUS = {"reconnect_cap_s": 0.05, "connect_deadline_s": 10.0}

Side = dict[int, int]


def apply(side: Side, flat: list[int]) -> None:
    for ticks, lots in zip(flat[::2], flat[1::2], strict=True):
        if lots:
            side[ticks] = lots
        else:
            side.pop(ticks, None)


class Notes:
    """What a reader tells its watcher, and does to its core besides updates."""

    def __init__(self, ref: Ref, changed: Callable[[], None]) -> None:
        self.ref = ref
        self.resets: list[tuple[int, int]] = []
        self.loads = 0
        self.states: list[tuple[str, State, str]] = []
        self.codes: list[tuple[str, StateCode | None, int | None]] = []
        """What was told with each state: stream, code, age in ms."""
        self.refs: list[tuple[Ref, bool]] = []
        self._changed = changed

    def on_state(
        self, stream: str, state: State, code: StateCode | None, reason: str, age_ms: int | None
    ) -> None:
        self.states.append((stream, state, reason))
        self.codes.append((stream, code, age_ms))
        self._changed()

    def on_ref(self, ref: Ref, rescaled: bool) -> None:
        self.refs.append((ref, rescaled))
        self._changed()


class Model(Notes):
    """The core's side of an instrument, as plainly as it can be."""

    def __init__(self, ref: Ref, changed: Callable[[], None]) -> None:
        super().__init__(ref, changed)
        self.epoch = self.seq = self.awaited = 0
        self.past: dict[tuple[int, int], tuple[Side, Side]] = {}
        self.updates: dict[tuple[int, int], list[Any]] = {}
        self.bids: Side = {}
        self.asks: Side = {}
        self.trade_epoch = self.trade_seq = 0
        self.trades: list[tuple[int, int]] = []

    def book_position(self) -> tuple[int, int]:
        return self.epoch, self.seq

    def trade_position(self) -> tuple[int, int]:
        return self.trade_epoch, self.trade_seq

    def begin(self, epoch: int) -> None:
        self.epoch, self.seq, self.bids, self.asks = epoch, 0, {}, {}
        self.past[epoch, 0] = {}, {}
        self.trade_epoch, self.trade_seq = epoch, 0

    def await_number(self, seq: int) -> None:
        self.awaited = seq

    def take_book(self, payload: bytes) -> int:
        outcome = NOTHING
        for value in self._values(payload, 1):
            _, epoch, first, last, _, bids, asks = value
            if epoch < self.epoch or (epoch == self.epoch and last <= self.seq):
                continue
            if epoch > self.epoch:
                return UNKNOWN
            if first > self.seq + 1:
                return GAP
            new_bids, new_asks = dict(self.bids), dict(self.asks)
            apply(new_bids, bids)
            apply(new_asks, asks)
            if new_bids and new_asks and max(new_bids) >= min(new_asks):
                raise BookError(f"update {last} crosses the book")
            outcome = APPLIED
            self.seq, self.bids, self.asks = last, new_bids, new_asks
            self.past[epoch, last] = new_bids, new_asks
            self.updates[epoch, last] = value
        return outcome

    def take_trades(self, payload: bytes) -> int:
        outcome = NOTHING
        for value in self._values(payload, 3):
            epoch, seq = value[1:3]
            if epoch < self.trade_epoch or (epoch == self.trade_epoch and seq <= self.trade_seq):
                continue
            if epoch > self.trade_epoch:
                return UNKNOWN
            if seq > self.trade_seq + 1:
                return GAP
            self.trade_seq = seq
            self.trades.append((epoch, seq))
            self.updates[-epoch, seq] = value
            outcome = APPLIED
        return outcome

    def load_snap(self, payload: bytes, *, force: bool = False) -> bool:
        _, epoch, seq, _, bids, asks = msgpack.unpackb(payload)
        if epoch != self.epoch or (seq <= self.seq and not force):
            return False
        self.epoch, self.seq, self.bids, self.asks = epoch, seq, {}, {}
        apply(self.bids, bids)
        apply(self.asks, asks)
        self.past[epoch, seq] = dict(self.bids), dict(self.asks)
        self.loads += 1
        return True

    def repeats(self, stream: str, payload: bytes) -> bool:
        for value in self._values(payload, 1 if stream == "book" else 3):
            key = (value[1], value[3]) if stream == "book" else (-value[1], value[2])
            if self.updates.get(key, value) != value:
                return False
        return True

    def agrees(self, snap: bytes) -> bool | None:
        _, epoch, seq, _, bids, asks = msgpack.unpackb(snap)
        flat = tuple(
            [n for ticks in sorted(side, reverse=reverse) for n in (ticks, side[ticks])]
            for side, reverse in zip(self.past.get((epoch, seq), ({}, {})), (True, False), strict=True)
        )
        return flat == (bids, asks) if (epoch, seq) in self.past else None

    def reset_trades(self, epoch: int, seq: int) -> None:
        self.trade_epoch, self.trade_seq = epoch, seq
        self.resets.append((epoch, seq))

    @staticmethod
    def _values(payload: bytes, kind: int) -> list[Any]:
        unpacker = msgpack.Unpacker()
        unpacker.feed(payload)
        try:
            values = list(unpacker)
        except msgpack.UnpackException as error:
            raise PayloadError("bytes that are no MessagePack", offset=0, value=0) from error
        if not all(isinstance(value, list) and value[:1] == [kind] for value in values):
            raise PayloadError("a value that the contract does not allow", offset=0, value=0)
        return values


class Core(Notes):
    """The compiled core, fed straight from the read buffer as in a gateway; what a test asks for is read from it."""

    def __init__(self, ref: Ref, changed: Callable[[], None]) -> None:
        super().__init__(ref, changed)
        hub = Hub()
        self._core = hub.add_instrument("SIM:TEST", ref.price_exp, ref.size_exp)
        self._target = HubTarget(hub, self._core)
        self._given_up: list[tuple[int, int]] = []
        self.take_book, self.take_trades = self._target.take_book, self._target.take_trades
        self.book_position, self.trade_position = self._target.book_position, self._target.trade_position
        self.begin, self.await_number = self._target.begin, self._target.await_number
        self.agrees, self.repeats = self._target.agrees, self._target.repeats

    def load_snap(self, payload: bytes, *, force: bool = False) -> bool:
        loaded = self._target.load_snap(payload, force=force)
        self.loads += loaded
        return loaded

    def reset_trades(self, epoch: int, seq: int) -> None:
        self._given_up = self.trades
        self._target.reset_trades(epoch, seq)
        self.resets.append((epoch, seq))

    @property
    def bids(self) -> Side:
        return _pairs(self._core.book.view()[0])

    @property
    def asks(self) -> Side:
        return _pairs(self._core.book.view()[1])

    @property
    def trade_seq(self) -> int:
        return self.trade_position()[1]

    @property
    def trades(self) -> list[tuple[int, int]]:
        """As the log kept them until the last reset, and keeps them since."""
        epoch, seq = self.trade_position()
        return self._given_up + [(epoch, each) for each in range(self._core.trades.oldest, seq + 1)]


def _pairs(flat: list[int]) -> Side:
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Writer:
    """The single writer of an instrument: keeps the true book and publishes what it is told to."""

    def __init__(self, bus: Bus, instrument: InstrumentId, epoch: int) -> None:
        self.bus, self.instrument, self.epoch = bus, instrument, epoch
        self.seq = self.trade_seq = 0
        self.bids: Side = {}
        self.asks: Side = {}
        self.history: dict[tuple[int, int], tuple[Side, Side]] = {(epoch, 0): ({}, {})}
        self._random = random.Random(epoch)

    async def announce(self, **ref: object) -> None:
        await self._publish(
            "ref",
            {"epoch": self.epoch, "price_exp": -2, "size_exp": -8, "tick": 1, "lot": 1, "name": "Test"} | ref,
        )

    async def status(self, state: str, reason: str = "", *more: int) -> None:
        """``more``: the numbers of book and trades, and when the venue was heard, by a clock that stands at 10^15."""
        await self._publish("status", [5, self.epoch, 10**15, state, reason, *more])

    async def snap(self) -> None:
        """Old event times on purpose, as those of a replayed recording."""
        bids = [n for ticks in sorted(self.bids, reverse=True) for n in (ticks, self.bids[ticks])]
        asks = [n for ticks in sorted(self.asks) for n in (ticks, self.asks[ticks])]
        await self._publish("snap", [2, self.epoch, self.seq, 1_600_000_000_000_000, bids, asks])

    def change(self) -> bytes:
        """One update, applied to the true book; the caller delivers the payload."""
        self.seq += 1
        bids, asks = self._levels(900, 999), self._levels(1001, 1100)
        apply(self.bids, bids)
        apply(self.asks, asks)
        self.history[self.epoch, self.seq] = dict(self.bids), dict(self.asks)
        return msgpack.packb([1, self.epoch, self.seq, self.seq, 1_600_000_000_000_000, bids, asks])

    def _levels(self, low: int, high: int) -> list[int]:
        return [n for _ in range(3) for n in (self._random.randint(low, high), self._random.randint(0, 5))]

    async def update(self, count: int = 1) -> None:
        for _ in range(count):
            await self.bus.publish(subject(self.instrument, "book"), self.change())

    async def trade(self, count: int = 1) -> None:
        for _ in range(count):
            self.trade_seq += 1
            value = [3, self.epoch, self.trade_seq, 0, 1000, 1, 1, self.trade_seq]
            await self.bus.publish(subject(self.instrument, "trade"), msgpack.packb(value))

    async def raw(self, stream: str, payload: bytes) -> None:
        await self.bus.publish(subject(self.instrument, stream), payload)

    async def stored(self, *streams: str) -> None:
        """Returns when the server has stored what was published on these streams, ``book`` and ``trade`` if not given."""
        while True:
            await self.bus.flush()
            for stream in streams or ("book", "trade"):
                seq = self.seq if stream == "book" else self.trade_seq
                newest = await self.bus.last("MD_LOG", subject(self.instrument, stream))
                if seq and (newest is None or msgpack.unpackb(newest)[2] < seq):
                    break
            else:
                return

    async def _publish(self, stream: str, value: object) -> None:
        """Returns when it is stored: the next reader of the instrument finds it."""
        await self.bus.publish_acked(subject(self.instrument, stream), msgpack.packb(value))


async def connected(bus: Bus, wanted: bool = True) -> None:
    """Waits until a bus is connected, or has noticed that it is not."""
    changed = asyncio.Event()
    unregister = (bus.on_disconnect(changed.set), bus.on_reconnect(changed.set))
    while bus.connected is not wanted:
        changed.clear()
        await changed.wait()
    for each in unregister:
        each()


class Market:
    """A writer and readers, each on a connection of its own."""

    def __init__(
        self,
        server: EmbeddedNats,
        writing: Bus,
        reading: Bus,
        options: ReaderOptions,
        side: type[Model | Core],
        coalesce_s: float,
    ) -> None:
        self.server, self.writing, self.reading, self._side = server, writing, reading, side
        self.flushes = 0
        self.models: dict[InstrumentReader, Model | Core] = {}
        self._changed = asyncio.Event()
        self.on_tick: Callable[[], object] = lambda: None
        self.hub = QuietHub(self._flush)
        self.hub.changed = True  # a model does not say; so there is a flush after each read
        self.scheduler = FlushScheduler(self.hub, coalesce_max_us=int(coalesce_s * 1e6), on_tick=self._tick)
        self.scheduler.start(asyncio.get_running_loop())
        self.readers = Readers(reading, self.scheduler, options)

    def writer(self, symbol: str = "A", epoch: int = 1) -> Writer:
        return Writer(self.writing, InstrumentId("SIM", symbol), epoch)

    async def open(self, symbol: str = "A", *, live: bool = True) -> tuple[InstrumentReader, Model | Core]:
        """Opens an instrument with a model as the core's side, and waits until it is live unless told otherwise."""
        watcher = _Watcher()

        def make_target(ref: Ref) -> Model | Core:
            watcher.model = self._side(ref, self._changed.set)
            return watcher.model

        reader = await self.readers.open(InstrumentId("SIM", symbol), make_target, watcher)
        model = self.models[reader] = watcher.model
        if live:
            await reader.wait_live()
        return reader, model

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits until a condition holds; looked at after each change in the core and each state told."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def equal(self, writer: Writer, model: Model | Core) -> None:
        """Waits until the model stands where the writer does, and is the same."""
        await self.until(lambda: model.book_position() == (writer.epoch, writer.seq))
        assert (model.bids, model.asks) == (writer.bids, writer.asks)

    async def away(self) -> None:
        """Waits until writer and readers have noticed that the server is gone."""
        await connected(self.writing, False)
        await connected(self.reading, False)

    async def back(self) -> None:
        """Waits until writer and readers are connected and the streams are there."""
        for bus in (self.writing, self.reading):
            await connected(bus)
            await bus.ensured()

    async def in_step(self) -> None:
        """Returns when all that was published before has come to the readers."""
        await self.writing.flush()
        await self.reading.flush()

    @contextlib.contextmanager
    def withheld(self, reader: InstrumentReader, *streams: str) -> Any:
        """Loses what the bus delivers to a reader on some streams."""
        taps, sid = self.reading.client._taps, reader._subscription._id
        handler = taps[sid]

        def lossy(subject: bytes, *rest: Any) -> None:
            if subject.rpartition(b".")[2].decode() not in streams:
                handler(subject, *rest)

        taps[sid] = lossy
        try:
            yield
        finally:
            taps[sid] = handler

    async def close(self) -> None:
        await self.readers.close()
        self.scheduler.stop()

    def _flush(self) -> None:
        self.flushes += 1
        self._changed.set()

    def _tick(self) -> None:
        self.on_tick()


class _Watcher:
    model: Model | Core

    def on_state(self, *told: Any) -> None:
        self.model.on_state(*told)

    def on_ref(self, ref: Ref, rescaled: bool) -> None:
        self.model.on_ref(ref, rescaled)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The public key of the tokens that ``support.tokens`` signs with EdDSA."""
    path = tmp_path / "public.pem"
    path.write_bytes(public_pem("EdDSA"))
    return path


@pytest.fixture(params=["compiled", "plain"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who reads what NATS sends: our scanner, or nats-py's own parser."""
    monkeypatch.setenv("MDSTREAM_NATS_PARSER", request.param)
    return request.param


@pytest.fixture(params=[Model, Core], ids=["model", "core"])
def market(
    request: pytest.FixtureRequest, parser: str, nats_server: EmbeddedNats
) -> Callable[..., contextlib.AbstractAsyncContextManager[Market]]:
    """``async with market() as m``: keywords are those of RecoveryOptions, two of ReaderOptions, and ``bus`` for BusOptions."""

    @contextlib.asynccontextmanager
    async def open_market(
        server: EmbeddedNats = nats_server,
        stale_after_s: float | None = None,
        coalesce_s: float = 0.01,
        bus: dict[str, Any] | None = None,
        **recovery: Any,
    ) -> AsyncIterator[Market]:
        options = ReaderOptions(stale_after_s, replace(QUICK_RECOVERY, **recovery))
        bus_options = BusOptions((server.url,), **QUICK_BUS, **(bus or {}))
        async with await connect(bus_options) as writing, await connect(bus_options) as reading:
            await writing.ensure_streams()
            await reading.ensure_streams()
            made = Market(server, writing, reading, options, request.param, coalesce_s)
            yield made
            await made.close()

    return open_market
