"""Reads the trades of one instrument: each once, in the order of their numbers, live and from ``MD_LOG``.

Gaps are mended by the recovery of trades that gateways use. What is lost for good shows as a missing number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mdstream._core.codec.feed_decoder import TradeValue, decode_payload
from mdstream.bus import MD_LOG, MD_STATE, Bus, subject
from mdstream.bus.epochs import Epochs, Told, scale
from mdstream.bus.gap_recovery import RecoveryContext
from mdstream.bus.gate import APPLIED, GAP, NOTHING, UNKNOWN, StreamGate
from mdstream.bus.payloads import numbers
from mdstream.bus.refusals import InstrumentRefusals
from mdstream.bus.trade_recovery import TradeRecovery
from mdstream.errors import BusError, FeedError
from mdstream.model import InstrumentId, Ref, StateCode

logger = logging.getLogger("mdstream.candles")

SEEK_EVERY_S: Final = 1.0
AHEAD_US: Final = 3_600_000_000
"""A trade so far ahead of this machine's clock counts as lost: it would end candles that have only begun."""
MOST_REFS: Final = 8

Scale = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Position:
    """The last trade that needs not be read again, and when that was stored (µs, the server's clock)."""

    epoch: int
    seq: int
    stored_us: int
    scale: Scale | None = None


class TradeTaker(Protocol):
    """Who is given the trades."""

    def take(self, trades: Sequence[TradeValue], scale: Scale) -> None:
        """Trades of one epoch, in order."""

    def lose_tail(self) -> None:
        """Trades are missing before the epoch that begins now."""


