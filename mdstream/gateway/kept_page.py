"""A page that is costly to make: anyone who asks for it again and again is shown the last one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Generic, TypeVar

from mdstream.gateway.budget import Budget

PAGES_AT_ONCE = 10
PAGES_PER_SECOND = 1
SLICE_S = 0.001

PageT = TypeVar("PageT")
PartT = TypeVar("PartT")


class KeptPage(Generic[PageT]):
    """Makes a new page for each who asks now and then; for a loop of requests, once a second."""

    def __init__(self, make: Callable[[], PageT], now_s: Callable[[], float]) -> None:
        self._make = make
        self._now_s = now_s
        self._budget = Budget(PAGES_AT_ONCE, PAGES_PER_SECOND, now_s())
        self._kept: PageT | None = None

    def page(self) -> PageT:
        if self._kept is None or self._budget.take(self._now_s()):
            self._kept = self._make()
        return self._kept


async def in_slices(parts: Iterable[PartT], now_s: Callable[[], float]) -> list[PartT]:
    """What is iterated over, in slices of a millisecond: between two of them the loop has a turn."""
    made: list[PartT] = []
    until_s = now_s() + SLICE_S
    for part in parts:
        made.append(part)
        if now_s() > until_s:
            await asyncio.sleep(0)
            until_s = now_s() + SLICE_S
    return made


class SharedPage(Generic[PageT]):
    """As ``KeptPage``, of a page that takes several turns of the loop. Those who ask meanwhile share the one that is being made."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, PageT]], now_s: Callable[[], float]) -> None:
        self._make = make
        self._now_s = now_s
        self._budget = Budget(PAGES_AT_ONCE, PAGES_PER_SECOND, now_s())
        self._made: asyncio.Task[PageT] | None = None

    async def page(self) -> PageT:
        if self._made is None or (self._made.done() and self._budget.take(self._now_s())):
            self._made = asyncio.get_running_loop().create_task(self._make())
        return await asyncio.shield(self._made)


class SlicedPage(SharedPage[bytes]):
    """The same of many parts, which are made in slices of a millisecond."""

    def __init__(self, parts: Callable[[], Iterator[bytes]], now_s: Callable[[], float]) -> None:
        async def make() -> bytes:
            return b"".join(await in_slices(parts(), now_s))

        super().__init__(make, now_s)
