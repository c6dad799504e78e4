"""The events that this gateway follows: each topic once while somebody asks for it, and sent to all who do."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from mdstream.bus.events import decode_event
from mdstream.bus.numbered import Numbered, NumberedReader, NumberedStream
from mdstream.bus.positions import Positions
from mdstream.bus.stream_publisher import StreamPublisher
from mdstream.bus.topic_streams import (
    EVENT_SUBJECT,
    LIVE_EVENTS,
    MD_EVENTS,
    TopicStreamOptions,
    ensure_events,
)
from mdstream.codes import ErrorCode
from mdstream.errors import BusError, CommandError, PayloadError
from mdstream.gateway.event_log import EventLog, TotalBytes
from mdstream.gateway.event_policies import Policies
from mdstream.gateway.fair_places import Asker, FairPlaces
from mdstream.gateway.needed import Needed
from mdstream.gateway.openings import Openings
from mdstream.gateway.together import Together
from mdstream.gateway.turns import Wake, at_once
from mdstream.model import Channel
from mdstream.printable import printable

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.topic_composed import ComposedTopic
    from mdstream.bus import Bus
    from mdstream.gateway.config import GatewayConfig

log = logging.getLogger("mdstream.gateway.events")

KEPT_S: Final = 30.0
"""How long a topic is followed that nobody asks for: clients come back."""
MOST_LOGGED: Final = 100
"""Refused messages that the log tells."""


class EventTopic(Needed):
    """One that is followed. ``reader.seq``: the newest number that is known; ``topic.seq``: the newest that was sent to all."""

    __slots__ = (
        "asked_s",
        "asker",
        "is_open",
        "is_planned",
        "log",
        "looking",
        "looks",
        "name",
        "reader",
        "topic",
    )

    def __init__(self, name: str, log: EventLog, topic: ComposedTopic, asker: Asker) -> None:
        """``asker``: for whom it was opened."""
        super().__init__()
        self.name = name
        self.asker = asker
        self.log = log
        self.topic = topic
        self.reader: NumberedReader | None = None
        self.is_open = False
        self.is_planned = False
        """What has come is sent in the next turn of the loop: all of one read together, of all topics."""
        self.looks = asyncio.Lock()
        self.looking: asyncio.Task[None] | None = None
        """It asks for the newest number as soon as the one before it is done."""
        self.asked_s = 0.0

    @property
    def seq(self) -> int:
        return self.topic.seq

    def clear(self) -> None:
        """Call once it is over: topic and reader know each other, and would wait for the garbage collector."""
        self.log.clear()
        self.reader = None


class EventTopics:
    """All topics whose events this gateway shows now."""

    def __init__(
        self, config: GatewayConfig, hub: Hub, *, wall_us: Callable[[], int], wake: Wake = at_once
    ) -> None:
        """``wake`` is given what lets tasks go on."""
        self.policies = Policies(config.events_topics)
        self.restarted: Callable[[EventTopic], object] = lambda topic: None
        """Called when the stream is another one: what was subscribed to ends."""
        self.counts: Counter[str] = Counter()
        self._config = config
        self._hub = hub
        self._wall_us = wall_us
        self._bus: Bus | None = None
        self._stream: NumberedStream | None = None
        self._positions: Positions | None = None
        self._publisher: StreamPublisher | None = None
        self._begun: asyncio.Task[None] | None = None
        self._topics: dict[str, EventTopic] = {}
        self._places = FairPlaces(config.max_event_topics)
        self._total = TotalBytes()
        self._wake = wake
        self._openings: Openings[str, Asker] = Openings(self._open, self._is_open, wake=wake)
        self._tasks: set[asyncio.Task[None]] = set()
        self._looks: set[asyncio.Task[None]] = set()
        self._to_send = Together(hub, self._send)

    def __iter__(self) -> Iterator[EventTopic]:
        return iter(list(self._topics.values()))

    def __len__(self) -> int:
        return len(self._topics)

    @property
    def bytes(self) -> int:
        """Of payloads that are kept."""
        return self._total.bytes

    @property
    def positions(self) -> Positions | None:
        """Once ``begin`` was successful."""
        return self._positions

    @property
    def publisher(self) -> StreamPublisher | None:
        """Once ``begin`` was successful."""
        return self._publisher

    @property
    def stream(self) -> NumberedStream:
        assert self._stream is not None
        return self._stream

    def use(self, bus: Bus) -> None:
        """Makes it possible to read."""
        self._bus = bus

    # ---- the streams

    def is_begun(self) -> bool:
        return self._begun is not None and self._begun.done() and self._begun.exception() is None

    async def begin(self) -> None:
        """Reads and publishes from now on; the streams are created where they do not exist. Raises CommandError ``unavailable``."""
        if not self._config.events_enabled or self._config.delay_ms:
            why = "is late, and events are not served late" if self._config.delay_ms else "serves no events"
            raise CommandError(ErrorCode.UNAVAILABLE, f"this gateway {why}")
        if self._bus is None or not self._bus.connected:
            raise CommandError(ErrorCode.UNAVAILABLE, "NATS is not connected; try again")
        if self._begun is None or (self._begun.done() and not self.is_begun()):
            self._begun = asyncio.get_running_loop().create_task(self._begin(self._bus))
            self._begun.add_done_callback(_heed)
        try:
            await asyncio.shield(self._begun)
        except BusError as error:
            raise CommandError(ErrorCode.UNAVAILABLE, f"{error}; try again") from None

    async def _begin(self, bus: Bus) -> None:
        if self._stream is None:
            options = _stream_options(self._config)
            self._stream = NumberedStream(
                bus,
                MD_EVENTS,
                prefix=EVENT_SUBJECT,
                live=LIVE_EVENTS,
                ensure=partial(ensure_events, bus.jetstream, options),
            )
        await self._stream.begin()
        positions = self._positions or Positions(bus, self._stream.epoch)
        publisher = self._publisher or StreamPublisher(bus, MD_EVENTS, missing=self._stream.ensure_soon)
        await positions.begin()
        await publisher.begin()
        self._positions, self._publisher = positions, publisher

    # ---- opening

    def find(self, name: str) -> EventTopic | None:
        """One that is followed; None: ``open`` it."""
        found = self._topics.get(name)
        if found is None or not found.is_open:
            return None
        found.asked_s = _now_s()
        return found

    async def open(self, name: str, asker: Asker) -> EventTopic:
        """Follows it, unless it is followed already. Askers take turns. Raises CommandError ``unavailable``."""
        await self.begin()
        while (found := self.find(name)) is None:  # it may be given up before this goes on
            await self._openings.wait(asker, name)
        return found

    def _is_open(self, name: str) -> bool:
        return self.find(name) is not None

    def _check_room(self, asker: Asker) -> None:
        if self._places.should_give_up(asker, _now_s()):
            self._give_up(_now_s())
        if not self._places.has_room(asker):
            raise CommandError(
                ErrorCode.UNAVAILABLE,
                "this gateway follows as many topics as it can for you; end others, or try another gateway",
            )

    def _make(self, name: str, asker: Asker) -> EventTopic:
        source = EventLog(name, self._total)
        topic = self._hub.compose(name, Channel.EVENTS.value, 0, source, epoch=self.stream.epoch)
        source.sub = topic.number
        self._places.take(asker)
        return EventTopic(name, source, topic, asker)

    async def _open(self, name: str, asker: Asker) -> None:
        self._check_room(asker)
        topic = self._topics[name] = self._make(name, asker)
        try:
            last = await self.stream.last(name)
            if last is not None:
                topic.log.begin(last.seq)
                self._hub.publish(topic.topic, last.seq, self._wall_us())  # nobody is there yet
            topic.reader = self.stream.reader(
                name, partial(self._receive, topic), partial(self._restarted, topic)
            )
            await topic.reader.open(after=topic.log.newest)
        except BaseException:
            self._forget(topic)
            topic.clear()
            raise
        topic.is_open, topic.asked_s = True, _now_s()

    async def come_to_newest(self, topic: EventTopic) -> None:
        """Returns once it has, and has sent, all that was stored when this was called: those of other gateways may have been sent that.
        Raises BusError."""
        if topic.looking is None:
            topic.looking = asyncio.get_running_loop().create_task(self._come_to_newest(topic))
            topic.looking.add_done_callback(_heed)
            self._looks.add(topic.looking)
            topic.looking.add_done_callback(self._looks.discard)
        await asyncio.shield(topic.looking)

    async def _come_to_newest(self, topic: EventTopic) -> None:
        """Whoever comes while one asks shares the next question."""
        async with topic.looks:
            topic.looking = None
            if topic.reader is not None:
                await topic.reader.come_to_newest()
                await asyncio.sleep(0)  # what has come is sent in the next turn

    # ---- what comes

    def _receive(self, topic: EventTopic, message: Numbered) -> None:
        try:
            event = decode_event(message.payload)
        except PayloadError as error:
            self._refuse(topic, message, error)
            return
        topic.log.append(message, event)
        self.counts["received"] += 1
        if not topic.is_planned:
            topic.is_planned = True
            self._to_send.add(topic)

    def _refuse(self, topic: EventTopic, message: Numbered, error: PayloadError) -> None:
        self.counts["refused"] += 1
        if self.counts["refused"] <= MOST_LOGGED:
            where = f"{MD_EVENTS}, number {message.seq}, topic {topic.name}"
            log.warning("%s is refused: %s", where, printable(error))

    def _send(self, topic: EventTopic) -> None:
        topic.is_planned = False
        newest = topic.log.newest
        if newest > topic.topic.seq:
            topic.log.sent = newest
            self._hub.publish(topic.topic, newest, topic.log.newest_us)

    def _restarted(self, topic: EventTopic) -> None:
        if self._positions is not None:
            self._positions.begin_anew(self.stream.epoch)
        self.restarted(topic)
        self._drop(topic)

    # ---- end

    def sweep(self) -> None:
        """Call about once a second: gives up what nobody has asked for lately."""
        self._give_up(_now_s() - KEPT_S)

    def _give_up(self, idle_before_s: float) -> None:
        for topic in self:
            if topic.topic.subscribers:
                topic.asked_s = _now_s()
            elif topic.asked_s <= idle_before_s and topic.is_open and not topic.holds:
                self._drop(topic)

    def _forget(self, topic: EventTopic) -> None:
        topic.is_open = False
        if self._topics.get(topic.name) is topic:
            del self._topics[topic.name]
            self._places.release(topic.asker)
        topic.log.clear()

    def _drop(self, topic: EventTopic) -> None:
        self._forget(topic)
        if topic.reader is not None:
            self._wake(partial(self._end, topic, topic.reader), None)  # thousands may go in one sweep

    def _end(self, topic: EventTopic, reader: NumberedReader) -> None:
        task = asyncio.get_running_loop().create_task(reader.close())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: topic.clear())  # something may have come meanwhile

    async def close(self) -> None:
        """Stores what was acknowledged, and ends."""
        if self._positions is not None:
            await self._positions.close()
        if self._publisher is not None:
            await self._publisher.close()
        await self._openings.close()
        for topic in self:
            self._forget(topic)
            if topic.reader is not None:
                self._end(topic, topic.reader)
        for look in self._looks:
            look.cancel()
        await asyncio.gather(*self._tasks, *self._looks, return_exceptions=True)
        if self._stream is not None:
            await self._stream.close()


def _stream_options(config: GatewayConfig) -> TopicStreamOptions:
    return TopicStreamOptions(
        keep_s=config.events_keep_days * 86_400.0,
        max_bytes=config.events_max_bytes,
        max_per_topic=config.events_max_per_topic,
        storage=config.events_storage,
        replicas=config.nats_replicas,
    )


def _heed(task: asyncio.Task[None]) -> None:
    """Whoever waits for it hears of its failure; nobody may."""
    if not task.cancelled():
        task.exception()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
