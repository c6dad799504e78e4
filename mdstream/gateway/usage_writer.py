"""Stores in ``MD_USAGE``, once a minute, who used what. What NATS does not take waits, within a bound."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from mdstream.bus.usage import MINUTE_US, Use, encode_record, encode_use, ensure_usage, put_usage
from mdstream.errors import BusError
from mdstream.gateway.usage import Usage

if TYPE_CHECKING:
    from mdstream.bus import Bus
    from mdstream.gateway.config import GatewayConfig

log = logging.getLogger("mdstream.gateway.usage")

MESSAGE_BYTES: Final = 65_536
"""A message has at most this, and one use more."""
USES_PER_TURN: Final = 500
"""After that the loop does its other work."""
RETRY_S: Final = 2.0
LAST_S: Final = 2.0
"""How long a gateway that stops waits for NATS."""
_DAY_S = 86_400


class _Message(NamedTuple):
    id: str
    payload: bytes
    uses: int


class UsageWriter:
    """Give ``usage`` to the sessions and call ``tick`` a few times a second; ``wall_us`` decides when a minute ends."""

    def __init__(
        self, config: GatewayConfig, bus: Callable[[], Bus | None], wall_us: Callable[[], int]
    ) -> None:
        self._config = config
        self._bus = bus
        self._wall_us = wall_us
        self.usage = Usage(wall_us() // MINUTE_US)
        self._closed: deque[tuple[int, Iterator[Use]]] = deque()
        self._waiting: deque[_Message] = deque()
        self.waiting_bytes = 0
        self.uses_total: Counter[str] = Counter()
        """``stored``, or ``lost`` because too much waited for NATS."""
        self._run_id = secrets.token_hex(4)
        self._number = 0
        self._ensured: Bus | None = None
        self._said = ""
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self._run())

    def tick(self) -> None:
        """Looks whether a minute has ended; also where the clock was set back."""
        minute = self._wall_us() // MINUTE_US
        if minute != self.usage.minute:
            self._closed.append(self.usage.close(minute))
            self._wake.set()

    async def stop(self) -> None:
        """Stores what there is, within ``LAST_S``."""
        if self._running is None:
            return
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._closed.append(self.usage.close(self._wall_us() // MINUTE_US))
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self._encode_closed()
                await self._send()
        if self._waiting:
            self._lose(len(self._waiting), "the gateway stops, and NATS does not take them")

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S if self._waiting else None):
                    await self._wake.wait()
            self._wake.clear()
            await self._encode_closed()
            await self._send()

    # ---- messages

    async def _encode_closed(self) -> None:
        while self._closed:
            minute, uses = self._closed[0]
            await self._encode(minute, uses)
            self._closed.popleft()

    async def _encode(self, minute: int, uses: Iterator[Use]) -> None:
        batch: list[bytes] = []
        size = 0
        for number, use in enumerate(uses, 1):
            batch.append(encode_use(use))
            size += len(batch[-1])
            if size > MESSAGE_BYTES:
                self._keep(minute, batch)
                batch, size = [], 0
            if number % USES_PER_TURN == 0:
                await asyncio.sleep(0)
        self._keep(minute, batch)

    def _keep(self, minute: int, batch: list[bytes]) -> None:
        if not batch:
            return
        self._number += 1
        id = f"{self._config.node}/{self._run_id}/{minute}/{self._number}"
        payload = encode_record(self._config.node, minute, batch)
        self._waiting.append(_Message(id, payload, len(batch)))
        self.waiting_bytes += len(payload)
        too_many = 0
        kept = self.waiting_bytes
        while kept > self._config.usage_backlog_bytes:
            kept -= len(self._waiting[too_many].payload)
            too_many += 1
        self._lose(too_many, "NATS takes none, and more do not fit into usage_backlog_bytes")

    def _lose(self, messages: int, why: str) -> None:
        """Drops the oldest messages."""
        lost = sum(self._remove().uses for _ in range(messages))
        self.uses_total["lost"] += lost
        if lost:
            log.error("%d uses of instruments are lost: %s", lost, why)

    def _remove(self) -> _Message:
        message = self._waiting.popleft()
        self.waiting_bytes -= len(message.payload)
        return message

    # ---- NATS

    async def _send(self) -> None:
        """Sends what waits, until there is trouble."""
        bus = self._bus()
        try:
            while self._waiting and bus is not None and bus.connected:
                await self._send_one(bus, self._waiting[0])
        except BusError as error:
            if str(error) != self._said:
                self._said = str(error)
                log.warning("%s; trying again", error)

    async def _send_one(self, bus: Bus, message: _Message) -> None:
        if self._ensured is not bus:
            keep_s = self._config.usage_keep_days * _DAY_S
            await ensure_usage(bus, keep_s=keep_s, max_bytes=self._config.usage_max_bytes)
            self._ensured = bus
        try:
            await put_usage(bus, self._config.node, message.id, message.payload)
        except BusError:
            self._ensured = None  # a server that has lost its data has no stream
            raise
        self._remove()
        self.uses_total["stored"] += message.uses
        self._said = ""
