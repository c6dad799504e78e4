"""What a subscriber of the bus receives, decoded with the public library."""

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


class Ear:
    """Hand ``hear`` to ``Bus.subscribe``; ``messages`` are (stream, values) in order of arrival."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[Any]]] = []
        self._news = asyncio.Event()

    def hear(self, subject: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        self.messages.append((subject.decode().rpartition(".")[2], unpack(payload)))
        self._news.set()

    def values(self, stream: str) -> list[Any]:
        """All values of a stream, however they were joined into messages."""
        return [value for name, values in self.messages if name == stream for value in values]

    def states(self) -> list[tuple[str, str]]:
        """The states with their reasons, without repetitions."""
        states: list[tuple[str, str]] = []
        for value in self.values("status"):
            if states[-1:] != [tuple(value[3:])]:
                states.append((value[3], value[4]))
        return states

    async def until(self, met: Callable[[], object]) -> None:
        """Returns when the condition holds; checks it after each message. The test's deadline bounds the wait."""
        while not met():
            self._news.clear()
            await self._news.wait()
