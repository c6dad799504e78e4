"""Replaying at the pace of a recording, faster, slower, or as fast as it goes."""

from __future__ import annotations

import asyncio
import math
import time

from mdstream.feed import Publisher

FLUSH_BYTES = 256 * 1024


class ReplayClock:
    """``speed`` is a factor; infinity does not wait at all. Times of the recording are in ns and may stand still or go back."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first_ns: int | None = None
        self._started = 0.0

    async def until(self, recorded_ns: int | None) -> None:
        """Returns when the moment has come; always lets others run when it waits."""
        if recorded_ns is None or math.isinf(self._speed):
            return
        if self._first_ns is None:
            self._first_ns, self._started = recorded_ns, time.monotonic()
        due = self._started + (recorded_ns - self._first_ns) / 1e9 / self._speed
        wait_s = due - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)


async def keep_up(publisher: Publisher) -> None:
    """Without waiting between events the backlog would grow until it is dropped: lets it go out before that."""
    if publisher.backlog_bytes >= FLUSH_BYTES:
        await publisher.flush()
        if not publisher.bus.connected:
            await asyncio.sleep(0.05)
