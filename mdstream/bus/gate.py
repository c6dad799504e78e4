"""The gate of one stream of one instrument, between the bus and the core: while a gap is open, it holds payloads back."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from mdstream.bus.refusals import Refusals
from mdstream.errors import FeedError
from mdstream.model import StateCode

REFUSED: Final = -1
NOTHING: Final = 0
APPLIED: Final = 1
GAP: Final = 2
NEW_EPOCH: Final = 3
UNKNOWN: Final = 4
"""What the core did with a payload; all but REFUSED are the core's own ``Outcome``."""

ACCEPTED: Final = (APPLIED, NEW_EPOCH)


@dataclass(slots=True)
class ReaderStats:
    """Counters since the start, over all readers."""

    gaps: int = 0
    """Live payloads that did not follow what was applied."""
    overflows: int = 0
    """Times that the payloads held during a recovery exceeded their bound and were dropped."""
    recovered: int = 0
    """Gaps that were recovered, including openings and reconnects."""
    snaps_loaded: int = 0
    """Snapshots loaded, at openings and where the log did not reach."""
    trades_given_up: int = 0
    """Times that trades were gone from the log."""
    refusals: Refusals = field(default_factory=Refusals)
    """What was refused, and why."""


class GateOwner(Protocol):
    """Who owns a gate: the reader."""

    def on_change(self) -> None:
        """The core has changed and must be flushed."""

    def on_accepted(self, ago_s: float) -> None:
        """A payload that came live ``ago_s`` ago was accepted."""

    def on_gap(self, gate: StreamGate, code: StateCode, why: str) -> None:
        """The gate has closed because of a live payload."""

    def on_overflow(self, gate: StreamGate, why: str) -> None:
        """More came than the gate may hold; what was held is dropped, and read from the log."""

    def on_live(self, gate: StreamGate) -> None:
        """``gate.live`` has changed."""

    def on_refused(self, gate: StreamGate, payload: bytes, error: FeedError) -> None:
        """The core refused a payload."""

    def on_jump(self, gate: StreamGate, payload: bytes) -> None:
        """A payload was dropped: its number is ahead, but smaller ones went on after it."""

    def on_repeated(self, gate: StreamGate, payload: bytes) -> None:
        """The core dropped a live payload: it is known already, or its epoch is smaller."""

    def is_current(self, gate: StreamGate, payload: bytes) -> bool:
        """Whether a payload is of the epoch that is read."""

    def on_unknown(self, gate: StreamGate, payload: bytes) -> bool:
        """A payload is of a greater epoch; whether that has begun now, so that it can be taken."""


