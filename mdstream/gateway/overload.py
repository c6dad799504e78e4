"""Decides what a gateway gives up while it cannot keep up, or is short of memory. No I/O; times are seconds of a monotonic clock.

======= ======================================================== ============================================================
level   the loop is late, or NATS's socket is not read empty     effect
======= ======================================================== ============================================================
0       no                                                       none
1       for a second                                             intervals are twice as long
2       for another second                                       four times; no new clients
3       for another second                                       eight times
4       for another second, and each second from then on         the newest clients' subscriptions end, a twentieth at a time
======= ======================================================== ============================================================

Five calm seconds lead one level down. Depth is never cut, trades are never dropped, and what is shown is always right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mdstream._core.entry.load_state import LoadState

LATE_S: Final = 0.1
"""A loop that is this late in a turn does not keep up."""
UNREAD_BYTES: Final = 2_097_152
"""So much that NATS has sent and nobody has read, too. Reading rests for 10 ms at most where every topic has an interval: of a million
updates a second, half of it comes in that time."""
CALM_SHARE: Final = 2
"""It is calm below half of these."""
UP_S: Final = 1.0
DOWN_S: Final = 5.0
STRETCHES: Final = (1, 2, 4, 8, 8)
REFUSES: Final = 2
SHEDS: Final = len(STRETCHES) - 1

TIGHT: Final = 0.85
"""Of the memory that the gateway may have: no new clients and instruments; those that nobody uses are closed."""
SHORT: Final = 0.95
"""Clients that do not read are closed."""
FULL: Final = 1.0
"""The newest clients are closed, a twentieth each second."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is measured now. ``late_s``: how late the loop was at worst since the last look; ``memory_share``: of what the gateway may
    have."""

    late_s: float = 0.0
    unread_bytes: int = 0
    memory_share: float = 0.0

    @property
    def is_strained(self) -> bool:
        return self.late_s >= LATE_S or self.unread_bytes >= UNREAD_BYTES

    @property
    def is_calm(self) -> bool:
        return self.late_s < LATE_S / CALM_SHARE and self.unread_bytes < UNREAD_BYTES / CALM_SHARE


class Overload(LoadState):
    """Call ``look`` a few times a second; the rest says what is in force."""

    def __init__(self) -> None:
        self.level = 0
        self.load = Load()
        self.must_shed = False
        """The subscriptions of some clients must end now; so once a second at most."""
        self.must_close = False
        """Some clients must be closed now, as memory is full; so once a second at most."""
        self.refuses = None
        self._strained_since: float | None = None
        self._calm_since: float | None = None
        self._closed_at = float("-inf")

    def look(self, load: Load, now: float) -> None:
        self.load = load
        self.must_shed = self.must_close = False
        self._look_at_time(load, now)
        if load.memory_share >= FULL and now - self._closed_at >= UP_S:
            self._closed_at = now
            self.must_close = True
        self.refuses = self._why_refused()

    def _look_at_time(self, load: Load, now: float) -> None:
        if load.is_strained:
            self._calm_since = None
            if self._strained_since is None:
                self._strained_since = now
            elif now - self._strained_since >= UP_S:
                self._strained_since = now
                self.must_shed = self.level >= SHEDS - 1
                self.level = min(self.level + 1, SHEDS)
            return
        self._strained_since = None
        if not load.is_calm or not self.level:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= DOWN_S:
            self._calm_since = now
            self.level -= 1

    @property
    def stretch(self) -> int:
        """How many times as long intervals are."""
        return STRETCHES[self.level]

    @property
    def is_tight(self) -> bool:
        return self.load.memory_share >= TIGHT

    @property
    def is_short(self) -> bool:
        return self.load.memory_share >= SHORT

    def _why_refused(self) -> str | None:
        if self.level >= REFUSES:
            return "this gateway cannot keep up"
        return "this gateway is short of memory" if self.is_tight else None
