"""Follows subjects of a stream that publishes again what it has stored: each message once, in order, and holes filled.

Live messages name the number before them on their subject, so a hole shows; it is filled from the stream. A tail that was lost shows by
nothing: so each reader asks now and then, and after each reconnect, what is stored beyond its number. What comes live and is not in the
stream is dropped where it leaves a hole: the stream decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import nats.errors

from mdstream.bus.direct import MOST, MOST_BYTES, Batch, DirectReader
from mdstream.bus.stored_message import Numbered, numbered
from mdstream.bus.streams import created_us, explain, info
from mdstream.errors import BusError, BusUnavailable
from mdstream.tasks import end

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus.connection import Bus

__all__ = ["Batch", "Numbered", "NumberedReader", "NumberedStream"]

log = logging.getLogger("mdstream.bus.numbered")

LOOK_S: Final = 1.0
"""How often those are looked at whose time has come to ask."""
LOOKS: Final = 64
"""How many of them ask then, at most."""
ASK_S: Final = 5.0
"""How long a reader that heard nothing waits until it asks."""
AT_ONCE: Final = 16
"""Readers that fill holes at a time."""
HOLE_S: Final = 2.0
"""How long the stream is asked for what is missing before a live message: a replica that answers may lag behind."""
AGAIN_S: Final = 0.05
ENSURE_S: Final = 2.0
"""Between two times that a stream is created that does not answer."""
MOST_HELD: Final = 1_024
"""Live messages that a reader holds while it fills a hole; more are dropped, and read from the stream."""
_RETRY_LEAST_S: Final = 0.1
_RETRY_MOST_S: Final = 2.0


class NumberedReader:
    """One subject, from ``NumberedStream.reader``. ``receive`` is called with each message, in order; ``restarted`` where the
    stream is another one, whose numbers begin anew: close the reader then."""

    def __init__(
        self,
        stream: NumberedStream,
        name: str,
        receive: Callable[[Numbered], object],
        restarted: Callable[[], object],
    ) -> None:
        self.name = name
        self.seq = 0
        """All up to this number have been handed on, or came before the reader."""
        self.heard_s = 0.0
        self._stream = stream
        self._receive = receive
        self._restarted = restarted
        self._subscription: Subscription | None = None
        self._held: list[
            Numbered
        ] = []  # not a deque, which takes 760 bytes empty: there may be ten thousand readers
        self._is_open = False
        self._work: asyncio.Task[None] | None = None

    @property
    def is_following(self) -> bool:
        """Whether it has all that is known: it does not fill a hole now."""
        return self._is_open and self._work is None

    async def open(self, after: int | None = None) -> None:
        """Begins after this number of the stream, or (None) after what is stored now. What is stored already is handed on before this
        returns. Raises BusError, BusUnavailable; it is closed then."""
        try:
            self._subscription = await self._stream.subscribe(self.name, self._hear)
            if after is None:
                last = await self._stream.last(self.name)
                after = 0 if last is None else last.seq
            self.seq = after
            await self._fill()
        except BaseException:
            await self.close()
            raise
        self._is_open = True
        self._stream.add(self)

    async def close(self) -> None:
        self._is_open = False
        self._stream.remove(self)
        work, self._work = self._work, None  # once cancelled it keeps its frames, and they know this reader
        await end(work)
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._stream.unsubscribe(subscription)

    def ask(self) -> None:
        """Asks the stream soon for what is beyond its number."""
        if self._is_open and self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._keep_filling())

    async def come_to_newest(self) -> None:
        """Returns once it has all that was stored when this was called, as the stream's leader knows. Raises BusError, BusUnavailable, also
        where the replica that answers lags behind for long."""
        newest = await self._stream.newest(self.name)
        until_s = asyncio.get_running_loop().time() + HOLE_S
        while self.seq < newest:
            if not self._is_open or asyncio.get_running_loop().time() >= until_s:
                raise _lags(self.name)
            self.ask()
            await asyncio.sleep(AGAIN_S)

    # ---- live

    def _hear(self, _: bytes, __: bytes, payload: bytes, headers: bytes | None) -> None:
        message = numbered(headers, payload)
        if message is None:
            return
        if not self._is_open or self._work is not None:
            self._held.append(message)
            if len(self._held) > MOST_HELD:
                self._held.pop()  # the newest: they are read from the stream
        elif self.seq < message.seq and message.prev <= self.seq:
            self._take(message)
        elif message.seq > self.seq:
            self._held.append(message)
            self.ask()
        else:
            self._work = asyncio.get_running_loop().create_task(self._verify())

    def _take(self, message: Numbered) -> None:
        self.heard_s = asyncio.get_running_loop().time()
        prev, self.seq = self.seq, message.seq
        self._receive(message if message.prev else message._replace(prev=prev))

    # ---- from the stream

    async def _keep_filling(self) -> None:
        """Until it has succeeded once."""
        delay_s = _RETRY_LEAST_S
        while self._is_open:
            try:
                async with self._stream.slots:
                    await self._fill()
                break
            except BusError as error:
                log.debug("%s: what is missing cannot be read: %s", self.name, error)
                self._stream.ensure_soon()
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _RETRY_MOST_S)
        self._work = None

    async def _fill(self) -> None:
        """Hands on what is stored beyond its number, then what was held. Raises BusError."""
        until_s = asyncio.get_running_loop().time() + HOLE_S
        while True:
            await self._read_rest()
            self._take_held()
            if not self._held:
                break
            if asyncio.get_running_loop().time() >= until_s:
                log.warning(
                    "%s: what came live has numbers that the stream has not; it is dropped", self.name
                )
                self._held.clear()
                break
            await asyncio.sleep(AGAIN_S)
        self.heard_s = asyncio.get_running_loop().time()

    async def _read_rest(self) -> None:
        has_more = True
        while has_more:
            batch = await self._stream.read(self.name, self.seq + 1)
            for message in batch.messages:
                if message.seq > self.seq:
                    self._take(message)
            has_more = batch.has_more and bool(batch.messages)

    def _take_held(self) -> None:
        """Up to the first that leaves a hole."""
        while self._held and (self._held[0].seq <= self.seq or self._held[0].prev <= self.seq):
            message = self._held.pop(0)
            if message.seq > self.seq:
                self._take(message)

    async def _verify(self) -> None:
        """A number came that is not beyond its own: again, or from another stream."""
        try:
            await self._stream.look_whether_new()
        except BusError as error:
            log.debug("%s: %s", self.name, error)
        self._work = None
        self.ask()

    def restart(self) -> None:
        """The stream is another one."""
        if self._is_open:
            self._is_open = False
            self._restarted()


class NumberedStream:
    """The stream, and who follows it. ``prefix`` and ``live`` stand before a name: in the stream, and where it publishes again."""

    def __init__(
        self, bus: Bus, stream: str, *, prefix: str, live: str, ensure: Callable[[], Awaitable[None]]
    ) -> None:
        """``ensure`` creates the stream where it does not exist: at the beginning, and after each reconnect."""
        self.slots = asyncio.Semaphore(AT_ONCE)
        self._bus = bus
        self._direct = DirectReader(bus, stream)
        self._prefix = prefix
        self._live = live
        self._ensure = ensure
        self._readers: dict[NumberedReader, None] = {}
        """In the order in which they ask."""
        self._looking: asyncio.Task[None] | None = None
        self._unregister: Callable[[], None] | None = None
        self._begins = asyncio.Lock()
        self._stream = stream
        self.epoch = 0
        """When the stream was created, in µs: another one has other numbers."""
        self._ensuring: asyncio.Task[None] | None = None
        self._ensure_at_s = 0.0

    @property
    def connected(self) -> bool:
        return self._bus.connected

    async def begin(self) -> None:
        """Again as often as you like. Raises BusError, BusUnavailable."""
        if self._looking is not None:
            return
        async with self._begins:
            if self._looking is None:
                await self._ensure()
                self.epoch = await self._created_us()
                await self._direct.begin()
                self._unregister = self._bus.on_reconnect(self._reconnected)
                self._looking = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        if self._unregister is not None:
            self._unregister()
        tasks = [task for task in (self._looking, self._ensuring) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for reader in list(self._readers):
            await reader.close()
        await self._direct.close()

    def reader(
        self, name: str, receive: Callable[[Numbered], object], restarted: Callable[[], object]
    ) -> NumberedReader:
        """Of the subject that is ``prefix`` and this name. ``open`` it."""
        return NumberedReader(self, name, receive, restarted)

    async def read(
        self, name: str, from_seq: int, *, most: int = MOST, most_bytes: int = MOST_BYTES
    ) -> Batch:
        """What is stored from this number on. Raises BusError, BusUnavailable."""
        return await self._direct.read(f"{self._prefix}.{name}", from_seq, most=most, most_bytes=most_bytes)

    async def last(self, name: str) -> Numbered | None:
        """The newest that is stored. Raises as ``read``."""
        return await self._direct.last(f"{self._prefix}.{name}")

    async def at(self, seq: int) -> Numbered | None:
        """The message with this number, of any name, or None. Raises as ``read``."""
        return await self._direct.at(seq)

    async def newest(self, name: str) -> int:
        """The number of the newest that is stored, as the stream's leader knows; 0: there is none. Raises BusError, BusUnavailable."""
        stored = await self._bus.newest_stored(self._stream, f"{self._prefix}.{name}")
        return 0 if stored is None else stored.stream_seq

    async def read_to(self, name: str, from_seq: int, to_seq: int, *, most: int, most_bytes: int) -> Batch:
        """As ``read``, where all up to ``to_seq`` is known to have been stored: what is missing in the answer is gone, and not only not yet
        on the replica that was asked."""
        until_s = asyncio.get_running_loop().time() + HOLE_S
        while True:
            batch = await self.read(name, from_seq, most=most, most_bytes=most_bytes)
            end = batch.messages[-1].seq if batch.messages else max(from_seq - 1, 0)
            if batch.has_more or end >= to_seq or end >= await self.newest(name):
                return batch
            if asyncio.get_running_loop().time() >= until_s:
                raise _lags(name)
            await asyncio.sleep(AGAIN_S)

    # ---- of readers

    async def subscribe(
        self, name: str, hear: Callable[[bytes, bytes, bytes, bytes | None], None]
    ) -> Subscription:
        return await self._bus.subscribe(f"{self._live}.{name}", hear)

    async def unsubscribe(self, subscription: Subscription) -> None:
        await self._bus.unsubscribe(subscription)

    def add(self, reader: NumberedReader) -> None:
        reader.heard_s = float(
            "-inf"
        )  # what was stored while the subscription spread in a cluster is asked for soon
        self._readers[reader] = None

    def remove(self, reader: NumberedReader) -> None:
        self._readers.pop(reader, None)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            due_s = asyncio.get_running_loop().time() - ASK_S
            due = [reader for reader in self._readers if reader.heard_s <= due_s][:LOOKS]
            for reader in due:
                self._readers[reader] = self._readers.pop(reader)
                reader.ask()

    def ensure_soon(self) -> None:
        """Call where the stream did not answer: somebody may have deleted it. It is created again, if this is not tried already."""
        if asyncio.get_running_loop().time() >= self._ensure_at_s and self._bus.connected:
            self._reconnected()

    def _reconnected(self) -> None:
        self._ensure_at_s = asyncio.get_running_loop().time() + ENSURE_S
        if self._ensuring is None or self._ensuring.done():
            self._ensuring = asyncio.get_running_loop().create_task(self._ensure_and_ask())

    async def _ensure_and_ask(self) -> None:
        """A server that lost its data has no stream."""
        try:
            await self._ensure()
            await self.look_whether_new()
        except BusError as error:
            log.warning("%s", error)
        for reader in list(self._readers):
            reader.ask()

    async def look_whether_new(self) -> None:
        """Tells all readers if the stream is another one than it was. Raises BusError, BusUnavailable."""
        created_us = await self._created_us()
        if created_us == self.epoch:
            return
        log.warning("%s is another stream than before; its numbers begin anew", self._stream)
        self.epoch = created_us
        for reader in list(self._readers):
            reader.restart()

    async def _created_us(self) -> int:
        try:
            return created_us(await info(self._bus.jetstream, self._stream))
        except (nats.errors.Error, TimeoutError) as error:
            explain(error, f"{self._stream} cannot be asked for")


def _lags(name: str) -> BusUnavailable:
    return BusUnavailable(f"the replica of the stream that answers lags behind, and has not all of {name}")
