"""When the socket to NATS is read: at once, but where every subscriber has it collected anyway, a few times per interval."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

LEAST_REST_S = 0.001
"""A shorter rest is none: the loop's timers count milliseconds."""


class Reading(Protocol):
    """Of what is read: a transport, as far as it matters here."""

    def is_reading(self) -> bool: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Moderator:
    """Lets what comes in quick succession meet in one read, as a network card moderates its interrupts.

    Being woken up for a handful of messages costs more than the messages. So where nobody waits for each of them the socket rests
    after a read, if the read before it was no longer ago than the rest will be: where little comes, nothing waits.
    """

    def __init__(
        self,
        patience_s: Callable[[], float],
        most_s: float,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``patience_s`` tells how long what comes may wait; ``most_s`` bounds it."""
        self._patience_s = patience_s
        self._most_s = most_s
        self._loop = loop
        self._clock = clock
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._resting: Reading | None = None

    def after_read(self, socket: Reading) -> None:
        """What was there has been read; the socket may rest now."""
        rest_s = min(self._patience_s(), self._most_s)
        if rest_s < LEAST_REST_S:
            return
        now = self._clock()
        quick = now - self._since < rest_s
        self._since = now
        if quick and self._resting is None and socket.is_reading():
            socket.pause_reading()
            self._resting = socket
            self._timer = self._loop.call_later(rest_s, self._over)

    def stop(self) -> None:
        """Ends a rest, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
            self._over()

    def _over(self) -> None:
        socket, self._resting, self._timer = self._resting, None, None
        self._since = self._clock()
        if socket is not None:
            socket.resume_reading()
