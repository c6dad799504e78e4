"""A page that is costly to make: anyone who asks for it again and again is shown the last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from mdstream.gateway.budget import Budget

PAGES_AT_ONCE = 10
PAGES_PER_SECOND = 1

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
