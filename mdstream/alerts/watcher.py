"""Watches the alerts of all users: one of several watchers evaluates, the others take over within seconds."""

from __future__ import annotations

import logging
from collections import Counter

from mdstream.alerts.evaluation import Evaluation
from mdstream.alerts.options import AlertOptions
from mdstream.bus import Bus
from mdstream.bus.alerts import ensure_alerts
from mdstream.bus.map_streams import MAPS
from mdstream.bus.maps import ensure_maps
from mdstream.bus.sole_lease import Lease, SoleWork, SoleWorker
from mdstream.bus.topic_streams import ensure_events

logger = logging.getLogger("mdstream.alerts")


class AlertWatcher(SoleWorker):
    """Evaluates the alerts of all users, while its lease holds."""

    def __init__(self, bus: Bus, options: AlertOptions | None = None) -> None:
        self.counters: Counter[str] = Counter()
        """``fired``, ``late``, ``refused``, ``restarts``."""
        self._bus = bus
        self._options = options or AlertOptions()
        self._evaluation: Evaluation | None = None
        lease = Lease(bus, "alerts.watcher", self._options.lease_s, self._options.now_s)
        super().__init__(lease, SoleWork(lease, "alerts", logger, self.counters, self._options.now_s))

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

    async def _do(self) -> None:
        self._evaluation = Evaluation(self._bus, self._options, self.counters)
        try:
            await self._evaluation.run()
        finally:
            self._evaluation = None
