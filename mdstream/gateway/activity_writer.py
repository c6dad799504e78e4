"""Stores in ``MD_ACTIVITY`` what sessions do. What NATS does not take waits, within a bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from mdstream.bus.activity import encode_activity, encode_happening, ensure_activity, fits, put_activity
from mdstream.errors import BusError
from mdstream.gateway.activity import Activity
from mdstream.gateway.alive import new_instance

if TYPE_CHECKING:
    from mdstream.bus import Bus
    from mdstream.gateway.config import GatewayConfig

log = logging.getLogger("mdstream.gateway.activity")

BATCH_S: Final = 0.05
"""How long a record waits for others."""
RETRY_S: Final = 1.0
LAST_S: Final = 2.0
"""How long a gateway that stops waits for NATS."""
_DAY_S: Final = 86_400


class _Message(NamedTuple):
    id: str
    payload: bytes
    records: int


class ActivityWriter:
    """``activity`` takes the records; it is None where none are wanted, and then nothing is done here."""

    def __init__(
        self, config: GatewayConfig, bus: Callable[[], Bus | None], wall_us: Callable[[], int]
    ) -> None:
        self.activity: Activity | None = None
        self.stored_total = 0
        self._config = config
        self._bus = bus
        self._message: _Message | None = None
        """What is being stored."""
        self._number = 0
        self._ensured: Bus | None = None
        self._said = ""
        self._said_lost = 0
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        if config.activity_kinds:
            gateway = new_instance(config.node)
            self.activity = Activity(config.activity_kinds, gateway, config.activity_backlog, wall_us)
            self.activity.wake = self._wake.set

    @property
    def waiting(self) -> int:
        """Records."""
        under_way = 0 if self._message is None else self._message.records
        return under_way + (0 if self.activity is None else len(self.activity))

    @property
    def lost_total(self) -> int:
        return 0 if self.activity is None else self.activity.lost_total

    def start(self) -> None:
        if self.activity is not None:
            self.activity.started(self._config.node)
            self._running = asyncio.get_running_loop().create_task(self._run(self.activity))

    async def stop(self) -> None:
        """Stores what there is, within ``LAST_S``."""
        if self._running is None or self.activity is None:
            return
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.activity.stopped(self._config.node)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self._store_all(self.activity)
        if self.waiting:
            log.error(
                "%d records of activity are lost: the gateway stops, and NATS does not take them",
                self.waiting,
            )

    async def _run(self, activity: Activity) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(BATCH_S)
            self._wake.clear()
            await self._store_all(activity)

    async def _store_all(self, activity: Activity) -> None:
        while True:
            if self._message is None:
                self._message = self._next(activity)
            if self._message is None:
                return
            if await self._store(self._message):
                self.stored_total += self._message.records
                self._message = None
            else:
                self._say_lost()
                await asyncio.sleep(RETRY_S)

    def _next(self, activity: Activity) -> _Message | None:
        """The next message of what waits: of records with one id, or of such as have none."""
        first = activity.first()
        if first is None:
            return None
        batch: list[bytes] = []
        size = 0
        while (note := activity.first()) is not None and note.id == first.id:
            record = encode_happening(note.what.value, note.us, note.data)
            if batch and not fits(size, len(batch), len(record)):
                break
            batch.append(record)
            size += len(record)
            activity.take()
        self._number += 1
        id = first.id or f"{activity.gateway}/{self._number}"
        return _Message(id, encode_activity(batch), len(batch))

    async def _store(self, message: _Message) -> bool:
        bus = self._bus()
        if bus is None or not bus.connected:
            return False
        try:
            if self._ensured is not bus:
                keep_s = self._config.activity_keep_days * _DAY_S
                await ensure_activity(bus, keep_s=keep_s, max_bytes=self._config.activity_max_bytes)
                self._ensured = bus
            await put_activity(bus, self._config.node, message.id, message.payload)
        except BusError as error:
            self._ensured = None  # a server that has lost its data has no stream
            if str(error) != self._said:
                self._said = str(error)
                log.warning("%s; trying again", error)
            return False
        self._said = ""
        return True

    def _say_lost(self) -> None:
        new = self.lost_total - self._said_lost
        if new:
            self._said_lost += new
            log.error("%d records of activity are lost: NATS takes none, and activity_backlog is full", new)
