"""Mending a lane: bring it from where the core stands to where the live subscription goes on.

First from the log; where that does not reach, a book from a snapshot past the hole, and trades by giving up what is
lost. Nothing is guessed and nothing skipped: until it is done the lane stays closed, and trying never ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from mdstream.bus.connection import Bus
from mdstream.bus.lane import GAP, REFUSED, Lane, ReaderStats
from mdstream.bus.payloads import numbers, snap_number
from mdstream.bus.streams import MD_LOG, MD_STATE, Stored
from mdstream.errors import BusError, FeedError, PayloadError

logger = logging.getLogger(__name__)

BATCH = 256
"""Payloads fed before the event loop gets its turn."""


class Target(Protocol):
    """The core's side of an instrument: what a reader hands over, and where that has come to."""

    def take_book(self, payload: bytes) -> int: ...
    def take_trades(self, payload: bytes) -> int: ...
    def load_snap(self, payload: bytes, *, force: bool = False) -> bool: ...
    def agrees(self, snap: bytes) -> bool:
        """Whether the book, where it stood at the snapshot's number, was what the snapshot says."""

    def reset_trades(self, epoch: int, seq: int) -> None: ...
    def book_position(self) -> tuple[int, int]:
        """Epoch and seq of what was applied last; (0, 0) where nothing was."""

    def trade_position(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class MendOptions:
    """How holes are mended. Times in seconds."""

    concurrent: int = 32
    """Instruments that are mended, or opened, at a time."""
    held_bytes: int = 4 * 1024 * 1024
    """Live payloads held per stream of an instrument while it is mended; beyond that they are read back from the log."""
    slack_s: float = 2.0
    """How far before the hole the log is read, first; then ever further, by ``widening``."""
    widening: float = 4.0
    widest_s: float = 600.0
    """Beyond this, the log is read from its start."""
    patience_s: float = 1.0
    """How long the log may lag behind the live messages before a hole at its end counts as one of the log."""
    recent: int = 5_000
    """How many messages of the log, of all instruments, a new reader looks back at most, so that clients who come from another
    gateway can go on here."""
    retry_base_s: float = 0.05
    retry_cap_s: float = 2.0
    """Time between two tries, doubling from base to cap."""


class _Reach(enum.Enum):
    END = enum.auto()  # of the log, without a gap
    SHORT = enum.auto()  # the first that was found does not follow: look further back
    HOLED = enum.auto()  # numbers are missing within the log


class Mender:
    """What mending books and trades have in common."""

    _stream: Literal["book", "trade"]

    def __init__(
        self,
        bus: Bus,
        lane: Lane,
        position: Callable[[], tuple[int, int]],
        options: MendOptions,
        stats: ReaderStats,
        slots: asyncio.Semaphore,
    ) -> None:
        self._bus = bus
        self._lane = lane
        self._position = position
        self._options = options
        self._stats = stats
        self._slots = slots

    async def run(self) -> None:
        """Returns when the lane is live."""
        lane, told = self._lane, False
        delay_s, patient_until = self._options.retry_base_s, None
        while not lane.live:
            try:
                async with self._slots:
                    now = time.monotonic()
                    patient_until = patient_until or now + self._options.patience_s
                    if lane.live or await self._try(patient=now < patient_until):
                        break
            except BusError as error:
                logger.log(
                    logging.DEBUG if told else logging.WARNING,
                    "%s is not mended yet: %s",
                    lane.subject,
                    error,
                )
                told = True
            except Exception:
                # Ours to repair, and not the end: an instrument whose mender died would stay as it is for ever.
                logger.exception("%s: mending failed; trying again", lane.subject)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await lane.turned_live.wait()
            delay_s = min(delay_s * 2, self._options.retry_cap_s)
        self._stats.mended += 1

    async def _try(self, *, patient: bool) -> bool:
        raise NotImplementedError

    def _close_gap(self, payload: bytes, *, final: bool) -> bool:
        """Whether a gap in or before ``payload`` was closed, so that it may be fed again; ``final``: by nothing else."""
        return False

    async def _follow(self, since_us: int | None) -> bool:
        """Feeds what the log holds beyond the position, and what is held; False if the log lacks something."""
        newest = await self._bus.last_stored(MD_LOG, self._lane.subject)
        if newest is None or not self._is_news(newest.payload):
            return True
        # The time we know may be of another clock than the server's.
        since_us = None if since_us is None else min(since_us, newest.stored_us)
        slack_s = self._options.slack_s
        while True:
            widest = since_us is None or slack_s > self._options.widest_s
            start_us = None if since_us is None or widest else since_us - int(slack_s * 1e6)
            reach = await self._replay(start_us)
            if reach is not _Reach.SHORT or widest:
                break
            slack_s *= self._options.widening
        while self._lane.held and self._lane.drain(BATCH):
            await asyncio.sleep(0)
        return reach is _Reach.END

    async def _replay(self, start_us: int | None) -> _Reach:
        lane, fed, follows = self._lane, 0, False
        async with contextlib.aclosing(self._bus.log(lane.subject, since_us=start_us)) as log:
            async for payload in log:
                if lane.live:
                    return _Reach.END
                outcome = lane.feed(payload)
                while outcome == GAP and self._close_gap(payload, final=follows or start_us is None):
                    outcome = lane.feed(payload)
                if outcome == GAP:
                    return _Reach.HOLED if follows else _Reach.SHORT
                follows = follows or outcome != REFUSED
                fed += 1
                if fed % BATCH == 0:
                    await asyncio.sleep(0)
        return _Reach.END if follows else _Reach.SHORT

    async def _recent(self, newest: Stored) -> AsyncGenerator[bytes, None]:
        """The latest of the log up to about ``newest``; the event loop has its turns."""
        since = newest.stream_seq - self._options.recent + 1
        async with contextlib.aclosing(self._bus.log(self._lane.subject, since_seq=since)) as log:
            taken = 0
            async for payload in log:
                yield payload
                taken += 1
                if taken % BATCH == 0:
                    await asyncio.sleep(0)

    def _is_news(self, payload: bytes) -> bool:
        """Whether the log may lead beyond the position, by its newest message; a fenced writer's says nothing."""
        try:
            found = numbers(self._stream, payload)
        except PayloadError:
            return True
        epoch, seq = self._position()
        return any(other != epoch or last > seq for other, _, last in found)


class BookMender(Mender):
    """A book goes on from the log, else from the newest snapshot."""

    _stream = "book"

    def __init__(
        self,
        bus: Bus,
        lane: Lane,
        target: Target,
        options: MendOptions,
        stats: ReaderStats,
        slots: asyncio.Semaphore,
        snap_subject: str,
    ) -> None:
        super().__init__(bus, lane, target.book_position, options, stats, slots)
        self._target = target
        self._snap_subject = snap_subject
        self._hopeless: tuple[int, int] | None = None
        """A position from which the log does not lead on."""

    def load(self, payload: bytes, *, force: bool = False) -> bool:
        """Loads a snapshot if it is newer than the book (or by force); what was refused before it does not matter any more."""
        try:
            loaded = self._target.load_snap(payload, force=force)
        except FeedError as error:
            self._stats.refused += 1
            logger.warning("%s was refused: %s", self._snap_subject, error)
            return False
        if loaded:
            self._stats.snaps_loaded += 1
            self._lane.suspect = False
            self._lane.changed()
        return loaded

    async def _try(self, *, patient: bool) -> bool:
        lane = self._lane
        snap = await self._bus.last_stored(MD_STATE, self._snap_subject)
        if self._position()[0] == 0 and snap is not None and not await self._begin_at_first(snap):
            self._load_stored(snap, force=True)
        followed = self._hopeless != self._position() and await self._follow(lane.whole_us)
        if followed and patient and (lane.held or self._is_ahead(snap)):
            return False  # the log may lag a little behind the live messages
        if not followed or lane.held or self._is_ahead(snap):
            self._hopeless = self._position()
            followed = self._load_stored(snap) and await self._follow(lane.whole_us)
        return lane.live or (followed and lane.settle())

    async def _begin_at_first(self, snap: Stored) -> bool:
        """Reads a book whose writer began a short while ago from its first update, so that its log reaches to before the
        snapshot; False where that is not possible, or does not lead to what the snapshot says."""
        newest = await self._bus.last_stored(MD_LOG, self._lane.subject)
        if newest is None:
            return False
        async with contextlib.aclosing(self._recent(newest)) as recent:
            async for payload in recent:
                if self._lane.feed(payload) in (GAP, REFUSED):
                    break
        if not self._target.agrees(snap.payload):
            return False
        self._lane.whole_us = newest.stored_us
        return True

    def _load_stored(self, snap: Stored | None, *, force: bool = False) -> bool:
        if snap is None or not self.load(snap.payload, force=force):
            return False
        self._lane.whole_us = snap.stored_us
        return True

    def _is_ahead(self, snap: Stored | None) -> bool:
        """Whether the snapshot knows of updates that the log did not give."""
        try:
            return snap is not None and snap_number(snap.payload) > self._position()
        except PayloadError:
            return False


class TradeMender(Mender):
    """Trades go on from the log; what it does not hold any more is given up, and said to be lost."""

    _stream = "trade"

    def __init__(
        self,
        bus: Bus,
        lane: Lane,
        target: Target,
        options: MendOptions,
        stats: ReaderStats,
        slots: asyncio.Semaphore,
    ) -> None:
        super().__init__(bus, lane, target.trade_position, options, stats, slots)
        self._target = target
        self._opened = False

    async def _try(self, *, patient: bool) -> bool:
        if not self._opened:
            await self._begin_recently()
            self._opened = True
        lane = self._lane
        followed = await self._follow(lane.whole_us)
        while not patient and not lane.drain(len(lane.held)) and self._close_gap(lane.held[0], final=True):
            pass
        return followed and lane.settle()

    async def _begin_recently(self) -> None:
        """A new reader has missed nothing: it begins with the latest of the log, else before the first that it was given."""
        lane = self._lane
        newest = await self._bus.last_stored(MD_LOG, lane.subject)
        if newest is not None:
            async with contextlib.aclosing(self._recent(newest)) as recent:
                async for payload in recent:
                    if lane.feed(payload) == GAP and self._reset_before(payload):
                        lane.feed(payload)
            lane.suspect = False  # what was refused there is past
            lane.whole_us = newest.stored_us
        if self._position() == (0, 0) and lane.held:
            self._reset_before(lane.held[0])

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
                    self._reset(other, first - 1)
                    return True
        return False

    def _reset(self, epoch: int, seq: int) -> None:
        self._target.reset_trades(epoch, seq)
        self._lane.changed()
