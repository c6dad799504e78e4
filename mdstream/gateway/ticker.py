"""When the gateway ticks: every 50 ms while something waits for it, else seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

TICK_S: Final = 0.05
REST_S: Final = 0.2
"""Enough for heartbeats and timeouts. A process that is woken up finds its caches cold: that costs more than a tick does."""


class Ticker:
    """Calls ``tick`` from ``start`` to ``stop``; ``waits`` tells whether the next one is wanted in 50 ms."""

    def __init__(self, tick: Callable[[], None], waits: Callable[[], bool], rest_s: float = REST_S) -> None:
        """``rest_s``: between two ticks while nothing waits; at least 50 ms, at most 200."""
        self._tick = tick
        self._waits = waits
        self._rest_s = min(max(rest_s, TICK_S), REST_S)
        self._resting = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The first tick is now."""
        try:
            self._tick()
        finally:
            self._again()

    def stir(self) -> None:
        """Call after what may have made something wait."""
        if self._resting and self._timer is not None and self._waits():
            self._timer.cancel()
            self._again()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _again(self) -> None:
        self._resting = not self._waits()
        delay_s = self._rest_s if self._resting else TICK_S
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.start)
