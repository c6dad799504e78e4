"""Watches the alerts of all users: one of several watchers evaluates, the others take over within seconds."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Self

from mdstream.alerts.evaluation import Evaluation
from mdstream.alerts.options import AlertOptions
from mdstream.bus import Bus
from mdstream.bus.alerts import ensure_alerts
from mdstream.bus.map_streams import MAPS
from mdstream.bus.maps import ensure_maps
from mdstream.bus.sole_lease import Lease, SoleWork
from mdstream.bus.topic_streams import ensure_events

logger = logging.getLogger("mdstream.alerts")


class AlertWatcher:
    """Use it as an asynchronous context manager; it works until that ends."""

    def __init__(self, bus: Bus, options: AlertOptions | None = None) -> None:
        self.counters: Counter[str] = Counter()
        """``fired``, ``late``, ``refused``, ``restarts``."""
        self._bus = bus
        self._options = options or AlertOptions()
        self._lease = Lease(bus, "alerts.watcher", self._options.lease_s, self._options.now_s)
        self._evaluation: Evaluation | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises BusError, BusUnavailable."""
        await self._ensure()
        work = SoleWork(self._lease, "alerts", logger, self.counters, self._options.now_s)
        self._task = asyncio.get_running_loop().create_task(work.run(self._ensure, self._evaluate))
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

    async def _evaluate(self) -> None:
        """Until it is cancelled: the lease is lost then."""
        self._evaluation = Evaluation(self._bus, self._options, self.counters)
        try:
            await self._evaluation.run()
        finally:
            self._evaluation = None
