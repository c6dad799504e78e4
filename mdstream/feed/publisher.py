"""The publisher: sends market data to NATS in batches, and has JetStream confirm state in the background.

Calls with market data never wait, and never fail because of NATS. While NATS is away the numbering goes on and payloads wait, up
to ``backlog_bytes``; beyond that the oldest are dropped, counted and reported. After a reconnect every instrument's ``ref``,
``snap`` and ``status`` are published again, so that readers recover whatever was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NoReturn

import msgpack

from mdstream.bus import Bus, BusOptions, parse_subject, subject
from mdstream.bus import connect as connect_bus
from mdstream.errors import BusError, BusUnavailable, FeedError, MdstreamError, SequenceError
from mdstream.feed.instrument import Instrument
from mdstream.feed.publish_queue import Batch, PublishQueue
from mdstream.feed.stored import stored_epoch
from mdstream.feed.writer import InstrumentWriter, now_us
from mdstream.model import InstrumentId, Ref

log = logging.getLogger("mdstream.feed")

ErrorCallback = Callable[[MdstreamError], None]

_CLOSE_DEADLINE_S = 5.0
_HOUSEKEEPING_S = 0.5


class Publisher:
    """Publishes a venue's instruments. Make one with ``connect``; use it from the event loop's thread only.

    ``on_error`` gets the errors of the background, which are also logged.
    """

    def __init__(
        self,
        bus: Bus,
        venue: str,
        *,
        linger_ms: float = 0,
        batch_bytes: int = 64 * 1024,
        backlog_bytes: int = 32 * 1024 * 1024,
        status_interval_s: float = 10,
        on_error: ErrorCallback | None = None,
        clock_us: Callable[[], int] = now_us,
    ) -> None:
        self.bus = bus
        self.venue = venue
        self.instruments: dict[str, Instrument] = {}
        self.now_us = clock_us
        self._max_payload = bus.max_payload_bytes
        self._linger_s = linger_ms / 1000
        self._batch_bytes = min(batch_bytes, self._max_payload)
        self._status_interval_us = int(status_interval_s * 1_000_000)
        self._on_error = on_error
        self._queue = PublishQueue(batch_bytes=self._batch_bytes, backlog_bytes=backlog_bytes)
        self._dropping = False
        self._scheduled: asyncio.Handle | None = None
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._acks: dict[str, bytes] = {}
        self._acks_wake = asyncio.Event()
        self._acks_idle = asyncio.Event()
        self._acks_idle.set()
        self._announce_again = False
        self._closed = False
        self._venue_token = subject(InstrumentId(venue, "*"), "status").split(".")[1]
        self._stop_listening: Callable[[], Awaitable[None]] | None = None
        self._fenced: asyncio.Future[SequenceError] = asyncio.get_running_loop().create_future()
        self._unregister = bus.on_reconnect(self._on_reconnect)
        self._tasks = [asyncio.create_task(run()) for run in (self._send, self._confirm, self._housekeep)]

    # ---- for feed handlers

    async def instrument(
        self,
        symbol: str,
        *,
        price_exp: int,
        size_exp: int,
        tick: int = 1,
        lot: int = 1,
        name: str = "",
        state: str = "trading",
        reason: str = "",
        max_levels: int = 65536,
        **extra: Any,
    ) -> Instrument:
        """Announces an instrument (``ref``, an empty ``snap``, ``status``) and returns when JetStream has confirmed it.

        ``tick`` and ``lot`` are the venue's increments, in units of the exponents; ``extra`` goes into ``ref``. If the symbol is open
        already, it gets a new epoch and the earlier object refuses further calls. Raises FeedError if the reference data is not
        usable, BusError if NATS is not.
        """
        if self._closed:
            raise FeedError(f"{self.venue}:{symbol}: the publisher is closed")
        if self._stop_listening is None:
            statuses = await self.bus.subscribe(f"md.{self._venue_token}.*.status", self._on_status)
            self._stop_listening = partial(self.bus.unsubscribe, statuses)
        instrument = await self._open(
            symbol, Ref(price_exp, size_exp, tick, lot, name, extra=extra), max_levels, state, reason
        )
        for name, value in instrument.opening():
            await self.bus.publish_acked(name, value)
        self.instruments[symbol] = instrument
        return instrument

    async def _open(self, symbol: str, ref: Ref, max_levels: int, state: str, reason: str) -> Instrument:
        try:
            instrument_id = InstrumentId.parse(f"{self.venue}:{symbol}")
        except ValueError as error:
            raise FeedError(str(error)) from None
        former = self.instruments.pop(symbol, None)
        if former is not None:
            former.end(FeedError(f"{instrument_id}: the instrument was opened again"))
            await self.flush()
        # A clock that went back, or another host's clock, must not lock us out of our own instrument.
        newest = max(await stored_epoch(self.bus, instrument_id), former.epoch if former else 0)
        writer = InstrumentWriter(
            instrument_id,
            ref,
            epoch=max(self.now_us(), newest + 1),
            max_payload=self._max_payload,
            max_levels=max_levels,
            clock_us=self.now_us,
        )
        writer.set_status(state, reason)
        return Instrument(self, writer)

    async def flush(self) -> None:
        """Returns when the server has everything so far; at once while NATS is away."""
        self._unschedule()
        await self._send_all()
        if self.bus.connected:
            with suppress(BusUnavailable):
                await self.bus.flush()

    async def fenced(self) -> NoReturn:
        """Waits until another writer takes over an instrument with a greater epoch; then raises SequenceError.

        Readers ignore us there from then on, so calls for that instrument raise the same error.
        """
        raise await asyncio.shield(self._fenced)

    @property
    def dropped(self) -> int:
        """Values dropped because NATS was away or slow for too long."""
        return self._queue.dropped_values

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait to be sent."""
        return self._queue.bytes

    async def close(self, reason: str = "publisher stopped") -> None:
        """Publishes the last snapshots and ``feed_down``, waits up to 5 s for their confirmation, and ends."""
        if self._closed:
            return
        self._closed = True
        for instrument in self.instruments.values():
            instrument.finish(reason)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_DEADLINE_S if self.bus.connected else 0):
                await self.flush()
                await self._acks_idle.wait()
        self._unregister()
        self._unschedule()
        self._fenced.cancel()
        if self._stop_listening is not None:
            await self._stop_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- for instruments

    def send(self, subject: str, value: bytes) -> None:
        dropped = self._queue.add(subject, value)
        if dropped:
            self._on_dropped()
        if self._queue.bytes >= self._batch_bytes:
            self._unschedule()
            self._wake.set()
        elif self._scheduled is None:
            self._schedule()

    def send_state(self, subject: str, value: bytes, *, after: str | None = None) -> None:
        self._queue.add_state(subject, value, after=after)
        if self._scheduled is None:
            self._schedule()

    def report(self, error: MdstreamError) -> None:
        log.error("%s", error)
        if self._on_error is not None:
            self._on_error(error)

    # ---- sending

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._linger_s:
            self._scheduled = loop.call_later(self._linger_s, self._on_linger)
        else:
            self._scheduled = loop.call_soon(self._on_linger)

    def _unschedule(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _on_linger(self) -> None:
        self._scheduled = None
        self._wake.set()

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._announce_again and self.bus.connected:
                await self._announce_all()
            await self._send_all()

    async def _send_all(self) -> None:
        async with self._sending:
            while self._queue and self.bus.connected:
                batch = self._queue.take()
                if batch.acked:
                    self._request_ack(batch)
                    continue
                try:
                    await self.bus.publish(batch.subject, batch.payload())
                except BusUnavailable:
                    self._queue.put_back(batch)
                    return
                except BusError as error:
                    self.report(error)
        if not self._queue:
            self._dropping = False

    def _on_dropped(self) -> None:
        """Reports an overflow of the backlog once, and announces again: readers have a gap and need snapshots."""
        self._announce_again = True
        if not self._dropping:
            self._dropping = True
            why = "too slow" if self.bus.connected else "away"
            self.report(
                BusUnavailable(
                    f"{self.venue}: NATS is {why} and more than the backlog of {self._queue.bytes} bytes waits; "
                    "the oldest payloads are dropped, and readers recover from the next snapshot"
                )
            )

    # ---- confirmed state

    def _request_ack(self, batch: Batch) -> None:
        # Only the newest state of a subject matters: replace one that still waits.
        self._acks.pop(batch.subject, None)
        self._acks[batch.subject] = batch.payload()
        self._acks_idle.clear()
        self._acks_wake.set()

    async def _confirm(self) -> None:
        while True:
            await self._acks_wake.wait()
            self._acks_wake.clear()
            while self._acks:
                subject = next(iter(self._acks))
                try:
                    await self.bus.publish_acked(subject, self._acks.pop(subject))
                except BusUnavailable:
                    # All state must be sent again.
                    self._announce_again = True
                    break
                except BusError as error:
                    self.report(error)
            self._acks_idle.set()

    # ---- other writers

    def _on_status(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        """Every writer publishes its status regularly: one with a greater epoch than ours has taken over."""
        try:
            instrument_id, _stream = parse_subject(name.decode())
            _kind, epoch, *_more = msgpack.unpackb(payload)
        except (ValueError, TypeError, msgpack.UnpackException):
            return
        instrument = self.instruments.get(instrument_id.symbol)
        if instrument is None or not isinstance(epoch, int) or epoch <= instrument.epoch:
            return
        del self.instruments[instrument_id.symbol]
        error = SequenceError(
            f"{instrument_id}: another writer has taken over with epoch {epoch}; ours was {instrument.epoch}"
        )
        instrument.end(error)
        self.report(error)
        if not self._fenced.done():
            self._fenced.set_result(error)

    # ---- reconnects and timers

    def _on_reconnect(self) -> None:
        self._announce_again = True
        self._wake.set()

    async def _announce_all(self) -> None:
        self._announce_again = False
        try:
            # This may be a new server with no data.
            await self.bus.ensure_streams()
        except BusUnavailable:
            self._announce_again = True
            return
        except BusError as error:
            self.report(error)
        for instrument in self.instruments.values():
            instrument.announce_again()

    async def _housekeep(self) -> None:
        while True:
            await asyncio.sleep(min(_HOUSEKEEPING_S, self._status_interval_us / 1e6))
            if not self.bus.connected:
                continue
            if self._announce_again:
                self._wake.set()
            at_us = self.now_us()
            for instrument in self.instruments.values():
                instrument.housekeep(at_us, self._status_interval_us)


@asynccontextmanager
async def connect(target: str | BusOptions | Bus, *, venue: str, **options: Any) -> AsyncIterator[Publisher]:
    """A publisher for one venue: ``async with connect("nats://127.0.0.1:4222", venue="SIM") as publisher``.

    ``options`` are those of ``Publisher``. On leaving, the backlog is sent, the instruments are marked ``feed_down``, and the
    connection is closed unless it was passed in. Raises BusUnavailable if NATS cannot be reached, FeedError for a bad venue name.
    """
    _check_venue(venue)
    bus = target if isinstance(target, Bus) else await connect_bus(target)
    try:
        await bus.ensure_streams()
        publisher = Publisher(bus, venue, **options)
        try:
            yield publisher
        finally:
            await publisher.close()
    finally:
        if bus is not target:
            await bus.close()


def _check_venue(venue: str) -> None:
    if ":" in venue:
        raise FeedError(f"venue {venue!r} must not contain a colon")
    try:
        InstrumentId.parse(f"{venue}:X")
    except ValueError as error:
        raise FeedError(str(error)) from None
