"""Looks whether the bus has what a client was shown elsewhere and this gateway has not reached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from mdstream._core.codec.feed_decoder import StatusValue, decode_payload
from mdstream.bus.denied import DeniedError
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
ANSWER_S = 0.8
"""Later than this, nobody can say: who came just after the last look must be held before his two seconds are over."""
MOST_EPOCHS = 2
"""Of which numbers may be wanted at a time: the one that is read and a greater one, which strangers could invent."""


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
        """Nobody can say whether the bus has this number. False if nobody is held for it: a live ``status`` of its epoch has said what
        there is since that time."""

    def clear(self) -> None:
        """The bus has answered: what it has not is suspected no longer."""


class Lookout:
    """Asks log and ``status`` for a while, once a second, however many clients want something."""

    def __init__(self, owner: LookoutOwner, bus: Bus, clock: Callable[[], float]) -> None:
        self._owner = owner
        self._bus = bus
        self._clock = clock
        self._wanted: dict[int, int] = {}
        """The greatest number that is wanted of each epoch."""
        self._since = self._until = 0.0
        self._suspects = False

    def want(self, epoch: int, seq: int) -> None:
        """A client was shown this number."""
        self._wanted = dict(self._left())
        self._wanted[epoch] = max(seq, self._wanted.get(epoch, 0))
        while len(self._wanted) > MOST_EPOCHS:
            del self._wanted[sorted(self._wanted)[1]]
        self.begin()

    def begin(self) -> None:
        """The time for looking begins, or begins again: NATS was away, and nothing was answered."""
        self._since = self._clock()
        self._until = self._since + LOOK_FOR_S

    @property
    def is_looking(self) -> bool:
        """Whether something is wanted and neither reached nor given up."""
        return bool(self._left())

    def _left(self) -> list[tuple[int, int]]:
        """Epochs and numbers that are wanted and not reached."""
        position = self._owner.book_position
        return [wanted for wanted in self._wanted.items() if wanted > position]

    async def run(self) -> None:
        """Ends when the wanted numbers are reached, or the time is up: while JetStream cannot be asked, it is not."""
        while self.is_looking and (self._suspects or self._clock() < self._until):
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._look()
            except (BusError, TimeoutError) as error:
                logger.debug("%s: what is wanted cannot be looked for: %s", self._owner.instrument, error)
                held = [self._owner.suspect(*wanted, self._since) for wanted in self._left()]
                self._suspects = any(held)
                if self._suspects:
                    self._until = self._clock() + LOOK_FOR_S
            await asyncio.sleep(LOOK_EVERY_S)
        self._wanted.clear()
        self._be_sure()

    async def _look(self) -> None:
        """Raises BusError where nobody can say what is stored."""
        # Any replica answers the first question. It may lag behind, so what it has not may still be there.
        if not await self._settles(self._bus.last_stored):
            await self._ask_leader()
        self._be_sure()

    def _be_sure(self) -> None:
        if self._suspects:
            self._suspects = False
            self._owner.clear()

    async def _ask_leader(self) -> None:
        try:
            if await self._settles(self._bus.newest_stored) or await self._bus.is_in_touch(MD_LOG):
                return
        except BusError as error:
            if isinstance(error.__cause__, DeniedError):
                return  # what a replica has not counts as not stored
            raise
        raise BusUnavailable(f"the leader of {MD_LOG} has lost the other servers")

    async def _settles(self, ask: Callable[[str, str], Awaitable[Stored | None]]) -> bool:
        """Whether all that is wanted is stored. What is, and the book has not reached, is handed on."""
        owner = self._owner
        newest = await ask(MD_LOG, subject(owner.instrument, "book"))
        stored = await ask(MD_STATE, subject(owner.instrument, "status"))
        found, status = _numbers(newest), _status(stored)
        if stored is not None and status is not None and status.epoch > owner.book_position[0]:
            owner.meet_status(stored.payload, await self._bus.stored_s(MD_STATE, stored))
        if newest is not None and any(epoch > owner.book_position[0] for epoch, _, _ in found):
            owner.meet(newest.payload)
        if status is not None:
            found.append((status.epoch, 0, status.book_seq or 0))
        epoch, seq = owner.book_position
        named = max((last for other, _, last in found if other == epoch), default=0)
        if named > seq:
            owner.owe(named, self._wanted.get(epoch, named))
        greatest = max((other for other, _, _ in found), default=0)
        return all(named >= wanted if other == epoch else greatest >= other for other, wanted in self._left())


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
