"""Sends webhooks: one of several senders sends, another one takes over within seconds."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Self

from mdstream.bus import Bus
from mdstream.bus.activity import ensure_activity
from mdstream.bus.sole_lease import Lease, SoleWork
from mdstream.bus.topic_streams import ensure_events
from mdstream.bus.webhook_places import ensure_places
from mdstream.webhooks.hooks import Hook
from mdstream.webhooks.lane import Lane
from mdstream.webhooks.options import WebhookOptions

logger = logging.getLogger("mdstream.webhooks")


class WebhookSender:
    """Use it as an asynchronous context manager; it works until that ends."""

    def __init__(self, bus: Bus, hooks: Sequence[Hook], options: WebhookOptions | None = None) -> None:
        self.hooks = tuple(hooks)
        self.counters: Counter[tuple[str, str]] = Counter()
        """By webhook: ``sent`` (records), ``batches``, ``failures`` (attempts), ``given_up`` (records), ``lost`` (numbers of a stream that
        had left it), ``refused`` (messages that cannot be read), ``gone`` (1: the receiver wants nothing more)."""
        self.work: Counter[str] = Counter()
        """``restarts``: how often all began again from what is stored."""
        self.lanes: tuple[Lane, ...] = ()
        """Where this one sends."""
        self._bus = bus
        self._options = options or WebhookOptions()
        self._lease = Lease(bus, "webhooks.sender", self._options.lease_s, self._options.now_s)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises BusError, BusUnavailable."""
        await self._ensure()
        work = SoleWork(self._lease, "webhooks", logger, self.work, self._options.now_s)
        self._task = asyncio.get_running_loop().create_task(work.run(self._ensure, self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._lease.release()

    @property
    def is_active(self) -> bool:
        """Whether this one sends."""
        return bool(self.lanes)

    async def _ensure(self) -> None:
        await self._bus.ensure_leases()
        await ensure_places(self._bus)
        await ensure_events(self._bus.jetstream, self._options.events)
        await ensure_activity(self._bus)

    async def _send(self) -> None:
        """Until it is cancelled, or one lane fails."""
        self.lanes = tuple(
            Lane(self._bus, hook, stream, self._options, self.counters)
            for hook in self.hooks
            for stream in hook.streams
        )
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(lane.run()) for lane in self.lanes]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            self.lanes = ()
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
