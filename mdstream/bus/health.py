"""How JetStream is: whether it answers, whether its streams have a leader, when it last did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mdstream.bus.streams import MD_LOG, MD_STATE
from mdstream.errors import BusError

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

logger = logging.getLogger(__name__)

ASK_EVERY_S = 5.0
ANSWER_S = 2.0


class Health:
    """Asks for both streams every few seconds; logs when JetStream stops answering, and when it answers again."""

    def __init__(self, bus: Bus, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._clock = clock
        self._answered_at: float | None = None
        self.reachable = False
        """Whether the last questions were answered."""
        self.has_quorum = False
        """Whether both streams have a leader."""

    @property
    def answer_age_s(self) -> float | None:
        """How long ago JetStream last answered; None if it never did."""
        return None if self._answered_at is None else self._clock() - self._answered_at

    async def watch(self) -> None:
        said = ""
        while True:
            trouble = await self._ask() if self._bus.connected else "NATS is away"
            self.reachable = not trouble
            self.has_quorum = self.has_quorum and not trouble
            if trouble and trouble != said and self._bus.connected:
                logger.warning("JetStream: %s; what it stores cannot be read now", trouble)
            elif said and not trouble:
                logger.warning("JetStream answers again")
            said = trouble
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self) -> str:
        """What is wrong; empty: nothing."""
        try:
            async with asyncio.timeout(ANSWER_S):
                leaders = [await self._bus.has_leader(stream) for stream in (MD_STATE, MD_LOG)]
        except TimeoutError:
            return f"no answer within {ANSWER_S:g} s"
        except BusError as error:
            return str(error)
        self._answered_at = self._clock()
        self.has_quorum = all(leaders)
        return "" if self.has_quorum else "a stream has no leader: too few servers are there"
