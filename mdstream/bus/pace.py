"""When what the bus brought is flushed: at once while that is cheap, a little later while flushes fill the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

REST_SHARE = 0.5
"""Of a flush's own time, that passes before the next: under load updates meet in one flush, and no more than a third waits."""
LEAST_REST_S = 0.0005
"""A shorter rest is none: the loop's timers count milliseconds."""


class Pace:
    """Calls ``flush`` for what became due, once for all that comes together."""

    def __init__(
        self,
        flush: Callable[[], None],
        most_s: float,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``most_s`` bounds the rest between two flushes; 0: there is none."""
        self._flush = flush
        self._most_s = most_s
        self._loop = loop
        self._clock = clock
        self._next_at = 0.0
        self._timer: asyncio.Handle | None = None

    def now(self) -> None:
        """All that came together is here: flushes, or has it flushed when the rest is over."""
        if self._timer is not None:
            return
        rest_s = self._next_at - self._clock()
        if rest_s < LEAST_REST_S:
            self._run()
        else:
            self._timer = self._loop.call_later(rest_s, self._run)

    def soon(self) -> None:
        """More may come in this turn of the loop: the same after it."""
        if self._timer is None:
            self._timer = self._loop.call_soon(self._turn_over)

    def stop(self) -> None:
        """Nothing is flushed any more that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn_over(self) -> None:
        self._timer = None
        self.now()

    def _run(self) -> None:
        self._timer = None
        began = self._clock()
        self._flush()
        ended = self._clock()
        self._next_at = ended + min((ended - began) * REST_SHARE, self._most_s)
