"""How much may be asked of the venue's REST API, and whose turn it is.

Source: Binance spot API, "Limits": each request has a weight; an address may use 6,000 a minute; after 429, and after 418 (a ban), nothing
may be asked for ``Retry-After`` seconds; a client that goes on is banned, for longer each time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import IntEnum

LIMIT_PER_MINUTE = 6_000
BURST = 3_000
"""Weight that may be used at once. With what a minute adds it stays below the limit, also across the venue's full minutes."""
PER_SECOND = 45.0
_ROUNDING_S = 1e-6


class Rank(IntEnum):
    """Who is served first."""

    INFO = 0
    TRADES = 1
    LOST_BOOK = 2
    CHECK = 3
    EDGE = 4


class WeightBudget:
    """A bucket of weight that fills with time. No I/O."""

    def __init__(
        self,
        *,
        burst: float = BURST,
        per_second: float = PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left = burst
        self._at = clock()
        self._held_until = self._at

    def wait_s(self, weight: float) -> float:
        """How long to wait before a request of this weight; 0 if it may be made now."""
        self._fill()
        # A request heavier than the bucket has to wait until the bucket is full.
        lacking = min(weight, self._burst) - self._left
        wait_s = max(lacking / self._per_second, self._held_until - self._at)
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def spend(self, weight: float) -> None:
        self._fill()
        self._left -= weight

    def hold(self, seconds: float) -> None:
        """The venue refused us: nothing is asked for so long."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    def tell_used(self, weight: float) -> None:
        """What this address has used in the present minute, by the venue's own count: others may share the address."""
        self._fill()
        self._left = min(self._left, LIMIT_PER_MINUTE - weight)

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now


class Turns:
    """One request at a time, by rank and then by age, as the budget allows."""

    def __init__(
        self, budget: WeightBudget, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.budget = budget
        self._sleep = sleep
        self._ages = itertools.count()
        self._waiting: list[tuple[int, int]] = []
        self._moved = asyncio.Event()
        self._busy = False

    @asynccontextmanager
    async def turn(self, weight: float, rank: Rank) -> AsyncIterator[None]:
        """Waits for our turn, and holds the place while the request is made: after a refusal no other one is under way."""
        place = (int(rank), next(self._ages))
        heapq.heappush(self._waiting, place)
        try:
            await self._wait(place, weight)
        finally:
            self._waiting.remove(place)
            heapq.heapify(self._waiting)
            self._move()
        self._busy = True
        try:
            self.budget.spend(weight)
            yield
        finally:
            self._busy = False
            self._move()

    async def _wait(self, place: tuple[int, int], weight: float) -> None:
        while True:
            if self._busy or self._waiting[0] != place:
                await self._moved.wait()
            elif (delay_s := self.budget.wait_s(weight)) > 0:
                await self._sleep(delay_s)
            else:
                return

    def _move(self) -> None:
        """Wakes all who wait, once."""
        self._moved.set()
        self._moved = asyncio.Event()
