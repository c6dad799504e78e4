"""The reader of one open instrument, from the bus into the core. It knows whether anything is missing, and how old what is there is.

Live payloads go straight to the core, and gaps are recovered in the background. What the core does not take comes here: it is
known already, refused, of another epoch, or ahead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from mdstream._core.codec.feed_decoder import StatusValue, decode_payload
from mdstream._core.ingest.intake import InstrumentReceiver, Intake
from mdstream.bus.book_recovery import BookRecovery
from mdstream.bus.epochs import Epochs, Told, check_plausible
from mdstream.bus.freshness import Freshness
from mdstream.bus.gap_recovery import GapRecovery, InstrumentCore, RecoveryContext
from mdstream.bus.gate import StreamGate
from mdstream.bus.lookout import Lookout
from mdstream.bus.opening import announced, ask, first_epoch
from mdstream.bus.payloads import numbers, snap_number
from mdstream.bus.refusals import InstrumentRefusals, Reason
from mdstream.bus.states import OPENING, Facts, Standing
from mdstream.bus.streams import MD_STATE
from mdstream.bus.subjects import subject
from mdstream.bus.trade_recovery import TradeRecovery
from mdstream.bus.watcher import Watcher
from mdstream.errors import BusError, FeedError
from mdstream.model import InstrumentId, Ref, State, StateCode

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus.shared import Shared

logger = logging.getLogger(__name__)

SEEK_EVERY_S = 1.0
"""Time between two questions for the ``ref`` of an epoch."""
CONFLICT_S = 15.0
"""Two writers in one epoch are told for this long after the last contradiction."""
NO_REF_S = 1.0
"""How long nothing of the smaller epoch may come while values of a greater one wait for their ``ref``."""
LOG_EVERY_S = 10.0
"""Gaps of one stream of an instrument that follow faster are logged at level DEBUG only."""


class InstrumentReader:
    """One open instrument; ``Readers.open`` makes it, ``close`` ends it. It owns its gates and recoveries."""

    def __init__(
        self,
        shared: Shared,
        instrument: InstrumentId,
        watcher: Watcher,
        on_close: Callable[[InstrumentReader], object],
    ) -> None:
        self.instrument = instrument
        self.status: StatusValue | None = None
        self._shared = shared
        self._on_close = on_close
        self._bus = shared.bus
        self._clock = shared.clock
        self._watcher = watcher
        self._subjects = {
            stream: subject(instrument, stream) for stream in ("book", "trade", "ref", "snap", "status")
        }
        self._receiver = InstrumentReceiver(self._receive, self._on_heard, shared.scheduler)
        self._freshness = Freshness(shared.clock, shared.options.stale_after_s)
        self._refusals = InstrumentRefusals(shared.stats.refusals, str(instrument))
        self._epochs: Epochs | None = None
        self._next_status: StatusValue | None = None
        """The newest status of an epoch that has not begun."""
        self._waited_at = self._missed_at = float("-inf")
        """When a value came last that waits for its ``ref``; when a trade of an epoch that has not begun did."""
        self._conflict_at = {"book": float("-inf"), "trade": float("-inf")}
        self._lookout = Lookout(self, shared.bus, shared.clock)
        self._book = self._make_gate("book")
        self._trades = self._make_gate("trade")
        self._recoveries: dict[StreamGate, GapRecovery] = {}
        self._core: InstrumentCore | None = None
        self._early: dict[bytes, bytes] = {}
        """The newest payload of each stream without a gate, while there is no core yet."""
        self._subscription: Subscription | None = None
        self._tasks: dict[StreamGate | str, asyncio.Task[None]] = {}
        self._states: dict[str, Standing] = {"book": OPENING, "trade": OPENING}
        self._timed: tuple[object, ...] = ()
        self._stopped = ""
        self._closed = False
        self._logged_at: dict[StreamGate, float] = {}
        self._reasons: dict[StreamGate, Standing] = {self._book: OPENING, self._trades: OPENING}

    # ---- what users see

    @property
    def ref(self) -> Ref | None:
        return self._epochs.ref if self._epochs is not None else None

    @property
    def book_state(self) -> State:
        return self._states["book"].state

    @property
    def trade_state(self) -> State:
        return self._states["trade"].state

    async def wait_live(self) -> None:
        """Returns when book and trades are up to date."""
        await self._book.turned_live.wait()
        await self._trades.turned_live.wait()

    @property
    def book_position(self) -> tuple[int, int]:
        """Epoch and seq of the book."""
        return self._position("book")

    def has_reached(self, epoch: int, seq: int) -> bool:
        """Whether the book is at this number, or past it."""
        return self._position("book") >= (epoch, seq)

    def look_for(self, epoch: int, seq: int) -> None:
        """Asks the bus whether there is a number that the book has not reached; for some seconds, once a second. If there is, the
        book is ``recovering`` until it is reached."""
        if self._core is not None and not self._stopped and not self.has_reached(epoch, seq):
            self._lookout.want(epoch, seq)
            self._run("look for", self._lookout.run())

    async def close(self) -> None:
        """Unsubscribes and ends all tasks; nothing is called afterwards."""
        self._closed = True
        self._stop("closed")
        self._on_close(self)
        tasks = [task for task in self._tasks.values() if task is not asyncio.current_task()]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)

    # ---- for Readers

    async def start(self, make_core: Callable[[Ref], InstrumentCore]) -> None:
        self._subscription = await self._bus.subscribe(subject(self.instrument, "*"), self._receiver)
        # The server takes these requests after the subscription, so we receive what is published later.
        shared = self._shared
        known = shared.refs.get
        stored = await announced(shared.bus, shared.slots, self.instrument, known)
        ref = None if stored.ref is None else self._usable_ref(stored.ref, known(self.instrument))
        self._epochs = first_epoch(self.instrument, ref, known(self.instrument), shared.wall_clock_us)
        shared.refs.note(self.instrument, self._epochs.ref)
        self._use(make_core(self._epochs.ref))
        if stored.status is not None:
            self._take_status(stored.status, stored_s=stored.status_s)
        early, self._early = self._early, {}
        for stream in (b"ref", b"status", b"snap"):  # at least as new as what was asked for
            if stream in early:
                self._receive_state(stream, early[stream])
        for gate in self._recoveries:
            self._recover(gate)

    def _usable_ref(self, payload: bytes, known: Ref | None) -> Ref | None:
        """Raises FeedError for a ``ref`` that cannot be used, unless another one is known."""
        try:
            return self._decode_ref(payload)
        except FeedError:
            if known is None:
                raise
            return None

    def _use(self, core: InstrumentCore) -> None:
        assert self._epochs is not None
        self._core = core
        core.begin(self._epochs.current)
        self._book.take, self._trades.take = core.take_book, core.take_trades
        shared = self._shared
        context = RecoveryContext(self._bus, shared.options.recovery, shared.stats, shared.slots)
        self._recoveries = {
            self._book: BookRecovery(context, self._book, core, self, self._subjects["snap"]),
            self._trades: TradeRecovery(context, self._trades, core, self),
        }

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
        self._run("refresh", self._refresh())
        for gate in self._recoveries:
            gate.close(complete=False)  # a snapshot in the old connection's last bytes may have made it live
            self._reasons.setdefault(gate, _gap("NATS was away"))
        self._report_states()  # now: a snapshot may end it before a recovery has started
        for gate in self._recoveries:
            self._recover(gate)

    def check(self) -> None:
        """Called a few times a second: what time alone changes. The hot path only sets ``heard``."""
        if self._receiver.heard:
            self._receiver.heard = False
            self._hear()
        if self._timed != self._what_time_changes():
            self._report_states()

    def _what_time_changes(self) -> tuple[object, ...]:
        return (
            self._freshness.silence(),
            self._lacks_ref,
            self._conflicts("book"),
            self._conflicts("trade"),
        )

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
        if not self._admit_snap(payload, live=True):
            return
        book, recovery = self._book, self._recoveries[self._book]
        assert isinstance(recovery, BookRecovery)
        self._freshness.announced()
        if book.live:
            self._compare_snap(recovery, payload)
        elif recovery.offer(payload):
            self._recovered(book)
        self._report_states()

    def _compare_snap(self, recovery: BookRecovery, payload: bytes) -> None:
        assert self._core is not None
        seq, position = snap_number(payload)[1], self._position("book")[1]
        if seq > position:
            self._book.close()
            self.on_gap(self._book, StateCode.GAP, "a snapshot is ahead of the book")
            return
        try:
            agrees = self._core.agrees(payload)
        except FeedError as error:
            self.refuse_snap(payload, error)
            return
        if agrees is False:
            self._contradict("book", "snap", payload, f"it differs from the book at {seq}")
            if seq == position:
                recovery.load(payload, force=True)

    def _take_status(self, payload: bytes, *, stored_s: float | None = None) -> None:
        """``stored_s``: how long ago it was stored; None: it came live."""
        assert self._epochs is not None
        try:
            status = decode_payload("status", payload)[-1]
            if status.epoch > self._epochs.current:
                check_plausible(status.epoch, self._shared.wall_clock_us())
        except FeedError as error:
            self._refuse("status", payload, error)
            return
        if status.epoch > self._epochs.current:
            self._next_status = status
        elif status.epoch == self._epochs.current:
            self._use_status(status, stored_s)
            self._report_states()
        elif stored_s is None:
            self._fence("status", payload, status.epoch)

    def _use_status(self, status: StatusValue, stored_s: float | None) -> None:
        self.status = status
        self._freshness.told(status, stored_s or 0.0)
        if self._core is not None and stored_s is None:
            self._core.await_number(status.book_seq or 0)
        named = {self._book: status.book_seq, self._trades: status.trade_seq}
        for gate, recovery in self._recoveries.items():
            recovery.name(named[gate])
            if stored_s is None and named[gate] == self._position_of(gate)[1]:
                gate.suspect = False  # what was refused had no number of its own
            if gate.live and not recovery.reaches_named:
                gate.close()
                self.on_gap(gate, StateCode.GAP, f"the status names {recovery.named}")

    def _take_ref(self, payload: bytes) -> None:
        assert self._epochs is not None
        epochs = self._epochs
        try:
            ref = self._decode_ref(payload)
            told = epochs.announce(ref)
        except FeedError as error:
            self._refuse("ref", payload, error)
            return
        if told is Told.FENCED:
            self._fence("ref", payload, ref.epoch)
        elif told is Told.PENDING:
            if epochs.waiting == ref.epoch:
                self._begin(ref.epoch)
        else:
            self._freshness.announced()
            if told is Told.CONTRADICTS:
                message = (
                    f"epoch {ref.epoch} has the exponents {epochs.ref.price_exp} and {epochs.ref.size_exp}"
                )
                self._refusals.value(
                    self._subjects["ref"],
                    payload,
                    Reason.SCALE,
                    f"{message}, not {ref.price_exp} and {ref.size_exp}",
                )
            elif told is Told.CHANGED:
                self._watcher.on_ref(ref, False)
            self._report_states()

    def _decode_ref(self, payload: bytes) -> Ref:
        """Raises FeedError, and notes it."""
        try:
            return decode_payload("ref", payload)[-1]
        except FeedError as error:
            self._refuse("ref", payload, error)
            raise

    # ---- signs of life

    def _on_heard(self) -> None:
        """The receiver accepted something, for the first time since the last ``check``."""
        self._hear()
        if self._timed != self._what_time_changes():
            self._report_states()

    def _hear(self, ago_s: float = 0.0) -> None:
        self._freshness.updated(ago_s)
        if self._epochs is not None and self._epochs.waiting and self._clock() - self._waited_at > NO_REF_S:
            self._epochs.stop_waiting()

    @property
    def _lacks_ref(self) -> bool:
        if self._epochs is None or not self._epochs.waiting:
            return False
        return not self._freshness.heard_within(NO_REF_S)

    def _fence(self, stream: str, payload: bytes, epoch: int) -> None:
        """A live value of a smaller epoch: it is no sign of life, and it is told."""
        assert self._epochs is not None
        self._freshness.fenced()
        message = f"its epoch {epoch} is smaller than {self._epochs.current}, which is read"
        self._refusals.value(self._subjects[stream], payload, Reason.FENCED, message)

    # ---- two writers in one epoch

    def _contradict(self, stream: str, of: str, payload: bytes, message: str) -> None:
        self._conflict_at[stream] = self._clock()
        self._refusals.value(self._subjects[of], payload, Reason.CONFLICT, message)

    def _conflicts(self, stream: str) -> bool:
        return self._clock() - self._conflict_at[stream] < CONFLICT_S

    # ---- epochs

    def _begin(self, epoch: int) -> None:
        """A greater epoch begins: its ``ref`` is known, and a snapshot or update of it came."""
        assert self._epochs is not None and self._core is not None
        ref = self._epochs.pending(epoch)
        assert ref is not None
        if self._epochs.is_rescaled(epoch):
            self._stop("its scale changed; open it again")
            self._report_states()
            self._watcher.on_ref(ref, True)
            return
        waited, missed = self._epochs.waiting == epoch, self._missed_at > float("-inf")
        self._epochs.begin(epoch)
        self._core.begin(epoch)
        self._freshness.new_writer()
        self._conflict_at = dict.fromkeys(self._conflict_at, float("-inf"))
        self._missed_at = float("-inf")
        for gate, recovery in self._recoveries.items():
            recovery.begin()
            self.on_live(gate)
        self._shared.scheduler.request()
        self._begin_status(epoch)
        self._watcher.on_ref(ref, False)
        for gate, lost in ((self._book, waited), (self._trades, waited or missed)):
            if lost and gate.live:
                gate.close(complete=False)
                self.on_gap(gate, StateCode.GAP, f"epoch {epoch} has begun before its ref was known")
        self._report_states()

    def _begin_status(self, epoch: int) -> None:
        status, self._next_status = self._next_status, None
        if status is not None and status.epoch > epoch:
            self._next_status = status
        self.status = None
        if status is not None and status.epoch == epoch:
            self.status = status
            self._freshness.told(status)

    def _wait_for_ref(self) -> None:
        self._waited_at = self._clock()
        self._run("seek ref", self._seek_ref())

    async def _seek_ref(self) -> None:
        """Asks for the ``ref`` of an epoch whose values wait for it, now and every second."""
        assert self._epochs is not None
        while self._epochs.waiting and not self._stopped:
            try:
                ref = await self._bus.last(MD_STATE, self._subjects["ref"])
            except BusError as error:
                logger.debug("%s: its ref cannot be asked for: %s", self.instrument, error)
            else:
                if ref is not None and self._epochs.waiting:
                    self._take_stored_ref(ref)
            await asyncio.sleep(SEEK_EVERY_S)

    def _take_stored_ref(self, payload: bytes) -> None:
        """As a live one, but that of a fenced writer is no news."""
        assert self._epochs is not None
        try:
            is_fenced = self._decode_ref(payload).epoch < self._epochs.current
        except FeedError:
            return
        if not is_fenced:
            self._take_ref(payload)

    # ---- what gates and recoveries tell (GateOwner, RecoveryOwner)

    def on_change(self) -> None:
        self._shared.scheduler.request()

    def on_accepted(self, ago_s: float) -> None:
        self._hear(ago_s)
        if self._receiver.book is None:
            self.on_live(self._book)
        self._report_states()

    def on_live(self, gate: StreamGate) -> None:
        """The receiver bypasses a live gate if the core is the compiled one; of a book at 0, the first update is waited for here."""
        straight = gate.take if gate.live and isinstance(gate.take, Intake) else None
        if gate is not self._book:
            self._receiver.trades = straight
        else:
            self._receiver.book = straight if self._position("book")[1] else None

    def on_gap(self, gate: StreamGate, code: StateCode, why: str) -> None:
        now = self._clock()
        often = now - self._logged_at.get(gate, -LOG_EVERY_S) < LOG_EVERY_S
        self._logged_at[gate] = now
        logger.log(logging.DEBUG if often else logging.WARNING, "%s: %s; recovering", gate.subject, why)
        self._reasons[gate] = Standing(State.RECOVERING, code, why)
        self._recover(gate)

    def on_refused(self, gate: StreamGate, payload: bytes, error: FeedError) -> None:
        self._refusals.payload(gate.subject, payload, error)
        if gate in self._reasons:
            self._reasons[gate] = Standing(State.RECOVERING, StateCode.REFUSED, f"refused: {error}")
            self._report_states()

    def on_jump(self, gate: StreamGate, payload: bytes) -> None:
        self._refusals.value(
            gate.subject, payload, Reason.JUMP, "its number is ahead of smaller ones that came after it"
        )

    def on_repeated(self, gate: StreamGate, payload: bytes) -> None:
        assert self._epochs is not None and self._core is not None
        stream = self._stream(gate)
        smaller = [epoch for epoch, _, _ in numbers(stream, payload) if epoch < self._epochs.current]
        if smaller:
            self._fence(stream, payload, smaller[0])
        elif not self._core.repeats(stream, payload):
            self._contradict(stream, stream, payload, "it repeats a number with other content")
        self._report_states()

    def is_current(self, gate: StreamGate, payload: bytes) -> bool:
        assert self._epochs is not None
        return any(epoch == self._epochs.current for epoch, _, _ in numbers(self._stream(gate), payload))

    def on_unknown(self, gate: StreamGate, payload: bytes) -> bool:
        assert self._epochs is not None
        try:
            epoch = next(
                epoch for epoch, _, _ in numbers(self._stream(gate), payload) if epoch > self._epochs.current
            )
            may_begin = self._epochs.may_begin(epoch)
        except FeedError as error:
            self._refusals.payload(gate.subject, payload, error)
            return False
        if not may_begin:
            self._wait_for_ref()
        if gate is self._trades:
            self._missed_at = self._clock()
        elif may_begin:
            self._begin(epoch)
            return not self._stopped
        return False

    def admit_snap(self, payload: bytes) -> bool:
        return self._admit_snap(payload, live=False)

    def _admit_snap(self, payload: bytes, *, live: bool) -> bool:
        assert self._epochs is not None
        try:
            epoch, _ = snap_number(payload)
            if epoch > self._epochs.current:
                if self._epochs.may_begin(epoch):
                    self._begin(epoch)
                else:
                    self._wait_for_ref()
        except FeedError as error:
            self.refuse_snap(payload, error)
            return False
        if epoch < self._epochs.current and live:
            self._fence("snap", payload, epoch)
        return epoch == self._epochs.current and not self._stopped

    def refuse_snap(self, payload: bytes, error: FeedError) -> None:
        self._refuse("snap", payload, error)

    def disbelieve_snap(self, payload: bytes, why: str) -> None:
        self._refusals.value(self._subjects["snap"], payload, Reason.JUMP, why)

    def on_trouble(self, gate: StreamGate, error: BusError) -> None:
        if gate in self._reasons and self._bus.connected:
            self._reasons[gate] = Standing(State.RECOVERING, StateCode.STORAGE, str(error))
            self._report_states()

    def _refuse(self, stream: str, payload: bytes, error: FeedError) -> None:
        self._refusals.payload(self._subjects[stream], payload, error)

    # ---- gaps

    def _make_gate(self, stream: str) -> StreamGate:
        return StreamGate(
            self._subjects[stream],
            self,
            max_bytes=self._shared.options.recovery.held_bytes,
            stats=self._shared.stats,
            clock=self._clock,
        )

    def _stream(self, gate: StreamGate) -> Any:
        return "book" if gate is self._book else "trade"

    def _position(self, stream: str) -> tuple[int, int]:
        if self._core is None:
            return (0, 0)
        return self._core.book_position() if stream == "book" else self._core.trade_position()

    def _position_of(self, gate: StreamGate) -> tuple[int, int]:
        return self._position(self._stream(gate))

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
        options = self._shared.options.recovery
        delay_s = options.retry_base_s
        while True:
            try:
                stored = await ask(self._bus, self._shared.slots, self.instrument)
                break
            except BusError:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, options.retry_cap_s)
        if stored.ref is not None:
            self._take_stored_ref(stored.ref)
        if stored.status is not None and not self._stopped:
            self._take_status(stored.status, stored_s=stored.status_s)

    # ---- what the bus has beyond the book (LookoutOwner)

    def meet(self, payload: bytes) -> None:
        """A payload of the log is of a greater epoch: it begins, or its ref is looked for."""
        self._book.apply(payload)

    def owe(self, named: int, wanted: int) -> None:
        """The bus has a number of this epoch that the book has not reached."""
        assert self._core is not None
        recovery = self._recoveries[self._book]
        recovery.named = max(recovery.named, named)
        self._core.await_number(named)
        if self._book.live:
            self._book.close(complete=False)
            self.on_gap(self._book, StateCode.GAP, f"a client was shown {wanted}, and the bus has {named}")

    def _run(self, key: StreamGate | str, work: Coroutine[Any, Any, None]) -> None:
        running = self._tasks.get(key)
        if running is not None and not running.done() and not running.cancelling():
            work.close()
            return
        self._tasks[key] = asyncio.get_running_loop().create_task(work)

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        for gate in (self._book, self._trades):
            gate.close()
            gate.clear()
        for task in self._tasks.values():
            if task is not asyncio.current_task():
                task.cancel()

    # ---- states

    def _report_states(self) -> None:
        """Tells the watcher which states have changed."""
        if self._core is None or self._closed:
            return
        self._timed = self._what_time_changes()
        for stream, gate in (("book", self._book), ("trade", self._trades)):
            standing = self._standing(stream, gate)
            if standing != self._states[stream]:
                self._states[stream] = standing
                try:
                    self._watcher.on_state(
                        stream, standing.state, standing.code, standing.reason, self._freshness.age_ms
                    )
                except Exception:  # a fault of the watcher must not end a recovery
                    logger.exception("%s: reporting its state failed", self.instrument)

    def _standing(self, stream: str, gate: StreamGate) -> Standing:
        if self._stopped:
            return Standing(State.RECOVERING, StateCode.OPENING, self._stopped)
        assert self._epochs is not None
        return Facts(
            recovering=self._reasons.get(gate),
            contradicted=self._epochs.contradicted,
            conflicting=self._conflicts(stream),
            lacks_ref=self._lacks_ref,
            has_book=stream == "trade" or self._position("book")[1] > 0,
            connected=self._bus.connected,
            silence=self._freshness.silence(),
            status=self.status,
        ).standing()


def _gap(why: str) -> Standing:
    return Standing(State.RECOVERING, StateCode.GAP, why)
