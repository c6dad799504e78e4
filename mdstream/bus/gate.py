"""The gate of one stream of one instrument, between the bus and the core: while a gap is open, it holds payloads back."""

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
"""What the core did with a payload; all but REFUSED are the core's own ``Outcome``."""


@dataclass(slots=True)
class ReaderStats:
    """Counters since the start, over all readers."""

    gaps: int = 0
    """Live payloads that did not follow what was applied."""
    refused: int = 0
    """Payloads that the core refused."""
    overflows: int = 0
    """Times that the payloads held during a recovery exceeded their bound and were dropped."""
    recovered: int = 0
    """Gaps that were recovered, including openings and reconnects."""
    snaps_loaded: int = 0
    """Snapshots loaded, at openings and where the log did not reach."""
    trades_given_up: int = 0
    """Times that trades were gone from the log."""


class StreamGate:
    """While it is live, payloads go straight to ``take``; else it holds them, in order and bounded, until the gap is closed."""

    def __init__(
        self,
        subject: str,
        *,
        max_bytes: int,
        stats: ReaderStats,
        on_change: Callable[[], None],
        on_gap: Callable[[StreamGate, str], None],
        on_live: Callable[[StreamGate], None] = lambda gate: None,
    ) -> None:
        """``on_live`` is called when ``live`` has changed."""
        self.subject = subject
        self.take: Callable[[bytes], int] = _not_open
        self.live = False
        self.suspect = False
        """A payload was refused, and nothing since has shown that no number is missing."""
        self.complete_us: int | None = None
        """A time (µs, our clock) until which nothing was missing; None before the first recovery."""
        self.turned_live = asyncio.Event()
        self.held: deque[bytes] = deque()
        self._held_bytes = 0
        self._max_bytes = max_bytes
        self._stats = stats
        self.changed = on_change
        """Call it after any other change to the core, so that the core is flushed."""
        self._on_gap = on_gap
        self._on_live = on_live

    def receive(self, payload: bytes) -> None:
        """Takes a payload from the live subscription."""
        if not self.live:
            self._hold(payload)
            return
        try:
            outcome = self.take(payload)
        except FeedError as error:
            self._refuse()
            self._report_gap(f"refused: {error}")
            return
        if outcome == GAP:
            self._stats.gaps += 1
            self._hold(payload)
            self._report_gap("a number is missing")
        elif outcome:
            self.changed()

    def apply(self, payload: bytes) -> int:
        """Hands a payload from the log, or a held one, to the core; returns REFUSED instead of raising."""
        try:
            outcome = self.take(payload)
        except FeedError:
            self._refuse()
            return REFUSED
        if outcome in (APPLIED, NEW_EPOCH):
            self.suspect = False
            self.changed()
        return outcome

    def apply_held(self, limit: int) -> bool:
        """Applies up to ``limit`` held payloads; returns False if the next one does not follow."""
        for _ in range(min(limit, len(self.held))):
            if self.apply(self.held[0]) == GAP:
                return False
            self._held_bytes -= len(self.held.popleft())
        return True

    def open_if_complete(self) -> bool:
        """Applies what is still held and goes live if nothing is missing; returns whether it is live."""
        if not self.live and self.apply_held(len(self.held)) and not self.suspect:
            self.live = True
            self._on_live(self)
            self.turned_live.set()
        return self.live

    def close(self, *, complete: bool = True) -> None:
        """Holds payloads from now on. ``complete``: nothing was missing until now, as far as we know."""
        if not self.live:
            return
        if complete:
            self.complete_until_now()
        self.live = False
        self._on_live(self)
        self.turned_live.clear()

    def complete_until_now(self) -> None:
        self.complete_us = time.time_ns() // 1000

    def _report_gap(self, why: str) -> None:
        self.close()
        self._on_gap(self, why)

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
    raise AssertionError("a gate was given a payload before its instrument was opened")
