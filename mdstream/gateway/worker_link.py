"""What a supervisor and its workers say to each other: JSON objects, each after its length, over a socket that nobody else has.

To a worker: ``{"do": "watch", "slots": [0, 2]}`` (accept on these sockets and no others), ``drain``, ``stop``, ``pages``,
``{"do": "reload", "limits": {…}}``, and questions, see ``worker_questions``.
From a worker: ``{"state": {…}}`` (``WorkerState``), twice a second and when it changes;
``{"pages": {…}}`` (``Pages``) when asked, and before it ends; ``{"failed": text, "code": exit code}`` if it cannot serve.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

MAX_MESSAGE: Final = 64 * 1024 * 1024
_HEAD: Final = 4
_GONE: Final = (OSError, RuntimeError)
"""What a stream of uvloop raises when the other process has ended."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What the supervisor knows of a worker."""

    serving: bool = False
    """It can accept connections."""
    not_ready: str | None = "starting"
    """Why a load balancer should send it no clients; None if it may."""
    draining: bool = False
    clients: int = 0


@dataclass(frozen=True, slots=True)
class Pages:
    """What a worker knows that the admin pages show."""

    metrics: str
    refused: dict[str, list[dict[str, Any]]]


class Link:
    """One end; make it with ``open``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, message: dict[str, Any]) -> None:
        """Without waiting; to a process that has ended, nothing is sent."""
        body = json.dumps(message).encode()
        with suppress(*_GONE):
            self._writer.write(len(body).to_bytes(_HEAD) + body)

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """All that come, until the other process has ended."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                size = int.from_bytes(await self._reader.readexactly(_HEAD))
                if size > MAX_MESSAGE:
                    return
                found: dict[str, Any] = json.loads(await self._reader.readexactly(size))
                yield found

    async def flush(self) -> None:
        with suppress(*_GONE):
            await self._writer.drain()

    def close(self) -> None:
        self._writer.close()
