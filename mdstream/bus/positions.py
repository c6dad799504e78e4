"""Up to which event each user has acknowledged each topic: the key-value bucket ``MD_POSITIONS``.

A value is ``epoch:seq``: when MD_EVENTS was created, in µs, and a number of it. Of one epoch it only grows: it is stored by
compare-and-set, and who finds a greater one there takes it over. All gateways hear what is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from mdstream.bus.direct import DirectReader
from mdstream.bus.stored_message import header
from mdstream.bus.topic_streams import POSITIONS_STREAM, POSITIONS_SUBJECT
from mdstream.errors import BusConflict, BusError
from mdstream.model import MAX_NUMBER

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus.connection import Bus

log = logging.getLogger("mdstream.bus.positions")

STORE_S: Final = 0.1
"""Between two times that one position is stored: what moves meanwhile is stored once."""
AT_ONCE: Final = 64
"""Positions that are stored at a time."""
BEGINS: Final = "Mdstream-Begins"
"""A header: nobody has acknowledged this, a user begins here. It may be refused."""
RETRY_LEAST_S: Final = 0.2
RETRY_MOST_S: Final = 2.0


def position_key(subject: str, topic: str, device: str | None) -> str:
    """Of a user, or of one device of it. A key of a bucket may not hold ``%``."""
    parts = ["u" if device is None else "d", _hash(subject)]
    if device is not None:
        parts.append(_hash(device))
    return ".".join((*parts, topic.replace("%", "=")))


def _hash(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:32]


class Position:
    """One that somebody here follows. ``value``: all up to it are acknowledged; None: nothing was ever."""

    __slots__ = ("followers", "key", "loading", "moved", "revision", "stored", "value", "work")

    def __init__(self, key: str, moved: Callable[[Position], object]) -> None:
        self.key = key
        self.value: int | None = None
        self.stored: int | None = None
        """What the bucket has, as far as is known."""
        self.revision = 0
        self.followers = 0
        self.loading: asyncio.Task[None] | None = None
        """Until it was read."""
        self.moved = moved
        """Called when another value is known to be stored."""
        self.work: asyncio.Task[None] | None = None


class Positions:
    """Those that are followed here. ``begin`` first, ``close`` at the end."""

    def __init__(self, bus: Bus, epoch: int) -> None:
        """``epoch``: of MD_EVENTS; positions of another one count for nothing."""
        self._bus = bus
        self._epoch = epoch
        self._direct = DirectReader(bus, POSITIONS_STREAM)
        self._subscription: Subscription | None = None
        self._open: dict[str, Position] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._unregister: Callable[[], None] | None = None
        self._rereading: asyncio.Task[None] | None = None
        self.stored_total = 0
        self._warned = False
        """It is not told again until something was stored."""

    def __len__(self) -> int:
        return len(self._open)

    async def begin(self) -> None:
        """Raises BusUnavailable."""
        if self._subscription is None:
            self._subscription = await self._bus.subscribe(f"{POSITIONS_SUBJECT}.>", self._hear)
            await self._direct.begin()
            self._unregister = self._bus.on_reconnect(self._reconnected)

    async def close(self, deadline_s: float = 2.0) -> None:
        """Stores what is not stored yet, within a deadline."""
        works = [each.work for each in self._open.values() if each.work is not None]
        if works:
            await asyncio.wait(works, timeout=deadline_s)
        if self._rereading is not None:
            works.append(self._rereading)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        if self._unregister is not None:
            self._unregister()
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)
        await self._direct.close()

    async def open(self, key: str, moved: Callable[[Position], object]) -> Position:
        """One more who follows it; ``release`` it. Raises BusError, BusUnavailable."""
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = Position(key, moved)
            found.loading = asyncio.get_running_loop().create_task(self._read(found))
            found.loading.add_done_callback(_heed)
        found.followers += 1
        try:
            if found.loading is not None:
                await asyncio.shield(found.loading)
                found.loading = None
        except BaseException:
            self.release(found)
            self._forget(found)  # whoever comes next reads it again
            raise
        return found

    def release(self, position: Position) -> None:
        position.followers -= 1
        if not position.followers and position.work is None:
            self._forget(position)

    def _forget(self, position: Position) -> None:
        if self._open.get(position.key) is position:
            del self._open[position.key]

    def advance(self, position: Position, value: int) -> bool:
        """Acknowledges up to this number; returns whether that is new. It is stored soon."""
        if position.value is not None and value <= position.value:
            return False
        position.value = value
        if position.work is None:
            position.work = asyncio.get_running_loop().create_task(self._store(position))
        return True

    async def begin_at(self, position: Position, value: int) -> None:
        """Of one who has acknowledged nothing: he begins here, unless he has begun elsewhere meanwhile. Raises BusError."""
        while position.value is None:
            await self._put_or_read(position, value, {BEGINS: "1"})
            if position.value is None:
                position.value = position.stored

    def begin_anew(self, epoch: int) -> None:
        """MD_EVENTS is another stream."""
        self._epoch = epoch
        for position in self._open.values():
            position.value = position.stored = None

    # ---- the bucket

    async def _read(self, position: Position, *, of_leader: bool = False) -> None:
        """``of_leader``: another replica may lag behind."""
        subject = f"{POSITIONS_SUBJECT}.{position.key}"
        if of_leader:
            stored = await self._bus.newest_stored(POSITIONS_STREAM, subject)
            position.revision, payload = (0, b"") if stored is None else (stored.stream_seq, stored.payload)
        else:
            message = await self._direct.last(subject)
            position.revision, payload = (0, b"") if message is None else (message.seq, message.payload)
        position.stored = self._value(payload)
        if position.stored is not None and position.stored > (position.value or -1):
            position.value = position.stored

    async def _store(self, position: Position) -> None:
        delay_s = RETRY_LEAST_S
        try:
            while position.value is not None and position.value != position.stored:
                value = position.value
                try:
                    async with self._slots:
                        await self._put_or_read(position, value)
                    delay_s = RETRY_LEAST_S
                    await asyncio.sleep(STORE_S)
                except BusError as error:
                    self._warn(f"what users acknowledge is not stored: {error}")
                    await asyncio.sleep(delay_s)
                    delay_s = min(delay_s * 2, RETRY_MOST_S)
        finally:
            position.work = None
            if not position.followers:
                self._forget(position)

    async def _put_or_read(
        self, position: Position, value: int, headers: dict[str, str] | None = None
    ) -> None:
        """Where another gateway was faster, or the answer was lost, reads what is stored. Raises BusError."""
        try:
            await self._put(position, value, headers)
        except BusConflict:
            await self._read(position, of_leader=True)
            if position.stored is not None:
                position.moved(position)

    async def _put(self, position: Position, value: int, headers: dict[str, str] | None) -> None:
        revision = await self._bus.publish_acked(
            f"{POSITIONS_SUBJECT}.{position.key}",
            b"%d:%d" % (self._epoch, value),
            expected_seq=position.revision,
            headers=headers,
        )
        self._warned = False
        position.revision, position.stored = revision, value
        self.stored_total += 1
        position.moved(position)

    def _warn(self, text: str) -> None:
        if not self._warned:
            log.warning("%s; trying again", text)
        self._warned = True

    def _hear(self, subject: bytes, _: bytes, payload: bytes, headers: bytes | None) -> None:
        """What any gateway stores, this one included, or would: it was acknowledged all the same."""
        if headers is not None and header(headers, BEGINS.encode()) is not None:
            return
        position = self._open.get(subject[len(POSITIONS_SUBJECT) + 1 :].decode("ascii", "replace"))
        if position is None:
            return
        value = self._value(payload)
        if value is not None and value > (position.value or 0):
            position.value = value
            position.stored = value
            position.moved(position)

    def _reconnected(self) -> None:
        """What was stored meanwhile was not heard."""
        if self._rereading is not None:
            self._rereading.cancel()
        self._rereading = asyncio.get_running_loop().create_task(self._read_all())

    async def _read_all(self) -> None:
        for position in list(self._open.values()):
            before = position.value
            await self._read_again(position)
            if position.value != before:
                position.moved(position)

    async def _read_again(self, position: Position) -> None:
        """Until it was read: a server that has just started may not answer at once."""
        delay_s = RETRY_LEAST_S
        while self._bus.connected and position.followers:
            try:
                await self._read(position)
                return
            except BusError as error:
                log.debug("position %s is not read: %s", position.key, error)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_MOST_S)

    def _value(self, payload: bytes) -> int | None:
        """None for what is none, or of another epoch: it came from the bus."""
        epoch, _, seq = payload[:40].partition(b":")
        if not (epoch.isdigit() and seq.isdigit()) or int(epoch) != self._epoch:
            return None
        value = int(seq)
        return value if value <= MAX_NUMBER else None


def _heed(task: asyncio.Task[None]) -> None:
    """Whoever waits for it hears of its failure; nobody may."""
    if not task.cancelled():
        task.exception()
