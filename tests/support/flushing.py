"""Fakes for a FlushScheduler: a hub that sends nothing, and a loop whose turns the test runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from doubles.scripted_hub import ScriptedHub

from mdstream._core.fanout.flush_scheduler import FlushScheduler


class QuietHub(ScriptedHub):
    """A hub without topics; calls back for each flush."""

    def __init__(self, on_flush: Callable[[], object] = lambda: None) -> None:
        self.on_flush = on_flush

    def flush(self, now_us: int, wall_us: int) -> int:
        self.on_flush()
        return 0

    def tick(self, now_us: int, wall_us: int) -> int:
        return 0


class HandLoop:
    """Keeps the callbacks for its next turn, and calls them when the test says so; time does not pass."""

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
        """Cancels, like a handle of asyncio."""
        self._soon.clear()

    def turn(self) -> None:
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()


def scheduler_of(loop: Any, on_flush: Callable[[], object] = lambda: None) -> FlushScheduler:
    """A started scheduler without a socket."""
    scheduler = FlushScheduler(QuietHub(on_flush))
    scheduler.start(loop)
    return scheduler
