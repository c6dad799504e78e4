"""A subscription to the past: what was published on a subject comes as it came then, so much later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mdstream.bus.past_clock import PastClock

if TYPE_CHECKING:
    from mdstream.bus._client import Handler
    from mdstream.bus.past_stream import PastStream

logger = logging.getLogger(__name__)

PACE_S = 0.002
"""Messages that come due within this time are handed on together."""
BATCH = 256
"""Messages handed on before other tasks of the event loop get a turn,"""
BATCH_BYTES = 64 * 1024
"""and how large they may be together."""


class PastSubscription:
    """Hands on the messages of one or more streams, in the order in which they were stored, when they are due."""

    def __init__(
        self, clock: PastClock, handler: Handler, on_close: Callable[[PastSubscription], object]
    ) -> None:
        self.streams: Sequence[PastStream] = ()
        self._clock = clock
        self._handler = handler
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_us = 0
        self._closed = False

    async def start(self, streams: Sequence[PastStream], since_us: int) -> None:
        """Begins with what was stored at ``since_us``. Raises BusError, BusUnavailable."""
        self.streams = streams
        for stream in streams:
            await stream.start(since_us)

    async def close(self) -> None:
        """Hands on nothing more."""
        self._closed = True
        self._cancel()
        self._on_close(self)
        for stream in self.streams:
            await stream.close()

    def changed(self) -> None:
        """Call when a stream has read something: waits until the next message is due."""
        stream = self._next()
        if self._closed or stream is None:
            self._cancel()
            return
        due_us = stream.messages[0].stored_us
        if self._timer is not None and due_us >= self._due_us:
            return
        self._cancel()
        self._due_us = due_us
        self._timer = self._loop.call_later(max(self._clock.wait_s(due_us), PACE_S), self._deliver)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _next(self) -> PastStream | None:
        """The stream with the next message; None while another stream may have one before it."""
        ready = [stream for stream in self.streams if stream.messages]
        if not ready or any(stream.is_blind for stream in self.streams):
            return None
        return min(ready, key=lambda stream: stream.messages[0].stored_us)

    def _deliver(self) -> None:
        self._timer = None
        left_bytes = BATCH_BYTES
        for _ in range(BATCH):
            stream = self._next()
            if (
                self._closed
                or stream is None
                or left_bytes <= 0
                or self._clock.wait_s(stream.messages[0].stored_us) > 0
            ):
                break
            message = stream.pop()
            left_bytes -= len(message.payload)
            try:
                self._handler(message.subject, b"", message.payload, None)
            except Exception:
                logger.exception("%s: a stored message could not be handled", message.subject.decode())
        self.changed()
