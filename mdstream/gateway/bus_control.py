"""Hears on the bus what was revoked, which sessions opened on other gateways and which signed requests were used there; says the same of
this one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from mdstream.auth.revocations import Revocation, Revocations
from mdstream.bus import Bus, control
from mdstream.errors import BusError, BusUnavailable, PayloadError

log = logging.getLogger("mdstream.gateway.bus_control")

_RETRY_LEAST_S: Final = 0.2
_RETRY_MOST_S: Final = 5.0
_MAX_LOGGED: Final = 100


class BusControl:
    """``revoked`` is called with each revocation that comes, after ``revocations`` has it; ``opened_elsewhere`` with subject,
    session and line; ``used_elsewhere`` with key and nonce of a signed request."""

    def __init__(
        self,
        revocations: Revocations,
        *,
        revoked: Callable[[Revocation], None],
        opened_elsewhere: Callable[[str, str, int], None] | None = None,
        used_elsewhere: Callable[[str, str], None] | None = None,
    ) -> None:
        self._revocations = revocations
        self._revoked = revoked
        self._opened_elsewhere = opened_elsewhere
        self._used_elsewhere = used_elsewhere
        self._bus: Bus | None = None
        self._loading: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._heard = False
        self._losses = 0
        """How often the connection was lost."""
        self._undo: list[Callable[[], None]] = []
        self.known = False
        """Whether every revocation that was published is known here."""
        self.refused_total = 0

    def use(self, bus: Bus) -> None:
        """From now on."""
        self._bus = bus
        self._undo = [bus.on_disconnect(self._lost), bus.on_reconnect(self._load)]
        self._load()

    async def stop(self) -> None:
        for undo in self._undo:
            undo()
        tasks = [task for task in (self._loading, *self._telling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def tell_opened(self, subject: str, session: str, line: int) -> None:
        """Tells the other gateways, without waiting; where NATS is away, they are not told."""
        self._tell_soon(control.OPENED, control.encode_opened(subject, session, line))

    def tell_used(self, key: str, nonce: str) -> None:
        """As ``tell_opened``: a signed request was good here, and shall be good nowhere else."""
        self._tell_soon(control.USED, control.encode_used(key, nonce))

    def _tell_soon(self, subject: str, payload: bytes) -> None:
        if self._bus is None or not self._bus.connected:
            return
        task = asyncio.get_running_loop().create_task(self._tell(self._bus, subject, payload))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, bus: Bus, subject: str, payload: bytes) -> None:
        try:
            await bus.publish(subject, payload)
        except BusError as error:
            log.warning("the other gateways are not told on %s: %s", subject, error)

    # ---- revocations

    def _lost(self) -> None:
        self.known = False
        self._losses += 1

    def _load(self) -> None:
        if self._loading is None or self._loading.done():
            self._loading = asyncio.get_running_loop().create_task(self._load_until_known())

    async def _load_until_known(self) -> None:
        """Tries until it succeeds; logs a failure once, and again only when the reason changes."""
        assert self._bus is not None
        said, delay_s = "", _RETRY_LEAST_S
        while not self.known:
            try:
                await self._load_once(self._bus)
                continue
            except BusError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("revocations cannot be read: %s; trying again", said)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _RETRY_MOST_S)

    async def _load_once(self, bus: Bus) -> None:
        if not self._heard:
            await bus.subscribe(f"{control.REVOKE}.>", self._hear_revoked)
            if self._opened_elsewhere is not None:
                await bus.subscribe(control.OPENED, self._hear_opened)
            if self._used_elsewhere is not None:
                await bus.subscribe(control.USED, self._hear_used)
            self._heard = True
        await control.ensure(bus)
        count, losses = 0, self._losses
        async for payload in control.revoked(bus):
            self._take(payload)
            count += 1
        if not bus.connected or self._losses != losses:
            raise BusUnavailable(
                "the connection to NATS was lost meanwhile"
            )  # what was published then was not heard
        self.known = True
        log.info("%d revocations were read", count)

    def _hear_revoked(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        self._take(payload)

    def _hear_opened(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        assert self._opened_elsewhere is not None
        try:
            self._opened_elsewhere(*control.decode_opened(payload))
        except PayloadError as error:
            self._refuse(error)

    def _hear_used(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        assert self._used_elsewhere is not None
        try:
            self._used_elsewhere(*control.decode_used(payload))
        except PayloadError as error:
            self._refuse(error)

    def _take(self, payload: bytes) -> None:
        try:
            found = control.Revoke.decode(payload)
        except PayloadError as error:
            self._refuse(error)
            return
        revocation = Revocation(found.kind, found.name, found.at_us, found.until_us, found.lifted)
        if not self._revocations.take(revocation):
            log.error(
                "there are too many revocations; the newest ones are not obeyed: lift some with `mdstream revoke --lift`"
            )
        self._revoked(revocation)  # also of a session: it may have been revoked while NATS was away from here

    def _refuse(self, error: PayloadError) -> None:
        self.refused_total += 1
        if self.refused_total <= _MAX_LOGGED:
            log.warning("what came on mdctl is refused: %s", error)
