"""Replays a recording at its own speed, faster, slower, or without waiting."""

from __future__ import annotations

import asyncio
import math
import time

from mdstream.feed import Publisher

FLUSH_BYTES = 256 * 1024


class ReplayClock:
    """``speed`` is a factor; with infinity nothing waits. Recorded times are in ns and may repeat or go back."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first_ns: int | None = None
        self._started = 0.0

    async def until(self, recorded_ns: int | None) -> None:
        """Returns when ``recorded_ns`` is due; at once if it is None or past."""
        if recorded_ns is None or math.isinf(self._speed):
            return
        if self._first_ns is None:
            self._first_ns, self._started = recorded_ns, time.monotonic()
        due = self._started + (recorded_ns - self._first_ns) / 1e9 / self._speed
        wait_s = due - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)


async def keep_up(publisher: Publisher) -> None:
    """Flushes a large backlog. A replay that never waits would otherwise fill it until values are dropped."""
    if publisher.backlog_bytes >= FLUSH_BYTES:
        await publisher.flush()
        if not publisher.bus.connected:
            await asyncio.sleep(0.05)
