"""One stream of one instrument between the bus and the core: payloads pass, or are held while a hole is mended."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mdstream.errors import FeedError

REFUSED: Final = -1
NOTHING: Final = 0
APPLIED: Final = 1
GAP: Final = 2
NEW_EPOCH: Final = 3
"""What the core made of a payload; all but REFUSED are the core's own ``Outcome``."""


@dataclass(slots=True)
class ReaderStats:
    """Counters since the start, over all readers."""

    gaps: int = 0
    """Live payloads that did not follow what was applied."""
    refused: int = 0
    """Payloads that the core refused."""
    overflows: int = 0
    """Times that what was held for a mend grew beyond its bound and was dropped."""
    mended: int = 0
    """Holes that were mended, openings and reconnects included."""
    snaps_loaded: int = 0
    """Snapshots loaded, at opening and where the log did not reach."""
    trades_given_up: int = 0
    """Times that trades were gone from the log."""


class Lane:
    """Live payloads go straight to ``take``; with a hole they are held, in order and bounded, until it is mended."""

    def __init__(
        self,
        subject: str,
        *,
        max_bytes: int,
        stats: ReaderStats,
        on_change: Callable[[], None],
        on_hole: Callable[[Lane, str], None],
        on_live: Callable[[Lane], None] = lambda lane: None,
    ) -> None:
        """``on_live`` is called when ``live`` has changed: payloads may then go straight to ``take``, or no longer."""
        self.subject = subject
        self.take: Callable[[bytes], int] = _not_open
        self.live = False
        self.suspect = False
        """A payload was refused, and nothing since has shown that no number is missing."""
        self.whole_us: int | None = None
        """A time (µs, our clock) until which nothing was missing; None before the first mend."""
        self.turned_live = asyncio.Event()
        self.held: deque[bytes] = deque()
        self._held_bytes = 0
        self._max_bytes = max_bytes
        self._stats = stats
        self.changed = on_change
        """Call after any other change to the core, so that it is flushed."""
        self._on_hole = on_hole
        self._on_live = on_live

    def receive(self, payload: bytes) -> None:
        """A payload from the live subscription."""
        if not self.live:
            self._hold(payload)
            return
        try:
            outcome = self.take(payload)
        except FeedError as error:
            self._refuse()
            self._open_hole(f"refused: {error}")
            return
        if outcome == GAP:
            self._stats.gaps += 1
            self._hold(payload)
            self._open_hole("a number is missing")
        elif outcome:
            self.changed()

    def feed(self, payload: bytes) -> int:
        """Hands a payload from the log, or a held one, to the core; REFUSED instead of an exception."""
        try:
            outcome = self.take(payload)
        except FeedError:
            self._refuse()
            return REFUSED
        if outcome in (APPLIED, NEW_EPOCH):
            self.suspect = False
            self.changed()
        return outcome

    def drain(self, limit: int) -> bool:
        """Feeds up to ``limit`` of the held; False if the next of them does not follow."""
        for _ in range(min(limit, len(self.held))):
            if self.feed(self.held[0]) == GAP:
                return False
            self._held_bytes -= len(self.held.popleft())
        return True

    def settle(self) -> bool:
        """Feeds what is still held and goes live if nothing is missing then."""
        if not self.live and self.drain(len(self.held)) and not self.suspect:
            self.live = True
            self._on_live(self)
            self.turned_live.set()
        return self.live

    def interrupt(self) -> None:
        """Holds from now on: what comes next may lack something before it."""
        if self.live:
            self.whole_until_now()
            self.distrust()

    def distrust(self) -> None:
        """The same where something may have been missing for a while: ``whole_us`` stays where it was last known."""
        if self.live:
            self.live = False
            self._on_live(self)
            self.turned_live.clear()

    def whole_until_now(self) -> None:
        self.whole_us = time.time_ns() // 1000

    def _open_hole(self, why: str) -> None:
        self.interrupt()
        self._on_hole(self, why)

    def _refuse(self) -> None:
        self._stats.refused += 1
        self.suspect = True

    def _hold(self, payload: bytes) -> None:
        if self._held_bytes + len(payload) > self._max_bytes:
            self._stats.overflows += 1
            self.held.clear()
            self._held_bytes = 0
        self.held.append(payload)
        self._held_bytes += len(payload)


def _not_open(payload: bytes) -> int:
    raise AssertionError("a lane was fed before its instrument was opened")
