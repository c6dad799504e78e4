"""The publisher: sends market data to NATS in batches, and has JetStream store state in the background.

Calls with market data never wait, and never fail because of NATS. While NATS is away the numbering goes on and payloads wait, up
to ``backlog_bytes``; beyond that the oldest are dropped, counted and reported. After a reconnect every instrument's ``ref``,
``status`` and ``snap`` are published again, so that readers recover whatever was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NoReturn

from mdstream.bus import Bus, BusOptions, Denial, subject
from mdstream.bus import connect as connect_bus
from mdstream.errors import BusError, BusUnavailable, FeedError, MdstreamError, SequenceError
from mdstream.feed.claim import Claim, ServerClock, next_epoch
from mdstream.feed.instrument import Instrument
from mdstream.feed.numbers import monotonic_us, now_us
from mdstream.feed.other_writers import OtherWriters, Ours
from mdstream.feed.publish_queue import PublishQueue, StateValue
from mdstream.feed.refs import check_ref, pack_ref
from mdstream.feed.storage import Storage
from mdstream.feed.writer import InstrumentWriter
from mdstream.model import InstrumentId, Ref

log = logging.getLogger("mdstream.feed")

ErrorCallback = Callable[[MdstreamError], None]

_CLOSE_DEADLINE_S = 5.0
_HOUSEKEEPING_S = 0.5
_MOST_DENIED = 20
JETSTREAM_DEADLINE_S = 2.0
"""So long we wait for JetStream when a connection or an instrument opens; then we go on without it."""


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
        monotonic_us: Callable[[], int] = monotonic_us,
    ) -> None:
        self.bus = bus
        self.venue = venue
        self.instruments: dict[str, Instrument] = {}
        self.monotonic_us = monotonic_us
        self._clock_us = clock_us
        self._server_clock = ServerClock(clock_us, monotonic_us)
        self._max_payload = bus.max_payload_bytes
        self._linger_s = linger_ms / 1000
        self._batch_bytes = min(batch_bytes, self._max_payload)
        self._step_s = min(_HOUSEKEEPING_S, status_interval_s / 2)
        # A status must not be late because we look in steps.
        self._status_interval_us = int((status_interval_s - self._step_s) * 1_000_000)
        self._on_error = on_error
        self._queue = PublishQueue(batch_bytes=self._batch_bytes, backlog_bytes=backlog_bytes)
        self._dropping = False
        self._scheduled: asyncio.Handle | None = None
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._storage = Storage(
            bus,
            venue,
            report=self.report,
            on_conflict=self._on_conflict,
            on_retry=self._on_retry,
            on_restored=self._on_restored,
            monotonic_us=monotonic_us,
        )
        self._others = OtherWriters(
            Ours(
                bus,
                venue,
                self._server_clock,
                self._storage,
                self.instruments,
                begin=self._begin,
                fence=self._fence,
                monotonic_us=monotonic_us,
            )
        )
        self._heard = self._others.heard
        self._announce_again = False
        self._closed = False
        self._fenced: asyncio.Future[SequenceError] = asyncio.get_running_loop().create_future()
        self._denied: set[str] = set()
        self._unregister = (bus.on_reconnect(self._on_reconnect), bus.on_denied(self._on_denied))
        self._tasks: set[asyncio.Task[None]] = set()

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
        depth: int = 0,
        state: str = "trading",
        reason: str = "",
        max_levels: int = 65536,
        live_venue: bool = True,
        **extra: Any,
    ) -> Instrument:
        """Announces an instrument in a new epoch (``ref``, ``status``, an empty ``snap``) and returns when JetStream has stored it.

        Where JetStream does not answer within 2 s, it says so and goes on: the instrument is live. ``tick`` and ``lot`` are the
        venue's increments, in units of the exponents; ``depth`` is how many levels of a side the venue gives at most (0: all);
        ``extra`` goes into ``ref``. A source without a venue that could fall silent is not a ``live_venue``. A colon in the symbol
        is published as ``%3A``. If the symbol is open already, it gets a new epoch and the earlier object refuses further calls.
        Raises FeedError if the reference data is not usable.
        """
        instrument_id = self._identify(symbol)
        ref = Ref(price_exp, size_exp, tick, lot, name, depth=depth, extra=extra)
        check_ref(instrument_id, ref)
        known = await self._end_former(instrument_id)
        claim = await self._claim(instrument_id, ref, known)
        writer = InstrumentWriter(
            instrument_id,
            ref,
            epoch=claim.epoch,
            max_payload=self._max_payload,
            max_levels=max_levels,
            live_venue=live_venue,
            clock_us=self._clock_us,
            monotonic_us=self.monotonic_us,
        )
        writer.set_status(state, reason)
        return await self._announce(Instrument(self, writer), claim)

    def heard(self, instruments: Iterable[Instrument] | None = None) -> None:
        """The venue has said something about these instruments (default: all), if only that it lives: they are not stale."""
        for instrument in self.instruments.values() if instruments is None else instruments:
            instrument.heard()

    def _identify(self, symbol: str) -> InstrumentId:
        if self._closed:
            raise FeedError(f"{self.venue}:{symbol}: the publisher is closed")
        try:
            return InstrumentId.parse(f"{self.venue}:{symbol.replace(':', '%3A')}")
        except ValueError as error:
            raise FeedError(str(error)) from None

    async def _end_former(self, instrument_id: InstrumentId) -> int:
        """Ends the instrument's open object, if there is one, and returns the greatest epoch that is known here."""
        former = self.instruments.pop(instrument_id.symbol, None)
        if former is None:
            return self._heard.epoch(instrument_id)
        former.end(FeedError(f"{instrument_id}: the instrument was opened again"))
        self._storage.forget(former.state_subjects)
        await self.flush()
        return max(former.epoch, self._heard.epoch(instrument_id))

    async def _claim(self, instrument_id: InstrumentId, ref: Ref, known: int) -> Claim:
        claim = Claim(self.bus, instrument_id, self._server_clock, known)
        deadline_s = JETSTREAM_DEADLINE_S
        if self._storage.in_trouble:
            deadline_s /= 8  # we have waited, and said so
        try:
            async with asyncio.timeout(deadline_s):
                stored = await claim.look_up()
                if not claim.known:
                    await self._hear_first(claim, instrument_id)
                await claim.take(stored, lambda epoch: pack_ref(replace(ref, epoch=epoch)))
        except (BusError, TimeoutError) as error:
            self._storage.begin_trouble(f"{instrument_id}, whose epoch is not claimed: {_why(error)}")
        if claim.ref_seq is None:
            # Once claimed, the greatest epoch that was heard is the one in our own ``ref``.
            claim.know(self._heard.epoch(instrument_id))
        return claim

    async def _hear_first(self, claim: Claim, instrument_id: InstrumentId) -> None:
        """Nothing is stored: it is new, or what was stored is lost while its writer or gateways go on."""
        await self._heard.listened()
        claim.know(self._heard.epoch(instrument_id))
        if not claim.known:
            log.info(
                "%s: the bus knows no earlier epoch; the new one is by the clock of the NATS server alone",
                instrument_id,
            )

    async def _announce(self, instrument: Instrument, claim: Claim) -> Instrument:
        symbol, subjects = instrument.id.symbol, instrument.state_subjects
        await self._heard.watch(instrument.id)
        self.instruments[symbol] = instrument
        if claim.ref_seq is None:
            self._others.unclaimed.add(symbol)
        else:
            self._others.unclaimed.discard(symbol)
            self._storage.expect(subjects[0], claim.ref_seq)
        instrument.announce(ref=claim.ref_seq is None)
        await self.flush()
        if not self._storage.in_trouble and self.bus.connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(JETSTREAM_DEADLINE_S):
                    await self._storage.settled(subjects)
        return instrument

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

    async def start(self) -> None:
        """Listens, begins to send, and sees to it that the streams exist; waits at most 2 s for JetStream."""
        await self._storage.start()
        await self._heard.start()
        for run in (self._send, self._housekeep):
            self._begin(run())
        try:
            async with asyncio.timeout(JETSTREAM_DEADLINE_S):
                await self.bus.ensure_streams()
        except (BusError, TimeoutError) as error:
            self._storage.begin_trouble(_why(error))

    async def close(self, reason: str = "publisher stopped") -> None:
        """Publishes the last snapshots and ``feed_down``, waits up to 5 s for their confirmation, and ends."""
        if self._closed:
            return
        self._closed = True
        for instrument in self.instruments.values():
            instrument.finish(reason)
        may_wait = self.bus.connected and not self._storage.in_trouble
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_DEADLINE_S if self.bus.connected else 0):
                await self.flush()
                if may_wait:
                    await self._storage.settled(self._storage.all_subjects())
        for unregister in self._unregister:
            unregister()
        self._unschedule()
        self._fenced.cancel()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._heard.stop()
        await self._storage.stop()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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

    def send_state(self, subject: str, value: StateValue, *, after: Iterable[str] = ()) -> None:
        self._queue.add_state(subject, value, after=after)
        if self._scheduled is None:
            self._schedule()

    def next_epoch(self, known: int) -> int:
        return next_epoch(self._server_clock.now_us(), known)

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
                self._announce_all()
            await self._send_all()

    async def _send_all(self) -> None:
        async with self._sending:
            while self._queue and self.bus.connected:
                batch = self._queue.take()
                publish = self._storage.publish if batch.acked else self.bus.publish
                try:
                    await publish(batch.subject, batch.payload())
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

    # ---- other writers, and what is stored

    def _fence(self, instrument: Instrument, epoch: int) -> None:
        del self.instruments[instrument.id.symbol]
        error = SequenceError(
            f"{instrument.id}: another writer has taken over with epoch {epoch}; ours was {instrument.epoch}"
        )
        instrument.end(error)
        self._storage.forget(instrument.state_subjects)
        self.report(error)
        if not self._fenced.done():
            self._fenced.set_result(error)

    def _with_subject(self, subjects: Collection[str]) -> list[Instrument]:
        return [
            each for each in self.instruments.values() if not set(subjects).isdisjoint(each.state_subjects)
        ]

    def _on_conflict(self, subject: str) -> None:
        self._others.look_up(self._with_subject([subject]))

    def _on_retry(self, subjects: Collection[str]) -> None:
        for instrument in self._with_subject(subjects):
            instrument.announce()

    def _on_restored(self) -> None:
        self._others.on_restored()

    # ---- reconnects and timers

    def _on_denied(self, denial: Denial) -> None:
        """Reports each subject once a connection."""
        if denial.subject in self._denied or len(self._denied) >= _MOST_DENIED:
            return
        self._denied.add(denial.subject)
        prefix = subject(InstrumentId(self.venue, "X"), "*").rsplit(".", 2)[0]
        own = denial.subject.startswith(f"{prefix.lower()}.")
        needs = f"; a publisher of {self.venue} needs {prefix}.>" if own else ""
        self.report(BusError(f"{self.venue}: NATS at {self.bus.options.where}: {denial}{needs}"))

    def _on_reconnect(self) -> None:
        self._denied.clear()
        self._announce_again = True
        self._storage.reconnected()
        self._wake.set()

    def _announce_all(self) -> None:
        self._announce_again = False
        for instrument in self.instruments.values():
            instrument.announce()

    async def _housekeep(self) -> None:
        while True:
            await asyncio.sleep(self._step_s)
            if not self.bus.connected:
                continue
            if self._announce_again:
                self._wake.set()
            at_us = self.monotonic_us()
            for instrument in tuple(self.instruments.values()):
                instrument.housekeep(at_us, self._status_interval_us)
            self._others.housekeep(at_us)
            self._storage.check(at_us)


