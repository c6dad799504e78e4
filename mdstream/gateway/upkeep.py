"""What a gateway looks at from time to time, each at its own pace: all of it when the hub has ticked, so there are no other timers."""

from __future__ import annotations

import time
from collections.abc import Callable

Work = Callable[[], object]


class Upkeep:
    """``tick`` it a few times a second. Work is done in the order in which it was added."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._works: list[_Paced] = []

    def add(self, work: Work, *, every_s: float = 0.0, later: bool = False) -> None:
        """``every_s``: so long between two calls at least. The first is at the next tick, or as long from now if ``later``."""
        self._works.append(_Paced(work, every_s, self._now_s() + (every_s if later else 0.0)))

    def tick(self) -> None:
        now_s = self._now_s()
        for paced in self._works:
            if now_s >= paced.due_s:
                paced.due_s = now_s + paced.every_s
                paced.work()


class _Paced:
    __slots__ = ("due_s", "every_s", "work")

    def __init__(self, work: Work, every_s: float, due_s: float) -> None:
        self.work = work
        self.every_s = every_s
        self.due_s = due_s