class TradeReader:
    """The trades of one instrument, once ``start`` was called; what comes before is held."""

    def __init__(
        self,
        context: RecoveryContext,
        instrument: InstrumentId,
        taker: TradeTaker,
        *,
        wall_us: Callable[[], int],
    ) -> None:
        self.instrument = instrument
        self._context = context
        self._bus: Bus = context.bus
        self._taker = taker
        self._wall_us = wall_us
        self._gate = StreamGate(
            subject(instrument, "trade"), self, max_bytes=context.options.held_bytes, stats=context.stats
        )
        self._core = _Core(taker, wall_us)
        self._recovery = TradeRecovery(context, self._gate, self._core, self)  # type: ignore[arg-type]
        self._refusals = InstrumentRefusals(context.stats.refusals, str(instrument))
        self._epochs: Epochs | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    # ---- begin and end

    async def start(self, position: Position | None) -> bool:
        """Begins after ``position``, or with the first trade that the log has; False if no trade can be read yet, as no ``ref`` is known.

        Raises BusError, BusUnavailable, FeedError.
        """
        first = position or await self._first()
        refs = await self._refs()
        ref = _ref_of(refs, first)
        if ref is None:
            return False
        if first is not None and ref.epoch != first.epoch:
            self._taker.lose_tail()
        self._epochs = Epochs(ref, self._wall_us)
        for each in refs:
            if each.epoch > ref.epoch:
                self._epochs.announce(each)
        seq = first.seq if first is not None and first.epoch == ref.epoch else 0
        self._core.begin(ref.epoch, scale(ref), seq)
        self._recovery.begin()
        self._gate.take = self._core.take_trades
        self._gate.complete_us = first.stored_us if first is not None else None
        self._recover()
        return True

    async def _first(self) -> Position | None:
        """Just before the first trade in the log."""
        stored = await self._bus.first_stored(MD_LOG, self._gate.subject)
        found = [] if stored is None else numbers("trade", stored.payload)
        return Position(found[0][0], found[0][1] - 1, stored.stored_us) if stored and found else None

    async def _refs(self) -> list[Ref]:
        """Those that are stored, by epoch; of one epoch the first."""
        found: dict[int, Ref] = {}
        after = 0
        for _ in range(MOST_REFS + 1):
            stored = await self._bus.first_stored(MD_STATE, subject(self.instrument, "ref"), after=after)
            if stored is None:
                break
            after = stored.stream_seq
            for ref in _decoded_refs(stored.payload):
                found.setdefault(ref.epoch, ref)
        return [found[epoch] for epoch in sorted(found)]

    async def close(self) -> None:
        self._closed = True
        self._gate.close()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def rewind(self, position: Position) -> None:
        """Reads everything after ``position`` again, from the log; only within the epoch that is read."""
        if position.epoch == self._core.epoch:
            self._core.seq = position.seq
            self._gate.close(complete=False)
            self._gate.complete_us = position.stored_us
            self._recover()

    # ---- what comes

    def receive(self, payload: bytes) -> None:
        """A live message on ``trade``."""
        self._gate.receive(payload)

    def receive_ref(self, payload: bytes) -> None:
        for ref in _decoded_refs(payload):
            self._announce(ref)

    def receive_status(self, payload: bytes) -> None:
        """A live ``status``: the number that it names shows a lost tail."""
        if self._epochs is None:
            return
        try:
            status = decode_payload("status", payload)[-1]
        except FeedError:
            return
        if status.epoch != self._core.epoch or status.trade_seq is None:
            return
        self._recovery.name(status.trade_seq)
        if self._gate.live and not self._recovery.reaches_named:
            self._gate.close()
            self._recover()

    def disconnected(self) -> None:
        self._cancel()
        self._gate.close()

    def reconnected(self) -> None:
        if self._epochs is not None:
            self._gate.close(complete=False)
            self._recover()

    # ---- epochs

    def _announce(self, ref: Ref) -> None:
        epochs = self._epochs
        if epochs is None:
            return
        try:
            told = epochs.announce(ref)
        except FeedError as error:
            logger.warning("%s: a ref is refused: %s", self.instrument, error)
            return
        if told is Told.PENDING and epochs.waiting == ref.epoch:
            self._begin(ref.epoch)
            self._gate.close(complete=False)  # what came before its ref was passed over
            self._recover()

    def _begin(self, epoch: int) -> None:
        assert self._epochs is not None
        if self._core.is_incomplete or not self._recovery.reaches_named:
            self._taker.lose_tail()
        self._epochs.begin(epoch)
        self._core.begin(epoch, scale(self._epochs.ref))
        self._recovery.begin()

    async def _seek_ref(self) -> None:
        """Asks for the ``ref`` of an epoch whose trades wait for it, now and every second."""
        epochs = self._epochs
        while epochs is not None and epochs.waiting:
            try:
                for ref in await self._refs():
                    if ref.epoch > epochs.current:
                        self._announce(ref)
            except BusError as error:
                logger.debug("%s: its ref cannot be asked for: %s", self.instrument, error)
            await asyncio.sleep(SEEK_EVERY_S)

    # ---- what gate and recovery tell (GateOwner, RecoveryOwner)

    def on_change(self) -> None:
        """The taker was told already."""

    def on_accepted(self, ago_s: float) -> None:
        """The taker was told already."""

    def on_live(self, gate: StreamGate) -> None:
        """Nobody waits for it."""

    def on_gap(self, gate: StreamGate, code: StateCode, why: str) -> None:
        logger.debug("%s: %s; reading the log", gate.subject, why)
        self._recover()

    def on_overflow(self, gate: StreamGate, why: str) -> None:
        logger.warning("%s: %s", gate.subject, why)

    def on_refused(self, gate: StreamGate, payload: bytes, error: FeedError) -> None:
        self._refusals.payload(gate.subject, payload, error)

    def on_jump(self, gate: StreamGate, payload: bytes) -> None:
        logger.debug("%s: a number is ahead of smaller ones that came after it", gate.subject)

    def on_repeated(self, gate: StreamGate, payload: bytes) -> None:
        """Known already, or of a smaller epoch."""

    def is_current(self, gate: StreamGate, payload: bytes) -> bool:
        return any(epoch == self._core.epoch for epoch, _, _ in numbers("trade", payload))

    def on_unknown(self, gate: StreamGate, payload: bytes) -> bool:
        """Trades of a greater epoch: it begins if its ``ref`` is known."""
        assert self._epochs is not None
        try:
            epoch = next(epoch for epoch, _, _ in numbers("trade", payload) if epoch > self._core.epoch)
            may_begin = self._epochs.may_begin(epoch)
        except FeedError as error:
            self._refusals.payload(gate.subject, payload, error)
            return False
        if may_begin:
            self._begin(epoch)
        else:
            self._run("seek", self._seek_ref)
        return may_begin

    def on_stored(self, stream: str, ago_s: float) -> None:
        """Nobody asks how old it is."""

    def on_trouble(self, gate: StreamGate, error: BusError) -> None:
        """The recovery logs it."""

    # ---- work

    def _recover(self) -> None:
        if not self._gate.live and self._bus.connected and self._epochs is not None:
            self._run("recover", self._recovery.run)

    def _run(self, key: str, work: Callable[[], object]) -> None:
        running = self._tasks.get(key)
        if self._closed or (running is not None and not running.done() and not running.cancelling()):
            return
        self._tasks[key] = asyncio.get_running_loop().create_task(work())  # type: ignore[arg-type]

    def _cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()


