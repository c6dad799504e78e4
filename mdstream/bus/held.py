"""Something of the bus that is read while somebody asks for it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mdstream.bus.connection import Bus

KEPT_S: Final = 30.0
"""How long it is kept after the last one who asked."""


class Held(ABC):
    """Nothing is read until the first ``hold``; some time after the last ``release`` it is forgotten."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._again = asyncio.Event()
        """Set when it is to be read again, as after a reconnect."""
        self._holds = 0
        self._task: asyncio.Task[None] | None = None
        self._forgetting: asyncio.TimerHandle | None = None
        self._unregister: Callable[[], None] | None = None

    @abstractmethod
    async def _follow(self) -> None:
        """Reads, until it is cancelled."""

    @abstractmethod
    def _clear(self) -> None:
        """Forgets what was read."""

    def hold(self) -> None:
        """Somebody asks, until ``release``."""
        self._holds += 1
        self._stay()
        if self._task is None:
            self._unregister = self._bus.on_reconnect(self._again.set)
            self._task = asyncio.get_running_loop().create_task(self._follow())

    def release(self) -> None:
        self._holds -= 1
        if not self._holds and self._task is not None:
            self._forgetting = asyncio.get_running_loop().call_later(KEPT_S, self._forget)

    async def close(self) -> None:
        task = self._task
        self._forget()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _stay(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None

    def _forget(self) -> None:
        self._stay()
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        if self._unregister is not None:
            self._unregister()
        self._clear()
