"""Opens what clients will ask for before they are taken: the instruments of the setting ``warm``, and those that gateways served lately.

And tells gateways that start later what is served here.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mdstream.auth.patterns import Pattern, PatternSet
from mdstream.bus.demand import announced, encode_demand, put_demand, read_demand
from mdstream.errors import BusError, CommandError
from mdstream.model import Channel, StateCode

if TYPE_CHECKING:
    from mdstream.bus import Bus
    from mdstream.gateway.config import GatewayConfig
    from mdstream.gateway.open_instrument import OpenInstrument
    from mdstream.gateway.open_instruments import OpenInstruments

log = logging.getLogger("mdstream.gateway.warming")

MOST: Final = 1_000
"""Instruments that are opened at start."""
LOOK_S: Final = 0.05
_EMPTY: Final = (StateCode.NO_BOOK, StateCode.NO_REF)
"""Of a book in such a state nothing may come for long."""

PATIENCE_S: Final = 1.0
"""How long one is waited for that is open and has no data, such as after a gap: where its writer has ended, it may have none for long."""

TELL_EVERY_S: Final = 5.0
REPEAT_S: Final = 300.0
RETRY_S: Final = 60.0


class Warming:
    """``warm`` once; ``tick`` a few times a second from then on."""

    def __init__(
        self,
        config: GatewayConfig,
        instruments: OpenInstruments,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patterns = PatternSet((Pattern.parse(each), 1) for each in config.warm)
        self._has_patterns = bool(config.warm)
        self._instruments = instruments
        self._now_s = now_s
        self._wanted = self._done = 0
        self._bus: Bus | None = None
        self._process = secrets.token_hex(8)
        self._told: bytes | None = None
        self._told_at = self._tried_at = float("-inf")
        self._telling: asyncio.Task[None] | None = None
        self._said = ""

    @property
    def progress(self) -> str:
        """For people."""
        return f"opening instruments: {self._done} of {self._wanted} are ready"

    # ---- at start

    async def warm(self, bus: Bus) -> None:
        """Returns when all are open and have data, or cannot have any."""
        self._bus = bus
        names = await self._names(bus)
        self._wanted = len(names)
        began = self._now_s()
        await asyncio.gather(*map(self._open, names))
        if names:
            log.info("%d instruments were opened in %.1f s", len(names), self._now_s() - began)

    async def _names(self, bus: Bus) -> list[str]:
        try:
            names = (
                [name for name in await announced(bus) if self._patterns.match(name)]
                if self._has_patterns
                else []
            )
            names += await read_demand(bus)
        except BusError as error:
            log.info("it is not known which instruments were served: %s", error)
            return []
        return list(dict.fromkeys(names))[:MOST]

    async def _open(self, name: str) -> None:
        try:
            (found,) = await self._instruments.open([name], Channel.BOOK, asker=name)
        except CommandError as error:
            log.debug("%s is not opened at start: %s", name, error)
        else:
            await self._wait_for_data(found)
        self._done += 1

    async def _wait_for_data(self, instrument: OpenInstrument) -> None:
        until_s = self._now_s() + PATIENCE_S
        for status in dict.fromkeys(instrument.statuses.values()):
            while not status.has_data.is_set() and status.code not in _EMPTY:
                if status.code is not StateCode.OPENING and self._now_s() >= until_s:
                    break
                await asyncio.sleep(LOOK_S)

    # ---- afterwards

    def tick(self) -> None:
        """Tells what is served, if that has changed."""
        now = self._now_s()
        bus = self._bus
        if bus is None or not bus.connected or now - self._tried_at < TELL_EVERY_S:
            return
        self._tried_at = now
        served = self._instruments.served()
        payload = encode_demand(served)
        if not served or (payload == self._told and now - self._told_at < REPEAT_S):
            return
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell(bus, payload))

    async def _tell(self, bus: Bus, payload: bytes) -> None:
        try:
            await put_demand(bus, self._process, payload)
            self._told, self._told_at = payload, self._now_s()
        except BusError as error:
            self._tried_at = self._now_s() + RETRY_S
            if str(error) != self._said:
                self._said = str(error)
                log.warning("gateways that start later do not know what is served here: %s", error)

    async def stop(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
