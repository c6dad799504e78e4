"""What comes in one turn of the loop is done in the next one, together: what clients are sent by it leaves in one write to each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from mdstream.gateway.turns import Corks

T = TypeVar("T")


class Together(Generic[T]):
    """``add`` what is to be done; in the order in which it came."""

    def __init__(self, corks: Corks, do: Callable[[T], object]) -> None:
        self._corks = corks
        self._do = do
        self._waiting: deque[T] = deque()

    def add(self, what: T) -> None:
        if not self._waiting:
            self._soon()
        self._waiting.append(what)

    def _soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._do_all)

    def _do_all(self) -> None:
        """Where one fails, the others are done in the turn after this one."""
        self._corks.cork()
        try:
            while self._waiting:
                self._do(self._waiting.popleft())
        finally:
            self._corks.uncork()
            if self._waiting:
                self._soon()