@asynccontextmanager
async def connect(target: str | BusOptions | Bus, *, venue: str, **options: Any) -> AsyncIterator[Publisher]:
    """A publisher for one venue: ``async with connect("nats://127.0.0.1:4222", venue="SIM") as publisher``.

    ``options`` are those of ``Publisher``. On leaving, the backlog is sent, the instruments are marked ``feed_down``, and the
    connection is closed unless it was passed in. Raises BusUnavailable if NATS cannot be reached, FeedError for a bad venue name.
    """
    check_venue(venue)
    bus = target if isinstance(target, Bus) else await connect_bus(_without_echo(target))
    try:
        publisher = Publisher(bus, venue, **options)
        try:
            await publisher.start()
            yield publisher
        finally:
            await publisher.close()
    finally:
        if bus is not target:
            await bus.close()


def _without_echo(target: str | BusOptions) -> BusOptions:
    """Our snapshots need not come back to us; we listen to those of others."""
    return replace(BusOptions.parse(target) if isinstance(target, str) else target, echo=False)


def _why(error: Exception) -> str:
    return str(error) or f"JetStream did not answer within {JETSTREAM_DEADLINE_S:g} s"


def check_venue(venue: str) -> None:
    """Raises FeedError for a bad venue name."""
    if ":" in venue:
        raise FeedError(f"venue {venue!r} must not contain a colon")
    try:
        InstrumentId.parse(f"{venue}:X")
    except ValueError as error:
        raise FeedError(str(error)) from None
