"""Writes the candles of all instruments: hears every trade on the bus, and stores candles as they become due."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Self

from nats.aio.subscription import Subscription

from mdstream.auth.patterns import ANY, Pattern, PatternSet
from mdstream.bus import Bus, ReaderStats, RecoveryOptions, parse_subject, subject
from mdstream.bus.candles import ensure_candles, stored_instruments, traded_instruments
from mdstream.bus.gap_recovery import RecoveryContext
from mdstream.bus.looking_back import LookingBack
from mdstream.candles.instrument import Clocks, InstrumentWriter
from mdstream.candles.reading import Position, TradeReader
from mdstream.errors import BusError, FeedError
from mdstream.model import InstrumentId

logger = logging.getLogger("mdstream.candles")

KEEP: Final = 2_000
"""Messages of candles that the stream keeps of each subject: a day of minutes, and what a client may ask for, with room for corrections."""
LEAST_KEEP: Final = 1_500
LOOK_S: Final = 0.02
QUIET_LOOK_S: Final = 1.0
RETRY_S: Final = 1.0
MOST_IGNORED: Final = 50_000
AT_ONCE: Final = 64


def _wall_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class CandleOptions:
    """What is written, and how often."""

    instruments: tuple[str, ...] = (ANY,)
    """Patterns of instruments."""
    interval_s: float = 0.1
    """The least time between two messages of an instrument."""
    take_over_s: float = 2.0
    """How old a trade becomes before another writer than the last one stores it."""
    keep: int = KEEP
    """Messages of each subject of candles, where the stream is made."""
    clocks: Clocks = field(default_factory=lambda: Clocks(time.monotonic, _wall_us))


class _Entry:
    """One instrument: its reader, its writer, and when something is to be done."""

    def __init__(self, reader: TradeReader, writer: InstrumentWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.is_open = False
        self.task: asyncio.Task[None] | None = None
        self.retry_s = 0.0
        self.said = ""

    @property
    def is_busy(self) -> bool:
        return self.task is not None and not self.task.done()


class CandleWriter:
    """Use it as an asynchronous context manager; it works until that ends."""

    def __init__(self, bus: Bus, options: CandleOptions | None = None) -> None:
        """Raises ValueError for a pattern that is none."""
        self._bus = bus
        self._options = options or CandleOptions()
        self._clocks = self._options.clocks
        self._patterns = PatternSet((Pattern.parse(text), 1) for text in self._options.instruments)
        recovery = RecoveryOptions()
        self._context = RecoveryContext(
            bus,
            recovery,
            ReaderStats(),
            asyncio.Semaphore(recovery.concurrent),
            LookingBack(recovery.look_back, self._clocks.now_s),
        )
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._entries: dict[InstrumentId, _Entry] = {}
        self._by_subject: dict[bytes, TradeReader | None] = {}
        self._active: set[_Entry] = set()
        """Those with trades that wait, or that are not open yet."""
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unregister: list[Callable[[], None]] = []

    # ---- begin and end

    async def __aenter__(self) -> Self:
        """Raises BusError, BusUnavailable."""
        await self._bus.ensure_streams()
        await ensure_candles(self._bus, keep=self._options.keep)
        self._unregister = [
            self._bus.on_disconnect(self._disconnected),
            self._bus.on_reconnect(self._reconnected),
        ]
        for stream, handler in (
            ("ref", self._on_ref),
            ("status", self._on_status),
            ("trade", self._on_trade),
        ):
            self._subscriptions.append(await self._bus.subscribe(f"md.*.*.{stream}", handler))
        await self._find_all()
        self._run(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        for unregister in self._unregister:
            unregister()
        for subscription in self._subscriptions:
            await self._bus.unsubscribe(subscription)
        tasks = [*self._tasks, *(entry.task for entry in self._entries.values() if entry.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for entry in self._entries.values():
            await entry.reader.close()

    @property
    def writers(self) -> list[InstrumentWriter]:
        return [entry.writer for entry in self._entries.values()]

    async def wait_idle(self) -> None:
        """Returns when all trades that have come are stored, by us or by another writer."""
        while any(
            not entry.is_open or entry.is_busy or entry.writer.waits for entry in self._entries.values()
        ):
            await asyncio.sleep(LOOK_S)

    # ---- messages

    def _on_trade(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        try:
            reader = self._by_subject[name]
        except KeyError:
            reader = self._meet(name)
        if reader is not None:
            reader.receive(payload)

    def _on_ref(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        reader = self._by_subject.get(name[: -len(b"ref")] + b"trade")
        if reader is not None:
            reader.receive_ref(payload)

    def _on_status(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        reader = self._by_subject.get(name[: -len(b"status")] + b"trade")
        if reader is not None:
            reader.receive_status(payload)

    def _meet(self, name: bytes) -> TradeReader | None:
        """The reader of an instrument whose first trade has come; None if its candles are not written here."""
        try:
            instrument, _ = parse_subject(name.decode())
        except ValueError:
            instrument = None
        reader = None
        if instrument is not None and self._patterns.match(str(instrument)):
            reader = self._add(instrument).reader
        if len(self._by_subject) > MOST_IGNORED:
            self._by_subject = {key: each for key, each in self._by_subject.items() if each is not None}
        self._by_subject[name] = reader
        return reader

    def _add(self, instrument: InstrumentId) -> _Entry:
        found = self._entries.get(instrument)
        if found is not None:
            return found

        def rewind(position: Position) -> None:
            entry.reader.rewind(position)

        def wake() -> None:
            self._active.add(entry)

        writer = InstrumentWriter(
            self._bus,
            instrument,
            self._clocks,
            interval_s=self._options.interval_s,
            take_over_s=self._options.take_over_s,
            rewind=rewind,
            wake=wake,
        )
        reader = TradeReader(self._context, instrument, writer, wall_us=self._clocks.wall_us)
        entry = self._entries[instrument] = _Entry(reader, writer)
        self._active.add(entry)
        return entry

    async def _find_all(self) -> None:
        """The instruments that have candles or trades."""
        for instrument in {*await stored_instruments(self._bus), *await traded_instruments(self._bus)}:
            if self._patterns.match(str(instrument)):
                self._by_subject[_trade_subject(instrument)] = self._add(instrument).reader

    # ---- the connection

    def _disconnected(self) -> None:
        for entry in self._entries.values():
            entry.reader.disconnected()

    def _reconnected(self) -> None:
        for entry in self._entries.values():
            entry.reader.reconnected()
        self._run(self._ensure_again())

    async def _ensure_again(self) -> None:
        """A server that lost its data has no stream."""
        while self._bus.connected:
            try:
                await ensure_candles(self._bus, keep=self._options.keep)
                return
            except BusError as error:
                logger.debug("%s", error)
            await asyncio.sleep(RETRY_S)

    # ---- work

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        """Begins what is due: for instruments with trades at once, for the others each second."""
        looked_s = self._clocks.now_s()
        while True:
            now_s = self._clocks.now_s()
            if now_s - looked_s >= QUIET_LOOK_S:
                looked_s = now_s
                self._active.update(self._entries.values())
            for entry in tuple(self._active):
                if not entry.is_busy:
                    self._look_at(entry, now_s)
            await asyncio.sleep(LOOK_S)

    def _look_at(self, entry: _Entry, now_s: float) -> None:
        if now_s < entry.retry_s:
            return
        if not entry.is_open:
            entry.task = asyncio.get_running_loop().create_task(self._guard(entry, self._open))
            return
        due_s = entry.writer.due_s()
        if due_s is not None and due_s <= now_s:
            entry.task = asyncio.get_running_loop().create_task(self._guard(entry, _step))
        elif not entry.writer.waits:
            self._active.discard(entry)

    async def _guard(self, entry: _Entry, work: Callable[[_Entry], Coroutine[Any, Any, None]]) -> None:
        """Does the work; a failure is told once, and the work is done again later."""
        try:
            async with self._slots:
                await work(entry)
            entry.said = ""
        except (BusError, FeedError) as error:
            self._failed(entry, str(error))
        except Exception:
            logger.exception("%s: its candles could not be written; trying again", entry.reader.instrument)
            entry.retry_s = self._clocks.now_s() + RETRY_S

    def _failed(self, entry: _Entry, why: str) -> None:
        entry.retry_s = self._clocks.now_s() + RETRY_S
        level = logging.DEBUG if entry.said else logging.WARNING
        logger.log(level, "%s: its candles are not written now: %s", entry.reader.instrument, why)
        entry.said = why

    async def _open(self, entry: _Entry) -> None:
        position = await entry.writer.load()
        entry.is_open = await entry.reader.start(position)
        if not entry.is_open:
            self._failed(entry, "no ref says what its prices mean")


async def _step(entry: _Entry) -> None:
    await entry.writer.step()


def _trade_subject(instrument: InstrumentId) -> bytes:
    return subject(instrument, "trade").encode()
