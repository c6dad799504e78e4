"""Records what a subscriber of the bus receives, decoded with the public library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgpack


def unpack(payload: bytes) -> list[Any]:
    """The values of a payload."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(payload)
    return list(unpacker)


class BusRecorder:
    """Pass ``record`` to ``Bus.subscribe``; ``messages`` are (stream, values) in order of arrival."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[Any]]] = []
        self._arrived = asyncio.Event()

    def record(self, subject: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        self.messages.append((subject.decode().rpartition(".")[2], unpack(payload)))
        self._arrived.set()

    def values(self, stream: str) -> list[Any]:
        """All values of a stream, whatever messages they came in."""
        return [value for name, values in self.messages if name == stream for value in values]

    def states(self) -> list[tuple[str, str]]:
        """The states with their reasons, without repetitions."""
        states: list[tuple[str, str]] = []
        for value in self.values("status"):
            if states[-1:] != [(value[3], value[4])]:
                states.append((value[3], value[4]))
        return states

    async def until(self, met: Callable[[], object]) -> None:
        """Waits until ``met()`` is true; it is called after each message. The deadline of the scenario bounds the wait."""
        while not met():
            self._arrived.clear()
            await self._arrived.wait()
