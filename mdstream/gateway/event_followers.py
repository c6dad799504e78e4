"""Subscriptions to events that are acknowledged: who is sent what comes, and who is sent again what he has not acknowledged.

A follower is *live* while it is in step with its topic: what comes is sent to it with all others, and nothing is done for it alone. It is
*behind* where it lacks something: it is sent that by itself, from the log of the topic or from the stream, at most a window ahead of what
is acknowledged. Its place in the topic is held meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from mdstream.bus.events import decode_event
from mdstream.errors import BusError, PayloadError
from mdstream.gateway import messages
from mdstream.gateway.clients import tell
from mdstream.gateway.event_log import LoggedEvent, encode
from mdstream.gateway.event_topics import EventTopic, EventTopics
from mdstream.gateway.turns import Steps

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.sink import Sink
    from mdstream._core.net.session import Session
    from mdstream.bus.direct import Batch
    from mdstream.bus.positions import Position

log = logging.getLogger("mdstream.gateway.events")

WINDOW: Final = 64
"""Events that one who is behind is sent beyond what it has acknowledged."""
WINDOW_BYTES: Final = 65_536
LEAST_WAIT_S: Final = 5.0
MOST_WAIT_S: Final = 60.0
"""How long an acknowledgement may take until events are sent again; twice as long each time, until one comes."""
SLICE: Final = 64
"""Sessions that are looked at in one step."""
READS: Final = 32
"""Followers for which the stream is read at a time."""


class Follower:
    """One subscription of one session to one topic."""

    __slots__ = (
        "due_s",
        "flight",
        "flight_bytes",
        "is_live",
        "is_over",
        "next",
        "position",
        "reading",
        "redeliver_to",
        "seen",
        "sent",
        "session",
        "topic",
        "wait_s",
        "waits",
    )

    def __init__(
        self, session: Session, topic: EventTopic, position: Position, start: int, *, resumed: bool
    ) -> None:
        """``start``: up to this number it has everything. ``resumed``: it said so itself."""
        self.session = session
        self.topic = topic
        self.position = position
        self.next = self.sent = start
        """``next``: all up to it has been sent (again); ``sent``: the greatest that was ever."""
        self.redeliver_to = 0 if resumed else topic.seq
        """Up to this number events may have been sent before."""
        self.is_live = False
        self.waits = False
        """It is behind, and its socket is full."""
        self.is_over = False
        self.reading: asyncio.Task[None] | None = None
        self.flight: deque[tuple[int, int]] = deque()
        """Number and size of what it was sent while it was behind, and has not acknowledged."""
        self.flight_bytes = 0
        self.seen = position.value or 0
        self.wait_s = LEAST_WAIT_S
        self.due_s: float | None = None
        """When what is not acknowledged is sent again."""

    @property
    def acknowledged(self) -> int:
        return self.position.value or 0

    @property
    def has_room(self) -> bool:
        return (
            len(self.flight) < WINDOW and self.flight_bytes < WINDOW_BYTES and not self.session.sink.blocked
        )

    def land(self) -> None:
        """Forgets what was acknowledged."""
        done = self.acknowledged
        while self.flight and self.flight[0][0] <= done:
            self.flight_bytes -= self.flight.popleft()[1]


class Followers:
    """All of this gateway."""

    def __init__(self, hub: Hub, topics: EventTopics, counts: Counter[str]) -> None:
        self._hub = hub
        self._topics = topics
        self._counts = counts
        self._by_session: dict[Session, dict[int, Follower]] = {}
        self._by_sink: dict[Sink, Session] = {}
        self._by_position: dict[Position, dict[Follower, None]] = {}
        self._slots = asyncio.Semaphore(READS)

    def __len__(self) -> int:
        return sum(map(len, self._by_session.values()))

    @property
    def kept(self) -> dict[Session, dict[int, Follower]]:
        """What ends with a session."""
        return self._by_session

    def find(self, session: Session, sub: int) -> Follower | None:
        return self._by_session.get(session, {}).get(sub)

    # ---- begin and end

    def begin(self, follower: Follower) -> None:
        """Of a session that is subscribed to the topic, and was told so; its place is held."""
        session, sub = follower.session, follower.topic.topic.number
        self._by_session.setdefault(session, {})[sub] = follower
        self._by_sink[session.sink] = session
        follower.topic.log.holds = partial(self._holds, sub)
        self._by_position.setdefault(follower.position, {})[follower] = None
        self._advance(follower)

    def end(self, session: Session, subs: Iterable[int] | None) -> None:
        """These subscriptions of a session have ended, or all; those to other things count for nothing."""
        followers = self._by_session.get(session)
        if followers is None:
            return
        for sub in list(followers) if subs is None else subs:
            follower = followers.pop(sub, None)
            if follower is not None:
                self._end(follower)
        if not followers:
            del self._by_session[session]
            del self._by_sink[session.sink]

    def _end(self, follower: Follower) -> None:
        follower.is_over = True
        if follower.reading is not None:
            follower.reading.cancel()
        others = self._by_position[follower.position]
        others.pop(follower)
        if not others:
            del self._by_position[follower.position]
        if self._topics.positions is not None:
            self._topics.positions.release(follower.position)

    def greatest(self, follower: Follower) -> int:
        """The number of the newest event that it was sent."""
        if not follower.is_live:
            return follower.sent
        return max(follower.sent, self._hub.position(follower.session.sink, follower.topic.topic))

    # ---- acknowledgements

    def acknowledge(self, follower: Follower, seq: int) -> None:
        positions = self._topics.positions
        if positions is not None and positions.advance(follower.position, seq):
            self._counts["acknowledged"] += 1
            self._go_on(follower.position)

    def moved(self, position: Position) -> None:
        """Another value is stored: all sessions of the user are told."""
        for follower in list(self._by_position.get(position, ())):
            if follower.session.open:
                sub = follower.topic.topic.number
                tell(follower.session, messages.acknowledged(sub, position.stored or 0))
        self._go_on(position)

    def _go_on(self, position: Position) -> None:
        for follower in list(self._by_position.get(position, ())):
            follower.land()
            self._advance(follower)

    # ---- who is behind

    def _advance(self, follower: Follower) -> None:
        """Sends what follows, as far as the window reaches; lets it be live once it lacks nothing."""
        topic, session = follower.topic, follower.session
        if follower.waits and not session.sink.blocked and session.open:
            follower.waits = False
            self._join(follower)
        while not (follower.is_live or follower.is_over or follower.reading is not None) and session.open:
            if follower.next >= topic.seq:
                self._go_live(follower)
            elif not follower.has_room:
                if session.sink.blocked:
                    self._wait_until_read(follower)
                return
            elif topic.log.reaches(follower.next):
                self._send_logged(follower)
            else:
                follower.reading = asyncio.get_running_loop().create_task(self._read(follower))

    def _send_logged(self, follower: Follower) -> None:
        for logged in follower.topic.log.after(follower.next):
            if not follower.has_room:
                return
            self._send(follower, logged)
        follower.next = follower.topic.seq

    def _send(self, follower: Follower, logged: LoggedEvent) -> None:
        topic, session = follower.topic, follower.session
        if logged.seq <= follower.redeliver_to:
            self._counts["redelivered"] += 1
            message = encode(session.format, topic.topic.number, topic.name, logged, redelivered=True)
        else:
            message = topic.log.message(session.format, logged)
        follower.next = logged.seq
        follower.sent = max(follower.sent, logged.seq)
        follower.flight.append((logged.seq, len(message)))
        follower.flight_bytes += len(message)
        session.send_control(message)

    def _go_live(self, follower: Follower) -> None:
        self._join(follower)
        self._hub.catch_up(follower.session.sink, follower.topic.topic)
        follower.is_live = True
        follower.flight.clear()
        follower.flight_bytes = 0

    # ---- whose socket is full

    def _wait_until_read(self, follower: Follower) -> None:
        """The hub asks ``_holds`` as soon as its socket takes more."""
        if not follower.waits:
            follower.waits = True
            self._hub.catch_up(follower.session.sink, follower.topic.topic)

    def _holds(self, sub: int, sink: Sink, since: int) -> bool:
        """One reads again that waits, or that was live and lacks more than the log has. The hub is at work: it goes on later."""
        session = self._by_sink.get(sink)
        follower = None if session is None else self.find(session, sub)
        if follower is None or not (follower.waits or since < follower.topic.log.floor):
            return False
        asyncio.get_running_loop().call_soon(self._go_on_from, follower, since)
        return True

    def _go_on_from(self, follower: Follower, since: int) -> None:
        if follower.is_over or not follower.session.open:
            return
        if follower.is_live:
            follower.sent = max(follower.sent, since)
            self._fall_behind(follower, since)
        self._advance(follower)

    def _join(self, follower: Follower) -> None:
        """Holds its place in the topic, where the topic stands now."""
        sink, topic = follower.session.sink, follower.topic.topic
        self._hub.unsubscribe(sink, topic)
        self._hub.subscribe(sink, topic, (topic.epoch, topic.seq))

    # ---- from the stream

    async def _read(self, follower: Follower) -> None:
        floor = follower.topic.log.floor
        try:
            async with self._slots:
                batch = await self._topics.stream.read_to(
                    follower.topic.name,
                    follower.next,
                    floor,
                    most=WINDOW + 1,
                    most_bytes=2 * WINDOW_BYTES,
                )
        except BusError as error:
            log.debug("%s: what is not acknowledged cannot be read: %s", follower.topic.name, error)
            follower.reading = None  # the next tick tries again
            return
        follower.reading = None
        if follower.is_over or not follower.session.open:
            return
        if not self._take(follower, batch):
            self._skip(follower, floor)
        self._advance(follower)

    def _take(self, follower: Follower, batch: Batch) -> bool:
        """Sends what the log does not have; returns whether there was anything."""
        had, floor, prev = follower.next, follower.topic.log.floor, follower.next
        if batch.messages and 0 < had < batch.messages[0].seq - 1:
            self._tell_lost(follower, had + 1, min(batch.messages[0].seq - 1, floor))
        for message in batch.messages:
            if message.seq > floor:
                follower.next = floor
                break
            if message.seq <= had:
                continue
            if not follower.has_room:
                break
            try:
                event = decode_event(message.payload)
            except PayloadError:
                follower.next = message.seq
                continue
            self._send(follower, LoggedEvent(message, prev, event))
            prev = message.seq
        return follower.next > had or not follower.has_room

    def _skip(self, follower: Follower, floor: int) -> None:
        """What was stored up to here is gone."""
        had, follower.next = follower.next, floor
        if had:
            self._tell_lost(follower, had + 1, follower.next)

    def _tell_lost(self, follower: Follower, first: int, last: int) -> None:
        self._counts["lost"] += 1
        tell(follower.session, messages.lost(follower.topic.topic.number, first, last))

    # ---- time

    def steps(self) -> Steps:
        """Sends again what was not acknowledged in time, and goes on where a socket was full. Run them a few times a second."""
        now_s = asyncio.get_running_loop().time()
        for number, followers in enumerate(list(self._by_session.values())):
            for follower in list(followers.values()):
                self._look_at(follower, now_s)
            if number % SLICE == 0:
                yield

    def _look_at(self, follower: Follower, now_s: float) -> None:
        if follower.is_over or not follower.session.open:
            return
        done = follower.acknowledged
        if done != follower.seen:
            follower.seen, follower.wait_s, follower.due_s = done, LEAST_WAIT_S, None
        if follower.session.sink.blocked:
            return  # it goes on once it reads
        newest = follower.topic.seq if follower.is_live else follower.next
        if done >= newest:
            follower.due_s = None
        elif follower.due_s is None:
            follower.due_s = now_s + follower.wait_s
        elif now_s >= follower.due_s:
            self._send_again(follower)
            return
        if not follower.is_live:
            self._advance(follower)
        elif done < newest and len(follower.topic.log.after(done)) > WINDOW:
            self._fall_behind(follower, self.greatest(follower))

    def _send_again(self, follower: Follower) -> None:
        if follower.reading is not None:
            return
        follower.wait_s = min(2 * follower.wait_s, MOST_WAIT_S)
        follower.due_s = None
        follower.redeliver_to = max(follower.redeliver_to, self.greatest(follower))
        self._fall_behind(follower, follower.acknowledged)
        self._advance(follower)

    def _fall_behind(self, follower: Follower, next: int) -> None:
        """From here on it is sent what follows a number by itself."""
        follower.sent = self.greatest(follower)
        if follower.is_live:
            self._join(follower)
            follower.is_live = False
        follower.next = next
        follower.flight.clear()
        follower.flight_bytes = 0
        if next > follower.acknowledged:
            for logged in follower.topic.log.after(follower.acknowledged):
                if logged.seq <= next:
                    follower.flight.append((logged.seq, logged.size))
                    follower.flight_bytes += logged.size
