"""Gap recovery: brings a stream from the core's position to where the live subscription continues.

The log comes first. If the log does not reach back far enough, a book continues from a snapshot after the gap, and trades
give up what is lost. A recovery never guesses and never skips: what is ahead is believed only where something else on the bus
bears it out. Until it succeeds the gate stays closed, and it never gives up.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mdstream.bus.connection import Bus
from mdstream.bus.gate import ACCEPTED, GAP, NOTHING, ReaderStats, StreamGate
from mdstream.bus.looking_back import LookBackOptions, LookingBack
from mdstream.bus.payloads import numbers
from mdstream.bus.streams import MD_LOG, Stored
from mdstream.errors import BusError, FeedError, PayloadError

logger = logging.getLogger(__name__)

MOST_DENIED = 8
BATCH = 256
"""Payloads applied before other tasks of the event loop get a turn,"""
BATCH_BYTES = 64 * 1024
"""and how large they may be together: a payload of 8,000 changes takes half a millisecond."""


class InstrumentCore(Protocol):
    """The core's side of an instrument: takes what a reader receives, and knows its position."""

    def take_book(self, payload: bytes) -> int: ...
    def take_trades(self, payload: bytes) -> int: ...
    def begin(self, epoch: int) -> None:
        """Book and trades are at 0 of a greater epoch from now on; values of any other are not taken."""

    def load_snap(self, payload: bytes, *, force: bool = False) -> bool: ...
    def agrees(self, snap: bytes) -> bool | None:
        """Whether the book was equal to the snapshot at the snapshot's number; None if that number is not kept. Raises FeedError."""

    def repeats(self, stream: str, payload: bytes) -> bool:
        """Whether values that are known already have the content that was applied, as far as it is kept. Raises FeedError."""

    def reset_trades(self, epoch: int, seq: int) -> None: ...
    def await_number(self, seq: int) -> None:
        """The bus bears out this number of the book: who resumed there waits for it."""

    def book_position(self) -> tuple[int, int]:
        """Epoch and seq that were applied last."""

    def trade_position(self) -> tuple[int, int]: ...


class RecoveryOwner(Protocol):
    """Who is told what a recovery finds: the reader."""

    def admit_snap(self, payload: bytes) -> bool:
        """Whether a snapshot is of the epoch that is read; a greater one begins, if it may."""

    def refuse_snap(self, payload: bytes, error: FeedError) -> None:
        """A snapshot cannot be read, or is no book."""

    def on_jump(self, gate: StreamGate, payload: bytes) -> None:
        """A payload is ahead of what the writer has published."""

    def disbelieve_snap(self, payload: bytes, why: str) -> None:
        """A snapshot is ahead of the book, and nothing bears it out."""

    def on_stored(self, stream: str, ago_s: float) -> None:
        """An update, a trade or a ``snap`` was accepted that was stored ``ago_s`` ago."""

    def on_trouble(self, gate: StreamGate, error: BusError) -> None:
        """A recovery waits because the bus cannot be asked."""


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
    """How long the log may lag behind the live messages. After that, a gap at the log's end counts as a gap of the log, and what
    nothing bears out is refused."""
    recent: int = 5_000
    """How many messages of the log, of all instruments, a new reader looks back where it may not read more."""
    look_back: LookBackOptions = field(default_factory=LookBackOptions)
    """How far a new reader looks back, so that clients that come from another gateway can continue here."""
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
    looking_back: LookingBack


class Replayed(enum.Enum):
    COMPLETE = enum.auto()  # to the end of the log, without a gap
    STARTED_LATE = enum.auto()  # the first payload does not follow the position: look further back
    HAS_GAP = enum.auto()  # numbers are missing within the log


