"""What comes live of one open instrument and does not go straight into the core: judged, told, or handed on.

It is of another epoch, known already, ahead, refused, or of a stream without numbers. Gates and recoveries report to it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, Protocol

from mdstream._core.codec.feed_decoder import StatusValue, decode_payload
from mdstream._core.ingest.intake import InstrumentReceiver, Intake
from mdstream.bus.book_recovery import BookRecovery
from mdstream.bus.epochs import MOST_PENDING, Epochs, Told, check_plausible
from mdstream.bus.gap_recovery import GapRecovery, InstrumentCore, RecoveryContext
from mdstream.bus.gate import StreamGate
from mdstream.bus.payloads import numbers, snap_number
from mdstream.bus.refusals import InstrumentRefusals, Reason
from mdstream.bus.subjects import STREAMS, subject
from mdstream.bus.telling import NO_REF_S, Telling
from mdstream.bus.trade_recovery import TradeRecovery
from mdstream.errors import BusError, FeedError
from mdstream.model import InstrumentId, Ref, StateCode

if TYPE_CHECKING:
    from mdstream.bus.freshness import Freshness
    from mdstream.bus.shared import Shared
    from mdstream.bus.watcher import Watcher

logger = logging.getLogger(__name__)

LOG_EVERY_S = 10.0
"""Gaps of one stream of an instrument that follow faster are logged at level DEBUG only."""
SIGHTED_S = 60.0
"""How long anything of a greater epoch bears it out: a writer repeats its ``ref`` and ``snap`` in this time."""
NEVER = float("-inf")


class IncomingOwner(Protocol):
    """The reader: what takes time is its work."""

    def recover(self, gate: StreamGate) -> None:
        """Begins to recover a closed gate."""

    def recovered(self, gate: StreamGate) -> None:
        """A gate is live again."""

    def seek_ref(self) -> None:
        """Begins to ask for the ``ref`` of the epoch that waits for it."""

    def stop(self, why: str) -> None:
        """Takes nothing more."""


class Incoming:
    """The gates of an instrument and what stands behind them, once ``use`` has given it the core."""

    core: InstrumentCore
    _epochs: Epochs

    def __init__(
        self,
        shared: Shared,
        instrument: InstrumentId,
        owner: IncomingOwner,
        receiver: InstrumentReceiver,
        freshness: Freshness,
        watcher: Watcher,
    ) -> None:
        self.subjects = {stream: subject(instrument, stream) for stream in STREAMS}
        self.book, self.trades = self._make_gate(shared, "book"), self._make_gate(shared, "trade")
        self.recoveries: dict[StreamGate, GapRecovery] = {}
        self.is_open = False
        self._shared = shared
        self._owner = owner
        self._clock = shared.clock
        self._receiver = receiver
        self._freshness = freshness
        self._watcher = watcher
        self._refusals = InstrumentRefusals(shared.stats.refusals, str(instrument))
        self._telling = Telling(
            instrument,
            watcher,
            freshness,
            shared.clock,
            receiver.check_at,
            is_connected=lambda: shared.bus.connected,
            has_book=lambda: self.position("book")[1] > 0,
        )
        self._next_statuses: dict[int, StatusValue] = {}
        """The newest status of each epoch that has not begun."""
        self._sighted, self._sighted_at = 0, NEVER
        """The greatest epoch of which anything came that has not begun, and when it last did."""
        self._waited_at = self._missed_at = NEVER
        """When a value came last that waits for its ``ref``; when a trade of an epoch that has not begun did."""
        self._suspected = 0
        """A greater epoch of which nobody can say whether the bus has it; 0: none."""
        self._named_at = NEVER
        """When a live ``status`` last named numbers."""
        self._logged_at: dict[StreamGate, float] = {}

    @property
    def telling(self) -> Telling:
        return self._telling

    def use(self, epochs: Epochs, core: InstrumentCore) -> None:
        """Opens the instrument: ``core`` is at 0 of the current epoch afterwards."""
        self._epochs = self._telling.epochs = epochs
        self.core, self.is_open = core, True
        core.begin(epochs.current)
        self.book.take, self.trades.take = core.take_book, core.take_trades
        shared = self._shared
        context = RecoveryContext(
            shared.bus, shared.options.recovery, shared.stats, shared.slots, shared.looking_back
        )
        self.recoveries = {
            self.book: BookRecovery(context, self.book, core, self, self.subjects["snap"]),
            self.trades: TradeRecovery(context, self.trades, core, self),
        }

    def position(self, stream: str) -> tuple[int, int]:
        """Epoch and seq that were applied last; (0, 0) before the instrument is open."""
        if not self.is_open:
            return (0, 0)
        return self.core.book_position() if stream == "book" else self.core.trade_position()

    def bears_out(self, epoch: int, seq: int) -> bool:
        """Whether the bus has, or nobody can say whether it has, a number of the book that is not reached here: of a greater epoch,
        anything of it."""
        if not self.is_open or self.position("book") >= (epoch, seq):
            return False
        if epoch == self._epochs.current:
            return self.recoveries[self.book].named >= seq
        if self._suspected >= epoch:
            return True
        return self._sighted >= epoch and self._clock() - self._sighted_at <= SIGHTED_S

    # ---- streams without numbers

    def take_snap(self, payload: bytes) -> None:
        """A live snapshot follows the updates that it includes: one ahead of the book shows a gap, or closes one."""
        if not self._admit_snap(payload, live=True):
            return
        book, recovery = self.book, self.recoveries[self.book]
        assert isinstance(recovery, BookRecovery)
        self._freshness.announced()
        if book.live:
            self._compare_snap(recovery, payload)
        elif recovery.offer(payload):
            self._owner.recovered(book)
        self._telling.report()

    def _compare_snap(self, recovery: BookRecovery, payload: bytes) -> None:
        seq, position = snap_number(payload)[1], self.position("book")[1]
        if seq > position:
            self.book.close()
            self.on_gap(self.book, StateCode.GAP, "a snapshot is ahead of the book")
            return
        try:
            agrees = self.core.agrees(payload)
        except FeedError as error:
            self.refuse_snap(payload, error)
            return
        if agrees is False:
            self._contradict("book", "snap", payload, f"it differs from the book at {seq}")
            if seq == position:
                recovery.load(payload, force=True)

    def take_status(self, payload: bytes, *, stored_s: float | None = None) -> None:
        """``stored_s``: how long ago it was stored; None: it came live."""
        try:
            status = decode_payload("status", payload)[-1]
            if status.epoch > self._epochs.current:
                check_plausible(status.epoch, self._shared.wall_clock_us())
        except FeedError as error:
            self._refuse("status", payload, error)
            return
        if status.epoch > self._epochs.current:
            self._keep_status(status)
        elif status.epoch == self._epochs.current:
            if stored_s is None or self._telling.status is None or status.ts_us > self._telling.status.ts_us:
                self._use_status(status, stored_s)
                self._telling.report()
        elif stored_s is None:
            self._fence("status", payload, status.epoch)

    def _keep_status(self, status: StatusValue) -> None:
        """One of an epoch that has not begun."""
        self._next_statuses[status.epoch] = status
        while len(self._next_statuses) > MOST_PENDING:
            del self._next_statuses[min(self._next_statuses)]
        self._sight(status.epoch)
        if not self._epochs.may_begin(status.epoch, has_book=False):
            self._wait_for_ref()

    def _use_status(self, status: StatusValue, stored_s: float | None) -> None:
        self._telling.status = status
        self._freshness.told(status, stored_s or 0.0)
        if stored_s is None:
            self.go_on()
            self.core.await_number(status.book_seq or 0)
            self._named_at = NEVER if status.book_seq is None else self._clock()
        named = self._numbers(status)
        for gate, recovery in self.recoveries.items():
            recovery.name(named[gate])
            if stored_s is None and named[gate] is not None:
                self._confirm(gate, recovery, named[gate] or 0)
            if gate.live and not recovery.reaches_named:
                gate.close()
                self.on_gap(gate, StateCode.GAP, f"the status names {recovery.named}")

    def _numbers(self, status: StatusValue) -> dict[StreamGate, int | None]:
        return {self.book: status.book_seq, self.trades: status.trade_seq}

    def _confirm(self, gate: StreamGate, recovery: GapRecovery, named: int) -> None:
        """Where a live status names the position, nothing is missing."""
        if recovery.has_opened and not gate.live:
            gate.apply_held(len(gate.held))
        if named != self.position(self._stream(gate))[1]:
            return
        gate.suspect = False  # what was refused had no number of its own
        if recovery.has_opened and not gate.live:
            recovery.deny_ahead()
            if gate.open_if_complete():
                self._owner.recovered(gate)

    def suspect(self, epoch: int, seq: int, since_s: float) -> bool:
        """Nobody can say whether the bus has this number: clients who have seen it wait, unless a live ``status`` of its epoch has named
        one since."""
        current = self._epochs.current
        if epoch > current:  # the writer of this one may be fenced and not know it
            self._suspected = max(self._suspected, epoch)
            return True
        if epoch < current or self._named_at >= since_s:
            return False
        self.core.await_number(max(seq, self.recoveries[self.book].named))
        return True

    def clear(self) -> None:
        """What the bus has not is suspected no longer."""
        self._suspected = 0
        self.core.await_number(self.recoveries[self.book].named)

    def expect(self, named: int, why: str) -> None:
        """The bus has a number of this epoch that the book has not reached."""
        recovery = self.recoveries[self.book]
        recovery.named = max(recovery.named, named)
        self.core.await_number(named)
        if self.book.live:
            self.book.close(complete=False)
            self.on_gap(self.book, StateCode.GAP, why)

    def take_ref(self, payload: bytes, *, live: bool = True) -> None:
        epochs = self._epochs
        try:
            ref = self.decode_ref(payload)
            told = epochs.announce(ref)
        except FeedError as error:
            self._refuse("ref", payload, error)
            return
        if told is Told.FENCED:
            self._fence("ref", payload, ref.epoch)
        elif told is Told.PENDING:
            if epochs.is_unread(ref.epoch):
                self._begin(ref.epoch)
            elif epochs.waiting == ref.epoch:
                epochs.stop_waiting()
                self._telling.report()
        else:
            if live:
                self._freshness.announced()
            if told is Told.CONTRADICTS:
                message = (
                    f"epoch {ref.epoch} has the exponents {epochs.ref.price_exp} and {epochs.ref.size_exp}"
                )
                self._refusals.value(
                    self.subjects["ref"],
                    payload,
                    Reason.SCALE,
                    f"{message}, not {ref.price_exp} and {ref.size_exp}",
                )
            elif told is Told.CHANGED:
                self._watcher.on_ref(ref, False)
            self._telling.report()

    def decode_ref(self, payload: bytes) -> Ref:
        """Raises FeedError, and notes it."""
        try:
            return decode_payload("ref", payload)[-1]
        except FeedError as error:
            self._refuse("ref", payload, error)
            raise

    # ---- signs of life

    def hear(self, ago_s: float = 0.0) -> None:
        self._freshness.updated(ago_s)
        self.go_on()

    def go_on(self) -> None:
        """Where the writer is heard, and nothing more came of a greater epoch that waits for its ``ref``, that was a stray message."""
        if self.is_open and self._epochs.waiting:
            since_s = self._clock() - self._waited_at - NO_REF_S
            if since_s > 0 and self._freshness.heard_within(since_s):
                self._epochs.stop_waiting()

    def _fence(self, stream: str, payload: bytes, epoch: int) -> None:
        """A live value of a smaller epoch: it is no sign of life, and it is told."""
        self._freshness.fenced()
        message = f"its epoch {epoch} is smaller than {self._epochs.current}, which is read"
        self._refusals.value(self.subjects[stream], payload, Reason.FENCED, message)

    def _contradict(self, stream: str, of: str, payload: bytes, message: str) -> None:
        self._telling.contradict(stream)
        self._refusals.value(self.subjects[of], payload, Reason.CONFLICT, message)

    # ---- epochs

    def _begin(self, epoch: int) -> None:
        """A greater epoch begins: its ``ref`` is known, and a snapshot or update of it came."""
        ref = self._epochs.pending(epoch)
        assert ref is not None
        if self._epochs.is_rescaled(epoch):
            self._owner.stop("its scale changed; open it again")
            self._telling.report()
            self._watcher.on_ref(ref, True)
            return
        waited, missed = self._epochs.is_unread(epoch), self._missed_at > NEVER
        self._epochs.begin(epoch)
        self.core.begin(epoch)
        self._freshness.new_writer()
        self._telling.begin()
        self._missed_at = NEVER
        for gate, recovery in self.recoveries.items():
            recovery.begin()
            self.on_live(gate)
        self._shared.scheduler.request()
        self._begin_status(epoch)
        self._watcher.on_ref(ref, False)
        for gate, lost in ((self.book, waited), (self.trades, waited or missed)):
            if lost and gate.live:
                gate.close(complete=False)
                self.on_gap(gate, StateCode.GAP, f"epoch {epoch} has begun before its ref was known")
        self._telling.report()

    def _begin_status(self, epoch: int) -> None:
        self._telling.status = status = self._next_statuses.pop(epoch, None)
        self._next_statuses = {other: kept for other, kept in self._next_statuses.items() if other > epoch}
        if status is not None:
            self._freshness.told(status)
            for gate, seq in self._numbers(status).items():
                self.recoveries[gate].name(seq)

    def _wait_for_ref(self) -> None:
        self._waited_at = self._clock()
        self._owner.seek_ref()
        self._telling.report()

    def _sight(self, epoch: int) -> None:
        """Something of a greater epoch came, live or from the log."""
        self._sighted, self._sighted_at = max(self._sighted, epoch), self._clock()

    def take_stored_ref(self, payload: bytes) -> None:
        """As a live one, but it is no sign of life, and that of a fenced writer is no news."""
        try:
            is_fenced = self.decode_ref(payload).epoch < self._epochs.current
        except FeedError:
            return
        if not is_fenced:
            self.take_ref(payload, live=False)

    # ---- what gates and recoveries tell (GateOwner, RecoveryOwner)

    def on_change(self) -> None:
        self._shared.scheduler.request()

    def on_accepted(self, ago_s: float) -> None:
        self.hear(ago_s)
        if self._receiver.book is None:
            self.on_live(self.book)
        self._telling.report()

    def on_live(self, gate: StreamGate) -> None:
        """The receiver bypasses a live gate if the core is the compiled one; of a book at 0, the first update is waited for here."""
        straight = gate.take if gate.live and isinstance(gate.take, Intake) else None
        if gate is not self.book:
            self._receiver.trades = straight
        else:
            self._receiver.book = straight if self.position("book")[1] else None

    def on_gap(self, gate: StreamGate, code: StateCode, why: str) -> None:
        now = self._clock()
        often = now - self._logged_at.get(gate, -LOG_EVERY_S) < LOG_EVERY_S
        self._logged_at[gate] = now
        logger.log(logging.DEBUG if often else logging.WARNING, "%s: %s; recovering", gate.subject, why)
        self._telling.recover(self._stream(gate), code, why)
        self._owner.recover(gate)

    def on_overflow(self, gate: StreamGate, why: str) -> None:
        if self._stream(gate) in self._telling.reasons:
            self._telling.recover(self._stream(gate), StateCode.OVERLOAD, why)
            self._telling.report()

    def on_refused(self, gate: StreamGate, payload: bytes, error: FeedError) -> None:
        self._refusals.payload(gate.subject, payload, error)
        if self._stream(gate) in self._telling.reasons:
            self._telling.recover(self._stream(gate), StateCode.REFUSED, f"refused: {error}")
            self._telling.report()

    def on_jump(self, gate: StreamGate, payload: bytes) -> None:
        self._refusals.value(
            gate.subject, payload, Reason.JUMP, "its number is ahead of smaller ones that came after it"
        )

    def on_repeated(self, gate: StreamGate, payload: bytes) -> None:
        stream = self._stream(gate)
        smaller = [epoch for epoch, _, _ in numbers(stream, payload) if epoch < self._epochs.current]
        if smaller:
            self._fence(stream, payload, smaller[0])
        elif not self.core.repeats(stream, payload):
            self._contradict(stream, stream, payload, "it repeats a number with other content")
        self._telling.report()

    def is_current(self, gate: StreamGate, payload: bytes) -> bool:
        return any(epoch == self._epochs.current for epoch, _, _ in numbers(self._stream(gate), payload))

    def on_unknown(self, gate: StreamGate, payload: bytes) -> bool:
        try:
            epoch = next(
                epoch for epoch, _, _ in numbers(self._stream(gate), payload) if epoch > self._epochs.current
            )
            may_begin = self._epochs.may_begin(epoch, has_book=gate is self.book)
        except FeedError as error:
            self._refusals.payload(gate.subject, payload, error)
            return False
        self._sight(epoch)
        if not may_begin:
            self._wait_for_ref()
        if gate is self.trades:
            self._missed_at = self._clock()
        elif may_begin:
            self._begin(epoch)
            return not self._telling.stopped
        return False

    def admit_snap(self, payload: bytes) -> bool:
        return self._admit_snap(payload, live=False)

    def _admit_snap(self, payload: bytes, *, live: bool) -> bool:
        try:
            epoch, _ = snap_number(payload)
            if epoch > self._epochs.current:
                if self._epochs.may_begin(epoch):
                    self._begin(epoch)
                else:
                    self._sight(epoch)
                    self._wait_for_ref()
        except FeedError as error:
            self.refuse_snap(payload, error)
            return False
        if epoch < self._epochs.current and live:
            self._fence("snap", payload, epoch)
        return epoch == self._epochs.current and not self._telling.stopped

    def refuse_snap(self, payload: bytes, error: FeedError) -> None:
        self._refuse("snap", payload, error)

    def disbelieve_snap(self, payload: bytes, why: str) -> None:
        self._refusals.value(self.subjects["snap"], payload, Reason.JUMP, why)

    def on_stored(self, stream: str, ago_s: float) -> None:
        if stream == "snap":
            self._freshness.announced(ago_s)
        else:
            self._freshness.updated(ago_s)

    def on_trouble(self, gate: StreamGate, error: BusError) -> None:
        if self._stream(gate) in self._telling.reasons and self._shared.bus.connected:
            self._telling.recover(self._stream(gate), StateCode.STORAGE, str(error))
            self._telling.report()

    def _refuse(self, stream: str, payload: bytes, error: FeedError) -> None:
        self._refusals.payload(self.subjects[stream], payload, error)

    def _make_gate(self, shared: Shared, stream: str) -> StreamGate:
        return StreamGate(
            self.subjects[stream],
            self,
            max_bytes=shared.options.recovery.held_bytes,
            stats=shared.stats,
            clock=shared.clock,
        )

    def _stream(self, gate: StreamGate) -> Literal["book", "trade"]:
        return "book" if gate is self.book else "trade"