class StreamGate:
    """While it is live, payloads go straight to ``take``; else it holds them, in order and bounded, until the gap is closed."""

    def __init__(
        self,
        subject: str,
        owner: GateOwner,
        *,
        max_bytes: int,
        stats: ReaderStats,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.subject = subject
        self.take: Callable[[bytes], int] = _not_open
        self.live = False
        self.suspect = False
        """A payload was refused, and nothing since has shown that no number is missing."""
        self.complete_us: int | None = None
        """A time (µs, our clock) until which nothing was missing; None before the first recovery."""
        self.turned_live = asyncio.Event()
        self.held: deque[bytes] = deque()
        self._held_at: deque[float] = deque()
        self._held_bytes = 0
        self._owner = owner
        self._max_bytes = max_bytes
        self._stats = stats
        self._clock = clock
        self.changed = owner.on_change
        """Call it after any other change to the core, so that the core is flushed."""

    def receive(self, payload: bytes) -> None:
        """Takes a payload from the live subscription."""
        if not self.live:
            self._hold(payload)
            return
        try:
            outcome = self._take(payload)
        except FeedError as error:
            self._refuse(payload, error)
            self._report_gap(StateCode.REFUSED, f"refused: {error}")
            return
        if outcome == GAP:
            self._stats.gaps += 1
            self._hold(payload)
            self._report_gap(StateCode.GAP, "a number is missing")
        elif outcome in ACCEPTED:
            self._owner.on_accepted(0.0)
            self.changed()
        elif outcome == NOTHING:
            self._owner.on_repeated(self, payload)

    def apply(self, payload: bytes) -> int:
        """Hands a payload from the log, or a held one, to the core; returns REFUSED instead of raising."""
        try:
            outcome = self._take(payload)
        except FeedError as error:
            self._refuse(payload, error)
            return REFUSED
        if outcome in ACCEPTED:
            self.suspect = False
            self.changed()
        return outcome

    def apply_held(self, limit: int, limit_bytes: int | None = None) -> bool:
        """Applies up to ``limit`` held payloads, and no more once they were ``limit_bytes``; passes over those that do not follow, and
        returns whether there were none.

        What is ahead of numbers that came after it is dropped: no writer counts back.
        """
        ahead: list[tuple[bytes, float]] = []
        overtaken = taken_bytes = 0
        for _ in range(min(limit, len(self.held))):
            if limit_bytes is not None and taken_bytes >= limit_bytes:
                break
            payload, at = self._pop()
            taken_bytes += len(payload)
            outcome = self.apply(payload)
            if outcome == GAP:
                ahead.append((payload, at))
            elif ahead and (outcome in ACCEPTED or self._owner.is_current(self, payload)):
                overtaken = len(ahead)
            if outcome in ACCEPTED:
                self._owner.on_accepted(self._clock() - at)
        for payload, _ in ahead[:overtaken]:
            self._owner.on_jump(self, payload)
        for payload, at in reversed(ahead[overtaken:]):
            self.held.appendleft(payload)
            self._held_at.appendleft(at)
            self._held_bytes += len(payload)
        return len(ahead) == overtaken

    def open_if_complete(self) -> bool:
        """Applies what is still held and goes live if nothing is missing; returns whether it is live."""
        if not self.live and self.apply_held(len(self.held)) and not self.suspect:
            self.live = True
            self._owner.on_live(self)
            self.turned_live.set()
        return self.live

    def close(self, *, complete: bool = True) -> None:
        """Holds payloads from now on. ``complete``: nothing was missing until now, as far as we know."""
        if not self.live:
            return
        if complete:
            self.complete_until_now()
        self.live = False
        self._owner.on_live(self)
        self.turned_live.clear()

    def complete_until_now(self) -> None:
        self.complete_us = time.time_ns() // 1000

    def drop_beyond(self, is_beyond: Callable[[bytes], bool]) -> list[bytes]:
        """Drops, and returns, what is held and is beyond."""
        dropped: list[bytes] = []
        for _ in range(len(self.held)):
            payload, at = self._pop()
            if is_beyond(payload):
                dropped.append(payload)
            else:
                self._keep(payload, at)
        return dropped

    def clear(self) -> None:
        """Forgets what is held."""
        self.held.clear()
        self._held_at.clear()
        self._held_bytes = 0

    def _take(self, payload: bytes) -> int:
        outcome = self.take(payload)
        if outcome == UNKNOWN and self._owner.on_unknown(self, payload):
            outcome = self.take(payload)
        return outcome

    def _report_gap(self, code: StateCode, why: str) -> None:
        self.close()
        self._owner.on_gap(self, code, why)

    def _refuse(self, payload: bytes, error: FeedError) -> None:
        self.suspect = True
        self._owner.on_refused(self, payload, error)

    def _hold(self, payload: bytes) -> None:
        if self._held_bytes + len(payload) > self._max_bytes:
            self._stats.overflows += 1
            self.clear()
            self._owner.on_overflow(self, f"more than {self._max_bytes} bytes came while a gap was recovered")
        self._keep(payload, self._clock())

    def _keep(self, payload: bytes, at: float) -> None:
        self.held.append(payload)
        self._held_at.append(at)
        self._held_bytes += len(payload)

    def _pop(self) -> tuple[bytes, float]:
        payload = self.held.popleft()
        self._held_bytes -= len(payload)
        return payload, self._held_at.popleft()


def _not_open(payload: bytes) -> int:
    raise AssertionError("a gate was given a payload before its instrument was opened")