async def with_turns(log: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same payloads; other tasks get a turn after each batch."""
    count = size = 0
    async with contextlib.aclosing(log):
        async for payload in log:
            yield payload
            count, size = count + 1, size + len(payload)
            if count >= BATCH or size >= BATCH_BYTES:
                count = size = 0
                await asyncio.sleep(0)


class GapRecovery:
    """What the recoveries of books and trades have in common."""

    _stream: Literal["book", "trade"]

    def __init__(
        self, context: RecoveryContext, gate: StreamGate, core: InstrumentCore, owner: RecoveryOwner
    ) -> None:
        self._context = context
        self._bus, self._options, self._stats = context.bus, context.options, context.stats
        self._gate = gate
        self._core = core
        self._owner = owner
        self._position = core.book_position if self._stream == "book" else core.trade_position
        self._began_at: float | None = None
        self._warned = False
        self._opened = False
        self._jump: bytes | None = None
        """The newest payload of the log that is ahead, if nothing after it denies it."""
        self._denied: set[bytes] = set()
        """What was ahead when a ``status`` named the position: no number of the writer's."""
        self.named = 0
        """The newest number that a ``status`` of this epoch names: before it nothing is complete. 0: none."""
        self.tells_numbers = False
        """A ``status`` of this epoch named numbers."""

    def begin(self) -> None:
        """Call when an epoch has begun."""
        self._opened = True
        self.named, self.tells_numbers, self._jump = 0, False, None
        self._denied.clear()

    def name(self, seq: int | None) -> None:
        """Takes the number of a ``status``; None if it has none."""
        self.tells_numbers = seq is not None
        self.named = seq or 0

    @property
    def has_opened(self) -> bool:
        """Whether what was stored when it opened has been read."""
        return self._opened

    def deny_ahead(self) -> None:
        """A live ``status`` names the position: what came before it and is ahead was a stray message."""
        ahead = self._gate.drop_beyond(lambda payload: self._reaches(payload, self._position()[1] + 1))
        for payload in ahead:
            self._owner.on_jump(self._gate, payload)
        self._denied.update(ahead, () if self._jump is None else (self._jump,))
        while len(self._denied) > MOST_DENIED:
            self._denied.pop()

    async def run(self) -> None:
        """Returns when the gate is live."""
        self._began_at, self._warned = None, False
        delay_s = self._options.retry_base_s
        while not (self._gate.live or await self._attempt()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s(delay_s)):
                    await self._gate.turned_live.wait()
            delay_s = min(delay_s * 2, self._options.retry_cap_s)
        self._stats.recovered += 1

    def _pause_s(self, delay_s: float) -> float:
        """The pause before the next attempt: one comes right after the log may lag no longer."""
        left_s = (self._began_at or 0.0) + self._options.log_lag_s - time.monotonic()
        return min(delay_s, left_s) if left_s > 0 else delay_s

    async def _attempt(self) -> bool:
        """Recovers, or logs why that failed: the first time as a warning."""
        try:
            async with self._context.slots:
                now = time.monotonic()
                self._began_at = self._began_at or now
                return self._gate.live or await self._recover(
                    log_may_lag=now - self._began_at < self._options.log_lag_s
                )
        except BusError as error:
            level = logging.DEBUG if self._warned else logging.WARNING
            logger.log(level, "%s is not recovered yet: %s", self._gate.subject, error)
            self._warned = True
            self._owner.on_trouble(self._gate, error)
            return self._recover_alone()
        except Exception:
            # A fault of ours must not end the recovery: the instrument would stay as it is for ever.
            logger.exception("%s: recovery failed; trying again", self._gate.subject)
        return False

    async def _recover(self, *, log_may_lag: bool) -> bool:
        """Whether the gate is live."""
        raise NotImplementedError

    def _recover_alone(self) -> bool:
        """Whether the gate is live by what came live alone: JetStream cannot be asked."""
        return False

    def _follow_jump(self, payload: bytes) -> int:
        """Takes two payloads that follow each other, but not the position, if their stream gives up what is missing before them;
        returns what became of the second."""
        return GAP

    @property
    def reaches_named(self) -> bool:
        return self._position()[1] >= self.named

    async def _newest(self) -> Stored | None:
        """The newest message of the log."""
        return await self._bus.last_stored(MD_LOG, self._gate.subject)

    async def _apply_log(self, since_us: int | None, newest: Stored | None = None) -> bool:
        """Applies what the log holds after the position, and what is held; returns False if the log lacks something. ``newest``: its
        newest message, if that was just asked for."""
        self._jump = None
        newest = newest or await self._newest()
        if newest is None:
            return True
        complete = (
            newest.payload in self._denied
            or not self._may_lead_on(newest.payload)
            or await self._replay_since(since_us, newest)
        )
        if any(last <= self._position()[1] for _, last in self._numbers(newest.payload)):
            await self._note_age(self._stream, MD_LOG, newest)
        return complete

    async def _note_age(self, of: str, stream: str, stored: Stored) -> None:
        """Something that is stored was accepted: a sign of life, as old as the server says."""
        with contextlib.suppress(BusError):
            self._owner.on_stored(of, await self._bus.stored_s(stream, stored))

    async def _replay_since(self, since_us: int | None, newest: Stored) -> bool:
        # Our clock may differ from the server's.
        since_us = None if since_us is None else min(since_us, newest.stored_us)
        slack_s = self._options.slack_s
        while True:
            from_start = since_us is None or slack_s > self._options.widest_s
            start_us = None if since_us is None or from_start else since_us - int(slack_s * 1e6)
            replayed = await self._replay(start_us)
            if replayed is not Replayed.STARTED_LATE or from_start:
                break
            slack_s *= self._options.widening
        while self._gate.held and self._gate.apply_held(BATCH, BATCH_BYTES):
            await asyncio.sleep(0)
        return replayed is Replayed.COMPLETE

    async def _replay(self, start_us: int | None) -> Replayed:
        """What is ahead is passed over. What comes after it and follows the position denies it; else numbers are missing."""
        gate, follows = self._gate, False
        async with contextlib.aclosing(self._log(since_us=start_us)) as log:
            async for payload in log:
                if gate.live:
                    return Replayed.COMPLETE
                outcome = gate.apply(payload)
                if outcome == GAP and payload in self._denied:
                    continue
                if outcome == GAP:
                    outcome = self._follow_jump(payload)
                if outcome == GAP and not follows and start_us is not None:
                    return Replayed.STARTED_LATE
                if outcome == GAP:
                    self._jump = payload
                elif outcome in ACCEPTED or outcome == NOTHING:
                    follows = True
                    self._deny_jump(outcome, payload)
        if self._jump is not None:
            return Replayed.HAS_GAP
        return Replayed.COMPLETE if follows else Replayed.STARTED_LATE

    def _deny_jump(self, outcome: int, payload: bytes) -> None:
        if self._jump is not None and (outcome in ACCEPTED or self._numbers(payload)):
            self._jump = None

    def _recent(self, newest: Stored) -> AsyncGenerator[bytes, None]:
        """The latest messages of the log, up to about ``newest``."""
        return self._log(since_seq=newest.stream_seq - self._options.recent + 1)

    def _looked_back(self, since_us: int, newest: Stored) -> AsyncGenerator[bytes, None]:
        """The log since then; nothing if that is more than may be read."""
        size = len(newest.payload)
        return self._log(
            since_us=since_us, may_read=lambda count: self._context.looking_back.may_read(count, size)
        )

    async def _log(
        self,
        *,
        since_us: int | None = None,
        since_seq: int | None = None,
        may_read: Callable[[int], bool] = lambda count: True,
    ) -> AsyncGenerator[bytes, None]:
        """The log of this stream; other tasks get a turn after each batch."""
        log = self._bus.log(self._gate.subject, since_us=since_us, since_seq=since_seq, may_read=may_read)
        async with contextlib.aclosing(with_turns(log)) as paced:
            async for payload in paced:
                yield payload

    def _may_lead_on(self, newest: bytes) -> bool:
        """Whether the log may lead beyond the position, by its newest message; that of a fenced writer does not count."""
        try:
            found = numbers(self._stream, newest)
        except PayloadError:
            return True
        epoch, seq = self._position()
        return any(other != epoch or last > seq for other, _, last in found)

    def _numbers(self, payload: bytes | None) -> list[tuple[int, int]]:
        """First and last number of each value of the epoch that is read."""
        if payload is None:
            return []
        epoch = self._position()[0]
        try:
            return [(first, last) for other, first, last in numbers(self._stream, payload) if other == epoch]
        except PayloadError:
            return []

    def _reaches(self, payload: bytes | None, seq: int) -> bool:
        """Whether a payload of this epoch has this number, or a greater one."""
        return any(last >= seq for _, last in self._numbers(payload))
