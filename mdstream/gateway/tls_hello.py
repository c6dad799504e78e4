"""When a TLS handshake may begin: once its first message is whole, and a few in a turn of the loop.

The answer to that message is what costs: half a millisecond, for a signature. Clients that send all but its last byte, and then that byte
all together, would otherwise have as many answers computed in one turn as there may be handshakes, and nobody gets data meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque

PER_TURN = 4
"""Handshakes that begin in a turn of the loop, of those that had to wait."""
MOST = 16_384
"""Bytes of a first message, with the headers of its records; browsers send less than 3,000."""
RECORDS = 4
"""It comes in at most so many records: usually in one, in two or three where it shall not be recognized on its way."""

_HANDSHAKE = 22
_HEADER = 5


def missing(data: bytes) -> int:
    """How many bytes must come at least until the first handshake message is whole (RFC 8446 section 4, in records as in section 5.1).

    0: it is, or this is no TLS, which OpenSSL answers. Raises ConnectionError for a message that is too long, or in too many pieces.
    """
    message, at = b"", 0
    for _ in range(RECORDS):
        if len(data) > at and data[at] != _HANDSHAKE:
            return 0
        if len(data) < at + _HEADER:
            return at + _HEADER - len(data)
        end = at + _HEADER + int.from_bytes(data[at + 3 : at + _HEADER])
        if end > MOST:
            raise ConnectionError("its first message of TLS is too long")
        if len(data) < end:
            return end - len(data)
        message += data[at + _HEADER : end]
        if len(message) >= 4 and len(message) - 4 >= int.from_bytes(message[1:4]):
            return 0
        at = end
    raise ConnectionError("its first message of TLS comes in too many pieces")


class Hellos:
    """Those who wait for their turn."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._begun = 0
        """In this turn of the loop."""

    async def wait(self, connection: socket.socket, most_s: float) -> None:
        """Returns when the handshake may begin; at once if its first message has come already. Raises OSError if the peer is gone, or
        silent for so long."""
        data = _peek(connection)
        if missing(data):
            async with asyncio.timeout(most_s):
                await self._arrived(connection, data)
                await self._turn()

    async def _arrived(self, connection: socket.socket, data: bytes) -> None:
        bounded = False
        while lacks := missing(data):
            wanted = 1
            if data:
                # Else the socket would be readable all the time by what it holds already.
                wanted, bounded = len(data) + lacks, True
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            await self._readable(connection)
            data = _peek(connection)
            if len(data) < wanted:
                raise ConnectionError("it ended in its TLS handshake")
        if bounded:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    async def _readable(self, connection: socket.socket) -> None:
        readable = self._loop.create_future()
        self._loop.add_reader(connection, _set, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(connection)

    async def _turn(self) -> None:
        """At once, if this turn of the loop has room."""
        if self._begun < PER_TURN:
            self._begin()
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        await turn

    def _begin(self) -> None:
        if not self._begun:
            self._loop.call_soon(self._next)
        self._begun += 1

    def _next(self) -> None:
        self._begun = 0
        while self._waiting and self._begun < PER_TURN:
            self._begin()
            _set(self._waiting.popleft())


def _peek(connection: socket.socket) -> bytes:
    """What has come and is not read yet; it stays."""
    try:
        return connection.recv(MOST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
