"""Stand-ins for what a FlushScheduler works with: a hub that sends nothing, a loop whose turns are taken by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mdstream._core.fanout.flush_scheduler import FlushScheduler


class QuietHub:
    """Calls back for each flush; has no topics."""

    def __init__(self, on_flush: Callable[[], object] = lambda: None) -> None:
        self.on_flush = on_flush
        self.waits = False
        self.defer_us = 0
        self.undelayed = 0

    def flush(self, now_us: int) -> int:
        self.on_flush()
        return 0

    def tick(self, now_us: int) -> int:
        return 0


class HandLoop:
    """Counts what is asked for in its next turn, and calls it when told to; time does not pass."""

    def __init__(self) -> None:
        self.asked = 0
        self._soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> HandLoop:
        self.asked += 1
        self._soon.append(callback)
        return self

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> HandLoop:
        return self

    def cancel(self) -> None:
        """As a handle."""
        self._soon.clear()

    def turn(self) -> None:
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()


def scheduler_of(loop: Any, on_flush: Callable[[], object] = lambda: None) -> FlushScheduler:
    """A scheduler that was started, without a socket."""
    scheduler = FlushScheduler(QuietHub(on_flush))
    scheduler.start(loop)
    return scheduler
