"""The publisher: sends market data to NATS in batches, and has JetStream store state in the background.

Calls with market data never wait, and never fail because of NATS. While NATS is away the numbering goes on and payloads wait, up
to ``backlog_bytes``; beyond that the oldest are dropped, counted and reported. After a reconnect every instrument's ``ref``,
``status`` and ``snap`` are published again, so that readers recover whatever was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from typing import Any, NoReturn

from mdstream.bus import Bus, Denial, subject
from mdstream.errors import BusError, BusUnavailable, FeedError, MdstreamError, SequenceError
from mdstream.feed.claim import Claim, ServerClock, next_epoch
from mdstream.feed.claims import JETSTREAM_DEADLINE_S, Claims, why
from mdstream.feed.instrument import FOLLOWING, Instrument, Tail
from mdstream.feed.lease import Lease, LeaseOptions
from mdstream.feed.numbers import monotonic_us, now_us
from mdstream.feed.other_writers import OtherWriters, Ours
from mdstream.feed.publish_queue import PublishQueue, StateValue
from mdstream.feed.refs import check_ref
from mdstream.feed.standby import Means, Standby
from mdstream.feed.storage import Storage
from mdstream.feed.writer import InstrumentWriter, TradeId
from mdstream.model import InstrumentId, Ref

log = logging.getLogger("mdstream.feed")

ErrorCallback = Callable[[MdstreamError], None]

_CLOSE_DEADLINE_S = 5.0
_HOUSEKEEPING_S = 0.5
_MOST_DENIED = 20


class Publisher:
    """Publishes a venue's instruments. Make one with ``connect``; use it from the event loop's thread only.

    ``on_error`` gets the errors of the background, which are also logged. With a ``lease`` it publishes only while it holds that; else it
    follows the one that does.
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
        lease: LeaseOptions | None = None,
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
            on_outrun=self._on_outrun,
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
        self._claims = Claims(
            bus, self._server_clock, self._storage, self._others, fences_state=lease is not None
        )
        self._standby: Standby | None = None
        if lease is not None:
            means = Means(bus, self._server_clock, self._begin, monotonic_us)
            self._standby = Standby(self, Lease(bus, venue, lease, self._server_clock, monotonic_us), means)
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
        claim = await self._claims.claim(instrument_id, ref, known) if self.writes else None
        writer = InstrumentWriter(
            instrument_id,
            ref,
            epoch=FOLLOWING if claim is None else claim.epoch,
            max_payload=self._max_payload,
            max_levels=max_levels,
            live_venue=live_venue,
            clock_us=self._clock_us,
            monotonic_us=self.monotonic_us,
        )
        writer.set_status(state, reason)
        return await self._open(Instrument(self, writer), claim)

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

    async def _open(self, instrument: Instrument, claim: Claim | None) -> Instrument:
        await self._heard.watch(instrument.id)
        self.instruments[instrument.id.symbol] = instrument
        if self._standby is not None and (claim is None or not self.writes):
            # Also where the lease was lost meanwhile.
            await self._standby.follow(instrument)
        elif claim is not None:
            await self._announce(instrument, claim)
        return instrument

    async def _announce(self, instrument: Instrument, claim: Claim) -> None:
        self._claims.own(instrument, claim)
        instrument.announce(ref=claim.ref_seq is None)
        subjects = instrument.state_subjects
        await self.flush()
        if not self._storage.in_trouble and self.bus.connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(JETSTREAM_DEADLINE_S):
                    await self._storage.settled(subjects)

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
            self._storage.begin_trouble(why(error))
        if self._standby is not None:
            await self._standby.start()

    async def close(self, reason: str = "publisher stopped") -> None:
        """Publishes the last snapshots and ``feed_down``, waits up to 5 s for their confirmation, and ends.

        Where another handler follows, it goes on instead, and clients notice nothing.
        """
        if self._closed:
            return
        self._closed = True
        if self._standby is not None:
            await self._standby.hand_over(stays=False)
        for instrument in self.instruments.values():
            instrument.finish(reason)
        may_wait = self.bus.connected and not self._storage.in_trouble
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_DEADLINE_S if self.bus.connected else 0):
                await self.flush()
                if may_wait:
                    await self._storage.settled(self._storage.all_subjects())
                if self._standby is not None:
                    await self._standby.leave()
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

    # ---- where several handlers share the instruments

    @property
    def writes(self) -> bool:
        """Whether we publish: always, unless there is a lease and another has it."""
        return self._standby is None or self._standby.writes

    async def hand_over(self) -> bool:
        """Gives the lease up to a handler that follows, and follows it. False if there is none: then we go on."""
        return self._standby is not None and await self._standby.hand_over()

    async def settled(self, within_s: float) -> None:
        """Returns when the newest state of all instruments is stored, or after that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._storage.settled(self._storage.all_subjects())

    async def write(self, instrument: Instrument, tail: Tail | None, last_trade: TradeId | None) -> None:
        """The lease is ours: goes on after another's last words, or in a new epoch where they are not known or not the last."""
        ref_is_stored = None if tail is None else await self._claims.go_on(instrument, tail)
        if tail is not None and ref_is_stored is not None:
            instrument.take_over(tail.book.epoch, tail, last_trade, ref=not ref_is_stored)
            return
        heard, asks_clock = self._heard.epoch(instrument.id), not self._server_clock.is_known
        claim = await self._claims.claim(instrument.id, instrument.ref, heard, asks_clock=asks_clock)
        self._claims.own(instrument, claim)
        instrument.take_over(claim.epoch, None, last_trade, ref=claim.ref_seq is None)

    def go_on(self) -> None:
        """What had to wait for the lease may be sent."""
        if self._queue:
            self._wake.set()

    def withhold(self, reason: str) -> None:
        """Clients are told ``feed_down`` with this reason, until it is empty."""
        for instrument in self.instruments.values():
            instrument.withhold(reason)

    def step_down(self) -> None:
        """Another writes from now on: what we have not sent is not sent any more."""
        self._queue.clear()
        self._storage.expect_nothing()
        for instrument in self.instruments.values():
            instrument.follow()

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
            while self._queue and self.bus.connected and self._may_send():
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

    def _may_send(self) -> bool:
        return self._standby is None or self._standby.may_send()

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
        if self._standby is None:
            self._end(instrument, epoch)
        elif self._standby.writes:
            self._begin(self._doubt(self._standby, instrument, epoch))

    async def _doubt(self, standby: Standby, instrument: Instrument, epoch: int) -> None:
        """Either the lease is another's by now, or one writes who does not ask for it."""
        if await standby.challenged() and self._others.is_open(instrument) and instrument.epoch < epoch:
            self._end(instrument, epoch)

    def _end(self, instrument: Instrument, epoch: int) -> None:
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

    def _on_outrun(self, subject: str) -> None:
        for instrument in self._with_subject([subject]):
            instrument.send_again(subject)

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
        if self._standby is not None:
            self._standby.nudge()
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
