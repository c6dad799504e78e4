"""Watches the alerts of all users: one of several watchers evaluates, the others take over within seconds."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from typing import Final, Self

from mdstream.alerts.evaluation import Evaluation
from mdstream.alerts.lease import Lease
from mdstream.alerts.options import AlertOptions
from mdstream.bus import Bus
from mdstream.bus.alerts import ensure_alerts
from mdstream.bus.map_streams import MAPS
from mdstream.bus.maps import ensure_maps
from mdstream.bus.topic_streams import ensure_events
from mdstream.errors import BusConflict, BusError

logger = logging.getLogger("mdstream.alerts")

RETRY_S: Final = 0.25
MOST_RETRY_S: Final = 5.0


class AlertWatcher:
    """Use it as an asynchronous context manager; it works until that ends."""

    def __init__(self, bus: Bus, options: AlertOptions | None = None) -> None:
        self.counters: Counter[str] = Counter()
        """``fired``, ``late``, ``refused``, ``restarts``."""
        self._bus = bus
        self._options = options or AlertOptions()
        self._lease = Lease(bus, self._options.lease_s, self._options.now_s)
        self._evaluation: Evaluation | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises BusError, BusUnavailable."""
        await self._ensure()
        self._task = asyncio.get_running_loop().create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._lease.release()

    @property
    def is_active(self) -> bool:
        """Whether this one evaluates."""
        return self._evaluation is not None

    @property
    def alerts(self) -> int:
        """Alerts that may fire, where this one evaluates."""
        return 0 if self._evaluation is None else self._evaluation.alerts

    @property
    def instruments(self) -> int:
        """Books and trades that are read for them."""
        return 0 if self._evaluation is None else len(self._evaluation.followers)

    async def _ensure(self) -> None:
        await self._bus.ensure_streams()
        await self._bus.ensure_leases()
        await ensure_events(self._bus.jetstream, self._options.events)
        await ensure_maps(self._bus, MAPS)
        await ensure_alerts(self._bus)

    async def _work(self) -> None:
        delay_s = RETRY_S
        while True:
            await self._lease.acquire()
            began_s = self._options.now_s()
            try:
                await self._ensure()
                await self._evaluate()
                logger.info("another watcher has the lease; standing by")
            except BusConflict as error:
                logger.info("another watcher was faster (%s); beginning again from what is stored", error)
            except BusError as error:
                logger.warning("alerts are not watched now: %s; beginning again from what is stored", error)
            except Exception:
                logger.exception("alerts could not be watched; beginning again from what is stored")
            self.counters["restarts"] += 1
            delay_s = (
                RETRY_S if self._options.now_s() - began_s > MOST_RETRY_S else min(delay_s * 2, MOST_RETRY_S)
            )
            await asyncio.sleep(delay_s)

    async def _evaluate(self) -> None:
        """Until the lease is lost."""
        logger.info("this watcher evaluates the alerts")
        self._evaluation = Evaluation(self._bus, self._options, self.counters)
        works = [
            asyncio.get_running_loop().create_task(each)
            for each in (self._lease.keep(), self._evaluation.run())
        ]
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            self._evaluation = None
            for each in works:
                each.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*works, return_exceptions=True)
