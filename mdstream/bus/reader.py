"""Readers: one per open instrument, from the bus into the core. A reader knows whether anything is missing.

A ``Readers`` serves one event loop and one core. ``open`` subscribes, reads the reference data and brings book and trades up to
date. From then on live payloads go straight to the core, and gaps are recovered in the background.
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
from mdstream.bus.gap_recovery import (
    BookRecovery,
    GapRecovery,
    InstrumentCore,
    RecoveryContext,
    RecoveryOptions,
    TradeRecovery,
)
from mdstream.bus.gate import ReaderStats, StreamGate
from mdstream.bus.payloads import snap_number
from mdstream.bus.streams import MD_STATE
from mdstream.bus.subjects import subject
from mdstream.errors import BusError, FeedError
from mdstream.model import InstrumentId, Ref, State, VenueState

logger = logging.getLogger(__name__)

STORING_S = 0.1
"""How long JetStream usually takes at most to store what was published."""
LOG_EVERY_S = 10.0
"""Gaps of one stream of an instrument that follow faster are logged at level DEBUG only."""


class UnknownInstrument(BusError):
    """No publisher has announced the instrument: it has no ``ref``."""


class Watcher(Protocol):
    """Receives the state and the reference data of an instrument."""

    def on_state(self, stream: str, state: State, reason: str) -> None:
        """Called when the state of ``book`` or ``trade`` changes; until then it is ``recovering``."""

    def on_ref(self, ref: Ref, rescaled: bool) -> None:
        """Called when the reference data changes. ``rescaled``: an exponent changed, so the core's numbers have another meaning now;
        the reader has stopped, and the instrument must be opened again."""


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """How instruments are read."""

    stale_after_s: float | None = 30.0
    """An instrument that is silent for longer is stale; None: never."""
    recovery: RecoveryOptions = field(default_factory=RecoveryOptions)


class Readers:
    """The open readers of one core, and what they share: the bus, a bound on simultaneous recoveries, the scheduler, the counters."""

    def __init__(self, bus: Bus, scheduler: FlushScheduler, options: ReaderOptions | None = None) -> None:
        """``scheduler`` is asked for a flush when anything changed in the core; it must have been started."""
        self.bus = bus
        self.options = options or ReaderOptions()
        self.stats = ReaderStats()
        self.slots = asyncio.Semaphore(self.options.recovery.concurrent)
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
        self, instrument: InstrumentId, make_core: Callable[[Ref], InstrumentCore], watcher: Watcher
    ) -> InstrumentReader:
        """Opens an instrument. Returns when its reference data is known; book and trades are brought up to date afterwards.

        ``make_core`` takes the reference data and returns the core's side. Raises UnknownInstrument if nobody announced the
        instrument, BusUnavailable if NATS does not answer.
        """
        reader = InstrumentReader(self, instrument, watcher)
        self._open.add(reader)
        try:
            await reader.start(make_core)
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
    """One open instrument; ``Readers.open`` makes it, ``close`` ends it."""

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
        self._book = self._make_gate("book")
        self._trades = self._make_gate("trade")
        self._recoveries: dict[StreamGate, GapRecovery] = {}
        self._core: InstrumentCore | None = None
        self._early: dict[bytes, bytes] = {}
        """The newest payload of each stream without a gate, while there is no core yet."""
        self._subscription: Subscription | None = None
        self._tasks: dict[StreamGate | None, asyncio.Task[None]] = {}
        self._states: dict[str, tuple[State, str]] = {"book": _OPENING, "trade": _OPENING}
        self._heard_at = 0.0
        self._silent = False
        self._stopped = ""
        self._closed = False
        self._logged_at: dict[StreamGate, float] = {}
        self._reasons: dict[StreamGate, str] = {self._book: "opening", self._trades: "opening"}

    # ---- what users see

    @property
    def book_state(self) -> State:
        return self._states["book"][0]

    @property
    def trade_state(self) -> State:
        return self._states["trade"][0]

    async def wait_live(self) -> None:
        """Returns when book and trades are up to date."""
        await self._book.turned_live.wait()
        await self._trades.turned_live.wait()

    async def close(self) -> None:
        """Unsubscribes and ends all tasks; nothing is called afterwards."""
        self._closed = True
        self._stop("closed")
        self._readers.forget(self)
        tasks = [task for task in self._tasks.values() if task is not asyncio.current_task()]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)

    # ---- for Readers

    async def start(self, make_core: Callable[[Ref], InstrumentCore]) -> None:
        self._subscription = await self._bus.subscribe(subject(self.instrument, "*"), self._receiver)
        # The server takes these requests after the subscription, so we receive what is published later.
        ref, status = await self._announced()
        if ref is None:
            ref = await self._late_ref()
        if ref is None:
            raise UnknownInstrument(
                f"{self.instrument} is not announced: there is no {self._subjects['ref']}"
            )
        self.ref = decode_payload("ref", ref)[-1]
        self._use(make_core(self.ref))
        if status is not None:
            self._take_status(status)
        early, self._early = self._early, {}
        for stream, payload in early.items():  # at least as new as what was asked for
            self._receive_state(stream, payload)
        for gate in self._recoveries:
            self._recover(gate)

    def _use(self, core: InstrumentCore) -> None:
        self._core = core
        self._book.take, self._trades.take = core.take_book, core.take_trades
        readers = self._readers
        context = RecoveryContext(self._bus, readers.options.recovery, readers.stats, readers.slots)
        self._recoveries = {
            self._book: BookRecovery(context, self._book, core, self._subjects["snap"]),
            self._trades: TradeRecovery(context, self._trades, core),
        }

    async def _announced(self) -> tuple[bytes | None, bytes | None]:
        """The newest ``ref`` and ``status``."""
        async with self._readers.slots:
            return await asyncio.gather(
                self._bus.last(MD_STATE, self._subjects["ref"]),
                self._bus.last(MD_STATE, self._subjects["status"]),
            )

    async def _late_ref(self) -> bytes | None:
        """What was published a moment before our request may have been stored after it."""
        await asyncio.sleep(STORING_S)
        stored = await self._bus.last(MD_STATE, self._subjects["ref"])
        return stored if stored is not None else self._early.get(b"ref")

    def disconnected(self) -> None:
        """NATS is away: something may be missing before the next payload."""
        for task in self._tasks.values():
            task.cancel()
        for gate in self._recoveries:
            gate.close()
        self._report_states()

    def reconnected(self) -> None:
        if self._core is None:
            return  # still opening: the failing requests tell the caller
        self._run(None, self._refresh())
        for gate in self._recoveries:
            gate.close(complete=False)  # a snapshot in the old connection's last bytes may have made it live
            self._reasons.setdefault(gate, "NATS was away")
        self._report_states()  # now: a snapshot may end it before a recovery has started
        for gate in self._recoveries:
            self._recover(gate)

    def check_silence(self, now: float, limit_s: float) -> None:
        """Called a few times per limit; the hot path only sets ``heard``."""
        if self._receiver.heard:
            self._receiver.heard, self._heard_at = False, now
        silent = now - self._heard_at > limit_s
        if silent != self._silent:
            self._silent = silent
            self._report_states()

    # ---- messages

    def _receive(self, subject: bytes, payload: bytes) -> None:
        """Takes each message, in order, that the receiver does not hand straight to the core."""
        stream = subject.rpartition(b".")[2]
        if stream == b"book":
            self._book.receive(payload)
        elif stream == b"trade":
            self._trades.receive(payload)
        else:
            self._receive_state(stream, payload)

    def _on_live(self, gate: StreamGate) -> None:
        """The receiver bypasses a live gate if the core is the compiled one."""
        straight = gate.take if gate.live and isinstance(gate.take, Intake) else None
        if gate is self._book:
            self._receiver.book = straight
        else:
            self._receiver.trades = straight

    def _on_heard(self) -> None:
        if self._silent:
            self._silent = False
            self._report_states()

    def _receive_state(self, stream: bytes, payload: bytes) -> None:
        if self._stopped:
            return
        if self._core is None:
            self._early[stream] = payload
        elif stream == b"snap":
            self._take_snap(payload)
        elif stream == b"status":
            self._take_status(payload)
        elif stream == b"ref":
            self._take_ref(payload)

    def _take_snap(self, payload: bytes) -> None:
        """A live snapshot follows the updates that it includes: one ahead of the book shows a gap, or closes one."""
        book, recovery = self._book, self._recoveries[self._book]
        assert isinstance(recovery, BookRecovery)
        if book.live:
            self._compare_snap(recovery, payload)
        elif recovery.load(payload):
            book.complete_until_now()
            if book.open_if_complete():
                self._recovered(book)

    def _compare_snap(self, recovery: BookRecovery, payload: bytes) -> None:
        try:
            epoch, seq = snap_number(payload)
        except FeedError as error:
            self._refused("snap", error)
            return
        known = self._book_position()
        if epoch > known[0]:
            recovery.load(payload)
        elif (epoch, seq) > known:
            self._book.close()
            self._on_gap(self._book, "a snapshot is ahead of the book")

    def _book_position(self) -> tuple[int, int]:
        return self._core.book_position() if self._core else (0, 0)

    def _take_status(self, payload: bytes) -> None:
        try:
            status = decode_payload("status", payload)[-1]
        except FeedError as error:
            self._refused("status", error)
            return
        known_epoch = self.status.epoch if self.status else 0
        if status.epoch >= max(known_epoch, self._book_position()[0]):
            self.status = status
            self._report_states()

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
            self._stop("its decimals changed; open it again")
            self._report_states()
        self._watcher.on_ref(ref, rescaled)

    def _refused(self, stream: str, error: FeedError) -> None:
        self._readers.stats.refused += 1
        logger.warning("%s was refused: %s", self._subjects[stream], error)

    # ---- gaps

    def _make_gate(self, stream: str) -> StreamGate:
        return StreamGate(
            subject(self.instrument, stream),
            max_bytes=self._readers.options.recovery.held_bytes,
            stats=self._readers.stats,
            on_change=self._readers.scheduler.request,
            on_gap=self._on_gap,
            on_live=self._on_live,
        )

    def _on_gap(self, gate: StreamGate, why: str) -> None:
        now = time.monotonic()
        often = now - self._logged_at.get(gate, -LOG_EVERY_S) < LOG_EVERY_S
        self._logged_at[gate] = now
        logger.log(logging.DEBUG if often else logging.WARNING, "%s: %s; recovering", gate.subject, why)
        self._reasons[gate] = why
        self._recover(gate)

    def _recover(self, gate: StreamGate) -> None:
        if not self._stopped and not gate.live and self._bus.connected:
            self._run(gate, self._run_recovery(gate))

    async def _run_recovery(self, gate: StreamGate) -> None:
        self._report_states()
        await self._recoveries[gate].run()
        self._recovered(gate)

    def _recovered(self, gate: StreamGate) -> None:
        self._reasons.pop(gate, None)
        self._report_states()

    async def _refresh(self) -> None:
        """Reads what may have been announced while NATS was away."""
        options = self._readers.options.recovery
        delay_s = options.retry_base_s
        while True:
            try:
                ref, status = await self._announced()
                break
            except BusError:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, options.retry_cap_s)
        if ref is not None:
            self._take_ref(ref)
        if status is not None and not self._stopped:
            self._take_status(status)

    def _run(self, key: StreamGate | None, work: Coroutine[Any, Any, None]) -> None:
        running = self._tasks.get(key)
        if running is not None and not running.done() and not running.cancelling():
            work.close()
            return
        self._tasks[key] = asyncio.get_running_loop().create_task(work)

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        for gate in (self._book, self._trades):
            gate.close()
            gate.held.clear()
        for task in self._tasks.values():
            if task is not asyncio.current_task():
                task.cancel()

    # ---- states

    def _report_states(self) -> None:
        """Tells the watcher which states have changed; recovering outranks all, then stale, then what the venue says."""
        if self._core is None or self._closed:
            return
        for stream, gate in (("book", self._book), ("trade", self._trades)):
            state = self._state(gate)
            if state != self._states[stream]:
                self._states[stream] = state
                try:
                    self._watcher.on_state(stream, *state)
                except Exception:  # a fault of the watcher must not end a recovery
                    logger.exception("%s: reporting its state failed", self.instrument)

    def _state(self, gate: StreamGate) -> tuple[State, str]:
        if self._stopped:
            return State.RECOVERING, self._stopped
        if gate in self._reasons:
            return State.RECOVERING, self._reasons[gate]
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
