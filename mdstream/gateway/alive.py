"""Signs of life of the gateways that have entries of presence, and which of them are silent. Nothing is sent until somebody is present.

A gateway hears its own signs too. Others are silent only as far as it hears itself: a link that gives it nothing is no silence of theirs.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from mdstream.errors import BusError

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus import Bus

log = logging.getLogger("mdstream.gateway.presence")

SUBJECT: Final = "mdctl.alive"
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
    """It listens as soon as there is a bus, and gives a sign with each ``tick``, about once a second, once ``begin`` was called."""

    def __init__(self, instance: str, now_s: Callable[[], float]) -> None:
        self.instance = instance
        self._now_s = now_s
        self._bus: Bus | None = None
        self._subscription: Subscription | None = None
        self._unregister: Callable[[], None] | None = None
        self._subscribing = asyncio.Lock()
        self._speaks = False
        self._heard: dict[str, float] = {}
        self._heard_self_s = float("-inf")
        self._since_s = float("inf")
        """When we began to listen, or could again."""
        self._ticked_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def use(self, bus: Bus) -> None:
        """Listens from now on: when the first client comes, it is known who is silent."""
        self._bus = bus
        self._spawn(self._listen(bus))

    async def begin(self) -> None:
        """Gives signs of life from now on; again as often as you like. Raises BusError."""
        if self._bus is not None:
            await self._listen(self._bus)
            self._speaks = True

    async def _listen(self, bus: Bus) -> None:
        async with self._subscribing:
            if self._subscription is None:
                self._subscription = await bus.subscribe(f"{SUBJECT}.*", self._hear)
                self._unregister = bus.on_reconnect(self._listen_anew)
                self._listen_anew()

    def _hear(self, subject: bytes, _: bytes, __: bytes, ___: bytes | None) -> None:
        instance = subject[len(SUBJECT) + 1 :].decode("ascii", "replace")
        if instance == self.instance:
            self._heard_self_s = self._now_s()
        elif _INSTANCE.fullmatch(instance) and (instance in self._heard or len(self._heard) < MOST):
            self._heard[instance] = self._now_s()

    def _listen_anew(self) -> None:
        """What was said meanwhile was not heard."""
        self._since_s = self._ticked_s = self._now_s()
        self._heard_self_s = float("-inf")
        self._heard.clear()

    def tick(self) -> None:
        if self._subscription is None or self._bus is None:
            return
        now_s = self._now_s()
        if now_s - self._ticked_s > LATE_S or not self._bus.connected:
            self._listen_anew()
        self._ticked_s = now_s
        if self._bus.connected and self._speaks:
            self._spawn(self._bus.publish(f"{SUBJECT}.{self.instance}", b""))

    def is_silent(self, instance: str) -> bool:
        """Whether a gateway gave no sign of life for too long, until the newest of our own that we have heard."""
        if instance == self.instance:
            return False
        return self._heard_self_s - self._heard.get(instance, self._since_s) > SILENT_S

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def done() -> None:
            with suppress(BusError):
                await work

        task = asyncio.get_running_loop().create_task(done())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        if self._unregister is not None:
            self._unregister()
        if self._bus is not None and self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)
            self._subscription = None
