"""Signs of life of the gateways that have entries of presence, and which of them are silent. Nothing is sent until somebody is present."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mdstream.errors import BusError

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus import Bus

log = logging.getLogger("mdstream.gateway.presence")

SUBJECT: Final = "mdctl.alive"
EVERY_S: Final = 2.0
SILENT_S: Final = 6.0
"""After so long without a sign the entries of a gateway are removed."""
LATE_S: Final = 3.0
"""A tick that comes so late says that this process stood still: what it has not read is no silence of others."""
MOST: Final = 4_096
"""Gateways that are remembered."""
_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,128}")


def new_instance(node: str) -> str:
    """A name for this process that no other has, also not after a restart."""
    return f"{re.sub('[^A-Za-z0-9_-]', '_', node)[:64]}-{secrets.token_hex(6)}"


class Alive:
    """``tick`` about once a second, once ``begin`` was called."""

    def __init__(self, instance: str, now_s: Callable[[], float]) -> None:
        self.instance = instance
        self._now_s = now_s
        self._bus: Bus | None = None
        self._subscription: Subscription | None = None
        self._unregister: Callable[[], None] | None = None
        self._heard: dict[str, float] = {}
        self._since_s = float("inf")
        """When we began to listen, or could again."""
        self._ticked_s = 0.0
        self._sent_s = float("-inf")
        self._sending: set[asyncio.Task[None]] = set()

    def use(self, bus: Bus) -> None:
        self._bus = bus

    async def begin(self) -> None:
        """Begins to listen; again as often as you like. Raises BusError."""
        if self._subscription is not None or self._bus is None:
            return
        self._subscription = await self._bus.subscribe(f"{SUBJECT}.*", self._hear)
        self._unregister = self._bus.on_reconnect(self._listen_anew)
        self._listen_anew()

    def _hear(self, subject: bytes, _: bytes, __: bytes, ___: bytes | None) -> None:
        instance = subject[len(SUBJECT) + 1 :].decode("ascii", "replace")
        if _INSTANCE.fullmatch(instance) and (instance in self._heard or len(self._heard) < MOST):
            self._heard[instance] = self._now_s()

    def _listen_anew(self) -> None:
        """What was said meanwhile was not heard."""
        self._since_s = self._ticked_s = self._now_s()
        self._heard.clear()
        self._sent_s = float("-inf")

    def tick(self) -> None:
        if self._subscription is None or self._bus is None:
            return
        now_s = self._now_s()
        if now_s - self._ticked_s > LATE_S or not self._bus.connected:
            self._listen_anew()
        self._ticked_s = now_s
        if self._bus.connected and now_s - self._sent_s >= EVERY_S:
            self._sent_s = now_s
            self._send(self._bus)

    def is_silent(self, instance: str) -> bool:
        """Whether a gateway gave no sign of life for too long, as far as we could hear."""
        if instance == self.instance or self._subscription is None:
            return False
        return self._now_s() - self._heard.get(instance, self._since_s) > SILENT_S

    def _send(self, bus: Bus) -> None:
        async def send() -> None:
            with suppress(BusError):
                await bus.publish(f"{SUBJECT}.{self.instance}", b"")

        task = asyncio.get_running_loop().create_task(send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def close(self) -> None:
        if self._unregister is not None:
            self._unregister()
        if self._bus is not None and self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)
            self._subscription = None