class _Core:
    """Where the reading of trades stands; hands them on (an ``InstrumentCore``, of which a recovery of trades uses only this)."""

    def __init__(self, taker: TradeTaker, wall_us: Callable[[], int]) -> None:
        self.epoch = self.seq = 0
        self._greatest = 0
        """The greatest number of this epoch that came."""
        self._scale: Scale = (0, 0)
        self._taker = taker
        self._wall_us = wall_us

    def begin(self, epoch: int, scale: Scale, seq: int = 0) -> None:
        self.epoch, self._scale, self.seq, self._greatest = epoch, scale, seq, seq

    @property
    def is_incomplete(self) -> bool:
        """Whether greater numbers of this epoch have come than were taken."""
        return self._greatest > self.seq

    def trade_position(self) -> tuple[int, int]:
        return self.epoch, self.seq

    def book_position(self) -> tuple[int, int]:
        return self.epoch, 0

    def reset_trades(self, epoch: int, seq: int) -> None:
        self.seq = seq
        self._greatest = max(self._greatest, seq)

    def take_trades(self, payload: bytes) -> int:
        """Takes what follows; returns APPLIED, NOTHING, GAP or UNKNOWN, as the core does. Raises PayloadError."""
        taken: list[TradeValue] = []
        outcome, latest_us = NOTHING, self._wall_us() + AHEAD_US
        for trade in decode_payload("trade", payload):
            epoch, seq, ts_us, *_ = trade
            if epoch == self.epoch and seq == self.seq + 1:
                self.seq, outcome = seq, APPLIED
                if ts_us <= latest_us:
                    taken.append(trade)
            elif epoch > self.epoch:
                outcome = UNKNOWN
                break
            elif epoch == self.epoch and seq > self.seq:
                self._greatest, outcome = max(self._greatest, seq), GAP
                break
        if taken:
            self._taker.take(taken, self._scale)
        return outcome


def _ref_of(refs: Sequence[Ref], first: Position | None) -> Ref | None:
    """The ``ref`` to begin with: that of the position, else the next one."""
    if first is None:
        return refs[0] if refs else None
    for ref in refs:
        if ref.epoch == first.epoch:
            return ref
    if first.scale is not None:
        return Ref(*first.scale, epoch=first.epoch)
    return next((ref for ref in refs if ref.epoch > first.epoch), None)


def _decoded_refs(payload: bytes) -> list[Ref]:
    try:
        return decode_payload("ref", payload)
    except FeedError:
        return []
