"""The channel ``candles``: read from ``MD_CANDLES`` while somebody asks, once for each instrument and span, and sent to all who do."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream.bus import MD_STATE, Bus, subject
from mdstream.bus.candles import (
    Stats,
    decode_stats,
    has_candles,
    last_stats,
    live_stats_subject,
    previous_seq,
    read_candles,
    stream_seq,
)
from mdstream.bus.streams import MD_CANDLES
from mdstream.candle import SPANS
from mdstream.codes import ErrorCode
from mdstream.errors import BusError, CommandError, FeedError
from mdstream.gateway import messages
from mdstream.gateway.candle_log import CandleLog
from mdstream.gateway.candle_pulse import CandlePulse
from mdstream.model import Channel, InstrumentId, Ref

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.topic_composed import ComposedTopic

log = logging.getLogger("mdstream.gateway.candles")

NO_WRITER: Final = "there are no candles on this bus: nobody runs `mdstream candles`"
INTERVAL_MS: Final = 100
"""The least time between two messages of a topic."""
KEPT_S: Final = 30.0
"""How long one is kept that nobody asks for: the page that shows it may be loaded again."""
MOST: Final = 1_024
"""Instruments and spans that are shown at a time."""
RETRY_S: Final = 1.0
MOST_PENDING: Final = 256
AT_ONCE: Final = 16
"""Instruments that are read at a time."""
_EPOCH_BITS: Final = 52
_NAMES: Final = tuple(SPANS)


@dataclass(eq=False, slots=True)
class CandleTopic:
    """The candles of one instrument and span."""

    instrument: InstrumentId
    span: str
    source: CandleLog
    topic: ComposedTopic
    ref: Ref
    pulse: CandlePulse
    is_read: bool = False
    timer: asyncio.TimerHandle | None = None
    published_s: float = float("-inf")
    asked_s: float = 0.0
    """When somebody last asked for it."""


@dataclass(eq=False, slots=True)
class _Feed:
    """What comes live of one instrument."""

    instrument: InstrumentId
    pulse: CandlePulse
    topics: dict[str, CandleTopic] = field(default_factory=dict)
    subscription: Subscription | None = None
    last_seq: int = 0
    """The number in the stream of the newest message that is in all topics that are read; 0: none is."""
    pending: list[tuple[int, Stats]] = field(default_factory=list)
    """What came while something is read."""
    work: asyncio.Task[None] | None = None
    failed: BusError | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class CandleTopics:
    """All candles that this gateway shows now."""

    def __init__(self, hub: Hub, *, wall_us: Callable[[], int], delay_ms: int = 0) -> None:
        self._hub = hub
        self._wall_us = wall_us
        self._delay_ms = delay_ms
        self._bus: Bus | None = None
        self._feeds: dict[InstrumentId, _Feed] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._unregister: Callable[[], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[CandleTopic]:
        return iter([each for feed in self._feeds.values() for each in feed.topics.values()])

    def use(self, bus: Bus) -> None:
        """Makes it possible to read."""
        self._bus = bus
        self._unregister = bus.on_reconnect(self._reconnected)

    # ---- opening

    def find(self, name: str, span: str) -> CandleTopic | None:
        """One that is read and kept up; None: ``open`` it."""
        try:
            feed = self._feeds.get(InstrumentId.parse(name))
        except ValueError:
            return None
        found = None if feed is None else feed.topics.get(span)
        if found is None or not found.is_read:
            return None
        found.asked_s = _now_s()
        return found

    async def open(self, name: str, span: str) -> CandleTopic:
        """Reads the candles, unless they are read. Raises CommandError ``unknown_instrument`` or ``unavailable``."""
        try:
            instrument = InstrumentId.parse(name)
        except ValueError as error:
            raise CommandError(ErrorCode.UNKNOWN_INSTRUMENT, str(error)) from None
        if self._delay_ms:
            raise CommandError(
                ErrorCode.UNAVAILABLE,
                "this gateway is late, and candles are not served late; ask one that is live",
            )
        try:
            return await self._open(self._connected(), instrument, span)
        except BusError as error:
            raise CommandError(ErrorCode.UNAVAILABLE, f"{error}; try again") from None

    def _connected(self) -> Bus:
        if self._bus is None or not self._bus.connected:
            raise CommandError(ErrorCode.UNAVAILABLE, "NATS is not connected; try again")
        return self._bus

    async def _open(self, bus: Bus, instrument: InstrumentId, span: str) -> CandleTopic:
        feed = self._feeds.get(instrument)
        if feed is None or span not in feed.topics:
            async with self._slots:
                ref = await self._ref(bus, instrument)
            feed = self._feed(instrument)
            if span not in feed.topics:
                feed.topics[span] = self._make(feed, span, ref)
        found = feed.topics[span]
        found.asked_s = _now_s()
        if not found.is_read:
            await self._read(bus, feed)
        return found

    def _feed(self, instrument: InstrumentId) -> _Feed:
        feed = self._feeds.get(instrument)
        if feed is None:
            if sum(len(each.topics) for each in self._feeds.values()) >= MOST:
                self._give_up(_now_s())
            if sum(len(each.topics) for each in self._feeds.values()) >= MOST:
                raise CommandError(
                    ErrorCode.UNAVAILABLE, "this gateway shows as many candles as it can; try another one"
                )
            feed = self._feeds[instrument] = _Feed(instrument, CandlePulse(self._wall_us))
        return feed

    async def _ref(self, bus: Bus, instrument: InstrumentId) -> Ref:
        """The newest ``ref``. Raises CommandError."""
        if not await has_candles(bus):
            raise CommandError(ErrorCode.UNAVAILABLE, NO_WRITER)
        stored = await bus.last(MD_STATE, subject(instrument, "ref"))
        if stored is None:
            raise CommandError(ErrorCode.UNKNOWN_INSTRUMENT, f"no publisher has announced {instrument}")
        try:
            return decode_payload("ref", stored)[-1]
        except FeedError as error:
            raise CommandError(
                ErrorCode.UNAVAILABLE, f"the ref of {instrument} cannot be read: {error}"
            ) from None

    def _make(self, feed: _Feed, span: str, ref: Ref) -> CandleTopic:
        source = CandleLog()
        epoch = secrets.randbits(_EPOCH_BITS) + 1
        topic = self._hub.compose(
            str(feed.instrument), Channel.CANDLES.value, INTERVAL_MS, source, epoch=epoch
        )
        source.sub = topic.number
        return CandleTopic(feed.instrument, span, source, topic, ref, feed.pulse)

    # ---- reading

    async def _read(self, bus: Bus, feed: _Feed) -> None:
        """Reads what is not read, and follows what comes. Raises BusError."""
        async with self._slots, feed.lock:
            unread = [each for each in feed.topics.values() if not each.is_read]
            if not unread:
                return
            if feed.subscription is None:
                name = live_stats_subject(feed.instrument)
                feed.subscription = await bus.subscribe(
                    name, lambda _, __, payload, headers: self._receive(feed, payload, headers)
                )
            feed.pending.clear()
            stored = await last_stats(bus, feed.instrument)
            ago_s = 0.0 if stored is None else await bus.stored_s(MD_CANDLES, stored)
            for each in unread:
                candles = await read_candles(bus, feed.instrument, each.span)
                each.source.clear()
                for candle in candles.values():
                    each.source.put(candle)
            feed.last_seq = 0 if stored is None else stored.stream_seq
            for each in feed.topics.values():
                each.is_read = True
            if stored is not None:
                self._hear(feed, stored.stats, ago_s)
                self._apply(feed, stored.stats)
            pending, feed.pending = feed.pending, []
            for number, stats in pending:
                self._follow(feed, number, stats)

    def _receive(self, feed: _Feed, payload: bytes, headers: bytes | None) -> None:
        number = stream_seq(headers)
        try:
            stats = decode_stats(payload)
        except (ValueError, TypeError):
            log.debug("%s: what came on its statistics cannot be read", feed.instrument)
            return
        if number is None:
            return
        if feed.lock.locked():
            feed.pending.append((number, stats))
            del feed.pending[:-MOST_PENDING]
        elif number > feed.last_seq > 0 and previous_seq(headers) not in (feed.last_seq, None):
            self._read_again(feed)
        else:
            self._follow(feed, number, stats)

    def _follow(self, feed: _Feed, number: int, stats: Stats) -> None:
        if number > feed.last_seq:
            feed.last_seq = number
            self._hear(feed, stats)
            self._apply(feed, stats)

    def _hear(self, feed: _Feed, stats: Stats, ago_s: float = 0.0) -> None:
        feed.pulse.heard(_now_s() - ago_s, goes_on=stats.summary.count > 0)
        self._look_at(feed)

    def _look_at(self, feed: _Feed) -> None:
        """Tells those who follow whether somebody writes, where that has changed."""
        connected = self._bus is not None and self._bus.connected
        if feed.pulse.look(_now_s(), connected=connected):
            for each in feed.topics.values():
                told = feed.pulse.message(each.topic.number, _now_s())
                self._hub.broadcast(each.topic, *messages.encode_both(told))

    def _apply(self, feed: _Feed, stats: Stats) -> None:
        """Takes what the writer stored, into all topics of the instrument."""
        changed = set()
        for span, candle in stats.changed:
            topic = feed.topics.get(_NAMES[span])
            if topic is not None and topic.source.put(candle):
                changed.add(topic)
        for name, newest in zip(_NAMES, stats.newest, strict=True):
            topic = feed.topics.get(name)
            if topic is not None and newest is not None and topic.source.put(newest):
                changed.add(topic)
        for topic in changed:
            if topic.timer is None:
                self._publish_soon(topic)

    def _read_again(self, feed: _Feed) -> None:
        """A message is missing: what is stored is read again."""
        for each in feed.topics.values():
            each.is_read = False
        feed.last_seq = 0
        if feed.work is None or feed.work.done():
            feed.work = asyncio.get_running_loop().create_task(self._keep_reading(feed))

    async def _keep_reading(self, feed: _Feed) -> None:
        while self._bus is not None and self._feeds.get(feed.instrument) is feed:
            try:
                await self._read(self._bus, feed)
                return
            except BusError as error:
                log.debug("%s: its candles cannot be read: %s", feed.instrument, error)
            await asyncio.sleep(RETRY_S)

    def _reconnected(self) -> None:
        for feed in self._feeds.values():
            self._read_again(feed)

    # ---- sending

    def _publish_soon(self, topic: CandleTopic) -> None:
        """Now, or as soon as the interval since the last message is over."""
        wait_s = topic.published_s + INTERVAL_MS / 1000 - _now_s()
        if wait_s <= 0:
            self._publish(topic)
        else:
            topic.timer = asyncio.get_running_loop().call_later(wait_s, self._publish, topic)

    def _publish(self, topic: CandleTopic) -> None:
        topic.timer = None
        if topic.source.commit():
            topic.published_s = _now_s()
            self._hub.publish(topic.topic, topic.source.seq, self._wall_us())

    # ---- end

    def sweep(self) -> None:
        """Call about once a second: looks whether somebody writes, and gives up what nobody has asked for lately."""
        for feed in self._feeds.values():
            if any(each.is_read for each in feed.topics.values()):
                self._look_at(feed)
        self._give_up(_now_s() - KEPT_S)

    def _give_up(self, idle_before_s: float) -> None:
        for feed in list(self._feeds.values()):
            for span, each in list(feed.topics.items()):
                if each.topic.subscribers:
                    each.asked_s = _now_s()
                elif each.asked_s <= idle_before_s and not feed.lock.locked():
                    self._drop(each)
                    del feed.topics[span]
            if not feed.topics:
                self._end(feed)

    def _drop(self, topic: CandleTopic) -> None:
        if topic.timer is not None:
            topic.timer.cancel()

    def _end(self, feed: _Feed) -> None:
        self._feeds.pop(feed.instrument, None)
        if feed.work is not None:
            feed.work.cancel()
        subscription, feed.subscription = feed.subscription, None
        if subscription is not None and self._bus is not None:
            task = asyncio.get_running_loop().create_task(self._bus.unsubscribe(subscription))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        if self._unregister is not None:
            self._unregister()
        for feed in list(self._feeds.values()):
            for each in feed.topics.values():
                self._drop(each)
            self._end(feed)
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
