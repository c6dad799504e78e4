"""When what the bus brought is flushed: at once, but for a gateway that cannot follow, which lets updates meet in one flush."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

REST_SHARE = 0.5
"""Of a flush's own time, that passes before the next: no more than a third of the time is waited."""
IDLE_SHARE = 0.1
"""Of a flush's own time: if nothing came for as long after it, it did not hold anything up."""
ENOUGH = 3
"""Flushes in a row that held something up: it is not a hiccup."""
LEAST_REST_S = 0.0005
"""A shorter rest is none: the loop's timers count milliseconds."""


class Pace:
    """Calls ``flush`` for what became due, once for all that comes together.

    While every flush finds the next updates waiting, there are rests between them. A rest in which nothing further came was for
    nothing, and the next flushes go without.
    """

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
        self._took_s = 0.0
        self._ended = 0.0
        self._held_up = 0
        self._timer: asyncio.Handle | None = None
        self._resting = False
        self._met = False

    def now(self) -> None:
        """All that came together is here: flushes, or has it flushed when the rest is over."""
        if self._timer is not None:
            self._met = self._resting
            return
        rest_s = self._rest_s()
        if rest_s < LEAST_REST_S:
            self._run()
        else:
            self._resting, self._met = True, False
            self._timer = self._loop.call_later(rest_s, self._rest_over)

    def soon(self) -> None:
        """More may come in this turn of the loop: the same after it."""
        if self._timer is None:
            self._timer = self._loop.call_soon(self._turn_over)
        else:
            self._met = self._resting

    def stop(self) -> None:
        """Nothing is flushed any more that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rest_s(self) -> float:
        gap_s = self._clock() - self._ended
        self._held_up = self._held_up + 1 if gap_s < self._took_s * IDLE_SHARE else 0
        if self._held_up < ENOUGH:
            return 0.0
        return min(self._took_s * REST_SHARE, self._most_s) - gap_s

    def _turn_over(self) -> None:
        self._timer = None
        self.now()

    def _rest_over(self) -> None:
        self._timer = None
        self._resting = False
        if not self._met:
            self._held_up = 0
        self._run()

    def _run(self) -> None:
        began = self._clock()
        self._flush()
        self._ended = self._clock()
        self._took_s = self._ended - began
