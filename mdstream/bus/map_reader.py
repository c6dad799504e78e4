"""Keeps maps equal to the bus: the newest whole map, then each change of the log in order, then what comes live."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from mdstream.bus import maps
from mdstream.bus.map_streams import LIVE, Found, MapKind
from mdstream.bus.numbered import Numbered, NumberedReader, NumberedStream
from mdstream.bus.stream_publisher import Outcome as StoredOutcome
from mdstream.bus.stream_publisher import StreamPublisher
from mdstream.errors import BusError, BusUnavailable
from mdstream.maps import Applied, Change, MapState, Outcome, decode_change, encode_change, state_of
from mdstream.tasks import end

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

log = logging.getLogger("mdstream.bus.maps")

CHANGES_BEFORE: Final = 1_000
"""Changes before a whole map that are kept: readers that were away, and clients that resume, go on from there."""
DOUBT_S: Final = 1.0
"""After so long a stream is asked again that seems to have lost its messages."""
_MOST_APART: Final = 1_000_000
_LOADS: Final = 5
"""How often a whole map is read where a newer one replaces its pages meanwhile."""
_RETRY_LEAST_S: Final = 0.1
_RETRY_MOST_S: Final = 2.0

Followed = Callable[[Change | None, Applied], None]


class MapStream:
    """All maps of one kind on one bus. ``begin`` first, ``close`` at the end."""

    def __init__(self, bus: Bus, kind: MapKind) -> None:
        self.bus = bus
        self.kind = kind
        self.epoch = 0
        """When the stream was created, in µs: of another one, the numbers mean nothing. Where a whole cluster was restarted, a stream in
        memory begins anew and says that it was created as before: then a number of our own near to that."""
        self._created_us = 0
        self.invalid_total = 0
        """Messages that were no changes."""
        self.readers: set[MapReader] = set()
        self.publisher = StreamPublisher(bus, kind.stream)
        self.numbered = NumberedStream(
            bus, kind.stream, prefix=kind.subject, live=f"{LIVE}.{kind.subject}", ensure=self.look
        )

    async def begin(self) -> None:
        """Again as often as you like. Raises BusError, BusUnavailable."""
        await self.numbered.begin()
        await self.publisher.begin()

    async def look(self) -> None:
        """Creates the stream if it does not exist; where it is another one, all maps are read again. Raises BusError, BusUnavailable."""
        known, epoch, newest = self._created_us, self.epoch, self._newest
        found = await maps.ensure_maps(self.bus, self.kind)
        is_emptied = found.created_us == known and await self._is_emptied(found, newest)
        if self.epoch != epoch or not (is_emptied or found.created_us != known):
            return  # it is the same, or somebody else has seen it meanwhile
        self._created_us = found.created_us
        self.epoch = found.created_us + (1 + secrets.randbelow(_MOST_APART) if is_emptied else 0)
        if epoch:
            log.warning("stream %s is another one than before: all maps are read again", self.kind.stream)
            for reader in tuple(self.readers):
                reader.restart()

    @property
    def _newest(self) -> tuple[int, int]:
        """The greatest number that is known, and when it was stored."""
        return max((each.newest for each in self.readers if each.epoch == self.epoch), default=(0, 0))

    async def _is_emptied(self, found: Found, newest: tuple[int, int]) -> bool:
        """Whether it has lost its messages, and numbers begin anew: what we know to be the newest is not there, or is another one."""
        seq, stored_us = newest
        if found.last_seq < seq:  # perhaps a server answered that has just ceased to lead
            await asyncio.sleep(DOUBT_S)
            return (await maps.ensure_maps(self.bus, self.kind)).last_seq < seq
        there = await self.numbered.at(seq) if stored_us else None
        return there is not None and there.stored_us != stored_us

    def put(self, topic: str, change: Change, id: str | None) -> asyncio.Future[StoredOutcome]:
        """Hands on a change, after those before it; what becomes of it is known later. ``id``: the same one is stored once."""
        stored: asyncio.Future[StoredOutcome] = asyncio.get_running_loop().create_future()

        def done(outcome: StoredOutcome) -> None:
            if not stored.done():
                stored.set_result(outcome)

        self.publisher.publish(self.kind.log(topic), encode_change(change), id, done)
        return stored

    async def close(self) -> None:
        for reader in tuple(self.readers):
            await reader.close()
        await self.publisher.close()
        await self.numbered.close()


class _Changes(NumberedReader):
    """The log of one map. What it has not handed on may have been removed, because whole maps have it: then it is of no use."""

    async def _fill(self) -> None:
        began = self.seq
        await self._check(began)
        await super()._fill()
        await self._check(began)

    async def _check(self, began: int) -> None:
        """Whether the log reaches back to what was handed on: only its beginning is ever removed."""
        if not began:
            return
        batch = await self._stream.read(self.name, 1, most=1)
        if batch.messages and batch.messages[0].seq > began:
            self._is_open = False
            self._restarted()
            raise BusUnavailable(f"{self.name}: changes after {began} are no longer in the log")


class MapReader:
    """The map of one topic."""

    def __init__(
        self,
        stream: MapStream,
        topic: str,
        *,
        began: Callable[[], Awaitable[None]],
        followed: Followed,
        ready: Callable[[], None],
    ) -> None:
        """``began``: ``state`` is another one, the newest whole map. ``followed``: it has applied one change, or a message that is none
        (None); not all are known until ``ready``. It may begin again where changes were missed."""
        self.topic = topic
        self.state = self._empty(stream.kind)
        self.epoch = 0
        """That of the stream it was read from; 0: it was not read."""
        self.is_read = False
        self.whole = maps.NO_WHOLE
        """The newest whole map that is known to be stored."""
        self.changes = 0
        """How many messages came since."""
        self.newest = (0, 0)
        """The number of the newest message, and when it was stored (0: that is not known)."""
        self.recent: deque[int] = deque(maxlen=CHANGES_BEFORE)
        """Their numbers, and those before."""
        self._stream = stream
        self._began = began
        self._followed = followed
        self._ready = ready
        self._changes: _Changes | None = None
        self._lock = asyncio.Lock()
        self._work: asyncio.Task[None] | None = None
        self._is_closed = False
        self._is_stale = False
        """What is being read is of no use."""
        self._has_told = False

    @property
    def is_following(self) -> bool:
        """Whether it is read, and has all that is known."""
        return self.is_read and self._changes is not None and self._changes.is_following

    async def open(self) -> None:
        """Reads it, unless it is read. Raises BusError, BusUnavailable."""
        await self._stream.begin()
        self._stream.readers.add(self)
        async with self._lock:
            if self.is_read or self._is_closed:
                return
            self._is_stale = True
            while self._is_stale:
                self._is_stale = False
                await self._end_changes()
                await self._load()
            if self._is_closed:  # meanwhile: nobody else would end what was begun
                await self._end_changes()
                return
            self.is_read = True
            self._ready()

    async def close(self) -> None:
        """It tells nobody anything any more: whoever owns it, and it, would wait for the garbage collector."""
        self._is_closed, self.is_read = True, False
        self._began, self._followed, self._ready = _begin_nothing, _tell_nobody, _tell_nobody
        self._stream.readers.discard(self)
        work, self._work = self._work, None  # once cancelled it keeps its frames, and they know this reader
        await end(work)
        await self._end_changes()

    def restart(self) -> None:
        """Reads it again."""
        self.is_read, self._is_stale = False, True
        if not self._is_closed and (self._work is None or self._work.done()):
            self._work = asyncio.get_running_loop().create_task(self._keep_opening())

    async def _keep_opening(self) -> None:
        delay_s = _RETRY_LEAST_S
        while not self.is_read and not self._is_closed:
            try:
                await self._stream.look()  # its numbers may have begun again
                await self.open()
            except BusError as error:
                log.debug("map %s cannot be read: %s", self.topic, error)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _RETRY_MOST_S)

    async def _load(self) -> None:
        """The newest whole map, then what is stored after it."""
        for attempt in range(_LOADS):
            try:
                await self._load_once()
                return
            except BusError:
                if attempt == _LOADS - 1 or not self._stream.bus.connected:
                    raise
                await self._stream.look()  # it may be lost

    async def _load_once(self) -> None:
        self.state = self._empty(self._stream.kind)
        self.changes = 0
        self.recent.clear()
        self.epoch = self._stream.epoch
        kind = self._stream.kind
        self.whole = await maps.read_map(self._stream.bus, kind, self.topic, self.state)
        self.newest = (self.state.seq, 0)
        await self._began()
        self._changes = _Changes(self._stream.numbered, self.topic, self._receive, self.restart)
        await self._changes.open(self.state.seq)

    def _empty(self, kind: MapKind) -> MapState:
        return state_of(self.topic) if kind.is_kept else MapState()

    async def _end_changes(self) -> None:
        changes, self._changes = self._changes, None
        if changes is not None:
            await changes.close()

    def _receive(self, message: Numbered) -> None:
        state = self.state
        if message.seq <= state.seq:
            return
        self.changes += 1
        self.recent.append(message.seq)
        self.newest = (message.seq, message.stored_us)
        try:
            change = decode_change(message.payload)
        except ValueError as error:
            self._refuse(message, error)
            return
        self._followed(change, state.apply(message.seq, message.stored_us, change))

    def _refuse(self, message: Numbered, error: ValueError) -> None:
        self.state.skip(message.seq, message.stored_us)
        self._stream.invalid_total += 1
        if not self._has_told:
            self._has_told = True
            log.warning("map %s: message %d is no change: %s", self.topic, message.seq, error)
        self._followed(None, Applied(Outcome.INVALID))


async def _begin_nothing() -> None: ...


def _tell_nobody(*_: object) -> None: ...
