"""Commands that wait for an epoch which their clients have seen elsewhere and this gateway does not read yet.

However many wait, each instrument is looked at once in a while, and a command waits for one instrument at a time. Those whose time is
up are found in the same look, which is why there is no timer for each.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.turns import Wake, at_once

if TYPE_CHECKING:
    from mdstream.gateway.open_instrument import OpenInstrument

LOOK_S: Final = 0.05
MOST: Final = 4_000
"""Commands that wait so. Beyond it, an asker who has his share of them is refused further ones."""
LEAST_SHARE: Final = 8
AT_ONCE: Final = 100
"""So many whose time is up are woken in a look; further ones in the next."""


class _Waiting:
    """Who waits for one instrument now."""

    __slots__ = ("epoch", "wanted")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        """That was read when it was last looked at: while it stays, nobody has to be looked at."""
        self.wanted: dict[asyncio.Future[bool], tuple[int, Hashable]] = {}
        """The epoch, and the asker."""

    def reached_by(self, epoch: int) -> list[tuple[asyncio.Future[bool], Hashable]]:
        """Those who wanted this epoch, which the instrument reads now, or one before it."""
        self.epoch = epoch
        return [(reached, asker) for reached, (wanted, asker) in self.wanted.items() if wanted <= epoch]


class Reaching:
    """All commands that wait so. Nothing runs while none does."""

    def __init__(self, most: int = MOST, wake: Wake = at_once) -> None:
        """``wake`` is given a call for each command that goes on."""
        self._most = most
        self._wake = wake
        self._count = 0
        self._commands: Counter[Hashable] = Counter()
        """By asker."""
        self._waiting: dict[OpenInstrument, _Waiting] = {}
        self._deadlines: list[tuple[float, int, asyncio.Future[bool], Hashable]] = []
        """A heap; also of those that wait no longer, until their time."""
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Commands that wait."""
        return self._count

    async def wait(
        self, wanted: Iterable[tuple[OpenInstrument, int]], asker: Hashable, deadline_s: float
    ) -> None:
        """Returns when each instrument reads the epoch that is wanted of it, or a greater one; or soon after the time ``deadline_s``.

        Raises CommandError ``unavailable`` if too many commands of this asker wait already.
        """
        self._check_room(asker)
        self._commands[asker] += 1
        self._count += 1
        try:
            for instrument, epoch in wanted:
                if not await self._wait_for(instrument, epoch, asker, deadline_s):
                    return
        finally:
            self._count -= 1
            self._commands[asker] -= 1
            if not self._commands[asker]:
                del self._commands[asker]

    def _check_room(self, asker: Hashable) -> None:
        if self._count < self._most:
            return
        askers = len(self._commands) + (asker not in self._commands)
        if self._commands[asker] >= max(LEAST_SHARE, self._most // askers):
            raise CommandError(
                ErrorCode.UNAVAILABLE,
                "too many subscribes wait for epochs that this gateway has not reached; try again later",
            )

    async def _wait_for(
        self, instrument: OpenInstrument, epoch: int, asker: Hashable, deadline_s: float
    ) -> bool:
        """Whether there may be time left."""
        read = instrument.core.book.epoch
        if read >= epoch:
            return True
        loop = asyncio.get_running_loop()
        if loop.time() >= deadline_s:
            return False
        waiting = self._waiting.get(instrument)
        if waiting is None:
            waiting = self._waiting[instrument] = _Waiting(read)
        reached: asyncio.Future[bool] = loop.create_future()
        waiting.wanted[reached] = epoch, asker
        heappush(self._deadlines, (deadline_s, next(self._numbers), reached, asker))
        if self._timer is None:
            self._timer = loop.call_later(LOOK_S, self._look)
        try:
            return await reached
        finally:
            del waiting.wanted[reached]
            if not waiting.wanted:
                del self._waiting[instrument]

    def _look(self) -> None:
        """Wakes those whose epoch has begun, or whose time is up; looks again while anybody waits."""
        self._timer = None
        loop = asyncio.get_running_loop()
        for instrument, waiting in self._waiting.items():
            epoch = instrument.core.book.epoch
            if epoch != waiting.epoch:
                for reached, asker in waiting.reached_by(epoch):
                    self._wake(partial(_tell, reached, True), asker)
        self._wake_late(loop.time())
        if self._waiting:
            self._timer = loop.call_later(LOOK_S, self._look)
        else:
            self._deadlines.clear()

    def _wake_late(self, now_s: float) -> None:
        for _ in range(AT_ONCE):
            if not self._deadlines or self._deadlines[0][0] > now_s:
                return
            _, _, reached, asker = heappop(self._deadlines)
            self._wake(partial(_tell, reached, False), asker)


def _tell(waiting: asyncio.Future[Any], result: object) -> None:
    """Unless it waits no longer."""
    if not waiting.done():
        waiting.set_result(result)
