"""Looks whether the bus has what a client was shown elsewhere and this gateway has not reached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from mdstream._core.codec.feed_decoder import StatusValue, decode_payload
from mdstream.bus.payloads import numbers
from mdstream.bus.streams import MD_LOG, MD_STATE, Stored
from mdstream.bus.subjects import subject
from mdstream.errors import BusError, BusUnavailable, FeedError
from mdstream.model import InstrumentId

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

logger = logging.getLogger(__name__)

LOOK_FOR_S = 2.0
LOOK_EVERY_S = 1.0
ANSWER_S = 1.0
"""Later than this, nobody can say: clients must be held before their two seconds are over."""


class LookoutOwner(Protocol):
    """Whose book it is: the reader."""

    instrument: InstrumentId

    @property
    def book_position(self) -> tuple[int, int]: ...

    def meet(self, payload: bytes) -> None:
        """A payload of the log is of a greater epoch."""

    def meet_status(self, payload: bytes, stored_s: float) -> None:
        """The stored status is of a greater epoch."""

    def owe(self, named: int, wanted: int) -> None:
        """The bus has the number ``named`` of this epoch, which the book has not reached."""

    def suspect(self, epoch: int, seq: int, since_s: float) -> bool:
        """Nobody can say whether the bus has this number. False if a live ``status`` has said what there is since that time."""

    def clear(self) -> None:
        """The bus has answered, and has not what was suspected."""


class Lookout:
    """Asks log and ``status`` for a while, once a second, however many clients want something."""

    def __init__(self, owner: LookoutOwner, bus: Bus, clock: Callable[[], float]) -> None:
        self._owner = owner
        self._bus = bus
        self._clock = clock
        self._wanted = (0, 0)
        self._since = self._until = 0.0
        self._suspects = False

    def want(self, epoch: int, seq: int) -> None:
        """A client was shown this number."""
        self._wanted = max(self._wanted, (epoch, seq))
        self._since = self._clock()
        self._until = self._since + LOOK_FOR_S

    @property
    def is_looking(self) -> bool:
        """Whether something is wanted and neither reached nor given up."""
        return self._owner.book_position < self._wanted

    def begin_again(self) -> None:
        """NATS was away; nothing was answered."""
        self.want(*self._wanted)

    async def run(self) -> None:
        """Ends when the wanted number is reached, or its time is up: while JetStream cannot be asked, it is not."""
        while self._clock() < self._until and self.is_looking:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._look()
            except (BusError, TimeoutError) as error:
                logger.debug("%s: what is wanted cannot be looked for: %s", self._owner.instrument, error)
                if self._owner.suspect(*self._wanted, self._since):
                    self._suspects, self._until = True, self._clock() + LOOK_FOR_S
            await asyncio.sleep(LOOK_EVERY_S)
        self._wanted = (0, 0)

    async def _look(self) -> None:
        """Raises BusError where nobody can say what is stored."""
        # Any replica answers the first question. It may lag behind, so what it has not may still be there.
        if not await self._finds(self._bus.last_stored) and not await self._leader_finds() and self._suspects:
            self._owner.clear()
        self._suspects = False

    async def _leader_finds(self) -> bool:
        try:
            found = await self._finds(self._bus.newest_stored)
            in_touch = found or await self._bus.is_in_touch(MD_LOG)
        except BusUnavailable:
            raise
        except BusError as error:  # we may not ask it: what the replica has not counts as not stored
            logger.debug("%s: the leader may not be asked: %s", self._owner.instrument, error)
            return False
        if not in_touch:
            raise BusUnavailable(f"the leader of {MD_LOG} has lost the other servers")
        return found

    async def _finds(self, ask: Callable[[str, str], Awaitable[Stored | None]]) -> bool:
        """Whether something is stored that the book has not reached; it is handed on."""
        owner = self._owner
        newest = await ask(MD_LOG, subject(owner.instrument, "book"))
        stored = await ask(MD_STATE, subject(owner.instrument, "status"))
        before, status = owner.book_position, _status(stored)
        if stored is not None and status is not None and status.epoch > owner.book_position[0]:
            owner.meet_status(stored.payload, await self._bus.stored_s(MD_STATE, stored))
        epoch, seq = owner.book_position
        found = _numbers(newest)
        if newest is not None and any(other > epoch for other, _, _ in found):
            owner.meet(newest.payload)
            epoch, seq = owner.book_position
        named = max((last for other, _, last in found if other == epoch), default=0)
        if status is not None and status.epoch == epoch:
            named = max(named, status.book_seq or 0)
        if named > seq:
            owner.owe(named, self._wanted[1])
        return named > seq or owner.book_position > before


def _numbers(stored: Stored | None) -> list[tuple[int, int, int]]:
    try:
        return [] if stored is None else numbers("book", stored.payload)
    except FeedError:
        return []


def _status(stored: Stored | None) -> StatusValue | None:
    try:
        return None if stored is None else decode_payload("status", stored.payload)[-1]
    except FeedError:
        return None
