"""Readers: one per open instrument, from the bus into the core, whole or known not to be.

A ``Readers`` serves one event loop and one core. ``open`` subscribes, learns the reference data and brings book and
trades up to date; from then on live payloads go straight to the core, and holes are mended behind its back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from nats.aio.subscription import Subscription

from mdstream._core.codec.feed_decoder import StatusValue, decode_payload
from mdstream._core.fanout.flush_scheduler import FlushScheduler
from mdstream._core.ingest.intake import InstrumentReceiver, Intake
from mdstream.bus.connection import Bus
from mdstream.bus.lane import Lane, ReaderStats
from mdstream.bus.mender import BookMender, Mender, MendOptions, Target, TradeMender
from mdstream.bus.payloads import snap_number
from mdstream.bus.streams import MD_STATE
from mdstream.bus.subjects import subject
from mdstream.errors import BusError, FeedError
from mdstream.model import InstrumentId, Ref, State, VenueState

logger = logging.getLogger(__name__)

STORING_S = 0.1
"""What JetStream takes at most, as a rule, to store what was published."""
LOG_EVERY_S = 10.0
"""Holes that come faster, of one stream of an instrument, are logged for debugging alone."""


class UnknownInstrument(BusError):
    """No publisher has announced the instrument: there is no ``ref`` of it."""


class Watcher(Protocol):
    """Who wants to know how an instrument fares."""

    def on_state(self, stream: str, state: State, reason: str) -> None:
        """Called when the state of ``book`` or ``trade`` changes; until then it is ``recovering``."""

    def on_ref(self, ref: Ref, rescaled: bool) -> None:
        """Called when the reference data changes. ``rescaled``: an exponent did, so what the core holds means another
        thing now; the reader has stopped, and the instrument must be opened anew."""


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """How instruments are read."""

    stale_after_s: float | None = 30.0
    """An instrument that is silent for longer is stale; None: never."""
    mend: MendOptions = field(default_factory=MendOptions)


class Readers:
    """The open readers of one core, and what they share: the bus, a bound on mends at a time, the scheduler, the counters."""

    def __init__(self, bus: Bus, scheduler: FlushScheduler, options: ReaderOptions | None = None) -> None:
        """``scheduler`` is asked for a flush when anything changed in the core; it must have been started."""
        self.bus = bus
        self.options = options or ReaderOptions()
        self.stats = ReaderStats()
        self.slots = asyncio.Semaphore(self.options.mend.concurrent)
        self.scheduler = scheduler
        self._loop = asyncio.get_running_loop()
        self._open: set[InstrumentReader] = set()
        self._unregister = (
            bus.on_disconnect(self._disconnected),
            bus.on_reconnect(self._reconnected),
            bus.client.schedule_by(scheduler),
        )
        self._timer: asyncio.TimerHandle | None = None
        self._watch_silence()

    async def open(
        self, instrument: InstrumentId, make_target: Callable[[Ref], Target], watcher: Watcher
    ) -> InstrumentReader:
        """Opens an instrument; returns once its reference data is known, while book and trades are still on their way.

        ``make_target`` is given the reference data and returns the core's side. Raises UnknownInstrument if nobody
        announced it, BusUnavailable if NATS does not answer.
        """
        reader = InstrumentReader(self, instrument, watcher)
        self._open.add(reader)
        try:
            await reader.start(make_target)
        except BaseException:
            await reader.close()
            raise
        return reader

    async def close(self) -> None:
        """Closes every reader; the bus stays open."""
        for unregister in self._unregister:
            unregister()
        if self._timer is not None:
            self._timer.cancel()
        for reader in tuple(self._open):
            await reader.close()

    def forget(self, reader: InstrumentReader) -> None:
        self._open.discard(reader)

    def _disconnected(self) -> None:
        for reader in tuple(self._open):
            reader.disconnected()

    def _reconnected(self) -> None:
        for reader in tuple(self._open):
            reader.reconnected()

    def _watch_silence(self) -> None:
        stale_after_s = self.options.stale_after_s
        if stale_after_s is not None:
            for reader in tuple(self._open):
                reader.check_silence(self._loop.time(), stale_after_s)
            self._timer = self._loop.call_later(stale_after_s / 4, self._watch_silence)


class InstrumentReader:
    """One open instrument; made by ``Readers.open``, ended by ``close``."""

    def __init__(self, readers: Readers, instrument: InstrumentId, watcher: Watcher) -> None:
        self.instrument = instrument
        self.ref: Ref | None = None
        self.status: StatusValue | None = None
        self._readers = readers
        self._bus = readers.bus
        self._watcher = watcher
        self._subjects = {stream: subject(instrument, stream) for stream in ("ref", "snap", "status")}
        self._receiver = InstrumentReceiver(self._receive, self._on_heard, readers.scheduler)
        self._receiver.heard = True  # silence begins now
        self._book = self._lane("book")
        self._trades = self._lane("trade")
        self._menders: dict[Lane, Mender] = {}
        self._target: Target | None = None
        self._early: dict[bytes, bytes] = {}
        """The newest of each stream beside the lanes, while there is no target yet."""
        self._subscription: Subscription | None = None
        self._tasks: dict[Lane | None, asyncio.Task[None]] = {}
        self._states: dict[str, tuple[State, str]] = {"book": _OPENING, "trade": _OPENING}
        self._heard_at = 0.0
        self._silent = False
        self._stopped = ""
        self._closed = False
        self._logged_at: dict[Lane, float] = {}
        self._reasons: dict[Lane, str] = {self._book: "opening", self._trades: "opening"}

    # ---- what users see

    @property
    def book_state(self) -> State:
        return self._states["book"][0]

    @property
    def trade_state(self) -> State:
        return self._states["trade"][0]

    async def wait_live(self) -> None:
        """Returns when book and trades have been brought up to date for the first time, or again."""
        await self._book.turned_live.wait()
        await self._trades.turned_live.wait()

    async def close(self) -> None:
        """Unsubscribes and ends everything; nothing is called any more."""
        self._closed = True
        self._stop("closed")
        self._readers.forget(self)
        tasks = [task for task in self._tasks.values() if task is not asyncio.current_task()]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)

    # ---- for Readers

    async def start(self, make_target: Callable[[Ref], Target]) -> None:
        self._subscription = await self._bus.subscribe(subject(self.instrument, "*"), self._receiver)
        # The server takes these requests after the subscription: what it publishes later, we are given.
        async with self._readers.slots:
            ref, status = await asyncio.gather(
                self._bus.last(MD_STATE, self._subjects["ref"]),
                self._bus.last(MD_STATE, self._subjects["status"]),
            )
        if ref is None:
            ref = await self._late_ref()
        if ref is None:
            raise UnknownInstrument(
                f"{self.instrument} is not announced: there is no {self._subjects['ref']}"
            )
        self.ref = decode_payload("ref", ref)[-1]
        target = self._target = make_target(self.ref)
        mend, stats, slots = self._readers.options.mend, self._readers.stats, self._readers.slots
        self._book.take, self._trades.take = target.take_book, target.take_trades
        snap = self._subjects["snap"]
        self._menders[self._book] = BookMender(self._bus, self._book, target, mend, stats, slots, snap)
        self._menders[self._trades] = TradeMender(self._bus, self._trades, target, mend, stats, slots)
        if status is not None:
            self._take_status(status)
        early, self._early = self._early, {}
        for stream, payload in early.items():  # at least as new as what was asked for
            self._receive_state(stream, payload)
        for lane in self._menders:
            self._mend(lane)

    async def _late_ref(self) -> bytes | None:
        """What was published a moment before we asked may not have been stored then."""
        await asyncio.sleep(STORING_S)
        stored = await self._bus.last(MD_STATE, self._subjects["ref"])
        return stored if stored is not None else self._early.get(b"ref")

    def disconnected(self) -> None:
        """NATS is away: what comes after it may lack something."""
        for task in self._tasks.values():
            task.cancel()
        for lane in self._menders:
            lane.interrupt()
        self._tell()

    def reconnected(self) -> None:
        if self._target is None:
            return  # still opening: whoever opens is told by the failing requests
        self._run(None, self._refresh())
        for lane in self._menders:
            lane.distrust()  # a snapshot in the old connection's last bytes may have made it live
            self._reasons.setdefault(lane, "NATS was away")
        self._tell()  # now: a snapshot may end it before a mend has begun
        for lane in self._menders:
            self._mend(lane)

    def check_silence(self, now: float, limit_s: float) -> None:
        """Called a few times per limit; the hot path only leaves a mark."""
        if self._receiver.heard:
            self._receiver.heard, self._heard_at = False, now
        silent = now - self._heard_at > limit_s
        if silent != self._silent:
            self._silent = silent
            self._tell()

    # ---- messages

    def _receive(self, subject: bytes, payload: bytes) -> None:
        """Every message, in order, that the receiver does not hand straight to the core."""
        stream = subject.rpartition(b".")[2]
        if stream == b"book":
            self._book.receive(payload)
        elif stream == b"trade":
            self._trades.receive(payload)
        else:
            self._receive_state(stream, payload)

    def _on_live(self, lane: Lane) -> None:
        """A live lane's payloads go straight to the core, if the core is the compiled one."""
        straight = lane.take if lane.live and isinstance(lane.take, Intake) else None
        if lane is self._book:
            self._receiver.book = straight
        else:
            self._receiver.trades = straight

    def _on_heard(self) -> None:
        if self._silent:
            self._silent = False
            self._tell()

    def _receive_state(self, stream: bytes, payload: bytes) -> None:
        if self._stopped:
            return
        if self._target is None:
            self._early[stream] = payload
        elif stream == b"snap":
            self._take_snap(payload)
        elif stream == b"status":
            self._take_status(payload)
        elif stream == b"ref":
            self._take_ref(payload)

    def _take_snap(self, payload: bytes) -> None:
        """Live snapshots follow all the updates that they hold: one beyond what is known shows a hole, or closes one."""
        book, mender, target = self._book, self._menders[self._book], self._target
        assert isinstance(mender, BookMender) and target is not None
        if book.live:
            try:
                epoch, seq = snap_number(payload)
            except FeedError as error:
                self._refused("snap", error)
                return
            known = target.book_position()
            if (epoch, seq) <= known:
                return
            if epoch == known[0]:
                book.interrupt()
                self._hole(book, "a snapshot is ahead of the book")
            else:
                mender.load(payload)
        elif mender.load(payload):
            book.whole_until_now()
            if book.settle():
                self._mended(book)

    def _take_status(self, payload: bytes) -> None:
        try:
            status = decode_payload("status", payload)[-1]
        except FeedError as error:
            self._refused("status", error)
            return
        known = max(
            self.status.epoch if self.status else 0, self._target.book_position()[0] if self._target else 0
        )
        if status.epoch >= known:
            self.status = status
            self._tell()

    def _take_ref(self, payload: bytes) -> None:
        try:
            ref = decode_payload("ref", payload)[-1]
        except FeedError as error:
            self._refused("ref", error)
            return
        old, self.ref = self.ref, ref
        if old is None or old == ref:
            return
        rescaled = (old.price_exp, old.size_exp) != (ref.price_exp, ref.size_exp)
        if rescaled:
            self._stop("its decimals changed; open it anew")
            self._tell()
        self._watcher.on_ref(ref, rescaled)

    def _refused(self, stream: str, error: FeedError) -> None:
        self._readers.stats.refused += 1
        logger.warning("%s was refused: %s", self._subjects[stream], error)

    # ---- holes

    def _lane(self, stream: str) -> Lane:
        return Lane(
            subject(self.instrument, stream),
            max_bytes=self._readers.options.mend.held_bytes,
            stats=self._readers.stats,
            on_change=self._readers.scheduler.request,
            on_hole=self._hole,
            on_live=self._on_live,
        )

    def _hole(self, lane: Lane, why: str) -> None:
        now = time.monotonic()
        often = now - self._logged_at.get(lane, -LOG_EVERY_S) < LOG_EVERY_S
        self._logged_at[lane] = now
        logger.log(logging.DEBUG if often else logging.WARNING, "%s: %s; mending", lane.subject, why)
        self._reasons[lane] = why
        self._mend(lane)

    def _mend(self, lane: Lane) -> None:
        if not self._stopped and not lane.live and self._bus.connected:
            self._run(lane, self._mend_lane(lane))

    async def _mend_lane(self, lane: Lane) -> None:
        self._tell()
        await self._menders[lane].run()
        self._mended(lane)

    def _mended(self, lane: Lane) -> None:
        self._reasons.pop(lane, None)
        self._tell()

    async def _refresh(self) -> None:
        """Learns what may have been announced while NATS was away."""
        delay_s = self._readers.options.mend.retry_base_s
        while True:
            try:
                async with self._readers.slots:
                    ref = await self._bus.last(MD_STATE, self._subjects["ref"])
                    status = await self._bus.last(MD_STATE, self._subjects["status"])
                break
            except BusError:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, self._readers.options.mend.retry_cap_s)
        if ref is not None:
            self._take_ref(ref)
        if status is not None and not self._stopped:
            self._take_status(status)

    def _run(self, key: Lane | None, work: Coroutine[Any, Any, None]) -> None:
        running = self._tasks.get(key)
        if running is not None and not running.done() and not running.cancelling():
            work.close()
            return
        self._tasks[key] = asyncio.get_running_loop().create_task(work)

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        for lane in (self._book, self._trades):
            lane.interrupt()
            lane.held.clear()
        for task in self._tasks.values():
            if task is not asyncio.current_task():
                task.cancel()

    # ---- states

    def _tell(self) -> None:
        """Tells the watcher what has changed; recovering outranks all, then stale, then the venue's own word."""
        if self._target is None or self._closed:
            return
        for stream, lane in (("book", self._book), ("trade", self._trades)):
            state = self._state(lane)
            if state != self._states[stream]:
                self._states[stream] = state
                try:
                    self._watcher.on_state(stream, *state)
                except Exception:  # a fault of the watcher's must not end a mend
                    logger.exception("%s: telling of its state failed", self.instrument)

    def _state(self, lane: Lane) -> tuple[State, str]:
        if self._stopped:
            return State.RECOVERING, self._stopped
        if lane in self._reasons:
            return State.RECOVERING, self._reasons[lane]
        if not self._bus.connected:
            return State.STALE, "NATS is away"
        status = self.status
        if status is not None and status.state is not VenueState.TRADING:
            return _STATES[status.state], status.reason or f"the venue says {status.state}"
        if self._silent:
            return State.STALE, "the feed is silent"
        return State.LIVE, status.reason if status is not None else ""


_OPENING = (State.RECOVERING, "opening")
_STATES = {
    VenueState.FEED_DOWN: State.STALE,
    VenueState.HALTED: State.HALTED,
    VenueState.CLOSED: State.CLOSED,
}
