"""The lease that makes one of several watchers the one that evaluates.

Two that evaluate at once do no harm, because everything is stored by compare-and-set: the lease only spares the work. How long it lasts is
told by monotonic clocks alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from mdstream.bus import Bus
from mdstream.bus.leases import Record
from mdstream.bus.streams import LEASES_STREAM, LEASES_SUBJECT
from mdstream.errors import BusConflict, BusError

logger = logging.getLogger("mdstream.alerts")

SUBJECT = f"{LEASES_SUBJECT}.alerts.watcher"
LOOKS = 4
"""It is looked at, and renewed, so many times in the time that it lasts."""


class Lease:
    """``acquire`` it, then ``keep`` it, then ``release`` it."""

    def __init__(self, bus: Bus, ttl_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self.holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(3)}"
        self.is_ours = False
        self._bus = bus
        self._ttl_s = ttl_s
        self._now_s = now_s
        self._seq = 0
        self._record = Record(self.holder, 0, int(ttl_s * 1000))

    async def acquire(self) -> None:
        """Returns once it is ours."""
        seen: int | None = None
        seen_s = self._now_s()
        while True:
            with suppress(BusError):
                stored = await self._bus.last_stored(LEASES_STREAM, SUBJECT)
                seq = 0 if stored is None else stored.stream_seq
                record = None if stored is None else Record.parse(stored.payload)
                if seq != seen:
                    seen, seen_s = seq, self._now_s()
                lasts_s = self._lasts_s(record)
                if self._now_s() - seen_s >= lasts_s and await self._take(seq):
                    return
            await asyncio.sleep(self._ttl_s / LOOKS)

    def _lasts_s(self, record: Record | None) -> float:
        if record is None or record.released or record.holder == self.holder:
            return 0.0
        return max(self._ttl_s, record.ttl_ms / 1000)

    async def _take(self, seq: int) -> bool:
        self._record = replace(self._record, since_us=time.time_ns() // 1000)
        try:
            self._seq = await self._store(seq, self._record)
        except BusConflict:
            return False
        self.is_ours = True
        return True

    async def keep(self) -> None:
        """Renews it; returns once it is not ours any more."""
        until_s = self._now_s() + self._ttl_s
        while self._now_s() < until_s:
            await asyncio.sleep(self._ttl_s / LOOKS)
            sent_s = self._now_s()
            try:
                async with asyncio.timeout(self._ttl_s / 2):
                    self._seq = await self._store(self._seq, self._record)
                until_s = sent_s + self._ttl_s
            except BusConflict:
                break
            except (BusError, TimeoutError) as error:
                logger.debug("the lease cannot be renewed: %s", error)
        self.is_ours = False

    async def release(self) -> None:
        """Lets the next one take it at once."""
        if self.is_ours:
            self.is_ours = False
            with suppress(BusError, TimeoutError):
                async with asyncio.timeout(self._ttl_s):
                    await self._store(self._seq, replace(self._record, released=True))

    async def _store(self, expected_seq: int, record: Record) -> int:
        self._record = replace(self._record, number=self._record.number + 1)
        payload = replace(record, number=self._record.number).pack()
        return await self._bus.publish_acked(SUBJECT, payload, expected_seq=expected_seq)
