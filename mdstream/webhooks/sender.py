"""Sends webhooks: one of several senders sends, another one takes over within seconds."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from mdstream.bus import Bus
from mdstream.bus.activity import ensure_activity
from mdstream.bus.sole_lease import Lease, SoleWork, SoleWorker
from mdstream.bus.topic_streams import ensure_events
from mdstream.bus.webhook_places import ensure_places
from mdstream.tasks import until_first
from mdstream.webhooks.hooks import Hook
from mdstream.webhooks.lane import Lane
from mdstream.webhooks.options import WebhookOptions

logger = logging.getLogger("mdstream.webhooks")


class WebhookSender(SoleWorker):
    """Sends to all receivers, while its lease holds."""

    def __init__(self, bus: Bus, hooks: Sequence[Hook], options: WebhookOptions | None = None) -> None:
        self.hooks = tuple(hooks)
        self.counters: Counter[tuple[str, str]] = Counter()
        """By webhook: ``sent`` (records), ``batches``, ``failures`` (attempts), ``given_up`` (records), ``lost`` (numbers of a stream that
        had left it), ``refused`` (messages that cannot be read), ``gone`` (1: the receiver wants nothing more)."""
        self.restarts: Counter[str] = Counter()
        """``restarts``: how often all began again from what is stored."""
        self.lanes: tuple[Lane, ...] = ()
        """Where this one sends."""
        self._bus = bus
        self._options = options or WebhookOptions()
        lease = Lease(bus, "webhooks.sender", self._options.lease_s, self._options.now_s)
        super().__init__(lease, SoleWork(lease, "webhooks", logger, self.restarts, self._options.now_s))

    @property
    def is_active(self) -> bool:
        """Whether this one sends."""
        return bool(self.lanes)

    async def _ensure(self) -> None:
        await self._bus.ensure_leases()
        await ensure_places(self._bus)
        await ensure_events(self._bus.jetstream, self._options.events)
        await ensure_activity(self._bus)

    async def _do(self) -> None:
        """Fails where one lane fails."""
        self.lanes = tuple(
            Lane(self._bus, hook, stream, self._options, self.counters)
            for hook in self.hooks
            for stream in hook.streams
        )
        try:
            await until_first(*(lane.run() for lane in self.lanes))
        finally:
            self.lanes = ()
