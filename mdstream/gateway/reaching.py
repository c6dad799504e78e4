"""Commands that wait for an epoch which their clients have seen elsewhere and this gateway does not read yet.

However many wait, each instrument is looked at once in a while, and a command waits for one instrument at a time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError

if TYPE_CHECKING:
    from mdstream.gateway.open_instrument import OpenInstrument

LOOK_S: Final = 0.05
MOST: Final = 4_000
"""Commands that wait so. Beyond it, an asker who has his share of them is refused further ones."""
LEAST_SHARE: Final = 8


class _Waiting:
    """Who waits for one instrument now."""

    __slots__ = ("epoch", "wanted")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        """That was read when it was last looked at: while it stays, nobody has to be looked at."""
        self.wanted: dict[asyncio.Future[None], int] = {}

    def wake(self, epoch: int) -> None:
        """The instrument reads another epoch now."""
        self.epoch = epoch
        for reached, wanted in self.wanted.items():
            if wanted <= epoch and not reached.done():
                reached.set_result(None)


class Reaching:
    """All commands that wait so. Nothing runs while none does."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._count = 0
        self._commands: Counter[Hashable] = Counter()
        """By asker."""
        self._waiting: dict[OpenInstrument, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Commands that wait."""
        return self._count

    async def wait(
        self, wanted: Iterable[tuple[OpenInstrument, int]], asker: Hashable, deadline_s: float
    ) -> None:
        """Returns when each instrument reads the epoch that is wanted of it, or a greater one, or at the loop's time ``deadline_s``.

        Raises CommandError ``unavailable`` if too many commands of this asker wait already.
        """
        self._check_room(asker)
        self._commands[asker] += 1
        self._count += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline_s):
                    for instrument, epoch in wanted:
                        await self._wait_for(instrument, epoch)
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

    async def _wait_for(self, instrument: OpenInstrument, epoch: int) -> None:
        read = instrument.core.book.epoch
        if read >= epoch:
            return
        loop = asyncio.get_running_loop()
        reached = loop.create_future()
        waiting = self._waiting.get(instrument)
        if waiting is None:
            waiting = self._waiting[instrument] = _Waiting(read)
        waiting.wanted[reached] = epoch
        if self._timer is None:
            self._timer = loop.call_later(LOOK_S, self._look)
        try:
            await reached
        finally:
            del waiting.wanted[reached]
            if not waiting.wanted:
                del self._waiting[instrument]

    def _look(self) -> None:
        """Wakes those whose epoch has begun; looks again while anybody waits."""
        self._timer = None
        for instrument, waiting in self._waiting.items():
            epoch = instrument.core.book.epoch
            if epoch != waiting.epoch:
                waiting.wake(epoch)
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
