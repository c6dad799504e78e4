"""Gap recovery: brings a stream from the core's position to where the live subscription continues.

The log comes first. If the log does not reach back far enough, a book continues from a snapshot after the gap, and trades
give up what is lost. A recovery never guesses and never skips. Until it succeeds the gate stays closed, and it never gives up.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from mdstream.bus.connection import Bus
from mdstream.bus.gate import GAP, REFUSED, ReaderStats, StreamGate
from mdstream.bus.payloads import numbers, snap_number
from mdstream.bus.streams import MD_LOG, MD_STATE, Stored
from mdstream.errors import BusError, FeedError, PayloadError

logger = logging.getLogger(__name__)

BATCH = 256
"""Payloads applied before other tasks of the event loop get a turn."""


class InstrumentCore(Protocol):
    """The core's side of an instrument: takes what a reader receives, and knows its position."""

    def take_book(self, payload: bytes) -> int: ...
    def take_trades(self, payload: bytes) -> int: ...
    def load_snap(self, payload: bytes, *, force: bool = False) -> bool: ...
    def agrees(self, snap: bytes) -> bool:
        """Whether the book was equal to the snapshot when it was at the snapshot's number."""

    def reset_trades(self, epoch: int, seq: int) -> None: ...
    def book_position(self) -> tuple[int, int]:
        """Epoch and seq that were applied last; (0, 0): nothing was applied."""

    def trade_position(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class RecoveryOptions:
    """How gaps are recovered. Times are in seconds."""

    concurrent: int = 32
    """Instruments that are opened, or recovered, at the same time."""
    held_bytes: int = 4 * 1024 * 1024
    """Live payloads held per stream of an instrument during a recovery; more are dropped and read again from the log."""
    slack_s: float = 2.0
    """How far before the gap the log is read at first; then further and further back, by the factor ``widening``."""
    widening: float = 4.0
    widest_s: float = 600.0
    """Beyond this, the log is read from its start."""
    log_lag_s: float = 1.0
    """How long the log may lag behind the live messages. After that, a gap at the log's end counts as a gap of the log."""
    recent: int = 5_000
    """How many messages of the log, of all instruments, a new reader looks back at most. Clients that come from another
    gateway can then continue here."""
    retry_base_s: float = 0.05
    retry_cap_s: float = 2.0
    """Time between two attempts: doubles from base to cap."""


@dataclass(frozen=True, slots=True)
class RecoveryContext:
    """What the recoveries of all instruments share."""

    bus: Bus
    options: RecoveryOptions
    stats: ReaderStats
    slots: asyncio.Semaphore


class _Replayed(enum.Enum):
    COMPLETE = enum.auto()  # to the end of the log, without a gap
    STARTED_LATE = enum.auto()  # the first payload does not follow the position: look further back
    HAS_GAP = enum.auto()  # numbers are missing within the log


class GapRecovery:
    """What the recoveries of books and trades have in common."""

    _stream: Literal["book", "trade"]

    def __init__(self, context: RecoveryContext, gate: StreamGate, core: InstrumentCore) -> None:
        self._context = context
        self._bus, self._options, self._stats = context.bus, context.options, context.stats
        self._gate = gate
        self._core = core
        self._position = core.book_position if self._stream == "book" else core.trade_position
        self._log_lags_until: float | None = None
        self._warned = False

    async def run(self) -> None:
        """Returns when the gate is live."""
        self._log_lags_until, self._warned = None, False
        delay_s = self._options.retry_base_s
        while not (self._gate.live or await self._attempt()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._gate.turned_live.wait()
            delay_s = min(delay_s * 2, self._options.retry_cap_s)
        self._stats.recovered += 1

    async def _attempt(self) -> bool:
        """Recovers, or logs why that failed: the first time as a warning."""
        try:
            async with self._context.slots:
                now = time.monotonic()
                self._log_lags_until = self._log_lags_until or now + self._options.log_lag_s
                return self._gate.live or await self._recover(log_may_lag=now < self._log_lags_until)
        except BusError as error:
            level = logging.DEBUG if self._warned else logging.WARNING
            logger.log(level, "%s is not recovered yet: %s", self._gate.subject, error)
            self._warned = True
        except Exception:
            # A fault of ours must not end the recovery: the instrument would stay as it is for ever.
            logger.exception("%s: recovery failed; trying again", self._gate.subject)
        return False

    async def _recover(self, *, log_may_lag: bool) -> bool:
        """Whether the gate is live."""
        raise NotImplementedError

    def _close_gap(self, payload: bytes, *, final: bool) -> bool:
        """Whether a gap in or before ``payload`` was closed, so that it can be applied again; ``final``: nothing else will close it."""
        return False

    async def _apply_log(self, since_us: int | None) -> bool:
        """Applies what the log holds after the position, and what is held; returns False if the log lacks something."""
        newest = await self._bus.last_stored(MD_LOG, self._gate.subject)
        if newest is None or not self._may_lead_on(newest.payload):
            return True
        # Our clock may differ from the server's.
        since_us = None if since_us is None else min(since_us, newest.stored_us)
        slack_s = self._options.slack_s
        while True:
            from_start = since_us is None or slack_s > self._options.widest_s
            start_us = None if since_us is None or from_start else since_us - int(slack_s * 1e6)
            replayed = await self._replay(start_us)
            if replayed is not _Replayed.STARTED_LATE or from_start:
                break
            slack_s *= self._options.widening
        while self._gate.held and self._gate.apply_held(BATCH):
            await asyncio.sleep(0)
        return replayed is _Replayed.COMPLETE

    async def _replay(self, start_us: int | None) -> _Replayed:
        gate, follows = self._gate, False
        async with contextlib.aclosing(self._log(since_us=start_us)) as log:
            async for payload in log:
                if gate.live:
                    return _Replayed.COMPLETE
                outcome = gate.apply(payload)
                while outcome == GAP and self._close_gap(payload, final=follows or start_us is None):
                    outcome = gate.apply(payload)
                if outcome == GAP:
                    return _Replayed.HAS_GAP if follows else _Replayed.STARTED_LATE
                follows = follows or outcome != REFUSED
        return _Replayed.COMPLETE if follows else _Replayed.STARTED_LATE

    def _recent(self, newest: Stored) -> AsyncGenerator[bytes, None]:
        """The latest messages of the log, up to about ``newest``."""
        return self._log(since_seq=newest.stream_seq - self._options.recent + 1)

    async def _log(
        self, *, since_us: int | None = None, since_seq: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The log of this stream; other tasks get a turn after each batch."""
        log = self._bus.log(self._gate.subject, since_us=since_us, since_seq=since_seq)
        async with contextlib.aclosing(log):
            taken = 0
            async for payload in log:
                yield payload
                taken += 1
                if taken % BATCH == 0:
                    await asyncio.sleep(0)

    def _may_lead_on(self, newest: bytes) -> bool:
        """Whether the log may lead beyond the position, by its newest message; that of a fenced writer does not count."""
        try:
            found = numbers(self._stream, newest)
        except PayloadError:
            return True
        epoch, seq = self._position()
        return any(other != epoch or last > seq for other, _, last in found)


class BookRecovery(GapRecovery):
    """A book continues from the log, else from the newest snapshot."""

    _stream = "book"

    def __init__(
        self, context: RecoveryContext, gate: StreamGate, core: InstrumentCore, snap_subject: str
    ) -> None:
        super().__init__(context, gate, core)
        self._snap_subject = snap_subject
        self._dead_end: tuple[int, int] | None = None
        """A position from which the log does not lead on."""

    def load(self, payload: bytes, *, force: bool = False) -> bool:
        """Loads a snapshot if it is newer than the book (or by force); payloads refused before it do not matter any more."""
        try:
            loaded = self._core.load_snap(payload, force=force)
        except FeedError as error:
            self._stats.refused += 1
            logger.warning("%s was refused: %s", self._snap_subject, error)
            return False
        if loaded:
            self._stats.snaps_loaded += 1
            self._gate.suspect = False
            self._gate.changed()
        return loaded

    async def _recover(self, *, log_may_lag: bool) -> bool:
        gate = self._gate
        snap = await self._bus.last_stored(MD_STATE, self._snap_subject)
        if self._position()[0] == 0 and snap is not None and not await self._start_at_first_update(snap):
            self._load_stored(snap, force=True)
        complete = self._dead_end != self._position() and await self._apply_log(gate.complete_us)
        if complete and log_may_lag and (gate.held or self._is_ahead(snap)):
            return False
        if not complete or gate.held or self._is_ahead(snap):
            self._dead_end = self._position()
            complete = self._load_stored(snap) and await self._apply_log(gate.complete_us)
        return gate.live or (complete and gate.open_if_complete())

    async def _start_at_first_update(self, snap: Stored) -> bool:
        """Reads a book whose writer started a short while ago from its first update, so that its log reaches back to before the
        snapshot. Returns False if this is not possible, or does not lead to what the snapshot says."""
        newest = await self._bus.last_stored(MD_LOG, self._gate.subject)
        if newest is None:
            return False
        async with contextlib.aclosing(self._recent(newest)) as recent:
            async for payload in recent:
                if self._gate.apply(payload) in (GAP, REFUSED):
                    break
        if not self._core.agrees(snap.payload):
            return False
        self._gate.complete_us = newest.stored_us
        return True

    def _load_stored(self, snap: Stored | None, *, force: bool = False) -> bool:
        if snap is None or not self.load(snap.payload, force=force):
            return False
        self._gate.complete_us = snap.stored_us
        return True

    def _is_ahead(self, snap: Stored | None) -> bool:
        """Whether the snapshot includes updates that the log did not have."""
        try:
            return snap is not None and snap_number(snap.payload) > self._position()
        except PayloadError:
            return False


class TradeRecovery(GapRecovery):
    """Trades continue from the log; those that are gone from it are given up, and reported as lost."""

    _stream = "trade"
    _opened = False

    async def _recover(self, *, log_may_lag: bool) -> bool:
        if not self._opened:
            await self._start_at_recent()
            self._opened = True
        gate = self._gate
        complete = await self._apply_log(gate.complete_us)
        while (
            not log_may_lag
            and not gate.apply_held(len(gate.held))
            and self._close_gap(gate.held[0], final=True)
        ):
            pass
        return complete and gate.open_if_complete()

    async def _start_at_recent(self) -> None:
        """A new reader has missed nothing: it starts with the latest of the log, else before the first trade that it received."""
        gate = self._gate
        newest = await self._bus.last_stored(MD_LOG, gate.subject)
        if newest is not None:
            async with contextlib.aclosing(self._recent(newest)) as recent:
                async for payload in recent:
                    if gate.apply(payload) == GAP and self._reset_before(payload):
                        gate.apply(payload)
            gate.suspect = False  # what was refused there is past
            gate.complete_us = newest.stored_us
        if self._position() == (0, 0) and gate.held:
            self._reset_before(gate.held[0])

    def _close_gap(self, payload: bytes, *, final: bool) -> bool:
        if not final or not self._reset_before(payload):
            return False
        self._stats.trades_given_up += 1
        return True

    def _reset_before(self, payload: bytes) -> bool:
        """Moves to just before the first trade in ``payload`` that is beyond the position."""
        epoch, seq = self._position()
        with contextlib.suppress(PayloadError):
            for other, first, _ in numbers(self._stream, payload):
                if other > epoch or (other == epoch and first > seq):
                    self._core.reset_trades(other, first - 1)
                    self._gate.changed()
                    return True
        return False
