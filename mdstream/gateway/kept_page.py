"""A page that is costly to make: anyone who asks for it again and again is shown the last one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from mdstream.gateway.budget import Budget

PAGES_AT_ONCE = 10
PAGES_PER_SECOND = 1
SLICE_S = 0.001

PageT = TypeVar("PageT")


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


class SlicedPage:
    """The same for a page of many parts, which are made in slices of a millisecond: between two of them the loop has a turn. Those who
    ask meanwhile share the page that is being made."""

    def __init__(self, parts: Callable[[], Iterator[bytes]], now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._parts = parts
        self._budget = Budget(PAGES_AT_ONCE, PAGES_PER_SECOND, now_s())
        self._made: asyncio.Task[bytes] | None = None

    async def page(self) -> bytes:
        if self._made is None or (self._made.done() and self._budget.take(self._now_s())):
            self._made = asyncio.get_running_loop().create_task(self._make())
        return await asyncio.shield(self._made)

    async def _make(self) -> bytes:
        made: list[bytes] = []
        until_s = self._now_s() + SLICE_S
        for part in self._parts():
            made.append(part)
            if self._now_s() > until_s:
                await asyncio.sleep(0)
                until_s = self._now_s() + SLICE_S
        return b"".join(made)
