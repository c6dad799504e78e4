"""The lease that makes one of several processes the one that works; another one takes over within seconds.

Two that work at once do no harm, because everything is stored by compare-and-set: the lease only spares the work. How long it lasts is
told by monotonic clocks alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

from mdstream.bus.leases import Record
from mdstream.bus.streams import LEASES_STREAM, LEASES_SUBJECT
from mdstream.errors import BusConflict, BusError
from mdstream.tasks import end, until_first

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

logger = logging.getLogger(__name__)

LOOKS: Final = 4
"""It is looked at, and renewed, so many times in the time that it lasts."""
RETRY_S: Final = 0.25
MOST_RETRY_S: Final = 5.0


class Lease:
    """``acquire`` it, then ``keep`` it, then ``release`` it. ``key``: where in ``MD_LEASES``, such as ``alerts.watcher``."""

    def __init__(self, bus: Bus, key: str, ttl_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self.holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(3)}"
        self.is_ours = False
        self._subject = f"{LEASES_SUBJECT}.{key}"
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
                stored = await self._bus.last_stored(LEASES_STREAM, self._subject)
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
        return await self._bus.publish_acked(self._subject, payload, expected_seq=expected_seq)


class SoleWork:
    """Works while the lease is ours, and stands by while it is not. What goes wrong ends the work, which then begins from what is
    stored."""

    def __init__(
        self,
        lease: Lease,
        what: str,
        logger: logging.Logger,
        counters: Counter[str],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``what``: in the log, such as ``alerts``. ``counters``: ``restarts`` counts there how often it began again."""
        self._lease = lease
        self._what = what
        self._logger = logger
        self._counters = counters
        self._now_s = now_s

    async def run(
        self, ensure: Callable[[], Awaitable[None]], work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Until it is cancelled. ``ensure`` makes what must be there; ``work`` is called each time that the lease is ours."""
        delay_s = RETRY_S
        while True:
            await self._lease.acquire()
            began_s = self._now_s()
            try:
                await ensure()
                await self._while_ours(work)
                self._logger.info("%s: another one has the lease; standing by", self._what)
            except BusConflict as error:
                self._logger.info(
                    "%s: another one was faster (%s); beginning again from what is stored", self._what, error
                )
            except BusError as error:
                self._logger.warning(
                    "%s: %s; nothing is done now; beginning again from what is stored", self._what, error
                )
            except Exception:
                self._logger.exception("%s: failed; beginning again from what is stored", self._what)
            self._counters["restarts"] += 1
            delay_s = RETRY_S if self._now_s() - began_s > MOST_RETRY_S else min(delay_s * 2, MOST_RETRY_S)
            await asyncio.sleep(delay_s)

    async def _while_ours(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Raises what the work raises."""
        self._logger.info("%s: this one has the lease, and works", self._what)
        await until_first(self._lease.keep(), work())


class SoleWorker(ABC):
    """One of several processes of which one works. Use it as an asynchronous context manager; it works until that ends."""

    def __init__(self, lease: Lease, work: SoleWork) -> None:
        self._lease = lease
        self._work = work
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def _ensure(self) -> None:
        """Makes what must be there."""

    @abstractmethod
    async def _do(self) -> None:
        """The work, until it is cancelled: the lease is lost then."""

    async def __aenter__(self) -> Self:
        """Raises BusError, BusUnavailable."""
        await self._ensure()
        self._task = asyncio.get_running_loop().create_task(self._work.run(self._ensure, self._do))
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._task)
        await self._lease.release()
